package frontendtest_test

import (
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"vhost-user-nvgre/vhostuser"
	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/eventfd"
	"vhost-user-nvgre/virtio/guestmem"
	"vhost-user-nvgre/virtio/vring"
)

// loopback is a device that sends every frame back on the queue pair that it
// came from. It answers all control commands of class 4 with OK and remembers
// the last one; others fail.
type loopback struct {
	pairs    int
	features virtio.Features

	mu      sync.Mutex
	fe      vhostuser.Frontend
	acked   virtio.Features
	mem     *guestmem.Map
	rings   map[int]*loopRing
	enabled map[int]bool
	calls   map[int]*eventfd.FD
	command []byte
	config  virtio.NetConfig
	mtu     uint64
	status  uint8
	resets  int
	err     error // what went wrong in a ring
}

type loopRing struct {
	vring.Ring
	quit, done chan struct{}
}

func newLoopback(pairs int, f virtio.Features) *loopback {
	return &loopback{
		pairs: pairs, features: f, mem: &guestmem.Map{}, rings: map[int]*loopRing{}, enabled: map[int]bool{},
		calls:  map[int]*eventfd.FD{},
		config: virtio.NetConfig{MAC: virtio.MAC{2, 0, 0, 0, 0, 1}, Status: virtio.StatusLinkUp, QueuePairs: uint16(pairs)},
	}
}

func (b *loopback) Features() virtio.Features { return b.features }
func (b *loopback) NumQueues() int            { return 2*b.pairs + 1 }
func (b *loopback) QueuePairs() int           { return b.pairs }

func (b *loopback) lock() func() {
	b.mu.Lock()
	return b.mu.Unlock
}

func (b *loopback) Attach(fe vhostuser.Frontend) {
	defer b.lock()()
	b.fe = fe
}

func (b *loopback) Detach() {
	for i := range b.NumQueues() {
		b.StopQueue(i)
	}
	defer b.lock()()
	b.fe, b.mem, b.acked = nil, &guestmem.Map{}, 0
	clear(b.calls)
	clear(b.enabled)
}

func (b *loopback) SetFeatures(f virtio.Features) error {
	defer b.lock()()
	b.acked = f
	return b.features.CheckAck(f)
}

func (b *loopback) SetMemory(m *guestmem.Map) {
	defer b.lock()()
	b.mem = m
	for i, r := range b.rings {
		if err := r.Remap(m); err != nil {
			b.err = fmt.Errorf("ring %d: %w", i, err)
		}
	}
}

func (b *loopback) StartQueue(i int, c vring.Config, kick *eventfd.FD) error {
	defer b.lock()()
	q, err := vring.New(b.mem, c)
	if err != nil {
		return err
	}
	r := &loopRing{Ring: q, quit: make(chan struct{}), done: make(chan struct{})}
	b.rings[i] = r
	go b.serve(i, r, kick)
	return nil
}

func (b *loopback) StopQueue(i int) uint32 {
	b.mu.Lock()
	r := b.rings[i]
	b.mu.Unlock()
	if r == nil {
		return 0
	}
	close(r.quit)
	<-r.done
	defer b.lock()()
	delete(b.rings, i)
	return r.Base()
}

// serve moves frames from ring i whenever there may be some.
func (b *loopback) serve(i int, r *loopRing, kick *eventfd.FD) {
	defer close(r.done)
	for {
		select {
		case <-r.quit:
			return
		default:
		}
		b.mu.Lock()
		busy := false
		if i == b.ctrlIndex() {
			busy = b.control(r)
		} else if i%2 == 1 {
			busy = b.transmit(i, r)
		}
		if !busy {
			r.Arm()
		}
		b.mu.Unlock()
		if kick == nil || i%2 == 0 {
			time.Sleep(time.Millisecond)
		} else if !busy {
			kick.Wait(5)
		}
	}
}

func (b *loopback) ctrlIndex() int {
	if b.acked&(virtio.FeatureMQ|virtio.FeatureRSS) != 0 {
		return 2 * b.pairs
	}
	return 2
}

// take returns the bytes of the next chain and its writable part.
func (b *loopback) take(i int, r vring.Ring) (c vring.Chain, in []byte, out [][]byte, ok bool) {
	var batch vring.Batch
	n, err := r.Take(&batch, 1)
	if err != nil {
		b.err = fmt.Errorf("ring %d: %w", i, err)
	}
	if n == 0 || err != nil {
		return c, nil, nil, false
	}
	c = batch.Chains[0]
	for _, s := range batch.Readable(c) {
		in = append(in, s...)
	}
	return c, in, batch.Writable(c), true
}

func (b *loopback) complete(i int, r vring.Ring, u ...vring.Used) {
	r.Complete(u)
	if r.NeedNotify() && b.calls[i] != nil {
		_ = b.calls[i].Signal()
	}
}

func (b *loopback) control(r vring.Ring) bool {
	c, in, out, ok := b.take(b.ctrlIndex(), r)
	if !ok {
		return false
	}
	b.command = in
	out[len(out)-1][0] = 1
	if len(in) > 0 && in[0] == 4 {
		out[len(out)-1][0] = 0
	}
	b.complete(b.ctrlIndex(), r, c.Used(1))
	return true
}

// transmit sends the next frame of ring i back, in as many receive buffers as
// it takes; a frame is lost when there are too few.
func (b *loopback) transmit(i int, r vring.Ring) bool {
	c, frame, _, ok := b.take(i, r)
	if !ok {
		return false
	}
	defer b.complete(i, r, c.Used(0))
	rx := b.rings[i-1]
	if rx == nil || !b.enabled[i-1] || !b.enabled[i] {
		return true
	}
	var used []vring.Used
	var first []byte // where the header lies
	var batch vring.Batch
	for len(frame) > 0 {
		batch.Reset()
		if n, err := rx.Take(&batch, 1); n == 0 || err != nil {
			return true
		}
		n := 0
		for _, s := range batch.Writable(batch.Chains[0]) {
			if first == nil {
				first = s
			}
			k := copy(s, frame)
			frame, n = frame[k:], n+k
		}
		used = append(used, batch.Chains[0].Used(uint32(n)))
	}
	if virtio.NetHdrLen(b.acked) >= virtio.NetHdrSize {
		binary.LittleEndian.PutUint16(first[10:], uint16(len(used)))
	}
	b.complete(i-1, rx, used...)
	return true
}

func (b *loopback) SetQueueEnabled(i int, on bool) {
	defer b.lock()()
	b.enabled[i] = on
}

func (b *loopback) SetQueueKick(int, *eventfd.FD) {}

func (b *loopback) SetQueueCall(i int, call *eventfd.FD) {
	defer b.lock()()
	b.calls[i] = call
}

func (b *loopback) SetQueueErr(int, *eventfd.FD) {}

func (b *loopback) ReadConfig(p []byte, off uint32) {
	defer b.lock()()
	clear(p)
	image := b.config.Encode()
	if int(off) < len(image) {
		copy(p, image[off:])
	}
}

func (b *loopback) WriteConfig(p []byte, off uint32) error {
	defer b.lock()()
	if off != 6 || len(p) != 2 {
		return fmt.Errorf("%d bytes at %d are read-only", len(p), off)
	}
	b.config.Status = binary.LittleEndian.Uint16(p)
	return nil
}

func (b *loopback) SetMTU(mtu uint64) error {
	defer b.lock()()
	b.mtu = mtu
	if mtu > 9000 {
		return fmt.Errorf("mtu %d, want at most 9000", mtu)
	}
	return nil
}

func (b *loopback) SetStatus(s uint8) {
	defer b.lock()()
	b.status = s
}

func (b *loopback) Status() uint8 {
	defer b.lock()()
	return b.status
}

func (b *loopback) Reset() {
	defer b.lock()()
	b.resets++
	clear(b.enabled)
}
