package queues

import (
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/offload"
)

// batchSize is how many frames a shard takes from a queue at a time: enough
// to spread the cost of locks, fences and notifications, few enough that the
// frames' headers stay in the first-level cache.
const batchSize = 64

// shard is a worker thread with the transmit queues it owns. It takes frames
// from them and runs each to completion: into the receive queues of the ports
// they go to.
type shard struct {
	engine *Engine
	id     int
	cpu    int // to pin to, or -1
	poll   *poller
	budget pollBudget

	// mu is held while a batch is processed. Whoever takes it knows that the
	// shard holds no snapshot loaded before: see Engine.quiesce.
	mu sync.Mutex

	// sources is indexed by the poller's token.
	sourcesMu sync.Mutex
	sources   []*txQueue
	newly     []*txQueue // to be polled at once, without a kick

	// Below: used by the shard's own goroutine only.
	active   []*txQueue
	frames   [batchSize]*offload.Frame
	worker   offload.Worker
	out      outbox
	units    units
	now      time.Duration // since the engine started, once per round
	stopping atomic.Bool
	done     chan struct{}
	account  account
}

// spinRounds is how many rounds with work pass before the shard looks at the
// kicks of its other queues.
const spinRounds = 32

// idlePoll is how long a shard sleeps between looks at idle queues that it
// must poll because their front end gave no kick descriptor.
const idlePoll = time.Millisecond

func newShard(e *Engine, id, cpu int, pollMax time.Duration) (*shard, error) {
	p, err := newPoller()
	if err != nil {
		return nil, err
	}
	s := &shard{
		engine: e, id: id, cpu: cpu, poll: p,
		budget: pollBudget{limit: pollMax},
		out:    outbox{epoch: 1}, // the zero slot belongs to none
		units:  newUnits(), account: newAccount(),
		done: make(chan struct{}),
	}
	for i := range s.frames {
		s.frames[i] = new(offload.Frame)
	}
	return s, nil
}

// run is the shard's goroutine.
func (s *shard) run() {
	defer close(s.done)
	// Guest memory can vanish under us when a front end truncates its file;
	// the fault becomes a panic that step recovers from.
	debug.SetPanicOnFault(true)
	if s.cpu >= 0 {
		// Only then: the runtime interrupts what runs long, and a goroutine
		// that is locked to its thread costs it two more to go on.
		runtime.LockOSThread()
		s.pin()
	}
	for rounds := 0; !s.stopping.Load(); rounds++ {
		s.now = s.engine.clock()
		s.account.round(s.now)
		switch busy, nap := s.pollActive(); {
		case len(s.active) == 0:
			s.account.rest()
			s.sleep()
		case !busy:
			s.account.idle(nap)
			s.look(nap)
		case rounds%spinRounds == 0:
			s.look(0)
		}
	}
}

// stop ends run, waits for it and frees what it used. Not earlier: by the time
// of the wake-up the number of its descriptor could be another file's.
func (s *shard) stop() {
	s.stopping.Store(true)
	s.poll.wake()
	<-s.done
	s.poll.close()
}

// pollActive processes a batch of every active queue and retires those that
// have been empty for the poll budget. It reports whether there was work, and
// if not how long to sleep before the next look at those that nothing kicks.
func (s *shard) pollActive() (busy bool, nap time.Duration) {
	nap = idlePoll
	for i := 0; i < len(s.active); {
		q := s.active[i]
		i++
		if s.step(q) > 0 {
			q.idle, busy = false, true
			continue
		}
		if !q.idle {
			// Counted from here: the batch before may have taken longer than
			// the budget.
			q.idle, q.lastWork = true, s.now
		}
		if s.now-q.lastWork < s.budget.current {
			nap = 0
			continue
		}
		switch s.arm(q) {
		case moreWork:
			busy = true
		case mustPoll:
		case mustNap:
			nap = min(nap, parkNap)
		case armed:
			i--
			s.active[i] = s.active[len(s.active)-1]
			s.active = s.active[:len(s.active)-1]
			q.active = false
		}
	}
	return busy, nap
}

// step processes one batch of q and turns a panic on the way into a broken
// port: that of the memory that vanished, or else the sender whose input hit
// a fault of ours. Every other port goes on.
func (s *shard) step(q *txQueue) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() {
		if r := recover(); r != nil {
			s.out.lose()
			s.out.reset()
			s.engine.fault(&q.virtqueue, r)
			n = 1 // the batch's buffers are still to be given back
		}
	}()
	return q.process(s)
}

// arm asks for kicks on q; see step for panics.
func (s *shard) arm(q *txQueue) (r armResult) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() {
		if p := recover(); p != nil {
			s.engine.fault(&q.virtqueue, p)
			r = armed
		}
	}()
	return q.arm()
}

// sleep blocks until a queue is kicked.
func (s *shard) sleep() {
	start := s.now
	s.look(-1)
	if len(s.active) > 0 {
		s.account.wakeups++
		s.now = s.engine.clock()
		s.budget.slept(s.now - start)
	}
}

// look collects what was kicked or handed over, waiting at most d (negative:
// without limit) for it.
func (s *shard) look(d time.Duration) {
	s.poll.wait(d, s.activate)
	s.sourcesMu.Lock()
	newly := s.newly
	s.newly = nil
	s.sourcesMu.Unlock()
	for _, q := range newly {
		s.enlist(q)
	}
}

// activate puts the queue of a token among those polled.
func (s *shard) activate(token int32) {
	s.sourcesMu.Lock()
	q := s.sources[token]
	s.sourcesMu.Unlock()
	if q != nil {
		q.kicks.Add(1)
		s.enlist(q)
	}
}

func (s *shard) enlist(q *txQueue) {
	if !q.active {
		q.active, q.idle = true, true
		q.lastWork = s.now
		s.active = append(s.active, q)
	}
}

// adopt makes q a queue of this shard and returns the token for its kicks.
func (s *shard) adopt(q *txQueue) int32 {
	s.sourcesMu.Lock()
	defer s.sourcesMu.Unlock()
	for i, old := range s.sources {
		if old == nil {
			s.sources[i] = q
			return int32(i)
		}
	}
	s.sources = append(s.sources, q)
	return int32(len(s.sources) - 1)
}

// abandon ends what adopt began.
func (s *shard) abandon(token int32) {
	s.sourcesMu.Lock()
	defer s.sourcesMu.Unlock()
	s.sources[token] = nil
}

// hand makes the shard look at q soon, kick or not.
func (s *shard) hand(q *txQueue) {
	s.sourcesMu.Lock()
	s.newly = append(s.newly, q)
	s.sourcesMu.Unlock()
	s.poll.wake()
}

// pin binds the thread to the shard's processor. Failure costs speed only.
func (s *shard) pin() {
	var set unix.CPUSet
	set.Set(s.cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		s.engine.log.Warnf("shard %d: cannot pin to processor %d: %v", s.id, s.cpu, err)
	}
}
