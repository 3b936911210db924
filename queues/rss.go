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
	// ByDriver says that the port's driver chose it, by a command. RSS of a
	// driver leads to no other queue pairs than it names, and where one of them
	// does not run the frame is dropped (VNET-088).
	ByDriver bool
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

// driverRSS takes over what the driver sent by RSS_CONFIG. The caller holds mu
// and compiles afterwards.
func (p *Port) driverRSS(c *ctrl.RSS) {
	p.now.RSS = &RSS{Hash: driverHash(c.HashTypes, c.Key), Table: c.Table, Default: c.Unclassified}
	p.now.Hash = nil
	p.guest.pairs = int(c.MaxTxVQ) // VNET-087
}

// driverPairs takes over what the driver sent by VQ_PAIRS_SET. The last
// command of the class decides how frames are steered (VNET-084); the hash
// that is reported stays as it is. The caller holds mu and compiles afterwards.
func (p *Port) driverPairs(c ctrl.Pairs) {
	p.guest.pairs = int(c.N)
	if r := p.now.RSS; r != nil {
		h := r.Hash
		h.ByDriver = true
		p.now.RSS, p.now.Hash = nil, &h
	}
}

// driverHash returns what a driver configured. A key that is shorter than
// possible is continued with zeros.
func driverHash(types uint32, key []byte) (h Hash) {
	h.Types, h.ByDriver = offload.HashTypes(types), true
	copy(h.Key[:], key)
	return h
}

// hasher returns the hasher for h.
func (p *Port) hasher(h *Hash) *offload.Hasher {
	return &offload.Hasher{
		Key: toeplitz.New(h.Key), Types: h.Types,
		NVGRE: p.now.Offloads.NVGRE, Inner: p.guest.innerHash,
	}
}

// steer fills in the receive queues of a new state and how frames are spread
// over them. The caller holds mu.
func (p *Port) steer(st *portState) {
	r := p.now.RSS
	if r != nil && r.ByDriver {
		p.steerByDriver(st)
		return
	}
	st.rx = running(p.rx[:st.pairs])
	if len(st.rx) == 0 {
		return
	}
	if r == nil {
		st.steering = evenSteering(st.rx)
		st.steering.hasher.NVGRE, st.steering.hasher.Inner = p.now.Offloads.NVGRE, p.guest.innerHash
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
	r := p.now.RSS
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
	r := p.now.RSS
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
