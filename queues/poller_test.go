package queues

import (
	"runtime"
	"testing"
	"time"
)

// A wait that the Go scheduler is not told of must not hold up whoever stops the
// world, which interrupts it by a signal, and by another one if that came too early.
func TestHeldWaitYieldsToStopTheWorld(t *testing.T) {
	const waiters, long = 3, time.Minute
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(waiters + 2))
	var pollers []*poller
	for range waiters {
		p, err := newPoller()
		if err != nil {
			t.Fatal(err)
		}
		defer p.close()
		p.held(0) // the bell's own first edge, if there is one
		pollers = append(pollers, p)
	}
	begin := time.Now()
	interrupted := make(chan int, waiters)
	for _, p := range pollers {
		go func() {
			times := 0
			for ; ; times++ {
				// As a shard does, which looks at what there is and sleeps again.
				if n, err := p.held(long); n > 0 || err == nil {
					break
				}
			}
			interrupted <- times
		}()
	}
	time.Sleep(20 * time.Millisecond)
	for range 10 {
		runtime.GC()
	}
	if d := time.Since(begin); d > long/4 {
		t.Errorf("10 garbage collections beside %d waits took %s", waiters, d)
	}
	for _, p := range pollers {
		p.wake()
	}
	for range waiters {
		if n := <-interrupted; n == 0 {
			t.Error("no garbage collection interrupted a wait: was it one?")
		}
	}
	if d := time.Since(begin); d > long/2 {
		t.Errorf("waits ended after %s", d)
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
