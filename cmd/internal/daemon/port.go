package daemon

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/user"
	"strconv"
	"sync"

	"vhost-user-nvgre/cmd/internal/config"
	"vhost-user-nvgre/queues"
	"vhost-user-nvgre/vhostuser"
	"vhost-user-nvgre/virtio"
)

// The two packages do not know each other; here they meet.
var _ vhostuser.Backend = (*queues.Port)(nil)

// port is a port of the switch and what it leads to: an endpoint that front
// ends reach it by, or a wire.
type port struct {
	cfg config.Port

	device   *queues.Port // nil: it leads to a wire
	endpoint *vhostuser.Endpoint
	nic      *nic         // device and its adapter
	oids     net.Listener // socket of the adapter; nil: none

	wirePort *queues.WirePort
	wire     queues.Wire

	gone bool // no front end can reach it; Run's goroutine only

	stop    context.CancelFunc // nil until served
	serving sync.WaitGroup
}

// open makes a port; it is not served yet.
func (d *Daemon) open(cfg *config.Port) (*port, error) {
	if cfg.Kind.IsWire() {
		return d.openWire(cfg)
	}
	speed := uint32(cfg.Speed)
	if speed == 0 {
		speed = virtio.SpeedUnknown
	}
	n, err := newNIC(d.engine, cfg, queues.PortConfig{
		Name: cfg.Name, QueuePairs: cfg.QueuePairs, MAC: cfg.Address(),
		MTU: cfg.MTU, Speed: speed, Withhold: cfg.Withhold,
	}, keywordsFile(d.stateDir, cfg.Name), d.log.Warnf)
	if err != nil {
		return nil, err
	}
	device := n.device
	p := &port{cfg: *cfg, device: device, nic: n}
	device.SetLink(cfg.LinkUp)
	options := vhostuser.Options{
		Path: cfg.Socket, Perm: cfg.SocketMode, Backend: device,
		Log: d.log.WithField("port", cfg.Name),
	}
	if cfg.Mode == config.ModeClient {
		options.Mode = vhostuser.ModeClient
	}
	if cfg.FD != config.NoFD {
		options.File = os.NewFile(uintptr(cfg.FD), "fd "+strconv.Itoa(cfg.FD))
	}
	if p.endpoint, err = vhostuser.Open(options); err == nil && cfg.Mode == config.ModeServer && cfg.FD == config.NoFD {
		err = giveToGroup(cfg.Socket, cfg.SocketGroup)
	}
	if err == nil {
		err = p.listenOIDs()
	}
	if err != nil {
		d.remove(p)
		return nil, fmt.Errorf("port %s: %w", cfg.Name, err)
	}
	return p, nil
}

// serve lets front ends in until the port is removed.
func (d *Daemon) serve(p *port) {
	if p.wire != nil {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	d.serveOIDs(ctx, p)
	d.followFilter(p, &p.cfg)
	p.serving.Go(func() {
		err := p.endpoint.Serve(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			d.log.Warnf("port %s: %v", p.cfg.Name, err)
		}
		select {
		case d.ended <- p:
		case <-ctx.Done():
		}
	})
}

// remove takes a port down: the front end is detached, the socket removed.
func (d *Daemon) remove(p *port) {
	if p.wire != nil {
		d.removeWire(p)
		return
	}
	switch {
	case p.stop != nil:
		p.stop()
		p.serving.Wait()
	case p.endpoint != nil:
		if err := p.endpoint.Close(); err != nil {
			d.log.Warnf("port %s: %v", p.cfg.Name, err)
		}
	}
	p.nic.unfollow()
	p.nic.hub.Close() // administrators and guests reach it by other sockets, too
	if p.oids != nil {
		p.oids.Close() // which serving has done, if it was served
	}
	d.engine.RemovePort(p.device)
}

// giveToGroup changes the group of a socket, unless none is named.
func giveToGroup(path, group string) error {
	gid, err := groupID(group)
	if err != nil {
		return fmt.Errorf("socket-group: %w", err)
	}
	if gid < 0 {
		return nil
	}
	return os.Chown(path, -1, gid)
}

// groupID returns the number of a group given by name or number, -1 for "".
func groupID(group string) (int, error) {
	if group == "" {
		return -1, nil
	}
	if n, err := strconv.ParseUint(group, 10, 31); err == nil {
		return int(n), nil
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return 0, &config.Error{Err: fmt.Errorf("there is no group %q", group)}
	}
	return strconv.Atoi(g.Gid)
}
