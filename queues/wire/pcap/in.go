package pcap

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/queues"
	"vhost-user-nvgre/queues/wire/internal/rings"
	"vhost-user-nvgre/virtio/eventfd"
	"vhost-user-nvgre/virtio/vring"
)

const (
	// inSize is how many frames are read ahead or in hand.
	inSize = 256
	// lot is how many frames the reader hands over at a time.
	lot = 32
)

// in is the ring of frames that come from a capture. One goroutine reads the
// file, another one uses the ring.
type in struct {
	rings.Passive
	rings.Waiting // the ring's user's
	path          string
	file          *os.File
	source        source
	byTimes       bool
	log           queues.Logger
	event         *eventfd.FD
	bufs, segs    [][]byte
	done          chan struct{} // closed when the reader has ended
	poke          chan struct{} // has the reader look at paused and closed

	mu     sync.Mutex
	change sync.Cond // of freed, paused or closed
	ready  []uint16  // read, in order
	freed  []uint16
	armed  bool // event is to be signalled when there is something to take
	paused bool // the port's link is down
	closed bool
	err    error // that ended the reading
	losses rings.Losses

	// The reader's own.
	free, staged []uint16
	count        uint64
	first        time.Time // of the capture
	start        time.Time // when it would have been sent, were it now
}

func newIn(c *Config) (*in, error) {
	file, err := os.Open(c.Read)
	if err != nil {
		return nil, err
	}
	r := &in{
		path: c.Read, file: file, byTimes: c.ByTimes, log: c.Log, done: make(chan struct{}), poke: make(chan struct{}, 1),
		bufs: rings.Buffers(inSize), segs: make([][]byte, inSize),
	}
	r.change.L = &r.mu
	for i := range inSize {
		r.free = append(r.free, uint16(i))
	}
	if r.source, err = newSource(file); err == nil {
		r.event, err = eventfd.New()
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("%s: %w", c.Read, err)
	}
	go r.read()
	return r, nil
}

// read is the reader.
func (r *in) read() {
	defer close(r.done)
	for {
		b, ci, err := next(r.source)
		if err != nil {
			r.end(err)
			return
		}
		switch {
		case !isEthernet(&ci):
			r.lose(rings.LinkType, ci.Length)
			continue
		case ci.CaptureLength < ci.Length:
			r.lose(rings.Cut, ci.Length)
			continue
		case len(b) > offload.MaxFrame:
			r.lose(rings.Long, len(b))
			continue
		}
		if r.byTimes && !r.await(ci.Timestamp) || !r.buffer() {
			return
		}
		last := len(r.free) - 1
		i := r.free[last]
		r.free = r.free[:last]
		n := copy(r.bufs[i][rings.HdrLen:], b) // the packet header stays zero
		r.segs[i] = r.bufs[i][:rings.HdrLen+n]
		r.count++
		if r.staged = append(r.staged, i); len(r.staged) == lot {
			r.hand(nil)
		}
	}
}

// end hands over what there is left and says how reading ended.
func (r *in) end(err error) {
	if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		r.hand(nil)
		r.log.Infof("capture %s: read to its end, %d frames", r.path, r.count)
		return
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("it ends within a packet")
	}
	r.hand(fmt.Errorf("capture %s, after %d frames: %w", r.path, r.count, err))
}

// hand gives what was read to the ring.
func (r *in) hand(err error) {
	r.mu.Lock()
	r.ready = append(r.ready, r.staged...)
	r.err = err
	r.wake()
	r.mu.Unlock()
	r.staged = r.staged[:0]
}

// wake tells whoever uses the ring. The caller holds mu.
func (r *in) wake() {
	if r.armed {
		r.armed = false
		_ = r.event.Signal()
	}
}

func (r *in) lose(why rings.Reason, bytes int) {
	r.mu.Lock()
	r.losses.Count(why, 1, bytes)
	r.mu.Unlock()
}

// buffer sees to it that there is a free buffer. It reports false when the
// wire is closed.
func (r *in) buffer() bool {
	if len(r.free) > 0 {
		return true
	}
	r.hand(nil)
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.freed) == 0 && !r.closed {
		r.change.Wait()
	}
	r.free, r.freed = r.freed, r.free
	return !r.closed
}

// await waits until a frame is due that was captured at the given time. It
// reports false when the wire is closed.
func (r *in) await(at time.Time) bool {
	if r.start.IsZero() {
		r.first, r.start = at, time.Now()
	}
	for {
		if !r.running() {
			return false
		}
		d := time.Until(r.start.Add(at.Sub(r.first)))
		if d <= 0 {
			return true
		}
		r.hand(nil)
		select {
		case <-time.After(d):
		case <-r.poke:
		}
	}
}

// running waits while the link is down, which stops the capture's clock, and
// reports false when the wire is closed.
func (r *in) running() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.paused {
		since := time.Now()
		for r.paused && !r.closed {
			r.change.Wait()
		}
		r.start = r.start.Add(time.Since(since))
	}
	return !r.closed
}

func (r *in) setLink(up bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.paused = !up
	r.stir()
	if up {
		_ = r.event.Signal()
	}
}

// stir has the reader look around. The caller holds mu.
func (r *in) stir() {
	r.change.Broadcast()
	select {
	case r.poke <- struct{}{}:
	default:
	}
}

func (r *in) close() error {
	r.mu.Lock()
	r.closed = true
	r.stir()
	r.mu.Unlock()
	err := r.file.Close() // ends a read from a pipe
	<-r.done
	return errors.Join(err, r.event.Close())
}

// Size returns how many frames can be in hand.
func (r *in) Size() int { return inSize }

// Take hands over frames that were read.
func (r *in) Take(b *vring.Batch, limit int) (taken int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.paused {
		return 0, nil
	}
	fresh := 0
	for budget := rings.InBudget; taken < limit && budget > 0; taken++ {
		i, ok := r.Next()
		if !ok {
			if fresh == len(r.ready) {
				err = r.err
				break
			}
			i = r.ready[fresh]
			fresh++
		}
		budget -= len(r.segs[i])
		b.Append(i, r.segs[i:i+1], nil)
	}
	r.ready = r.ready[:copy(r.ready, r.ready[fresh:])]
	return taken, err
}

// Complete makes buffers free.
func (r *in) Complete(used []vring.Used) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, u := range used {
		r.freed = append(r.freed, u.ID)
	}
	r.change.Signal()
}

// Arm reports whether there is something to take, and has event signalled when
// there is.
func (r *in) Arm() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.armed = r.paused || !r.Any() && len(r.ready) == 0 && r.err == nil
	return !r.armed
}

// Lost implements queues.LossyRing.
func (r *in) Lost(f func(reason string, frames, bytes uint64)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.losses.Lost(f)
}
