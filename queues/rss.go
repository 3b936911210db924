package queues

import (
	"fmt"
	"slices"

	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/offload/toeplitz"
	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/ctrl"
)

// Hash says how received frames are hashed.
type Hash struct {
	Key   [toeplitz.KeySize]byte
	Types offload.HashTypes // others have no hash
}

// RSS says to which queue pair a received frame goes.
type RSS struct {
	Hash
	// Table has the pair for each value of the low bits of the hash; its length
	// is a power of two up to virtio.RSSTableSize.
	Table []uint16
	// Default is the pair for frames without a hash.
	Default uint16
}

// check returns an error unless r can be that of a port with the given number
// of queue pairs.
func (r *RSS) check(pairs int) error {
	if n := len(r.Table); n < 1 || n > virtio.RSSTableSize || n&(n-1) != 0 {
		return fmt.Errorf("indirection table of %d entries, want a power of two up to %d", n, virtio.RSSTableSize)
	}
	for i, pair := range r.Table {
		if int(pair) >= pairs {
			return fmt.Errorf("entry %d of the indirection table: queue pair %d, want 0 to %d", i, pair, pairs-1)
		}
	}
	if int(r.Default) >= pairs {
		return fmt.Errorf("queue pair %d for frames without a hash, want 0 to %d", r.Default, pairs-1)
	}
	return r.Hash.check()
}

func (h *Hash) check() error {
	if extra := h.Types &^ offload.AllHashTypes; extra != 0 {
		return fmt.Errorf("hash types 0x%x, of which 0x%x are not known", uint32(h.Types), uint32(extra))
	}
	return nil
}

// SetRSS makes the port spread received frames as r says, nil: evenly over the
// queue pairs in use, with a key of its own. It replaces what the driver set
// by RSS_CONFIG and by SetHash, and lasts until either is set again or the
// driver resets the device. Pairs that the driver does not use are stood in
// for by those it does. It returns when every shard steers by it; an error
// means that nothing has changed.
func (p *Port) SetRSS(r *RSS) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := &p.guest
	if r == nil {
		g.rss, g.hash = nil, nil
	} else {
		if err := r.check(p.cfg.QueuePairs); err != nil {
			return fmt.Errorf("port %s: %w", p.name, err)
		}
		c := *r
		c.Table = slices.Clone(r.Table)
		g.rss, g.hash = &c, &c.Hash
	}
	g.rssByDriver = false
	p.compile()
	return nil
}

// SetHash has hashes reported in packet headers, as far as the driver
// negotiated that, without steering by them; nil: none. It ends RSS. See
// SetRSS for the rest.
func (p *Port) SetHash(h *Hash) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := &p.guest
	if h != nil {
		if err := h.check(); err != nil {
			return fmt.Errorf("port %s: %w", p.name, err)
		}
		c := *h
		h = &c
	}
	g.rss, g.rssByDriver, g.hash = nil, false, h
	p.compile()
	return nil
}

// RSS returns how received frames are steered and hashed, whoever set it last:
// the RSS parameters, nil for none, and the hash that is reported, nil for
// none. They are not to be changed.
func (p *Port) RSS() (*RSS, *Hash) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.guest.rss, p.guest.hash
}

// driverRSS takes over what the driver sent by RSS_CONFIG. The caller holds mu
// and compiles afterwards.
func (g *guestState) driverRSS(c *ctrl.RSS) {
	r := &RSS{Hash: driverHash(c.HashTypes, c.Key), Table: c.Table, Default: c.Unclassified}
	g.rss, g.rssByDriver, g.hash = r, true, &r.Hash
	g.pairs = int(c.MaxTxVQ) // VNET-087
}

// driverHash returns what a driver configured. A key that is shorter than
// possible is continued with zeros.
func driverHash(types uint32, key []byte) (h Hash) {
	h.Types = offload.HashTypes(types)
	copy(h.Key[:], key)
	return h
}

// hasher returns the hasher for h.
func (p *Port) hasher(h *Hash) *offload.Hasher {
	return &offload.Hasher{
		Key: toeplitz.New(h.Key), Types: h.Types,
		NVGRE: p.offloads.NVGRE, Inner: p.guest.innerHash,
	}
}

// steer fills in the receive queues of a new state and how frames are spread
// over them. The caller holds mu.
func (p *Port) steer(st *portState) {
	g := &p.guest
	if g.rssByDriver {
		p.steerByDriver(st)
		return
	}
	st.rx = running(p.rx[:st.pairs])
	if len(st.rx) == 0 {
		return
	}
	if g.rss == nil {
		st.steering = evenSteering(st.rx)
		st.steering.hasher.NVGRE, st.steering.hasher.Inner = p.offloads.NVGRE, g.innerHash
		return
	}
	queue := func(pair uint16) *rxQueue {
		if q := p.rx[pair]; slices.Contains(st.rx, q) {
			return q
		}
		return st.rx[int(pair)%len(st.rx)]
	}
	st.steering = p.rssSteering(queue)
}

// steerByDriver is steer for a driver that named the queues itself: a frame
// for one that does not run is dropped (VNET-088).
func (p *Port) steerByDriver(st *portState) {
	r := p.guest.rss
	var named []*rxQueue
	for i, q := range p.rx {
		if int(r.Default) == i || slices.Contains(r.Table, uint16(i)) {
			named = append(named, q)
		}
	}
	st.rx = running(named)
	st.steering = p.rssSteering(func(pair uint16) *rxQueue { return p.rx[pair] })
}

// rssSteering returns the steering by the port's RSS parameters, given the
// queue of each pair.
func (p *Port) rssSteering(queue func(pair uint16) *rxQueue) *steering {
	r := p.guest.rss
	s := &steering{
		hasher: *p.hasher(&r.Hash),
		table:  make([]*rxQueue, len(r.Table)), unhashed: queue(r.Default),
	}
	for i, pair := range r.Table {
		s.table[i] = queue(pair)
	}
	return s.compile()
}

// running returns those of the queues that frames can be delivered to.
func running(all []*rxQueue) (some []*rxQueue) {
	for _, q := range all {
		q.mu.Lock()
		if q.running() && q.enabled {
			some = append(some, q)
		}
		q.mu.Unlock()
	}
	return some
}
