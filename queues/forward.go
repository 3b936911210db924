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
		f := &s.frames[i]
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
		h := f.Ethernet()
		if fdb.Key(h.Src) == r.src && fdb.Key(h.Dst) == r.dst && r.to != nil {
			// As the frame before; only its length is its own.
			s.send(r.to, f, i)
		} else if why := s.resolve(q, f, i); why != dropNone {
			q.count.drops[why]++
		}
	}
	s.out.flush(s)
}

// resolve looks frame i's addresses up, learns its source and queues it for
// the receivers.
func (s *shard) resolve(q *txQueue, f *offload.Frame, i int) dropReason {
	table, r, h := s.engine.fdb, &q.route, f.Ethernet()
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
			if st := p.state.Load(); s.offer(p, st, f, i) {
				r.to = st
			}
		}
		return dropNone
	}
	for _, p := range ports {
		if p != nil && p != q.port {
			s.offer(p, p.state.Load(), f, i)
		}
	}
	return dropNone
}

// offer queues frame i for p if p takes frames with its addresses, and reports
// whether it does.
func (s *shard) offer(p *switchPort, st *portState, f *offload.Frame, i int) bool {
	if why := st.refuses(f.Ethernet()); why != dropNone {
		s.out.list(p.rx[0]).reject(why)
		return false
	}
	s.send(st, f, i)
	return true
}

// send queues frame i for a receive queue.
func (s *shard) send(st *portState, f *offload.Frame, i int) {
	l := s.out.list(st.steer(f))
	if st.tooLong(f) {
		l.reject(dropRxMTU)
		return
	}
	l.st = st
	l.frames = append(l.frames, uint16(i))
}
