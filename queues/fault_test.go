package queues

import (
	"bytes"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/guestmem"
	"vhost-user-nvgre/virtio/vringtest"
)

// truncate takes the memory away from under a driver.
func (n *nic) truncate(size int64) {
	n.t.Helper()
	if err := unix.Ftruncate(n.mem.FD, size); err != nil {
		n.t.Fatal(err)
	}
}

// vanish is the reason of queues whose memory was truncated.
const vanish = "vanished; was its file truncated?"

// brokeAll waits until the rings of a driver, whose memory must not be
// touched, are broken.
func (n *nic) brokeAll() {
	n.t.Helper()
	n.wait("the end of every queue", func() bool {
		for _, q := range n.port.Snapshot().Queues {
			if q.State != "broken" || !strings.Contains(q.Reason, vanish) {
				return false
			}
		}
		return true
	})
	n.wait("NEEDS_RESET", func() bool { return n.port.Status()&statusNeedsReset != 0 })
	n.changed()
	n.heard = 1 << 62 // every queue told it
}

// exchange sends a frame each way and wants it to arrive; frames for others
// that come before are passed over.
func exchange(t testing.TB, a, b *nic, size int) {
	t.Helper()
	for _, way := range [][2]*nic{{a, b}, {b, a}} {
		f := frame(way[1].mac, way[0].mac, size)
		way[0].send(0, virtio.NetHdr{}, f)
		got := way[1].recv(0)
		for virtio.MAC(got.b) != way[1].mac {
			got = way[1].recv(0)
		}
		if !bytes.Equal(got.b, f) {
			t.Errorf("%s to %s: got %x, want %x", way[0].port.Name(), way[1].port.Name(), got.b, f)
		}
		way[1].repost(0)
		way[0].reaped(0)
	}
}

// Memory that vanishes breaks its port and no other, whoever touches it first:
// as sender, as receiver of a frame for it alone, or of a flooded one.
//
// Shows: VNET-006
// Hostile: CVE-2026-86561
func TestTruncatedMemory(t *testing.T) {
	for _, who := range []string{"sender", "receiver", "one of several receivers"} {
		t.Run(who, func(t *testing.T) {
			e := newEngine(t, 1)
			a, b, c := plug(t, e, 1, nicOptions{}), plug(t, e, 2, nicOptions{}), plug(t, e, 3, nicOptions{})
			victim := plug(t, e, 4, nicOptions{})
			exchange(t, a, b, 60)
			if who == "sender" {
				// The kick comes after the memory is gone, as does what the
				// ring would have said.
				victim.queue(0, victim.image(virtio.NetHdr{}, frame(a.mac, victim.mac, 3000)))
				victim.tx(0).Publish()
				victim.truncate(0)
				victim.tx(0).kick.Signal()
			} else {
				victim.send(0, virtio.NetHdr{}, frame(broadcast, victim.mac, 60))
				for _, n := range []*nic{a, b, c} {
					n.recv(0)
				}
				dst := victim.mac
				if who != "receiver" {
					dst = broadcast
				}
				// All in one batch, which must come back although it ends in a
				// fault and no other follows.
				victim.truncate(0)
				for range batchSize {
					a.queue(0, a.image(virtio.NetHdr{}, frame(dst, a.mac, 1000)))
				}
				a.ring(0)
				a.reaped(0)
			}
			victim.brokeAll()
			for _, n := range []*nic{a, b, c} {
				for _, q := range n.port.Snapshot().Queues {
					if q.State != "running" {
						t.Errorf("port %s queue %d: %s (%s), want running", n.port.Name(), q.Index, q.State, q.Reason)
					}
				}
				n.all(0)
			}
			exchange(t, a, b, 1514)
			exchange(t, b, c, 60)
		})
	}
}

// Only part of the file is gone: the rings are there, the frame is not. What
// the receivers got of the same batch before the fault is theirs.
//
// Hostile: CVE-2026-86561
func TestTruncatedPayload(t *testing.T) {
	e := newEngine(t, 1)
	a, b := plug(t, e, 1, nicOptions{}), plug(t, e, 2, nicOptions{})
	exchange(t, a, b, 60)
	good := frame(b.mac, a.mac, 300)
	end := a.mem.Info.Size
	a.queue(0, a.image(virtio.NetHdr{}, good))
	long := append(a.image(virtio.NetHdr{}, frame(b.mac, a.mac, 200)), make([]byte, 4096)...)
	at := a.mem.Info.Guest + end - 4096
	head := a.place(long[:212])
	if _, ok := a.tx(0).Add(elem(head, 212), elem(at, 4096)); !ok {
		t.Fatal("transmit ring full")
	}
	a.truncate(int64(end - 4096))
	a.ring(0)
	if got := b.recv(0); !bytes.Equal(got.b, good) {
		t.Errorf("got %x, want %x", got.b, good)
	}
	a.brokeAll()
	b.silent(0)
	b.repost(0)
	c := plug(t, e, 3, nicOptions{})
	exchange(t, b, c, 60)
}

// A sender's memory vanishes right after a batch, with nothing in between, and
// its rings are stopped after that.
//
// Hostile: CVE-2026-86561
func TestTruncatedUnderLoad(t *testing.T) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	e := newStill(t, 1)
	a, b := plug(t, e, 1, nicOptions{}), plug(t, e, 2, nicOptions{})
	exchange(t, a, b, 60)
	for range 5 {
		a.queue(0, a.image(virtio.NetHdr{}, frame(b.mac, a.mac, 60)))
	}
	a.tx(0).Publish()
	q := a.port.tx[0]
	if n := q.shard.step(q); n != 5 {
		t.Fatalf("step took %d frames, want 5", n)
	}
	a.truncate(0)
	q.shard.step(q)
	a.brokeAll()
	a.port.StopQueue(1)
	a.port.Detach()
	if got := len(b.all(0)); got != 5 {
		t.Errorf("%d frames arrived, want 5", got)
	}
}

// Memory of one receiver vanishes in the middle of a batch while a frame of it
// waits for another one. What was delivered before is there once, what comes
// after in the batch is counted, and buffers come back in order.
//
// Shows: VNET-053
// Hostile: CVE-2026-86561
func TestTruncatedWhileFramesWait(t *testing.T) {
	for _, stop := range []bool{false, true} {
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
		e := newStill(t, 1)
		from, full := plug(t, e, 1, nicOptions{}), plug(t, e, 2, nicOptions{rxBuf: noBuffers})
		good, gone, later := plug(t, e, 3, nicOptions{}), plug(t, e, 4, nicOptions{}), plug(t, e, 5, nicOptions{})
		for _, n := range []*nic{full, good, gone, later} {
			n.send(0, virtio.NetHdr{}, frame(from.mac, n.mac, 60)) // be learned
		}
		good.all(0)
		for i, to := range []*nic{good, full, gone, later, good} {
			from.queue(0, from.image(virtio.NetHdr{}, numbered(from, to, i)))
		}
		r := from.tx(0)
		start := r.UsedIndex()
		r.Publish()
		gone.truncate(0)
		q := from.port.tx[0]
		q.shard.step(q)
		if stop {
			from.port.StopQueue(1)
			if got := r.UsedIndex() - start; got != 5 {
				t.Errorf("%d buffers returned by a stopped ring, want 5", got)
			}
		} else {
			from.send(0, virtio.NetHdr{}, numbered(from, good, 5))
			if got := r.UsedIndex() - start; got != 1 {
				t.Errorf("%d buffers returned, want 1, the one before the frame that waits", got)
			}
			full.rx(0).room(2048)
			if got := numberOf(full.recv(0)); got != 1 {
				t.Errorf("received frame %d, want 1, which waited", got)
			}
			from.reaped(0)
		}
		for i := range uint64(5) {
			slot := (uint64(start) + i) % 256
			if got := r.Mem.At(r.Used+4+8*slot, 1)[0]; int(got) != int(start)+int(i) {
				t.Errorf("buffer %d came back with the descriptor %d, want %d", i, got, int(start)+int(i))
			}
		}
		want := []int{0, 4, 5}
		if stop {
			want = want[:2]
		}
		var got []int
		for _, f := range good.all(0) {
			got = append(got, numberOf(f))
		}
		if !slices.Equal(got, want) {
			t.Errorf("frames %v arrived where there was room, want %v", got, want)
		}
		gone.drops(dropRxFault, 1)
		later.drops(dropRxFault, 1)
	}
}

// faultAt is a fault at an address of this process.
type faultAt uintptr

func (f faultAt) Error() string { return "fault" }
func (f faultAt) Addr() uintptr { return uintptr(f) }

// A front end replaces its memory, or goes, while a shard deals with a fault in
// the memory as it was: the port that sent breaks no less and no more than at any
// other time.
//
// Hostile: CVE-2026-86561
func TestTruncatedWhileMemoryIsReplaced(t *testing.T) {
	for name, do := range map[string]func(n *nic){
		"replaced": func(n *nic) { n.port.SetMemory(&guestmem.Map{}) },
		"detached": func(n *nic) { n.port.Detach() },
	} {
		t.Run(name, func(t *testing.T) {
			e := newStill(t, 1)
			a, b := plug(t, e, 1, nicOptions{}), plug(t, e, 2, nicOptions{})
			exchange(t, a, b, 60)
			at := faultAt(reflect.ValueOf(b.guest.Guest(b.mem.Info.Guest, 1)).Pointer())
			s, done := e.shards[0], make(chan struct{})
			s.mu.Lock() // as in step
			go func() {
				defer close(done)
				do(b)
			}()
			time.Sleep(50 * time.Millisecond) // to get as far as it does
			e.fault(&a.port.tx[0].virtqueue, at)
			s.mu.Unlock()
			<-done
			if st := a.queueStatus(1); st.State != "running" {
				t.Errorf("the sender's queue is %s (%s), want running", st.State, st.Reason)
			}
		})
	}
}

// The same where the control queue meets it.
//
// Hostile: CVE-2026-86561
func TestTruncatedCommand(t *testing.T) {
	e := newEngine(t, 1)
	a, b := plug(t, e, 1, nicOptions{}), plug(t, e, 2, nicOptions{})
	n := plug(t, e, 3, nicOptions{features: ctrlFeatures})
	r := n.startCtrl()
	r.Add(elem(n.place([]byte{0, 0, 1}), 3), vringtest.Elem{Addr: n.mem.Info.Guest + n.mem.Info.Size - 1, Len: 1, Write: true})
	n.truncate(int64(n.mem.Info.Size - 4096))
	r.Publish() // not before: the queue may look without being kicked
	r.kick.Signal()
	n.brokeAll()
	exchange(t, a, b, 60)
}

// A front end that takes the memory away before it starts or stops a ring gets
// an error and no more; nothing stays locked.
//
// Hostile: CVE-2026-86561
func TestTruncatedControlPath(t *testing.T) {
	e := newEngine(t, 2)
	a, b := plug(t, e, 1, nicOptions{}), plug(t, e, 2, nicOptions{})
	f := baseFeatures | virtio.FeatureCtrlVQ
	n := plug(t, e, 3, nicOptions{bare: true, features: f})
	for i := range 3 {
		n.layRing(i, 256)
	}
	n.truncate(0)
	for i, r := range n.rings {
		n.port.SetQueueErr(i, r.err)
		err := n.port.StartQueue(i, r.Config(), r.kick)
		if err == nil || !strings.Contains(err.Error(), vanish) {
			t.Errorf("StartQueue(%d) without memory = %v, want an error with %q", i, err, vanish)
		}
		n.port.SetQueueEnabled(i, true)
	}
	for i := range n.rings {
		n.port.StopQueue(i)
	}
	n.port.Detach()
	exchange(t, a, b, 60)

	// Buffers wait to be given back when both sides of a batch are gone.
	n.port.Attach(n)
	must(t, n.port.SetFeatures(f))
	v := plug(t, e, 4, nicOptions{})
	w := plug(t, e, 5, nicOptions{})
	exchange(t, v, w, 60)
	v.queue(0, v.image(virtio.NetHdr{}, frame(w.mac, v.mac, 60)))
	v.tx(0).Publish()
	v.truncate(0)
	w.truncate(0)
	v.tx(0).kick.Signal()
	v.port.StopQueue(1)
	v.port.Detach()
	w.port.Detach()
	exchange(t, a, b, 60)
}

// A fault of ours breaks the queue whose input met it, and nothing else.
func TestFaultOfOurs(t *testing.T) {
	cfg := testConfig(1, &journal{faulty: true})
	e := startEngine(t, cfg)
	a, b, c := plug(t, e, 1, nicOptions{pairs: 2}), plug(t, e, 2, nicOptions{}), plug(t, e, 3, nicOptions{})
	exchange(t, a, b, 60)
	// No input can do this: a table without entries.
	st := *c.port.state.Load()
	st.rx, st.steering = append(st.rx, st.rx...), nil
	c.port.state.Store(&st)
	a.send(0, virtio.NetHdr{}, frame(broadcast, a.mac, 60))
	a.broke(1, "internal fault: ")
	if l := e.journal().find("vm1 queue 1", "internal fault", "goroutine"); l == "" {
		t.Error("the log has no stack")
	}
	if l := e.journal().find("warning", "vm1 queue 1", "stopped"); l == "" {
		t.Error("the log does not say that the queue stopped")
	}
	for _, i := range []int{0, 2, 3} {
		if s := a.queueStatus(i); s.State != "running" {
			t.Errorf("queue %d of the port is %s (%s), want running", i, s.State, s.Reason)
		}
	}
	c.port.mu.Lock()
	c.port.compile()
	c.port.mu.Unlock()
	b.all(0)
	f := frame(b.mac, a.mac, 60)
	a.send(1, virtio.NetHdr{}, f)
	if got := b.recv(0); !bytes.Equal(got.b, f) {
		t.Errorf("the port's other queue: got %x, want %x", got.b, f)
	}
	b.repost(0)
	exchange(t, b, c, 60)

	// The driver resets the device and the queue works again.
	a.port.StopQueue(1)
	a.port.SetStatus(0)
	if got := a.port.Status(); got != 0 {
		t.Errorf("status after a reset 0x%x, want 0", got)
	}
	a.startRing(1, 256)
	exchange(t, a, b, 60)
}
