package queues

import (
	"errors"
	"fmt"

	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/queues/fdb"
	"vhost-user-nvgre/queues/rxfilter"
	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/vring"
)

// Wire is where a port leads that is no guest: a tap device, a network
// interface, a capture file. It takes and gives frames through rings of its
// own, in the layout of virtio: a packet header of virtio.NetHdrSize bytes in
// front of each frame.
type Wire interface {
	// Pairs returns the queue pairs, at least one, always the same.
	Pairs() []WirePair
	// Caps returns what the wire hands over unfinished, and what it takes
	// unfinished.
	Caps() (offload.Sender, offload.Receiver)
	// Close ends the wire. Its rings are in use until the port is removed.
	Close() error
}

// WirePair is a queue pair of a wire. Each ring is used by one shard at a time.
type WirePair struct {
	// In holds frames that came from the wire. Nil: none do.
	In vring.Ring
	// Ready is readable when there are frames in In, as an edge-triggered
	// epoll sees it; -1: In must be polled.
	Ready int
	// Out gives buffers to be filled for the wire, each for one frame. Nil: it
	// takes none.
	Out vring.Ring
}

// WireConfig describes a port that leads to a wire.
type WireConfig struct {
	Name string
	Kind string // as an operator sees it: tap, packet, pcap
	MTU  int    // of the wire; 0: as large as it comes
}

// WirePort is a port of the switch that leads to a wire.
type WirePort struct {
	switchPort
	cfg  WireConfig
	wire Wire
}

// AddWire creates a port for w, which the port does not own. Its methods may
// be called by any goroutine.
func (e *Engine) AddWire(cfg WireConfig, w Wire) (*WirePort, error) {
	pairs := w.Pairs()
	if len(pairs) == 0 {
		return nil, fmt.Errorf("port %s: a wire without queue pairs", cfg.Name)
	}
	p := &WirePort{cfg: cfg, wire: w}
	p.broke = func(q *virtqueue, err error) {
		e.log.Warnf("port %s queue %d: stopped: %v", cfg.Name, q.index, err)
	}
	err := e.plug(cfg.Name, func(id fdb.Port) *switchPort {
		p.init(e, id, cfg.Name, len(pairs))
		return &p.switchPort
	})
	if err != nil {
		return nil, err
	}
	for i, pair := range pairs {
		p.rx[i].attach(pair.Out)
		p.tx[i].attach(pair.In)
	}
	p.compile()
	for i, pair := range pairs {
		if pair.In != nil {
			err = errors.Join(err, p.tx[i].watchFD(pair.Ready))
		}
	}
	if err != nil {
		e.RemoveWire(p)
		return nil, fmt.Errorf("port %s: %w", cfg.Name, err)
	}
	return p, nil
}

// attach makes ring, which may be nil, that of the queue.
func (v *virtqueue) attach(ring vring.Ring) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ring, v.enabled = ring, ring != nil
}

func (p *WirePort) compile() {
	st := &portState{
		port:     &p.switchPort,
		linkUp:   true,
		hdrLen:   virtio.NetHdrSize,
		pairs:    len(p.tx),
		filter:   rxfilter.New(virtio.MAC{}, 0),
		maxFrame: offload.MaxFrame,
	}
	st.sender, st.receiver = p.wire.Caps()
	if p.cfg.MTU != 0 {
		st.maxFrame = p.cfg.MTU + 14
	}
	for _, q := range p.rx {
		if q.enabled {
			st.rx = append(st.rx, q)
		}
	}
	st.steering = evenSteering(max(1, len(st.rx)))
	p.state.Store(st)
}

// RemoveWire takes the port out of the switch. When it returns the wire's
// rings are no longer used.
func (e *Engine) RemoveWire(p *WirePort) {
	for i, pair := range p.wire.Pairs() {
		if pair.In != nil && pair.Ready >= 0 {
			p.tx[i].shard.poll.remove(pair.Ready)
		}
		for _, q := range []*virtqueue{&p.tx[i].virtqueue, &p.rx[i].virtqueue} {
			q.mu.Lock()
			q.stop()
			q.mu.Unlock()
		}
	}
	e.unplug(&p.switchPort)
}
