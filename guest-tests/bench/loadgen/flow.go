package loadgen

import (
	"errors"
	"fmt"
	"time"
)

// flow keeps frames going from one ring through the back end to another.
type flow struct {
	tx     *ring
	rx     *ring // nil: the back end drops everything
	flight uint64
	// perFrame is how many receive buffers a frame sent comes in, in one piece
	// or in segments.
	perFrame uint64
	lengths  bool // count bytes by the used entries' lengths

	published uint64 // frames
	count     counts
	quiet     time.Time // since when nothing moves; zero while it does
}

// counts are what was seen since the start.
type counts struct {
	taken   uint64 // frames by the back end
	buffers uint64 // used by the back end in the receiver's ring
	bytes   uint64 // in them, packet headers included; see flow.lengths
	lost    uint64 // frames that were taken and never came
	looks   uint64
	starved uint64 // looks that found everything delivered: nothing to do for the back end
}

// sub returns what happened between an earlier count and this one.
func (c counts) sub(o counts) counts {
	return counts{
		c.taken - o.taken, c.buffers - o.buffers, c.bytes - o.bytes, c.lost - o.lost,
		c.looks - o.looks, c.starved - o.starved,
	}
}

// delivered returns how many of the frames sent have come out whole.
func (f *flow) delivered() uint64 {
	if f.rx == nil {
		return f.count.taken
	}
	return f.count.buffers / f.perFrame
}

// outstanding returns how many published frames have not come out and are not
// known to be lost.
func (f *flow) outstanding() uint64 {
	// Frames that come after they were written off count twice.
	return f.published - min(f.published, f.delivered()+f.count.lost)
}

// look takes in what the back end did and gives receive buffers back. It
// reports whether there was anything.
func (f *flow) look() (moved bool, err error) {
	c := &f.count
	c.looks++
	n := f.tx.look()
	c.taken += uint64(n)
	moved = n > 0
	if f.rx != nil {
		k := f.rx.look()
		c.buffers += uint64(k)
		if f.lengths {
			c.bytes += f.rx.bytes(k)
		}
		moved = moved || k > 0
		err = f.rx.publish(k)
	}
	if f.outstanding() == 0 {
		c.starved++
	}
	return moved, err
}

// send publishes as many frames as there may be in flight.
func (f *flow) send() error {
	n := f.flight - min(f.flight, f.outstanding())
	f.published += n
	return f.tx.publish(uint16(n))
}

// lostAfter is how long a frame may be under way: longer than the system keeps
// a thread of real-time priority from running for the sake of others, which is
// 50 ms, and shorter than a measurement.
const lostAfter = 250 * time.Millisecond

// gone is the same where nothing is measured.
const gone = 2 * time.Second

// writeOff finds frames that will not come: everything was taken, and nothing
// moves. Without it they would count as in flight for ever.
func (f *flow) writeOff(now time.Time, moved bool, after time.Duration) {
	switch {
	case moved || !f.tx.idle() || f.outstanding() == 0:
		f.quiet = time.Time{}
	case f.quiet.IsZero():
		f.quiet = now
	case now.Sub(f.quiet) > after:
		f.count.lost += f.outstanding()
		f.quiet = time.Time{}
	}
}

// run sends for a while, looking at the rings once per interval. In between it
// keeps off their memory, for each look takes cache lines from the back end.
func (f *flow) run(d, interval time.Duration) error {
	start := time.Now()
	now := start
	for next := start; now.Sub(start) < d; now = time.Now() {
		if now.Before(next) {
			continue
		}
		next = now.Add(interval)
		moved, err := f.look()
		if err != nil {
			return err
		}
		if !moved || !f.quiet.IsZero() {
			f.writeOff(now, moved, lostAfter)
		}
		if err := f.send(); err != nil {
			return err
		}
	}
	return nil
}

// drain waits until nothing is in flight.
func (f *flow) drain() error {
	deadline := time.Now().Add(patience)
	for f.outstanding() > 0 || !f.tx.idle() {
		moved, err := f.look()
		if err != nil {
			return err
		}
		now := time.Now()
		if moved {
			deadline = now.Add(patience)
		}
		f.writeOff(now, moved, gone)
		if now.After(deadline) {
			return fmt.Errorf("loadgen: %w: %d frames were not taken", errStalled, f.published-f.count.taken)
		}
	}
	return nil
}

// errStalled says that the back end does nothing any more.
var errStalled = errors.New("the back end stopped taking frames")
