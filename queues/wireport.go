package queues

import (
	"errors"
	"fmt"
	"sync"

	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/queues/fdb"
	"vhost-user-nvgre/queues/rxfilter"
	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/vring"
)

// WireConfig describes a port that leads to a wire.
type WireConfig struct {
	Name     string
	Kind     string // as an operator sees it: tap, packet, pcap
	Place    string // where the wire leads, as an operator sees it
	MTU      int    // the largest packet the wire takes; 0: as large as they come
	LinkDown bool   // begin with the link down
}

// WirePort is a port of the switch that leads to a wire. Its exported methods
// may be called by any goroutine.
type WirePort struct {
	switchPort
	cfg   WireConfig
	wire  Wire
	pairs []WirePair

	mu       sync.Mutex // as Port.mu
	linkUp   bool
	removed  bool
	offloads offload.State // operational
}

// AddWire creates a port for w, which stays the caller's to close once the
// port is removed.
func (e *Engine) AddWire(cfg WireConfig, w Wire) (*WirePort, error) {
	if cfg.Name == "" {
		return nil, errors.New("a port needs a name")
	}
	p := &WirePort{cfg: cfg, wire: w, pairs: w.Pairs(), linkUp: !cfg.LinkDown, offloads: offload.DefaultState()}
	if len(p.pairs) == 0 {
		return nil, fmt.Errorf("port %s: a wire without queue pairs", cfg.Name)
	}
	if l, ok := w.(LinkSetter); ok && cfg.LinkDown {
		l.SetLink(false)
	}
	p.broke = p.queueBroke
	err := e.plug(cfg.Name, func(id fdb.Port) plugged {
		p.init(e, id, cfg.Name, len(p.pairs))
		return p
	})
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	for i, pair := range p.pairs {
		p.rx[i].attach(pair.Out)
		p.tx[i].attach(pair.In)
	}
	p.compile()
	for i, pair := range p.pairs {
		if pair.In != nil {
			err = errors.Join(err, p.tx[i].watchFD(pair.Ready))
		}
	}
	p.mu.Unlock()
	if err != nil {
		e.RemoveWire(p)
		return nil, fmt.Errorf("port %s: %w", cfg.Name, err)
	}
	if w, ok := w.(Watcher); ok {
		w.Watch(p.fail)
	}
	return p, nil
}

// attach makes ring, which may be nil, that of the queue.
func (v *virtqueue) attach(ring vring.Ring) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ring, v.enabled = ring, ring != nil
}

// compile publishes a new snapshot of the port's state and returns when no
// shard uses the old one. The caller holds mu.
func (p *WirePort) compile() {
	st := &portState{
		port:     &p.switchPort,
		linkUp:   p.linkUp,
		hdrLen:   virtio.NetHdrSize,
		pairs:    len(p.pairs),
		filter:   rxfilter.New(virtio.MAC{}, 0),
		maxFrame: offload.MaxFrame,
	}
	f := p.wire.Features()
	st.sender, st.receiver = offload.SenderOf(f, &p.offloads), offload.ReceiverOf(f, &p.offloads)
	if p.cfg.MTU != 0 {
		st.maxFrame = p.cfg.MTU + 14
	}
	st.rx = running(p.rx)
	if len(st.rx) > 0 {
		st.steering = evenSteering(st.rx)
		st.steering.hasher.NVGRE = p.offloads.NVGRE
	}
	p.state.Store(st)
	p.engine.quiesce()
}

// RemoveWire takes the port out of the switch. When it returns the wire's
// rings are no longer used.
func (e *Engine) RemoveWire(p *WirePort) {
	p.mu.Lock()
	if p.removed {
		// The descriptors may be those of somebody else by now.
		p.mu.Unlock()
		return
	}
	p.removed = true
	for i, pair := range p.pairs {
		if pair.In != nil && pair.Ready >= 0 {
			p.tx[i].shard.poll.remove(pair.Ready)
		}
		for _, q := range []*virtqueue{&p.tx[i].virtqueue, &p.rx[i].virtqueue} {
			q.mu.Lock()
			q.stop()
			q.mu.Unlock()
		}
	}
	// Others remember the state that takes frames, but look whether it is
	// still the one.
	p.state.Store(&portState{port: &p.switchPort})
	p.mu.Unlock()
	e.unplug(&p.switchPort)
}

// SetLink sets the link up or down.
func (p *WirePort) SetLink(up bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.linkUp == up || p.removed {
		return
	}
	l, ok := p.wire.(LinkSetter)
	if ok && !up {
		// Before, so that a wire that can wait loses nothing, of what was taken
		// from it already neither.
		l.SetLink(false)
		p.engine.quiesce()
	}
	p.linkUp = up
	if !up {
		p.engine.fdb.Flush(p.id)
	}
	p.compile()
	if ok && up {
		l.SetLink(true)
	}
	p.engine.logLink(p.name, up)
}

// queueBroke is the slow half of virtqueue.fail: frames go to the queues that
// are left.
func (p *WirePort) queueBroke(v *virtqueue, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.removed {
		return
	}
	p.engine.log.Warnf("port %s queue %d: stopped: %v", p.name, v.index, err)
	p.compile()
}

// SetOffloads replaces what is operational of the wire's offloads; what the wire
// hands over or takes is their bound. When it returns every shard has finished
// what it had begun before. It fails, and changes nothing, if st is no state that
// a device can be in.
func (p *WirePort) SetOffloads(st offload.State) error {
	if err := st.Check(); err != nil {
		return fmt.Errorf("port %s: %w", p.name, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.offloads = st
	if !p.removed {
		p.compile()
	}
	return nil
}

// Snapshot returns the state of the port; see Port.Snapshot.
func (p *WirePort) Snapshot() PortStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	return PortStatus{
		Name:     p.name,
		Kind:     p.cfg.Kind,
		Place:    p.cfg.Place,
		LinkUp:   p.linkUp,
		MTU:      p.cfg.MTU,
		Features: p.wire.Features(),
		Pairs:    len(p.state.Load().rx),
		MaxPairs: len(p.pairs),
		Queues:   p.queueStatus(),
		Offloads: p.offloads,
	}
}
