package queues

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A wait that the Go scheduler is not told of must not hold up whoever stops the
// world, which interrupts it by a signal, and by another one if that came too early.
func TestHeldWaitYieldsToStopTheWorld(t *testing.T) {
	const waiters, long = 3, time.Minute
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(waiters + 2))
	begin := time.Now()
	var interrupted [waiters]atomic.Int64
	var pollers [waiters]*poller
	for i := range pollers {
		var err error
		if pollers[i], err = newPoller(); err != nil {
			t.Fatal(err)
		}
		defer pollers[i].close()
	}
	var ended sync.WaitGroup
	defer ended.Wait()
	for i, p := range pollers {
		defer p.wake()
		ended.Go(func() {
			// As a shard does, which looks at what there is and sleeps again.
			for {
				if _, err := p.held(long); err == nil {
					return
				}
				interrupted[i].Add(1)
			}
		})
	}
	for i := range interrupted {
		for interrupted[i].Load() < 3 {
			runtime.GC()
			if d := time.Since(begin); d > long/2 {
				t.Fatalf("after %s of garbage collections wait %d was interrupted %d times, want 3", d, i, interrupted[i].Load())
			}
		}
	}
}

// Shards that sleep, for a moment or for longer, do not hold up a garbage
// collection.
func TestGarbageCollectionBesideSleepingShards(t *testing.T) {
	e := newEngine(t, 3)
	a, b := plug(t, e, 1, nicOptions{}), plug(t, e, 2, nicOptions{})
	collect := func() (longest time.Duration) {
		for i := range 20 {
			if i%2 == 0 {
				exchange(t, a, b, 60)
			}
			begin := time.Now()
			runtime.GC()
			longest = max(longest, time.Since(begin))
		}
		return longest
	}
	if d := collect(); d > 5*time.Second {
		t.Errorf("a garbage collection beside sleeping shards took %s", d)
	} else {
		t.Logf("at most %s", d)
	}
}
