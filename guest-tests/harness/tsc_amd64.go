package harness

import (
	"sync"
	"time"
)

// rdtsc returns the processor's time-stamp counter.
func rdtsc() uint64

// tscKHz returns the frequency of the time-stamp counter, which emulated guests
// see as it is. On a busy machine their kernel measures it wrong when it is not
// told, by a factor of two at times, and every rate in the guest with it.
var tscKHz = sync.OnceValue(func() int {
	ticks, at := readTSC()
	time.Sleep(100 * time.Millisecond)
	ticks2, at2 := readTSC()
	return int(float64(ticks2-ticks) / at2.Sub(at).Seconds() / 1000)
})

// readTSC returns the counter and the time at which it was that, of several
// tries the one that was disturbed least.
func readTSC() (ticks uint64, at time.Time) {
	best := time.Hour
	for range 20 {
		before := time.Now()
		t := rdtsc()
		if d := time.Since(before); d < best {
			best, ticks, at = d, t, before
		}
	}
	return ticks, at
}
