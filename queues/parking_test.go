package queues

import (
	"slices"
	"testing"
	"time"

	"vhost-user-nvgre/virtio"
)

// numbered returns a frame from one nic to another with a number in it.
func numbered(from, to *nic, i int) []byte {
	b := frame(to.mac, from.mac, 60)
	b[14], b[15] = byte(i>>8), byte(i)
	return b
}

func numberOf(f received) int { return int(f.b[14])<<8 | int(f.b[15]) }

// parkingScene returns two nics that know each other, the second without
// receive buffers.
func parkingScene(t *testing.T) (e *Engine, from, to *nic) {
	e = newStill(t, 1)
	from, to = plug(t, e, 1, nicOptions{}), plug(t, e, 2, nicOptions{rxBuf: noBuffers})
	to.send(0, virtio.NetHdr{}, frame(from.mac, to.mac, 60))
	from.recv(0)
	return e, from, to
}

func TestFrameWaitsForRoom(t *testing.T) {
	_, from, to := parkingScene(t)
	from.send(0, virtio.NetHdr{}, numbered(from, to, 0))
	from.send(0, virtio.NetHdr{}, numbered(from, to, 1))
	to.silent(0)
	if got := from.reap(0); got != 0 {
		t.Errorf("%d transmit buffers came back while their frames wait, want 0", got)
	}
	for i := range 100 {
		to.rx(0).room(2048)
		// A newer frame must not take the room of those that wait.
		from.send(0, virtio.NetHdr{}, numbered(from, to, i+2))
		if got := numberOf(to.recv(0)); got != i {
			t.Fatalf("frame %d arrived as number %d", got, i)
		}
	}
	if d := to.dropped(); len(d) != 0 {
		t.Errorf("drops %v, want none", d)
	}
	if tx, rx := from.port.tx[0].status("tx", 0), to.port.rx[0].status("rx", -1); tx.Waited != 102 || rx.Waited != 102 || from.port.rx[0].count.waited != 0 {
		t.Errorf("%d frames waited at the sender, %d at the receiver, want all 102", tx.Waited, rx.Waited)
	}
}

// Frames that wait are counted where they came from and where they go to.
func TestWaitingFramesAreCounted(t *testing.T) {
	e, from, to := parkingScene(t)
	third := plug(t, e, 3, nicOptions{rxBuf: noBuffers})
	third.send(0, virtio.NetHdr{}, frame(from.mac, third.mac, 60))
	from.recv(0)
	for i, n := range []*nic{to, third, third, to, third} {
		from.queue(0, from.image(virtio.NetHdr{}, numbered(from, n, i)))
	}
	from.ring(0)
	for what, tt := range map[string]struct{ got, want uint64 }{
		"the sender":     {from.port.tx[0].status("tx", 0).Waited, 5},
		"the first one":  {to.port.rx[0].status("rx", -1).Waited, 2},
		"the second one": {third.port.rx[0].status("rx", -1).Waited, 3},
		"nobody":         {from.port.rx[0].status("rx", -1).Waited, 0},
	} {
		if tt.got != tt.want {
			t.Errorf("%d frames waited at %s, want %d", tt.got, what, tt.want)
		}
	}
}

// A broadcast, and a frame for an unknown address, wait too if there is but one
// port they can go to: the first of a conversation is an ARP request. They do so
// behind the frames that wait already, and no longer than those.
func TestFloodWaitsForRoom(t *testing.T) {
	e, from, to := parkingScene(t)
	down := plug(t, e, 3, nicOptions{})
	down.port.SetLink(false)
	from.send(0, virtio.NetHdr{}, numbered(from, to, 0))
	for i, dst := range []virtio.MAC{broadcast, otherMAC} {
		b := numbered(from, to, i+1)
		copy(b, dst[:])
		from.send(0, virtio.NetHdr{}, b)
	}
	to.silent(0)
	for i := range 3 {
		to.rx(0).room(2048)
		if got := numberOf(to.recv(0)); got != i {
			t.Fatalf("received frame %d, want %d", got, i)
		}
	}
	from.reaped(0)
	if d := to.dropped(); len(d) != 0 {
		t.Errorf("drops %v, want none", d)
	}
	want := Traffic{Unicast: Frames{2, 120}, Broadcast: Frames{1, 60}}
	if got := to.port.Received(); got != want {
		t.Errorf("received %+v, want %+v", got, want)
	}

	from.send(0, virtio.NetHdr{}, frame(broadcast, from.mac, 60))
	e.start = e.start.Add(-2 * parkLimit)
	from.reaped(0)
	to.drops(dropRxFull, 1)

	// With two that take it, it does not wait for either.
	down.port.SetLink(true)
	from.send(0, virtio.NetHdr{}, frame(broadcast, from.mac, 60))
	from.reaped(0)
	to.drops(dropRxFull, 2)
	down.recv(0)
}

func TestWaitingFramesArriveInOrder(t *testing.T) {
	_, from, to := parkingScene(t)
	sent, got := 0, []int{}
	for round := range 50 {
		for range round % 5 {
			from.send(0, virtio.NetHdr{}, numbered(from, to, sent))
			sent++
		}
		for range round % 3 {
			to.rx(0).room(2048)
		}
		for {
			settle(from.port.engine)
			f, ok := to.poll(0)
			if !ok {
				break
			}
			got = append(got, numberOf(f))
		}
	}
	for len(got) < sent {
		to.rx(0).room(2048)
		got = append(got, numberOf(to.recv(0)))
	}
	if !slices.IsSorted(got) {
		t.Errorf("frames arrived in the order %v", got)
	}
	from.reaped(0)
	if d := to.dropped(); len(d) != 0 {
		t.Errorf("drops %v, want none", d)
	}
}

// Buffers return in the order taken, also past frames that wait: whoever takes
// the ring over knows no more than how many returned.
func TestBuffersReturnInOrder(t *testing.T) {
	e, from, to := parkingScene(t)
	third := plug(t, e, 3, nicOptions{})
	third.send(0, virtio.NetHdr{}, frame(from.mac, third.mac, 60))
	from.recv(0)
	r := from.tx(0)
	start := r.UsedIndex()
	from.send(0, virtio.NetHdr{}, numbered(from, third, 0))
	from.send(0, virtio.NetHdr{}, numbered(from, to, 1))
	from.send(0, virtio.NetHdr{}, numbered(from, third, 2))
	third.recv(0)
	if got := numberOf(third.recv(0)); got != 2 {
		t.Errorf("received frame %d, want 2 to go past", got)
	}
	if got := r.UsedIndex() - start; got != 1 {
		t.Errorf("%d buffers returned, want 1, the one before the frame that waits", got)
	}
	to.rx(0).room(2048)
	to.recv(0)
	if got := r.UsedIndex() - start; got != 3 {
		t.Errorf("%d buffers returned, want all 3", got)
	}
}

// A receiver that takes nothing costs its senders their buffers for a moment
// only.
func TestStalledReceiver(t *testing.T) {
	e, from, to := parkingScene(t)
	for i := range 10 {
		from.send(0, virtio.NetHdr{}, numbered(from, to, i))
	}
	e.start = e.start.Add(-2 * parkLimit)
	from.reaped(0)
	to.drops(dropRxFull, 10)
	from.send(0, virtio.NetHdr{}, numbered(from, to, 10))
	from.reaped(0) // at once
	to.drops(dropRxFull, 11)
	to.rx(0).room(2048)
	from.send(0, virtio.NetHdr{}, numbered(from, to, 11))
	if got := numberOf(to.recv(0)); got != 11 {
		t.Errorf("received frame %d, want 11", got)
	}
	from.send(0, virtio.NetHdr{}, numbered(from, to, 12)) // waits again
	to.rx(0).room(2048)
	if got := numberOf(to.recv(0)); got != 12 {
		t.Errorf("received frame %d, want 12", got)
	}
}

func TestOthersGoPastWaitingFrames(t *testing.T) {
	e, from, to := parkingScene(t)
	third := plug(t, e, 3, nicOptions{})
	const size = 256 // of a ring
	// More than may wait: half of the ring stays in use.
	for i := range size * 3 / 4 {
		from.send(0, virtio.NetHdr{}, numbered(from, to, i))
	}
	to.drops(dropRxFull, uint64(size/4))
	third.send(0, virtio.NetHdr{}, frame(from.mac, third.mac, 60))
	from.recv(0)
	for i := range 2 * size {
		from.send(0, virtio.NetHdr{}, numbered(from, third, i))
		if got := numberOf(third.recv(0)); got != i {
			t.Fatalf("received frame %d, want %d", got, i)
		}
		third.repost(0)
	}
}

// Frames that wait are dropped with the ring that they came from, and its
// buffers go back.
//
// Shows: VNET-053
func TestStopWithWaitingFrames(t *testing.T) {
	_, from, to := parkingScene(t)
	for i := range 20 {
		from.send(0, virtio.NetHdr{}, numbered(from, to, i))
	}
	if got := from.port.StopQueue(1); got != 20 {
		t.Errorf("stopped at %d, want 20", got)
	}
	if got := from.reap(0); got != 20 {
		t.Errorf("%d of 20 buffers came back from a stopped queue", got)
	}
	to.drops(dropRxFull, 20)
	to.rx(0).room(2048)
	to.silent(0)
	from.resume(1, 20)
	from.send(0, virtio.NetHdr{}, numbered(from, to, 20))
	if got := numberOf(to.recv(0)); got != 20 {
		t.Errorf("received frame %d, want 20", got)
	}
}

// A super-frame that is split for its receiver arrives with all of its segments
// or waits.
func TestSuperFrameWaitsForRoom(t *testing.T) {
	const segments, size = 10, 1400
	segment := 14 + 20 + 20 + size
	for name, sizes := range map[string][]uint32{
		"one for each":       {2048},
		"just large enough":  {uint32(virtio.NetHdrSize + segment)},
		"one byte too small": {uint32(virtio.NetHdrSize + segment - 1)},
		"tiny":               {100},
		"of several sizes":   {1000, 100, 3000},
		"header alone":       {virtio.NetHdrSize, 2048},
	} {
		t.Run(name, func(t *testing.T) {
			var bufs []layout
			for i := range 200 {
				bufs = append(bufs, layout{sizes[i%len(sizes)]})
			}
			needed := 0
			for range segments {
				take, _ := expected(virtio.NetHdrSize+segment, true, bufs[needed:])
				needed += take
			}
			e := newStill(t, 1)
			from := plug(t, e, 1, nicOptions{features: senderFeatures})
			to := plug(t, e, 2, nicOptions{rxBuf: noBuffers, size: 512})
			to.send(0, virtio.NetHdr{}, frame(from.mac, to.mac, 60))
			from.recv(0)
			f := flow{dst: to.mac, src: from.mac, from: 1, to: 2, sport: 3, dport: 4}
			b, h := f.super(t, bytesOf(segments*size, 1), size)
			from.send(0, h, b)
			for _, b := range bufs[:needed] {
				to.silent(0)
				to.rx(0).room(b...)
			}
			if got := len(to.all(0)); got != segments {
				t.Errorf("%d frames arrived, want %d", got, segments)
			}
			from.reaped(0)
			if d := to.dropped(); len(d) != 0 {
				t.Errorf("drops %v, want none", d)
			}
		})
	}
}

// A super-frame that does not fit half of a ring does not wait for more, which
// drivers need not post: what has room arrives.
func TestSuperFrameLargerThanRing(t *testing.T) {
	const size = 16
	for name, tt := range map[string]struct {
		layout     layout
		indirect   bool
		post, want int // buffers, frames that have room in them
	}{
		"one element":      {layout{800}, false, size / 2, 4},
		"several elements": {layout{100, 300, 400}, false, 3, 1},
		"in a table":       {layout{100, 700}, true, size / 2, 4},
	} {
		t.Run(name, func(t *testing.T) {
			e := newStill(t, 1)
			from := plug(t, e, 1, nicOptions{features: senderFeatures})
			to := plug(t, e, 2, nicOptions{rxBuf: noBuffers, size: size})
			to.send(0, virtio.NetHdr{}, frame(from.mac, to.mac, 60))
			from.recv(0)
			f := flow{dst: to.mac, src: from.mac, from: 1, to: 2, sport: 3, dport: 4}
			b, h := f.super(t, bytesOf(10*1400, 1), 1400)
			from.send(0, h, b)
			for range tt.post {
				to.silent(0)
				if tt.indirect {
					to.rx(0).roomInTable(tt.layout...)
				} else {
					to.rx(0).room(tt.layout...)
				}
			}
			if got := len(to.all(0)); got != tt.want {
				t.Errorf("%d frames arrived, want %d", got, tt.want)
			}
			from.reaped(0)
			to.drops(dropRxFull, 1)
		})
	}
}

// Frames that wait for a receiver that does not take them any more are dropped
// and counted, and their buffers go back; nothing of them arrives later.
func TestReceiverGoesWhileFramesWait(t *testing.T) {
	for name, tt := range map[string]struct {
		do  func(from, to *nic)
		why dropReason
	}{
		"stopped":   {func(_, to *nic) { to.port.StopQueue(0) }, dropRxStopped},
		"disabled":  {func(_, to *nic) { to.port.SetQueueEnabled(0, false) }, dropRxStopped},
		"detached":  {func(_, to *nic) { to.unplug() }, dropRxStopped},
		"removed":   {func(_, to *nic) { to.remove() }, dropRxStopped},
		"link down": {func(_, to *nic) { to.port.SetLink(false) }, dropRxLinkDown},
		"memory":    {func(from, _ *nic) { from.port.SetMemory(from.guest) }, dropRxFull},
	} {
		t.Run(name, func(t *testing.T) {
			_, from, to := parkingScene(t)
			for i := range 20 {
				from.send(0, virtio.NetHdr{}, numbered(from, to, i))
			}
			tt.do(from, to)
			if to.mem != nil && tt.why != dropRxStopped {
				to.rx(0).room(2048)
				to.silent(0)
			}
			from.reaped(0)
			to.drops(tt.why, 20)
		})
	}
}

// A running shard looks at waiting frames by itself.
func TestShardNaps(t *testing.T) {
	e := newEngine(t, 1)
	from, to := plug(t, e, 1, nicOptions{}), plug(t, e, 2, nicOptions{rxBuf: noBuffers})
	to.send(0, virtio.NetHdr{}, frame(from.mac, to.mac, 60))
	from.recv(0)
	for i := range 50 {
		from.send(0, virtio.NetHdr{}, numbered(from, to, i))
		time.Sleep(time.Millisecond)
		to.rx(0).room(2048)
		if got := numberOf(to.recv(0)); got != i {
			t.Fatalf("received frame %d, want %d", got, i)
		}
	}
	from.reaped(0)
}
