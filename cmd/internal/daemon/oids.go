package daemon

import (
	"context"
	"fmt"
	"net"
	"sync"

	"vhost-user-nvgre/cmd/internal/control"
	"vhost-user-nvgre/cmd/internal/oid"
)

// startOIDs serves administrators, at a socket beside the control socket, and
// guests over AF_VSOCK, if a port names one. The function it returns ends
// that.
func (d *Daemon) startOIDs() (stop func(), err error) {
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	stop = func() {
		cancel()
		serving.Wait()
	}
	start := func(l net.Listener, choose oid.Chooser) {
		serving.Go(func() {
			if err := oid.Serve(ctx, l, choose, d.log); err != nil {
				d.log.Errorf("%v", err)
			}
		})
	}
	defer func() {
		if err != nil {
			stop()
		}
	}()
	path, err := d.settings.ControlPath()
	if err != nil {
		return nil, err
	}
	if path != "" {
		gid, err := groupID(d.settings.ControlGroup)
		if err != nil {
			return nil, fmt.Errorf("control-group: %w", err)
		}
		l, err := control.Listen(oid.AdminSocket(path), d.settings.ControlMode, gid)
		if err != nil {
			return nil, fmt.Errorf("OID requests: %w", err)
		}
		start(l, d.byName)
	}
	for i := range d.settings.Ports {
		if d.settings.Ports[i].OIDCID == 0 {
			continue
		}
		l, err := oid.ListenVsock(oid.DefaultPort)
		if err != nil {
			return nil, fmt.Errorf("port %s with oid-cid: %w", d.settings.Ports[i].Name, err)
		}
		d.vsock = true
		start(l, oid.ByCID(d.byCID))
		break
	}
	return stop, nil
}

// byName is the Chooser of administrators.
func (d *Daemon) byName(_ net.Addr, name string) (*oid.Hub, error) {
	p := d.port(name)
	switch {
	case p == nil:
		return nil, fmt.Errorf("port %s: %w", name, control.ErrNoPort)
	case p.nic == nil:
		return nil, fmt.Errorf("port %s is of kind %s and has no adapter", name, p.cfg.Kind)
	}
	return p.nic.hub, nil
}

// byCID returns the hub of the port that is for a context id, nil for none.
func (d *Daemon) byCID(cid uint32) *oid.Hub {
	for _, p := range d.list() {
		if p.nic != nil && p.cfg.OIDCID == cid {
			return p.nic.hub
		}
	}
	return nil
}

// listenOIDs makes the port's own socket for OID requests, if it is to have
// one.
func (p *port) listenOIDs() error {
	if p.cfg.OIDSocket == "" {
		return nil
	}
	gid, err := groupID(p.cfg.SocketGroup)
	if err != nil {
		return fmt.Errorf("socket-group: %w", err)
	}
	l, err := control.Listen(p.cfg.OIDSocket, p.cfg.SocketMode, gid)
	if err != nil {
		return fmt.Errorf("oid-socket: %w", err)
	}
	p.oids = l
	return nil
}

// serveOIDs serves the port's own socket until ctx is done.
func (d *Daemon) serveOIDs(ctx context.Context, p *port) {
	if p.oids == nil {
		return
	}
	p.serving.Go(func() {
		if err := oid.Serve(ctx, p.oids, oid.Only(p.nic.hub), d.log); err != nil {
			d.log.Errorf("port %s: %v", p.cfg.Name, err)
		}
	})
}
