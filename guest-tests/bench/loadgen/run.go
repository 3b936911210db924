package loadgen

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/virtio"
)

// load is a run.
type load struct {
	cfg    Config
	kind   kindSpec
	from   *end
	to     *end // nil: none
	frames []*frame
	check  checker
	flow   *flow
	null   *null
	// Of the receiver.
	hdrLen    int
	mergeable bool
}

// Run does what c says. It keeps the calling thread's processor busy.
func Run(c Config) (*Result, error) {
	if err := c.setDefaults(); err != nil {
		return nil, err
	}
	l := &load{cfg: c, kind: kinds[c.Kind]}
	defer l.close()
	if err := l.prepare(); err != nil {
		return nil, err
	}
	if c.Null {
		if err := l.startNull(); err != nil {
			return nil, err
		}
		return l.measure()
	}
	if err := l.prove(); err != nil {
		return nil, err
	}
	r, err := l.measure()
	if err != nil {
		return nil, err
	}
	return r, l.prove()
}

func (l *load) close() {
	if l.null != nil {
		l.null.stop()
	}
	l.from.close()
	l.to.close()
}

// prepare attaches to the ports and fills the rings.
func (l *load) prepare() (err error) {
	c := &l.cfg
	f := &flow{perFrame: 1, flight: uint64(c.Flight)}
	l.flow = f
	l.check = checker{outcome: Whole, lax: c.Lax, mss: c.MSS}
	most := c.RingSize / len(l.kind.elements(virtio.NetHdrMaxSize, c.Size))
	send, receive := at(c.Send), at(c.Receive)
	if c.Null {
		send, receive = dialNull, dialNull
	}
	if c.Receive != "" || c.Null {
		if l.to, err = attach(c, receive, c.WithholdReceive, 0); err != nil {
			return err
		}
		if err := l.expect(); err != nil {
			return err
		}
		most = min(most, c.RingSize/int(f.perFrame))
	}
	if f.flight == 0 || f.flight > uint64(most) {
		f.flight = uint64(most)
	}
	// As many different frames as are in flight, and a number that divides the
	// ring's size.
	n := 1
	for uint64(n) < f.flight {
		n *= 2
	}
	for i := range n {
		frame, err := newFrame(c.Kind, c.Size, c.MSS, i)
		if err != nil {
			return err
		}
		l.frames = append(l.frames, frame)
	}
	if l.from, err = attach(c, send, c.WithholdSend, l.kind.memory(n, c.Size)); err != nil {
		return err
	}
	if err := l.negotiated(); err != nil {
		return err
	}
	if l.to != nil {
		if !c.Null {
			if err := l.to.announce(); err != nil {
				return err
			}
		}
		f.rx = newRing(&l.to.fe.RX[0].Queue, l.to.fe.Features)
	}
	f.tx, err = l.from.prepare(l.frames, c.RingSize)
	return err
}

// expect works out what the receiver is to get, and in how many buffers.
func (l *load) expect() error {
	c, f := &l.cfg, l.to.fe.Features
	l.hdrLen, l.mergeable = l.to.hdrLen, f.Has(virtio.FeatureMrgRxbuf)
	if l.check.outcome = c.Expect; c.Expect == "" {
		l.check.outcome = l.kind.outcome(f)
	}
	buffers := func(n int) int { return (l.hdrLen + n + c.Buffer - 1) / c.Buffer }
	per := buffers(c.Size)
	if l.check.outcome == Segments {
		// A shorter last one takes a buffer just as well.
		if per = buffers(l.kind.headers + c.MSS); per > 1 {
			return fmt.Errorf("loadgen: segments of %d bytes do not fit receive buffers of %d", l.kind.headers+c.MSS, c.Buffer)
		}
		per = (c.Size - l.kind.headers + c.MSS - 1) / c.MSS
	} else if per > 1 && !l.mergeable {
		return fmt.Errorf("loadgen: frames of %d bytes do not fit receive buffers of %d, which are not mergeable", c.Size, c.Buffer)
	}
	if per > c.RingSize {
		return fmt.Errorf("loadgen: a frame takes %d receive buffers, the ring has %d", per, c.RingSize)
	}
	l.flow.perFrame = uint64(per)
	l.flow.lengths = per > 1
	return nil
}

// negotiated checks that the frames may be sent.
func (l *load) negotiated() error {
	var need virtio.Features
	if l.kind.partial {
		need |= virtio.FeatureCSUM
	}
	if l.kind.super {
		need |= virtio.FeatureHostTSO4
	}
	if missing := need &^ l.from.fe.Features; missing != 0 {
		return fmt.Errorf("loadgen: %s: frames of kind %s need %s, which was not negotiated", l.cfg.Send, l.cfg.Kind, missing)
	}
	return nil
}

// measure sends and counts.
func (l *load) measure() (*Result, error) {
	c, f := &l.cfg, l.flow
	runtime.GC() // and none while counting, for nothing is allocated
	if err := f.run(c.Warmup, c.Interval); err != nil {
		return nil, err
	}
	before, kicks := f.count, f.kicks()
	start, cpu := time.Now(), threadTime()
	// On a machine that is very busy a back end may not get a turn in time.
	for f.count.taken == before.taken && time.Since(start) < patience {
		if err := f.run(c.Duration, c.Interval); err != nil {
			return nil, err
		}
	}
	wall, busy := time.Since(start), threadTime()-cpu
	n := f.count.sub(before)
	r := l.result(n, wall)
	r.OwnCPU = busy.Seconds() / wall.Seconds()
	r.Kicks = f.kicks() - kicks
	if err := f.drain(); err != nil {
		return nil, err
	}
	r.Lost = f.count.lost
	if n.taken == 0 && !c.Null {
		return nil, errors.New("loadgen: the back end took nothing")
	}
	return r, nil
}

func (f *flow) kicks() uint64 {
	n := f.tx.kicks
	if f.rx != nil {
		n += f.rx.kicks
	}
	return n
}

// threadTime returns the processor time that this thread has used. The caller's
// goroutine is locked to it.
func threadTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
