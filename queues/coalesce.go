package queues

import (
	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/offload/gro"
	"vhost-user-nvgre/virtio"
)

// units is how a shard coalesces frames on their way into a receive queue:
// those of one batch, or of those that waited for room. It is the sink of its
// coalescer (gro.Sink).
type units struct {
	gro      *gro.Coalescer
	q        *rxQueue
	receiver *offload.Receiver
	list     []uint16 // scratch
}

func newUnits() units {
	return units{gro: gro.New(batchSize), list: make([]uint16, 0, batchSize)}
}

// begin starts with a queue that is locked and open.
func (u *units) begin(q *rxQueue, st *portState) {
	u.q, u.receiver, u.list = q, &st.receiver, u.list[:0]
	u.gro.Begin(&st.receiver.Coalesce, &q.count.coalescing)
}

// Reserve is rxQueue.Reserve, refused once the queue broke.
func (u *units) Reserve(n int) ([][]byte, bool) {
	if !u.q.running() {
		return nil, false
	}
	return u.q.Reserve(n)
}

// Trim is rxQueue.Trim.
func (u *units) Trim(n int) { u.q.Trim(n) }

// Commit is rxQueue.Commit for a unit.
func (u *units) Commit(h *virtio.NetHdr) {
	bytes := u.q.count.bytes
	u.q.Commit(h)
	u.q.stalled = false
	if dst := u.gro.Dst(); toGroup(dst) {
		u.q.count.groups.add(dst, 1, u.q.count.bytes-bytes)
	}
	unit := u.gro.Unit()
	if r, ok := u.receiver.Verified(unit.Kind); ok {
		for range unit.Verified {
			u.q.Validated(r)
		}
	}
}

// deliverCoalesced is rxQueue.deliver for a port that has frames coalesced.
// The caller holds mu.
func (q *rxQueue) deliverCoalesced(s *shard, l *outList) []uint16 {
	if !q.open(l.st) {
		q.count.drops[dropRxStopped] += uint64(len(l.frames))
		return nil
	}
	u := &s.units
	u.begin(q, l.st)
	for _, i := range l.frames {
		f := s.frames[i&^flooded]
		f.Report(&l.st.receiver)
		u.gro.Add(f.Coalescable())
	}
	for {
		single, ok := u.gro.Next(u)
		if !ok {
			return nil
		}
		i := l.frames[single.Frame]
		switch {
		case !q.running():
			q.count.drops[dropRxStopped]++
		case q.put(s, s.frames[i&^flooded], l.st):
		case q.stalled || i&flooded != 0:
			q.count.drops[dropRxFull]++
		default:
			for k, ok := single.Frame, true; ok; k, ok = u.gro.Rest() {
				u.list = append(u.list, l.frames[k])
			}
			return u.list
		}
	}
}

// coalesceParked is rxQueue.deliverParked for an open queue of a port in state
// st that has frames coalesced.
func (q *rxQueue) coalesceParked(s *shard, from *txQueue, frames []parked, st, sender *portState) bool {
	u := &s.units
	for len(frames) > 0 {
		u.begin(q, st)
		n := 0
		for ; n < len(frames) && len(u.list) < batchSize; n++ {
			if w := &frames[n]; w.pending(s, from, sender) {
				u.list = append(u.list, uint16(n))
				w.frame.Report(&st.receiver)
				u.gro.Add(w.frame.Coalescable())
			}
		}
		if q.coalesceRun(s, frames, st) {
			return false
		}
		frames = frames[n:]
	}
	return true
}

// coalesceRun delivers the frames that the coalescer was given, units.list
// says which, and reports whether some of them are to wait on.
func (q *rxQueue) coalesceRun(s *shard, frames []parked, st *portState) (full bool) {
	u := &s.units
	left := -1
	for left < 0 {
		single, ok := u.gro.Next(u)
		if !ok {
			break
		}
		w := &frames[u.list[single.Frame]]
		switch {
		case !q.running():
			q.count.drops[dropRxStopped]++
		case q.put(s, w.frame, st):
		case q.stalled || s.now-w.since > parkLimit:
			q.stalled = true
			q.count.drops[dropRxFull]++
		default:
			left = single.Frame
		}
	}
	for _, i := range u.list {
		frames[i].done = true
	}
	if left < 0 {
		return false
	}
	for k, ok := left, true; ok; k, ok = u.gro.Rest() {
		frames[u.list[k]].done = false
	}
	return true
}
