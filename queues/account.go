package queues

import (
	"sync"
	"time"
)

// ShardStatus is what an operator sees of a shard. The durations are since the
// engine started and never get less; together they are that time, but for the
// latest publishEvery of a shard that is not asleep. They are of the clock on the wall: a thread
// that the kernel lets wait for a processor is still busy.
type ShardStatus struct {
	ID      int
	CPU     int           // pinned to, or -1
	Busy    time.Duration // rounds that moved frames
	Polling time.Duration // rounds that looked for frames in vain
	Asleep  time.Duration // blocked, until kicked or for a nap
	Wakeups uint64        // sleeps without limit that work ended
	Frames  uint64        // taken from transmit queues
}

// Shards returns the state of every shard, ascending by ID.
func (e *Engine) Shards() []ShardStatus {
	all := make([]ShardStatus, len(e.shards))
	for i, s := range e.shards {
		all[i] = s.account.status(e.clock())
		all[i].ID, all[i].CPU = s.id, s.cpu
	}
	return all
}

// activity is what a shard spends a round with.
type activity uint8

const (
	moving  activity = iota // frames
	polling                 // in vain
	asleep
	activities
)

// publishEvery is how old the published part of an account of a shard that does
// not sleep may become, so that rounds share the cost.
const publishEvery = time.Millisecond

// account is how a shard spent its time. It is kept by the clock that the shard
// reads once a round anyway; times are the engine's.
type account struct {
	// Used by the shard's goroutine only.
	doing     activity
	since     time.Duration // when doing began
	spent     [activities]time.Duration
	wakeups   uint64
	frames    uint64
	published time.Duration // when
	resting   bool          // the sleep has no limit: readers add its length

	mu        sync.Mutex // guards the below
	seen      ShardStatus
	rests     bool          // resting, when seen was published
	restSince time.Duration // if so, since when
	slept     time.Duration // the longest Asleep that was shown
}

// newAccount returns the account of a thread that has not begun, which is asleep
// since the engine started.
func newAccount() account { return account{doing: asleep, resting: true, rests: true} }

// round ends a round and begins the next one, which counts as busy unless idle
// or rest says otherwise.
func (a *account) round(now time.Duration) {
	a.spent[a.doing] += now - a.since
	a.since, a.doing = now, moving
	if a.resting || now-a.published >= publishEvery {
		a.resting = false
		a.publish(now)
	}
}

// idle says that the round found nothing, and is going to sleep for nap.
func (a *account) idle(nap time.Duration) {
	a.doing = polling
	if nap > 0 {
		a.doing = asleep
	}
}

// rest says that the round is going to sleep until it is woken.
func (a *account) rest() {
	a.doing, a.resting = asleep, true
	a.publish(a.since)
}

func (a *account) publish(now time.Duration) {
	a.published = now
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen = ShardStatus{
		Busy: a.spent[moving], Polling: a.spent[polling], Asleep: a.spent[asleep],
		Wakeups: a.wakeups, Frames: a.frames,
	}
	a.rests, a.restSince = a.resting, a.since
}

// status returns what was published, and the sleep under way at the time now.
// Any goroutine may call it.
func (a *account) status(now time.Duration) ShardStatus {
	a.mu.Lock()
	defer a.mu.Unlock()
	st := a.seen
	if a.rests {
		st.Asleep += max(0, now-a.restSince)
	}
	// The shard may have woken up shortly before now without having said so.
	a.slept = max(a.slept, st.Asleep)
	st.Asleep = a.slept
	return st
}
