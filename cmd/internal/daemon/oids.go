package daemon

import (
	"context"
	"fmt"
	"net"
	"sync"

	"vhost-user-nvgre/cmd/internal/config"
	"vhost-user-nvgre/cmd/internal/control"
	"vhost-user-nvgre/cmd/internal/oid"
)

// listenVsock is another function in tests.
var listenVsock = oid.ListenVsock

// oidServers serve OID requests at sockets that are for several ports.
type oidServers struct {
	d       *Daemon
	ctx     context.Context
	cancel  context.CancelFunc
	serving sync.WaitGroup
	vsock   bool // guests are served over AF_VSOCK
}

func newOIDServers(d *Daemon) *oidServers {
	s := &oidServers{d: d}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// start serves administrators, at a socket beside the control socket, and
// guests over AF_VSOCK, if a port names one.
func (s *oidServers) start() error {
	path, err := s.d.settings.ControlPath()
	if err != nil {
		return err
	}
	if path != "" {
		gid, err := groupID(s.d.settings.ControlGroup)
		if err != nil {
			return fmt.Errorf("control-group: %w", err)
		}
		l, err := control.Listen(oid.AdminSocket(path), s.d.settings.ControlMode, gid)
		if err != nil {
			return fmt.Errorf("OID requests: %w", err)
		}
		s.serve(l, s.d.byName)
	}
	for i := range s.d.settings.Ports {
		if err := s.reach(&s.d.settings.Ports[i]); err != nil {
			return err
		}
	}
	return nil
}

// reach sees to it that guests are served over AF_VSOCK if the port is for one.
func (s *oidServers) reach(cfg *config.Port) error {
	if cfg.OIDCID == 0 || s.vsock {
		return nil
	}
	l, err := listenVsock(oid.DefaultPort)
	if err != nil {
		return fmt.Errorf("port %s with oid-cid: %w", cfg.Name, err)
	}
	s.vsock = true
	s.serve(l, oid.ByCID(s.d.byCID))
	return nil
}

func (s *oidServers) serve(l net.Listener, choose oid.Chooser) {
	s.serving.Go(func() {
		if err := oid.Serve(s.ctx, l, choose, s.d.log); err != nil {
			s.d.log.Errorf("%v", err)
		}
	})
}

// stop ends what start and reach began.
func (s *oidServers) stop() {
	s.cancel()
	s.serving.Wait()
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
