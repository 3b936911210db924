package queues

import (
	"sync/atomic"
	"time"

	"vhost-user-nvgre/virtio/eventfd"
)

// txQueue is a queue on which a port hands frames to the switch. Its shard
// processes it; other goroutines change it under mu.
type txQueue struct {
	virtqueue
	parking
	pair     int
	shard    *shard
	token    int32
	pollOnly bool // the front end gave no kick descriptor; guarded by mu
	armed    bool // the driver was asked for a kick; guarded by mu
	kicks    atomic.Uint64

	// Used by the shard's goroutine only.
	active   bool
	idle     bool          // there was nothing when it was looked at last
	lastWork time.Duration // when it became idle
	route    route
}

// watch makes the shard poll the queue, now and whenever kick is signalled;
// without kick, all the time.
func (q *txQueue) watch(kick *eventfd.FD) error {
	if kick == nil {
		return q.watchFD(-1)
	}
	return q.watchFD(kick.Int())
}

// watchFD is watch for any descriptor that becomes readable when there is
// something in the queue; -1: none.
func (q *txQueue) watchFD(fd int) error {
	q.mu.Lock()
	q.pollOnly, q.armed = fd < 0, false
	q.mu.Unlock()
	if fd >= 0 {
		if err := q.shard.poll.add(fd, q.token); err != nil {
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
// many frames it got rid of.
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
	unparked := 0
	// What a batch that met a fault has left. It must be gone before this one
	// is added, for buffers are told apart by their place in the order.
	q.settle()
	q.publish()
	q.blocked = q.blocked[:0]
	if len(q.parking.frames) > 0 {
		unparked = s.unpark(q)
	}
	q.batch.Reset()
	q.pos = 0 // in case Take ends in a fault
	n, err := q.ring.Take(&q.batch, batchSize)
	// Whatever becomes of the frames, their buffers go back unwritten
	// (VNET-053), also when forwarding ends in a fault.
	q.pos = n
	for _, c := range q.batch.Chains {
		q.used = append(q.used, c.Used(0))
	}
	q.next += uint32(n)
	s.account.frames += uint64(n)
	if n > 0 {
		waiting := len(q.parking.frames)
		s.forward(q)
		if q.kept {
			q.countWaiting(q.parking.frames[waiting:])
		}
	}
	q.settle()
	q.publish()
	if err != nil {
		q.fail(err)
	}
	return n + unparked
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
	case len(q.parking.frames) > 0:
		return mustNap
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
	mustNap                   // receivers are to be looked at again soon
)
