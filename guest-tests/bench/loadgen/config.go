package loadgen

import (
	"errors"
	"fmt"
	"time"

	"vhost-user-nvgre/virtio"
)

// Config says what to send, where, and for how long. Zero values stand for the
// defaults named.
type Config struct {
	// Send is the socket of the port that frames are sent into, Receive that of
	// the port where they come out. Without Receive the back end is to drop
	// everything, and what it takes is counted.
	Send, Receive string
	// Null stands in for a back end: a thread on processor NullCPU that only
	// moves indices. It shows what the generator itself can do. Nothing is
	// delivered, so nothing is verified. Both threads are Go's, which moves its
	// own between them: with Realtime these would not get their turn.
	Null    bool
	NullCPU int
	// WithholdSend and WithholdReceive are features that the driver on that
	// side does not acknowledge.
	WithholdSend, WithholdReceive virtio.Features

	Kind   Kind    // Plain
	Size   int     // bytes of a frame, 72, of one in NVGRE, 1,496, of a super-frame, 60,000
	MSS    int     // of super-frames, 1,448, in NVGRE 1,400
	Expect Outcome // by default what the receiver's features ask for
	// Lax does not look at packet headers, at the checksum of a frame that is
	// passed on whole, and at those of segments: the speed of a back end that
	// gets these wrong can be measured all the same.
	Lax bool

	RingSize int // descriptors of each ring, 1,024
	Buffer   int // bytes of a receive buffer, 2,048
	// Flight bounds the frames in flight. 0: as many as the receiver surely
	// has buffers for.
	Flight int
	// Interval is the time between looks at the rings, 500 ns: so often that
	// they never run dry, and so seldom that the back end is not slowed down
	// by cache lines that are taken from it.
	Interval time.Duration
	Warmup   time.Duration // before the measurement, 200 ms
	Duration time.Duration // of the measurement, 1 s
	CPU      int           // processor to run on, below 0 for any
	Realtime bool          // run before all ordinary threads
	Huge     Huge          // pages of the memory
}

// Huge says which pages the memory has.
type Huge string

// Pages of the memory.
const (
	HugeAuto Huge = "auto" // of 2 MiB if enough are free
	HugeYes  Huge = "yes"  // of 2 MiB or failure
	HugeNo   Huge = "no"   // ordinary ones; the default
)

// Bounds, in bytes.
const (
	maxFrame  = 14 + 65535
	maxBuffer = 65536
)

// setDefaults fills in what is not set and refuses what cannot be.
func (c *Config) setDefaults() error {
	if c.Kind == "" {
		c.Kind = Plain
	}
	k, ok := kinds[c.Kind]
	if !ok {
		return fmt.Errorf("loadgen: kind %q: want one of %q", c.Kind, Kinds())
	}
	for _, d := range []struct {
		v   *int
		def int
	}{{&c.Size, k.size}, {&c.MSS, k.mss}, {&c.RingSize, 1024}, {&c.Buffer, 2048}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&c.Interval, 500 * time.Nanosecond}, {&c.Warmup, 200 * time.Millisecond}, {&c.Duration, time.Second}} {
		if *d.v == 0 {
			*d.v = d.def
		}
		if *d.v < 0 {
			return fmt.Errorf("loadgen: time %s: want one above 0", *d.v)
		}
	}
	if c.Huge == "" {
		c.Huge = HugeNo
	}
	switch least := k.headers + tagSize; {
	case c.Null && c.Send+c.Receive != "":
		return errors.New("loadgen: sockets and a null back end: want either")
	case c.Null && c.Realtime:
		return errors.New("loadgen: a null back end needs ordinary scheduling")
	case c.Send == "" && !c.Null:
		return errors.New("loadgen: no socket to send into")
	case c.Size < least || c.Size > maxFrame:
		return fmt.Errorf("loadgen: frame of %d bytes: want %d to %d for kind %s", c.Size, least, maxFrame, c.Kind)
	case k.super && (c.MSS < 64 || c.MSS > 9000):
		return fmt.Errorf("loadgen: MSS %d: want 64 to 9000", c.MSS)
	case c.RingSize < 64 || c.RingSize > 32768 || c.RingSize&(c.RingSize-1) != 0:
		return fmt.Errorf("loadgen: ring size %d: want a power of two from 64 to 32768", c.RingSize)
	case c.Buffer < 128 || c.Buffer > maxBuffer:
		return fmt.Errorf("loadgen: receive buffer of %d bytes: want 128 to %d", c.Buffer, maxBuffer)
	case c.Flight < 0 || c.Flight > c.RingSize:
		return fmt.Errorf("loadgen: %d frames in flight: want 1 to the ring size %d", c.Flight, c.RingSize)
	case c.Huge != HugeAuto && c.Huge != HugeYes && c.Huge != HugeNo:
		return fmt.Errorf("loadgen: huge pages %q: want %s, %s or %s", c.Huge, HugeAuto, HugeYes, HugeNo)
	}
	switch c.Expect {
	case "", Whole, Finished, Segments:
		return nil
	}
	return fmt.Errorf("loadgen: outcome %q: want %s, %s or %s", c.Expect, Whole, Finished, Segments)
}
