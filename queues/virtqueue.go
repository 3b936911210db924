package queues

import (
	"sync"

	"vhost-user-nvgre/offload/gro"
	"vhost-user-nvgre/offload/verify"
	"vhost-user-nvgre/virtio/eventfd"
	"vhost-user-nvgre/virtio/guestmem"
	"vhost-user-nvgre/virtio/vring"
)

// virtqueue is what transmit, receive and control queues share: a ring, the
// eventfds around it and its state. mu guards all of it; a queue's processing
// holds mu for one batch, so a control path that takes mu and changes the
// state knows that nothing touches the old state once it has the lock.
type virtqueue struct {
	port  *switchPort
	index int // virtqueue number within the device
	// letGo stages all chains that are held back, whose memory is about to go.
	// Called with mu held; nil where chains are never held.
	letGo func()

	mu      sync.Mutex
	ring    vring.Ring   // nil while stopped
	batch   vring.Batch  // chains taken
	pos     int          // of the first chain in batch that is not staged in used
	used    []vring.Used // chains to return with the next publish
	call    *eventfd.FD  // nil: the driver polls
	errfd   *eventfd.FD
	base    uint32 // position of a stopped ring
	broken  error  // why the ring must not be touched any more
	enabled bool
	count   counters
	coal    coalescing
}

// counters are those of one queue, guarded by its mu.
type counters struct {
	packets, bytes uint64
	kicks, calls   uint64
	drops          drops
	checksums      checksums
	coalescing     gro.Stats
	groups         groups
	waited         uint64 // frames that were parked
	splits         Frames // that segmentation adds to packets and bytes
}

// checksums counts validated frames by the state of each of their checksums,
// indexed by verify.State.
type checksums struct {
	outerIP, innerIP, transport [3]uint64
}

func (c *checksums) counts() ChecksumCounts {
	of := func(n [3]uint64) StateCounts {
		return StateCounts{NotChecked: n[verify.NotChecked], Good: n[verify.Good], Bad: n[verify.Bad]}
	}
	return ChecksumCounts{OuterIP: of(c.outerIP), InnerIP: of(c.innerIP), Transport: of(c.transport)}
}

// running reports whether the ring may be touched. The caller holds mu.
func (v *virtqueue) running() bool { return v.ring != nil && v.broken == nil }

// start begins processing. The caller holds mu.
func (v *virtqueue) start(m *guestmem.Map, c vring.Config) error {
	var ring vring.Ring
	err := guarded(func() (err error) {
		ring, err = vring.New(m, c)
		return err
	})
	if err != nil {
		return err
	}
	v.ring, v.broken = ring, nil
	v.batch.Reset()
	v.pos, v.used = 0, v.used[:0]
	return nil
}

// stop ends processing and returns the position to resume from. The caller
// holds mu, which proves that no batch is under way.
func (v *virtqueue) stop() uint32 {
	if v.ring == nil {
		return v.base
	}
	if v.letGo != nil {
		v.letGo()
	}
	if v.running() {
		// Without memory nobody is left to take the chains back.
		_ = guarded(func() error { v.publish(); v.release(); return nil })
	}
	v.used = v.used[:0]
	v.coal.cancel()
	v.giveBack()
	v.base = v.ring.Base()
	v.ring = nil
	return v.base
}

// giveBack forgets the chains that were taken ahead, which are as if never
// taken. The caller holds mu.
func (v *virtqueue) giveBack() {
	v.ring.Untake(v.batch.Chains[v.pos:])
	v.batch.Reset()
	v.pos = 0
}

// publish returns the staged chains to the driver and interrupts it when it
// wants to be. The caller holds mu.
func (v *virtqueue) publish() {
	if !v.running() || len(v.used) == 0 {
		return
	}
	n := len(v.used)
	v.ring.Complete(v.used)
	v.used = v.used[:0]
	if v.coal.on() && v.hold(n) {
		return
	}
	v.interrupt()
}

// fail marks the queue broken, tells the front end, and lets the port know.
// The caller holds mu.
func (v *virtqueue) fail(err error) {
	if v.broken != nil {
		return
	}
	v.broken = err
	if v.errfd != nil {
		_ = v.errfd.Signal()
	}
	go v.port.broke(v, err)
}

// breakDown is fail for callers that do not hold mu; a stopped queue stays as
// it is.
func (v *virtqueue) breakDown(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.running() {
		v.fail(err)
	}
}

// remap moves the ring to another memory map; a driver whose ring is not in
// it has broken the queue. The caller holds mu.
func (v *virtqueue) remap(m *guestmem.Map) {
	if !v.running() {
		return
	}
	if v.letGo != nil {
		v.letGo()
	}
	v.giveBack()
	if err := v.ring.Remap(m); err != nil {
		v.fail(err)
	}
}
