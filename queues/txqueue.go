package queues

import (
	"sync/atomic"
	"time"

	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/queues/fdb"
	"vhost-user-nvgre/virtio/eventfd"
)

// txQueue is a queue on which a port hands frames to the switch. Its shard
// processes it; other goroutines change it under mu.
type txQueue struct {
	virtqueue
	pair     int
	shard    *shard
	token    int32
	pollOnly bool // the front end gave no kick descriptor; guarded by mu
	armed    bool // the driver was asked for a kick; guarded by mu
	kicks    atomic.Uint64

	// Used by the shard's goroutine only.
	active   bool
	lastWork time.Duration
	last     route
}

// route remembers where the previous frame went, for most follow their
// predecessor. It holds until the table's generation or the second changes;
// that an address is not known is not remembered.
type route struct {
	src, dst   fdb.Key
	generation uint32
	second     uint32
	known      bool // dst is behind port
	port       fdb.Port
}

// watch makes the shard poll the queue, now and whenever kick is signalled;
// without kick, all the time.
func (q *txQueue) watch(kick *eventfd.FD) error {
	q.mu.Lock()
	q.pollOnly, q.armed = kick == nil, false
	q.mu.Unlock()
	if kick != nil {
		if err := q.shard.poll.add(kick.Int(), q.token); err != nil {
			return err
		}
	}
	q.shard.hand(q)
	return nil
}

// unwatch ends what watch began. A batch may still be under way.
func (q *txQueue) unwatch(kick *eventfd.FD) {
	if kick != nil {
		q.shard.poll.remove(kick.Int())
	}
}

// process takes a batch of frames and runs each to completion. It returns how
// many buffers it took.
func (q *txQueue) process(s *shard) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.running() {
		return 0
	}
	if q.armed {
		q.ring.Disarm()
		q.armed = false
	}
	q.batch.Reset()
	n, err := q.ring.Take(&q.batch, batchSize)
	// Whatever becomes of the frames, their buffers go back unwritten
	// (VNET-053), also when forwarding ends in a fault.
	q.pos = n
	for _, c := range q.batch.Chains {
		q.used = append(q.used, c.Used(0))
	}
	if n > 0 {
		s.forward(q)
		q.publish()
	}
	if err != nil {
		q.fail(err)
	}
	return n
}

// forward moves the frames in q's batch to where they go.
func (s *shard) forward(q *txQueue) {
	st := q.port.state.Load()
	if why := q.gate(st); why != dropNone {
		q.count.drops[why] += uint64(len(q.batch.Chains))
		return
	}
	second := uint32(s.now / time.Second)
	for i, c := range q.batch.Chains {
		f := &s.frames[i]
		v := f.Load(q.batch.Readable(c), st.hdrLen)
		if v == offload.OK {
			v = s.worker.Admit(f, st.sender)
		}
		if v != offload.OK {
			q.count.drops[dropOf(v)]++
			continue
		}
		q.count.packets++
		q.count.bytes += uint64(f.Len)
		if why := s.route(q, f, i, second); why != dropNone {
			q.count.drops[why]++
		}
	}
	s.out.flush(s)
}

// gate says whether frames of the queue are taken at all.
func (q *txQueue) gate(st *portState) dropReason {
	switch {
	case !q.enabled || q.pair >= st.pairs:
		return dropTxDisabled
	case !st.linkUp:
		return dropTxLinkDown
	}
	return dropNone
}

// route looks frame i's addresses up, learns its source and queues it for the
// receivers.
func (s *shard) route(q *txQueue, f *offload.Frame, i int, second uint32) dropReason {
	table := s.engine.fdb
	h := f.Ethernet()
	if h.Src[0]&1 != 0 {
		return dropTxSourceMAC
	}
	r := &q.last
	src, dst := fdb.MakeKey(&h.Src, h.VLAN()), fdb.MakeKey(&h.Dst, h.VLAN())
	if gen := table.Generation(); src != r.src || dst != r.dst || gen != r.generation || second != r.second {
		table.Learn(src, q.port.id, second)
		*r = route{src: src, dst: dst, generation: table.Generation(), second: second}
	}
	if !r.known && h.Dst[0]&1 == 0 {
		r.port, r.known = table.Lookup(dst, second)
	}
	ports := *s.engine.ports.Load()
	if r.known {
		if r.port == q.port.id {
			return dropTxNoPort
		}
		if p := ports[r.port]; p != nil {
			s.send(p, f, i)
		}
		return dropNone
	}
	for _, p := range ports {
		if p != nil && p != q.port {
			s.send(p, f, i)
		}
	}
	return dropNone
}

// send queues frame i for a receive queue of p.
func (s *shard) send(p *Port, f *offload.Frame, i int) {
	st := p.state.Load()
	if why := st.refuses(f); why != dropNone {
		s.out.reject(p.rx[0], why)
		return
	}
	s.out.add(st.steer(f), st, i)
}

// arm asks for a kick when the next buffer comes, and reports what the shard
// is to do with the queue.
func (q *txQueue) arm() armResult {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case !q.running():
		return armed
	case q.pollOnly:
		return mustPoll
	case q.ring.Arm():
		return moreWork
	}
	q.armed = true
	return armed
}

// armResult is what came of asking for a kick.
type armResult uint8

const (
	armed    armResult = iota // a kick will come
	moreWork                  // buffers are there already
	mustPoll                  // there are no kicks on this queue
)
