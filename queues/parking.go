package queues

import (
	"slices"
	"time"

	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/virtio/vring"
)

// A frame for which its receiver has no buffers is not dropped at once: it
// stays in the sender's memory, its buffer not yet returned, until there is
// room. A sender whose buffers do not come back slows down by itself (TCP in
// Linux counts what the NIC has not completed), where a drop would cost it a
// round trip and half its window. Other frames of the queue go past; those for
// the same receive queue line up behind.
//
// Buffers are returned in the order taken nevertheless, so those behind one that
// is kept wait with it: should this process die, its successor is told by the
// ring's used index alone where to go on, and a driver that got a buffer twice
// would give the queue up.

const (
	// parkLimit is how long a frame waits. A receiver that posts nothing for
	// so long is stalled, and gets nothing kept until it takes frames again.
	parkLimit = 100 * time.Millisecond
	// parkNap is how long a shard sleeps between looks at receivers that frames
	// wait for.
	parkNap = 50 * time.Microsecond
)

// parked is a frame that waits for room.
type parked struct {
	frame *offload.Frame
	seq   uint32 // number of its buffer, see parking.next
	to    *rxQueue
	from  *portState // the sender's, under which it was admitted
	by    *portState // the receiver's, that chose to; nil: not looked at since
	since time.Duration
	done  bool // delivered or dropped, its buffer to be returned
}

// parking is where the frames of a transmit queue wait. It is guarded by the
// queue's mu and used by its shard.
type parking struct {
	frames []parked // for each receive queue in the order of arrival
	// blocked are the receive queues that frames wait for, since the batch began.
	blocked []*rxQueue
	spare   []*offload.Frame
	// held are the buffers from the first one that a parked frame keeps on, in
	// the order taken; next is the number of the buffer taken next.
	held []vring.Used
	next uint32
	kept bool // the current batch has parked frames
}

// keepsBuffer marks a buffer in virtqueue.used and parking.held that is not to
// be returned yet. Nothing is ever written into transmit buffers.
const keepsBuffer = 1

// blocks reports whether frames for a receive queue must wait.
func (p *parking) blocks(to *rxQueue) bool {
	return len(p.blocked) > 0 && slices.Contains(p.blocked, to)
}

// park keeps frame i of the shard's batch for later.
func (s *shard) park(q *txQueue, i int, to *rxQueue) {
	p, from := &q.parking, q.port.state.Load()
	back := len(q.batch.Chains) - i
	q.used[len(q.used)-back].Len = keepsBuffer
	f := s.frames[i]
	f.KeepTail()
	p.frames = append(p.frames, parked{frame: f, seq: p.next - uint32(back), to: to, from: from, since: s.now})
	p.kept = true
	if !slices.Contains(p.blocked, to) {
		p.blocked = append(p.blocked, to)
	}
	if n := len(p.spare); n > 0 {
		s.frames[i], p.spare = p.spare[n-1], p.spare[:n-1]
	} else {
		s.frames[i] = new(offload.Frame)
	}
}

// countWaiting counts frames that were parked, here and where they wait for
// room.
func (q *txQueue) countWaiting(frames []parked) {
	q.count.waited += uint64(len(frames))
	for len(frames) > 0 {
		run, to := runOf(frames)
		to.mu.Lock()
		to.count.waited += uint64(run)
		to.mu.Unlock()
		frames = frames[run:]
	}
}

// runOf returns how many frames at the beginning wait for the same receive
// queue, and that queue. There must be one.
func runOf(frames []parked) (int, *rxQueue) {
	n, to := 1, frames[0].to
	for n < len(frames) && frames[n].to == to {
		n++
	}
	return n, to
}

// settle moves buffers that are to wait out of those to return, and back those
// that nothing is before any more.
func (q *txQueue) settle() {
	p := &q.parking
	if len(p.held) == 0 && !p.kept {
		return
	}
	p.kept = false
	p.held = append(p.held, q.used...)
	q.used = q.used[:0]
	// Half of the ring stays for frames to receivers that have room.
	for n := max(1, q.ring.Size()/2); ; p.dropOldest() {
		free := slices.IndexFunc(p.held, func(u vring.Used) bool { return u.Len == keepsBuffer })
		if free < 0 {
			free = len(p.held)
		}
		q.used = append(q.used, p.held[:free]...)
		p.held = slices.Delete(p.held, 0, free)
		if len(p.held) <= n {
			return
		}
	}
}

// release has the buffer of a parked frame returned when its turn comes. All
// buffers taken are in held.
func (p *parking) release(w *parked) {
	p.held[w.seq-(p.next-uint32(len(p.held)))].Len = 0
	p.spare = append(p.spare, w.frame)
}

// dropOldest drops the frame that keeps the first held buffer, which all the
// others wait for.
func (p *parking) dropOldest() {
	first := p.next - uint32(len(p.held))
	i := slices.IndexFunc(p.frames, func(w parked) bool { return w.seq == first })
	w := &p.frames[i]
	if !w.done {
		w.to.countDrops(dropRxFull, 1)
	}
	p.release(w)
	p.frames = slices.Delete(p.frames, i, i+1)
}

// unpark delivers the waiting frames for which there is room now, and returns
// how many are done with.
func (s *shard) unpark(q *txQueue) int {
	p := &q.parking
	for i := range p.frames {
		p.frames[i].steer()
	}
	for rest := p.frames; len(rest) > 0; {
		// A run of frames for one receive queue is delivered in one go.
		run, to := runOf(rest)
		if !slices.Contains(p.blocked, to) && !to.deliverParked(s, q, rest[:run]) {
			p.blocked = append(p.blocked, to)
		}
		rest = rest[run:]
	}
	return q.collect()
}

// steer asks a receiver that has changed again, whether it takes the frame and
// on which queue: a queue that a change took frames from gets none of them
// afterwards, and neither does a port whose link went down.
func (w *parked) steer() {
	st := w.to.port.state.Load()
	if w.done || st == w.by {
		return
	}
	if why := st.refuses(w.frame.Ethernet()); why != dropNone {
		w.to.countDrops(why, 1)
		w.done = true
		return
	}
	w.to, w.by = st.steer(w.frame), st
}

// collect returns the buffers of the frames that are done with.
func (q *txQueue) collect() int {
	p := &q.parking
	had := len(p.frames)
	p.frames = slices.DeleteFunc(p.frames, func(w parked) bool {
		if w.done {
			p.release(&w)
		}
		return w.done
	})
	return had - len(p.frames)
}

// deliverParked delivers as many frames of from as there is room for, and
// reports whether all are done with.
func (q *rxQueue) deliverParked(s *shard, from *txQueue, frames []parked) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	defer q.publish()
	st, sender := q.port.state.Load(), from.port.state.Load()
	open := q.open(st) && slices.Contains(st.rx, q)
	if open && len(frames) > 1 && st.receiver.Coalesces() {
		return q.coalesceParked(s, from, frames, st, sender)
	}
	for i := range frames {
		w := &frames[i]
		if !w.pending(s, from, sender) {
			continue
		}
		switch {
		case !open:
			q.count.drops[dropRxStopped]++
		case !q.put(s, w.frame, st):
			q.stalled = q.stalled || s.now-w.since > parkLimit
			if !q.stalled {
				return false
			}
			q.count.drops[dropRxFull]++
		}
		w.done = true
	}
	return true
}

// pending reports whether the frame is still to be delivered, by a port from
// that is in the state sender now.
func (w *parked) pending(s *shard, from *txQueue, sender *portState) bool {
	if !w.done && w.from != sender {
		// What the sender may ask for has changed, perhaps.
		if v := s.worker.Admit(w.frame, &sender.sender); v != offload.OK {
			from.count.drops[dropOf(v)]++
			w.done = true
		}
		w.from = sender
	}
	return !w.done // it is if a fault interrupted the delivery afterwards
}

// dropParked drops all waiting frames and has all buffers returned
// (virtqueue.letGo).
func (q *txQueue) dropParked() {
	p := &q.parking
	for i := range p.frames {
		w := &p.frames[i]
		if !w.done {
			w.to.countDrops(dropRxFull, 1)
		}
		p.spare = append(p.spare, w.frame)
	}
	clear(p.frames)
	p.frames, p.blocked, p.kept = p.frames[:0], p.blocked[:0], false
	p.held = append(p.held, q.used...)
	q.used, p.held = p.held, q.used[:0]
	for i := range q.used {
		q.used[i].Len = 0
	}
}
