package vhostuser

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"vhost-user-nvgre/vhostuser/frontendtest"
	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/eventfd"
	"vhost-user-nvgre/virtio/guestmem"
	"vhost-user-nvgre/virtio/vring"
)

// offered is what the fake device offers unless a test says otherwise.
const offered = frontendtest.DriverFeatures

// fakeBackend records calls and complains when the session breaks the
// contract of Backend. It keeps real rings, so that a call with a wrong or
// unmapped address faults.
type fakeBackend struct {
	t        testing.TB
	features virtio.Features
	pairs    int

	mu       sync.Mutex // tests look while the session runs
	calls    []string
	attached bool
	fe       Frontend
	acked    virtio.Features
	mem      *guestmem.Map
	rings    map[int]vring.Ring // running
	kick     map[int]*eventfd.FD
	call     map[int]*eventfd.FD
	err      map[int]*eventfd.FD
	enabled  map[int]bool
	stopped  map[int]uint32
	config   [virtio.NetConfigSize]byte
	status   uint8

	// Errors to answer with.
	refuseFeatures, refuseStart, refuseMTU, refuseConfig error
	// untouched spares memory that a test has truncated.
	untouched bool
}

func newFake(t testing.TB) *fakeBackend {
	b := &fakeBackend{t: t, features: offered, pairs: 2}
	for i := range b.config {
		b.config[i] = byte(i + 1)
	}
	return b
}

// enter notes a call. The caller releases the lock.
func (b *fakeBackend) enter(format string, args ...any) {
	b.mu.Lock()
	call := fmt.Sprintf(format, args...)
	if !b.attached && !strings.HasPrefix(call, "Attach") {
		b.t.Errorf("%s outside of Attach and Detach", call)
	}
	b.calls = append(b.calls, call)
}

func (b *fakeBackend) checkRing(i int) {
	if i < 0 || i >= b.NumQueues() {
		b.t.Errorf("%s: ring %d of %d", b.calls[len(b.calls)-1], i, b.NumQueues())
	}
}

func (b *fakeBackend) Features() virtio.Features { return b.features }
func (b *fakeBackend) NumQueues() int            { return 2*b.pairs + 1 }
func (b *fakeBackend) QueuePairs() int           { return b.pairs }

func (b *fakeBackend) Attach(fe Frontend) {
	b.enter("Attach")
	defer b.mu.Unlock()
	if b.attached {
		b.t.Errorf("Attach while attached")
	}
	b.attached, b.fe, b.acked, b.mem = true, fe, 0, &guestmem.Map{}
	b.rings, b.enabled, b.stopped = map[int]vring.Ring{}, map[int]bool{}, map[int]uint32{}
	b.kick, b.call, b.err = map[int]*eventfd.FD{}, map[int]*eventfd.FD{}, map[int]*eventfd.FD{}
}

func (b *fakeBackend) Detach() {
	b.enter("Detach")
	defer b.mu.Unlock()
	b.touch() // everything borrowed is still there
	b.attached, b.fe = false, nil
}

func (b *fakeBackend) SetFeatures(f virtio.Features) error {
	b.enter("SetFeatures %s", f)
	defer b.mu.Unlock()
	if len(b.rings) > 0 {
		b.t.Errorf("SetFeatures while %d rings are running", len(b.rings))
	}
	if b.refuseFeatures != nil {
		return b.refuseFeatures
	}
	b.acked = f
	return nil
}

func (b *fakeBackend) SetMemory(m *guestmem.Map) {
	b.enter("SetMemory %d", len(m.Regions()))
	defer b.mu.Unlock()
	b.touch() // the old map is valid until now
	for i, r := range b.rings {
		if err := r.Remap(m); err != nil {
			b.t.Errorf("SetMemory breaks running ring %d: %v", i, err)
		}
	}
	b.mem = m
	b.touch()
}

// touch uses everything that is borrowed.
func (b *fakeBackend) touch() {
	if b.untouched {
		return
	}
	for _, r := range b.rings {
		r.Arm()
	}
	for _, r := range b.mem.Regions() {
		if m := b.mem.Guest(r.Guest, r.Size); m != nil {
			m[0]++
			m[len(m)-1]++
		}
	}
	for _, fds := range []map[int]*eventfd.FD{b.kick, b.call, b.err} {
		for i, e := range fds {
			if e == nil {
				continue
			}
			if err := e.Signal(); err != nil {
				b.t.Errorf("ring %d: signal of a borrowed eventfd: %v", i, err)
			}
		}
	}
}

func (b *fakeBackend) StartQueue(i int, c vring.Config, kick *eventfd.FD) error {
	b.enter("StartQueue %d size %d base %d kick %t", i, c.Size, c.Base, kick != nil)
	defer b.mu.Unlock()
	b.checkRing(i)
	if b.rings[i] != nil {
		b.t.Errorf("StartQueue %d of a running ring", i)
	}
	if c.Features != b.acked {
		b.t.Errorf("StartQueue %d with features %s, want %s", i, c.Features, b.acked)
	}
	if b.refuseStart != nil {
		return b.refuseStart
	}
	r, err := vring.New(b.mem, c)
	if err != nil {
		return err
	}
	b.rings[i], b.kick[i] = r, kick
	return nil
}

func (b *fakeBackend) StopQueue(i int) uint32 {
	b.enter("StopQueue %d", i)
	defer b.mu.Unlock()
	b.checkRing(i)
	r := b.rings[i]
	if r == nil {
		return b.stopped[i]
	}
	b.touch()
	delete(b.rings, i)
	delete(b.kick, i)
	b.stopped[i] = r.Base()
	return r.Base()
}

func (b *fakeBackend) SetQueueEnabled(i int, on bool) {
	b.enter("SetQueueEnabled %d %t", i, on)
	defer b.mu.Unlock()
	b.checkRing(i)
	b.enabled[i] = on
}

func (b *fakeBackend) SetQueueKick(i int, kick *eventfd.FD) {
	b.enter("SetQueueKick %d %t", i, kick != nil)
	defer b.mu.Unlock()
	b.touch()
	b.checkRing(i)
	if b.rings[i] == nil {
		b.t.Errorf("SetQueueKick %d of a stopped ring", i)
	}
	b.kick[i] = kick
}

func (b *fakeBackend) SetQueueCall(i int, call *eventfd.FD) {
	b.enter("SetQueueCall %d %t", i, call != nil)
	defer b.mu.Unlock()
	b.touch()
	b.checkRing(i)
	b.call[i] = call
}

func (b *fakeBackend) SetQueueErr(i int, err *eventfd.FD) {
	b.enter("SetQueueErr %d %t", i, err != nil)
	defer b.mu.Unlock()
	b.touch()
	b.checkRing(i)
	b.err[i] = err
}

func (b *fakeBackend) ReadConfig(p []byte, off uint32) {
	b.enter("ReadConfig %d+%d", off, len(p))
	defer b.mu.Unlock()
	clear(p)
	if int(off) < len(b.config) {
		copy(p, b.config[off:])
	}
}

func (b *fakeBackend) WriteConfig(p []byte, off uint32) error {
	b.enter("WriteConfig %d+%d", off, len(p))
	defer b.mu.Unlock()
	return b.refuseConfig
}

func (b *fakeBackend) SetMTU(mtu uint64) error {
	b.enter("SetMTU %d", mtu)
	defer b.mu.Unlock()
	return b.refuseMTU
}

func (b *fakeBackend) SetStatus(status uint8) {
	b.enter("SetStatus 0x%x", status)
	defer b.mu.Unlock()
	b.status = status
}

func (b *fakeBackend) Status() uint8 {
	b.enter("Status")
	defer b.mu.Unlock()
	return b.status
}

func (b *fakeBackend) Reset() {
	b.enter("Reset")
	defer b.mu.Unlock()
	if len(b.rings) > 0 {
		b.t.Errorf("Reset while %d rings are running", len(b.rings))
	}
	clear(b.enabled)
}

// answer sets what calls are answered with.
func (b *fakeBackend) answer(set func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	set()
}

// frontend returns what Attach got.
func (b *fakeBackend) frontend() Frontend {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fe
}

// take returns the calls since the last take.
func (b *fakeBackend) take() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	calls := b.calls
	b.calls = nil
	return calls
}

// want compares the calls since the last take.
func (b *fakeBackend) want(calls ...string) {
	b.t.Helper()
	if got := b.take(); !slices.Equal(got, calls) {
		b.t.Errorf("backend calls:\n  got  %q\n  want %q", got, calls)
	}
}
