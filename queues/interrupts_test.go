package queues

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/ctrl"
	"vhost-user-nvgre/virtio/eventfd"
	"vhost-user-nvgre/virtio/vring"
)

const coalFeatures = (ctrlFeatures&^virtio.FeatureEventIdx)&^virtio.FeatureCtrlVLAN | virtio.FeatureNotfCoal | virtio.FeatureVQNotfCoal

func coalRX(packets, usecs uint32) ctrl.Coal {
	return ctrl.Coal{Receive: true, CoalParams: ctrl.CoalParams{MaxPackets: packets, MaxUsecs: usecs}}
}

func coalTX(packets, usecs uint32) ctrl.Coal {
	return ctrl.Coal{CoalParams: ctrl.CoalParams{MaxPackets: packets, MaxUsecs: usecs}}
}

// hour is more than a test lasts, in microseconds.
const hour = 3_600_000_000

// Interrupts come when as many packets are there as the driver said, a packet
// of several buffers counting as one, or when the time is over; without either
// parameter they come each time, and a driver that wants none gets none.
//
// Shows: VNET-150, VNET-151, VNET-152, VNET-153
func TestInterruptCoalescing(t *testing.T) {
	e := newStill(t, 1)
	a := plug(t, e, 1, nicOptions{})
	b := plug(t, e, 2, nicOptions{features: coalFeatures})
	b.startCtrl()
	a.send(0, virtio.NetHdr{}, frame(broadcast, a.mac, 60)) // be learned
	b.all(0)
	b.rx(0).call.Drain()
	// send sends a frame to or from b and reports whether b is interrupted.
	send := func(receive bool, n int) bool {
		t.Helper()
		if receive {
			a.send(0, virtio.NetHdr{}, frame(b.mac, a.mac, n))
			b.all(0)
			return b.rx(0).call.Drain()
		}
		b.send(0, virtio.NetHdr{}, frame(a.mac, b.mac, n))
		a.all(0)
		return b.tx(0).call.Drain()
	}
	for _, receive := range []bool{true, false} {
		set := coalTX
		r := b.tx(0)
		if receive {
			set, r = coalRX, b.rx(0)
		}
		for range 3 {
			if !send(receive, 60) {
				t.Errorf("receive %t: no interrupt without coalescing", receive)
			}
		}
		b.mustDo(set(4, hour))
		for i := range 40 {
			// Frames of one and of three buffers.
			if got, want := send(receive, []int{60, 5000}[i%2]), i%4 == 3; got != want {
				t.Errorf("receive %t: frame %d of groups of 4: interrupt %t, want %t", receive, i, got, want)
			}
		}
		// What waits comes when the parameters change.
		send(receive, 60)
		b.mustDo(set(0, hour))
		if !r.call.Drain() {
			t.Errorf("receive %t: no interrupt for what waited when coalescing ended", receive)
		}
		for _, off := range []ctrl.Coal{set(0, hour), set(100, 0), set(0, 0)} {
			b.mustDo(off)
			for range 3 {
				if !send(receive, 60) {
					t.Errorf("receive %t: no interrupt with %+v", receive, off)
				}
			}
		}
		// The time counts from the first packet.
		const usecs = 20_000
		b.mustDo(set(1000, usecs))
		for range 3 {
			start := time.Now()
			early := send(receive, 60)
			early = send(receive, 60) || early
			if time.Since(start) > usecs/2*time.Microsecond {
				// The machine is too busy to say what came first.
				time.Sleep(2 * usecs * time.Microsecond)
				r.call.Drain()
				continue
			}
			if early {
				t.Errorf("receive %t: an interrupt at once, want one in %d µs", receive, usecs)
				continue
			}
			b.wait("the interrupt", r.call.Drain)
			if d := time.Since(start); d < usecs*time.Microsecond {
				t.Errorf("receive %t: the interrupt came after %v, want %d µs", receive, d, usecs)
			}
			time.Sleep(2 * usecs * time.Microsecond)
			if r.call.Drain() {
				t.Errorf("receive %t: two interrupts", receive)
			}
		}
		r.SetInterrupts(false)
		b.mustDo(set(2, hour))
		for range 4 {
			if send(receive, 60) {
				t.Errorf("receive %t: an interrupt that the driver does not want", receive)
			}
		}
		b.mustDo(set(2, 1000))
		send(receive, 60)
		time.Sleep(10 * time.Millisecond)
		if r.call.Drain() {
			t.Errorf("receive %t: an interrupt in time that the driver does not want", receive)
		}
		r.SetInterrupts(true)
		b.mustDo(set(0, 0))
	}
}

// Of two commands for a queue the last holds; a queue that starts anew has the
// last parameters for all; a pause changes nothing, a reset ends coalescing.
//
// Shows: VNET-154, VNET-155, VNET-156, VNET-157, VNET-158, VNET-159, VNET-005
func TestInterruptCoalescingPerQueue(t *testing.T) {
	const pairs = 2
	e := newStill(t, 1)
	b := plug(t, e, 2, nicOptions{features: coalFeatures | virtio.FeatureMQ, pairs: pairs})
	b.startCtrl()
	get := func(vq uint16) (p ctrl.CoalParams, ok bool) {
		t.Helper()
		class, cmd := ctrl.QueueCoalGet{}.Code()
		got := b.raw(ctrl.QueueCoalGet{VQ: vq}.AppendData([]byte{class, cmd}), 9)
		if len(got) != 9 {
			t.Fatalf("VQ_GET %d: answer %x, want 9 bytes", vq, got)
		}
		return ctrl.CoalParams{MaxPackets: binary.LittleEndian.Uint32(got), MaxUsecs: binary.LittleEndian.Uint32(got[4:])}, got[8] == 0
	}
	check := func(what string, want ...uint32) {
		t.Helper()
		for vq, packets := range want {
			p, ok := get(uint16(vq))
			if usecs := 10 * packets; !ok || p.MaxPackets != packets || p.MaxUsecs != usecs {
				t.Errorf("%s: queue %d has %+v, %t; want %d packets, %d µs", what, vq, p, ok, packets, usecs)
			}
		}
	}
	set := func(vq uint16, packets uint32) ctrl.QueueCoal {
		return ctrl.QueueCoal{VQ: vq, CoalParams: ctrl.CoalParams{MaxPackets: packets, MaxUsecs: 10 * packets}}
	}
	check("at first", 0, 0, 0, 0)
	b.mustDo(coalRX(5, 50), coalTX(6, 60))
	check("both kinds", 5, 6, 5, 6)
	b.mustDo(set(2, 7), set(1, 8))
	check("two queues", 5, 8, 7, 6)
	b.mustDo(coalRX(9, 90))
	check("all that receive", 9, 8, 9, 6)
	b.mustDo(set(0, 3), set(3, 4))
	for i := range 4 {
		b.resume(i, b.port.StopQueue(i))
	}
	check("a pause", 3, 8, 9, 4)
	b.port.rx[0].base = 1 // as if it had moved on
	b.port.StopQueue(0)
	b.port.rx[0].base = 1
	b.startRing(0, 64)
	check("a queue started anew", 9, 8, 9, 4)
	for _, vq := range []uint16{4, 5, 100} {
		if b.do(set(vq, 1)) {
			t.Errorf("VQ_SET for queue %d was accepted", vq)
		}
		if _, ok := get(vq); ok {
			t.Errorf("VQ_GET for queue %d was accepted", vq)
		}
	}
	b.port.SetQueueEnabled(2, false)
	if _, ok := get(2); ok || b.do(set(2, 1)) {
		t.Error("VQ_GET or VQ_SET for a disabled queue was accepted")
	}
	b.port.SetQueueEnabled(2, true)
	for _, raw := range [][]byte{{6, 0}, {6, 1, 0, 0, 0, 0, 0, 0, 0}, {6, 2, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0}, {6, 4, 0, 0}} {
		if got := b.raw(raw, 1); !bytes.Equal(got, []byte{1}) {
			t.Errorf("command %x: answer %x, want 01", raw, got)
		}
	}
	if got := b.raw([]byte{6, 2, 0, 0, 0xff, 0xff, 1, 0, 0, 0, 10, 0, 0, 0}, 1); !bytes.Equal(got, []byte{0}) {
		t.Errorf("VQ_SET with the reserved field set: answer %x, want 00", got)
	}
	check("after all that", 1, 8, 9, 4)
	b.port.Reset()
	for i := range 2*pairs + 1 {
		b.port.SetQueueEnabled(i, true)
	}
	check("reset", 0, 0, 0, 0)
}

// Others delay interrupts in the place of the driver, which sees that, and
// whose next command holds.
//
// Shows: VNET-154
func TestModeration(t *testing.T) {
	e := newStill(t, 1)
	a := plug(t, e, 1, nicOptions{})
	b := plug(t, e, 2, nicOptions{features: coalFeatures})
	b.startCtrl()
	told := 0
	b.port.Attach(configChanges{&told})
	interrupted := func() bool {
		t.Helper()
		a.send(0, virtio.NetHdr{}, frame(b.mac, a.mac, 60))
		b.all(0)
		return b.rx(0).call.Drain()
	}
	check := func(what string, want ctrl.CoalParams, changes int) {
		t.Helper()
		class, cmd := ctrl.QueueCoalGet{}.Code()
		for vq := range uint16(2) {
			got := b.raw(ctrl.QueueCoalGet{VQ: vq}.AppendData([]byte{class, cmd}), 9)
			if !bytes.Equal(got, append(want.Append(nil), 0)) {
				t.Errorf("%s: VQ_NOTF_COAL_GET of queue %d: %x, want %+v", what, vq, got, want)
			}
		}
		if can, on := b.port.Moderation(); !can || on != delays(want) {
			t.Errorf("%s: Moderation() = %t, %t", what, can, on)
		}
		if told != changes {
			t.Errorf("%s: the driver was told of %d changes, want %d", what, told, changes)
		}
	}
	a.port.Moderate(true)
	if _, on := a.port.Moderation(); on {
		t.Error("interrupts of a driver that knows nothing of it are delayed")
	}
	check("at first", ctrl.CoalParams{}, 0)
	b.port.Moderate(true)
	check("on", moderate, 1)
	if interrupted() {
		t.Error("on: an interrupt for one frame at once")
	}
	b.port.Moderate(false)
	check("off", ctrl.CoalParams{}, 2)
	if !b.rx(0).call.Drain() || !interrupted() {
		t.Error("off: no interrupt")
	}
	own := coalRX(5, hour)
	b.mustDo(own, coalTX(5, hour))
	check("the driver's", own.CoalParams, 2)
	b.port.Moderate(true)
	check("on where the driver has its own", own.CoalParams, 2)
	b.port.Moderate(false)
	check("off in spite of the driver", ctrl.CoalParams{}, 3)
	b.mustDo(own, coalTX(5, hour))
	check("the driver's again", own.CoalParams, 3)
	b.port.Reset()
	if _, on := b.port.Moderation(); on {
		t.Error("on after a reset")
	}
}

// Memory that vanishes while an interrupt waits breaks the port and nothing
// else; a queue that stops interrupts for what waited.
func TestInterruptCoalescingEnds(t *testing.T) {
	e := newEngine(t, 1)
	a := plug(t, e, 1, nicOptions{})
	b := plug(t, e, 2, nicOptions{features: coalFeatures})
	b.startCtrl()
	b.mustDo(coalRX(100, hour))
	a.send(0, virtio.NetHdr{}, frame(b.mac, a.mac, 60))
	a.reaped(0)
	if b.rx(0).call.Drain() {
		t.Error("an interrupt at once")
	}
	b.port.StopQueue(0)
	if !b.rx(0).call.Drain() {
		t.Error("no interrupt when the queue stopped")
	}
	b.startRing(0, 256)
	b.rx(0).fill(2048)
	b.mustDo(coalRX(100, 200_000))
	a.send(0, virtio.NetHdr{}, frame(b.mac, a.mac, 60))
	b.truncate(0)
	b.wait("the end of the queue", func() bool { return b.queueStatus(0).State == "broken" })
}

// An interrupt that waits comes when its ring stops, or never: by the time the
// driver's descriptor is closed its number may be anybody's.
func TestDelayedInterruptAfterDetach(t *testing.T) {
	e := newEngine(t, 1)
	a := plug(t, e, 1, nicOptions{})
	for i := range fewer(100) {
		b := plug(t, e, 2, nicOptions{features: coalFeatures, memory: 4 << 20})
		b.startCtrl()
		b.mustDo(coalRX(100, 1+uint32(i*5)))
		a.send(0, virtio.NetHdr{}, frame(broadcast, a.mac, 60))
		b.recv(0)
		b.port.Detach()
		for _, r := range b.rings {
			r.close()
		}
		others := make([]*eventfd.FD, 3*len(b.rings))
		for k := range others {
			others[k] = a.eventfd()
		}
		time.Sleep(600 * time.Microsecond)
		for _, o := range others {
			if o.Drain() {
				t.Fatalf("round %d: a descriptor that took the place of a closed one was signalled", i)
			}
			o.Close()
		}
		b.remove()
	}
}

// untouchable is a ring whose memory is gone.
type untouchable struct {
	vring.Ring
	t *testing.T
}

func (r untouchable) NeedNotify() bool {
	r.t.Error("NeedNotify of a broken ring")
	return false
}

func (r untouchable) Complete([]vring.Used) { r.t.Error("Complete of a broken ring") }

// A ring that broke while an interrupt of it waited is not looked at any more,
// for its memory may be unmapped.
func TestDelayedInterruptOfBrokenRing(t *testing.T) {
	e := newStill(t, 1)
	a, b := plug(t, e, 1, nicOptions{}), plug(t, e, 2, nicOptions{features: coalFeatures})
	b.startCtrl()
	b.mustDo(coalRX(100, hour))
	a.send(0, virtio.NetHdr{}, frame(broadcast, a.mac, 60))
	b.recv(0)
	q := &b.port.rx[0].virtqueue
	q.breakDown(errQueueOff)
	q.mu.Lock()
	if !q.coal.waiting {
		t.Fatal("no interrupt waits")
	}
	q.ring = untouchable{q.ring, t}
	q.mu.Unlock()
	b.port.StopQueue(0)
	if q.coal.waiting {
		t.Error("an interrupt waits of a ring that was stopped")
	}
}
