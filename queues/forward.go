package queues

import (
	"time"

	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/queues/fdb"
)

// route remembers where the previous frame of a queue went, for most follow
// their predecessor.
type route struct {
	src, dst fdb.Key
	// The address table was asked in that generation and second. That an
	// address is not in it is not remembered.
	generation uint32
	second     uint32
	known      bool // dst is behind port
	port       fdb.Port
	// to is the state in which the port behind dst was found to take frames
	// with these addresses. It holds for the batch, and while the port is in
	// that state.
	to *portState
}

// forward moves the frames in q's batch to where they go.
func (s *shard) forward(q *txQueue) {
	st := q.port.state.Load()
	if why := q.gate(st); why != dropNone {
		q.count.drops[why] += uint64(len(q.batch.Chains))
		return
	}
	r := &q.route
	table := s.engine.fdb
	if gen, second := table.Generation(), uint32(s.now/time.Second); gen != r.generation || second != r.second {
		*r = route{generation: gen, second: second}
	}
	if r.to != nil && r.to != r.to.port.state.Load() {
		r.to = nil
	}
	for i, c := range q.batch.Chains {
		f := s.frames[i]
		v := f.Load(q.batch.Readable(c), st.hdrLen)
		if v == offload.OK {
			v = s.worker.Admit(f, &st.sender)
		}
		if v != offload.OK {
			q.count.drops[dropOf(v)]++
			continue
		}
		q.count.packets++
		q.count.bytes += uint64(f.Len)
		if f.IsSuper() {
			q.count.splits.add(splitOf(f))
		}
		h := f.Ethernet()
		if fdb.Key(h.Src) == r.src && fdb.Key(h.Dst) == r.dst && r.to != nil {
			// As the frame before; only its length is its own.
			s.send(q, r.to, f, i, 0)
		} else if why := s.resolve(q, f, i); why != dropNone {
			q.count.drops[why]++
		}
	}
	s.flush(q)
}

// resolve looks frame i's addresses up, learns its source and queues it for
// the receivers.
func (s *shard) resolve(q *txQueue, f *offload.Frame, i int) dropReason {
	table, r, h := s.engine.fdb, &q.route, f.Ethernet()
	if h.ToGroup() { // where such a frame goes is never remembered, so that each comes here
		more, bytes := splitOf(f)
		q.count.groups.add(h.DstMAC(), 1+more, uint64(f.Len)+bytes)
	}
	if h.FromGroup() {
		return dropTxSourceMAC
	}
	if src, dst := fdb.Key(h.Src), fdb.Key(h.Dst); src != r.src || dst != r.dst {
		table.Learn(src, q.port.id, r.second)
		r.src, r.dst, r.known = src, dst, false
	}
	r.to = nil
	if !r.known && !h.ToGroup() {
		r.port, r.known = table.Lookup(r.dst, r.second)
	}
	ports := *s.engine.ports.Load()
	if r.known {
		if r.port == q.port.id {
			return dropTxNoPort
		}
		if p := ports[r.port]; p != nil {
			if st := p.state.Load(); s.takes(st, f) {
				s.send(q, st, f, i, 0)
				r.to = st
			}
		}
		return dropNone
	}
	s.flood(q, ports, f, i)
	return dropNone
}

// flood queues frame i for all ports but its sender's. If there is one alone that
// takes it, which is always so in a switch of two ports, the frame may wait there
// as any other.
func (s *shard) flood(q *txQueue, ports []*switchPort, f *offload.Frame, i int) {
	var first *portState
	several := false
	for _, p := range ports {
		if p == nil || p == q.port {
			continue
		}
		st := p.state.Load()
		switch {
		case !s.takes(st, f):
			continue
		case first == nil:
			first = st
			continue
		case !several:
			several = true
			s.send(q, first, f, i, flooded)
		}
		s.send(q, st, f, i, flooded)
	}
	if first != nil && !several {
		s.send(q, first, f, i, 0)
	}
}

// takes reports whether a port takes frames with f's addresses, and counts f if
// it does not.
func (s *shard) takes(st *portState, f *offload.Frame) bool {
	why := st.refuses(f.Ethernet())
	if why != dropNone {
		s.out.list(st.port.rx[0]).reject(why)
	}
	return why == dropNone
}

// send queues frame i for a receive queue.
func (s *shard) send(q *txQueue, st *portState, f *offload.Frame, i int, mark uint16) {
	to := st.steer(f)
	switch {
	case st.tooLong(f):
		s.out.list(to).reject(dropRxMTU)
	case q.blocks(to) && mark == 0:
		s.park(q, i, to)
	default:
		s.out.list(to).add(st, uint16(i)|mark)
	}
}

// flush delivers everything in the outbox; what its receivers have no room
// for is parked.
func (s *shard) flush(q *txQueue) {
	for k := range s.out.lists {
		l := &s.out.lists[k]
		rest := l.q.deliver(s, l)
		l.done = len(l.frames)
		for _, i := range rest {
			if i&flooded != 0 {
				l.q.countDrops(dropRxFull, 1)
			} else {
				s.park(q, int(i), l.q)
			}
		}
	}
	s.out.reset()
}
