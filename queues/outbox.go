package queues

// outbox groups the frames of one batch by receive queue, so that each queue
// is locked, published and notified once a batch. It belongs to a shard.
type outbox struct {
	lists []outList
	// slots maps a receive queue's id to its list; an entry counts only in
	// the epoch it was made in, so that starting over costs nothing.
	slots []outSlot
	epoch uint64
}

type outSlot struct {
	epoch uint64
	list  int
}

// outList is what one receive queue gets from the batch, in order.
type outList struct {
	q        *rxQueue
	st       *portState // as it was when the first frame was queued
	frames   []uint16   // indices into shard.frames, and flooded
	done     int        // those of frames that deliver is through with
	rejected drops      // frames that will not be delivered
	rejects  bool
}

// flooded marks a frame that goes to several ports.
const flooded = 1 << 15

// add queues a frame.
func (l *outList) add(st *portState, frame uint16) {
	l.st = st
	l.frames = append(l.frames, frame)
}

// list returns the list of q, a new one if need be.
func (o *outbox) list(q *rxQueue) *outList {
	if q.id < len(o.slots) {
		if slot := &o.slots[q.id]; slot.epoch == o.epoch {
			return &o.lists[slot.list]
		}
	}
	return o.newList(q)
}

func (o *outbox) newList(q *rxQueue) *outList {
	if q.id >= len(o.slots) {
		o.slots = append(o.slots, make([]outSlot, q.id+1-len(o.slots))...)
	}
	o.slots[q.id] = outSlot{epoch: o.epoch, list: len(o.lists)}
	if len(o.lists) < cap(o.lists) {
		o.lists = o.lists[:len(o.lists)+1] // with the storage of old
	} else {
		o.lists = append(o.lists, outList{frames: make([]uint16, 0, batchSize)})
	}
	l := &o.lists[len(o.lists)-1]
	l.q, l.st, l.frames, l.done = q, nil, l.frames[:0], 0
	return l
}

// reject counts a frame that the queue's port would not take.
func (l *outList) reject(why dropReason) {
	l.rejected[why]++
	l.rejects = true
}

// countRejected moves the counts of rejected frames to the queue, whose mu the
// caller holds.
func (l *outList) countRejected() {
	if !l.rejects {
		return
	}
	for why, n := range l.rejected {
		l.q.count.drops[why] += n
	}
	l.rejected, l.rejects = drops{}, false
}

// lose counts what was queued and is not delivered when a fault ends the batch.
// Of frames that were being coalesced some may have arrived.
func (o *outbox) lose() {
	for k := range o.lists {
		l := &o.lists[k]
		l.q.mu.Lock()
		l.q.count.drops[dropRxFault] += uint64(len(l.frames) - l.done)
		l.countRejected()
		l.q.mu.Unlock()
	}
}

// reset forgets what was queued.
func (o *outbox) reset() {
	o.lists = o.lists[:0]
	o.epoch++
}
