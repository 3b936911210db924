package queues

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/eventfd"
	"vhost-user-nvgre/virtio/guestmem"
	"vhost-user-nvgre/virtio/vring"
)

// allOffloads are those of a wire that leaves and takes everything unfinished.
const allOffloads = virtio.FeatureCSUM | virtio.FeatureHostTSO4 | virtio.FeatureHostTSO6 | virtio.FeatureHostECN | virtio.FeatureHostUSO |
	virtio.FeatureGuestCSUM | virtio.FeatureGuestTSO4 | virtio.FeatureGuestTSO6 | virtio.FeatureGuestECN |
	virtio.FeatureGuestUSO4 | virtio.FeatureGuestUSO6

// memoryWire is a wire whose other end is the test.
type memoryWire struct {
	t        testing.TB
	features virtio.Features
	pairs    []WirePair
	in       []*memoryIn
	out      []*memoryOut
	removed  atomic.Bool // no ring is to be used any more
	links    []bool      // what SetLink was told
}

func (w *memoryWire) Pairs() []WirePair         { return w.pairs }
func (w *memoryWire) Features() virtio.Features { return w.features }
func (w *memoryWire) SetLink(up bool)           { w.links = append(w.links, up) }
func (w *memoryWire) Close() error              { return nil }

// newMemoryWire returns a wire with outgoing rings of the given size. Without
// events its incoming rings are polled.
func newMemoryWire(t testing.TB, pairs, size int, events bool) *memoryWire {
	w := &memoryWire{t: t, features: allOffloads}
	for range pairs {
		in := &memoryIn{memoryRing: memoryRing{wire: w, size: 256}}
		out := &memoryOut{memoryRing: memoryRing{wire: w, size: size}}
		for range size {
			out.bufs = append(out.bufs, make([]byte, 12+65607))
		}
		ready := -1
		if events {
			fd, err := eventfd.New()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { fd.Close() })
			in.event, ready = fd, fd.Int()
		}
		w.in, w.out = append(w.in, in), append(w.out, out)
		w.pairs = append(w.pairs, WirePair{In: in, Ready: ready, Out: out})
	}
	return w
}

// memoryRing is what both directions share.
type memoryRing struct {
	wire *memoryWire
	size int
	mu   sync.Mutex
	busy atomic.Int32
	lost map[string][2]uint64 // frames and bytes
}

// use notes that the switch is in one of the ring's methods.
func (r *memoryRing) use() func() {
	if r.wire.removed.Load() {
		r.wire.t.Error("a ring of a removed wire is used")
	}
	if r.busy.Add(1) != 1 {
		r.wire.t.Error("a ring is used by two goroutines at a time")
	}
	r.mu.Lock()
	return func() {
		r.mu.Unlock()
		r.busy.Add(-1)
	}
}

func (r *memoryRing) Size() int                    { return r.size }
func (r *memoryRing) NeedNotify() bool             { return false }
func (r *memoryRing) Disarm()                      {}
func (r *memoryRing) Base() uint32                 { return 0 }
func (r *memoryRing) Remap(*guestmem.Map) error    { return nil }
func (r *memoryRing) lose(why string, n, b uint64) { r.lost = map[string][2]uint64{why: {n, b}} }

func (r *memoryRing) Lost(f func(string, uint64, uint64)) {
	for why, n := range r.lost {
		f(why, n[0], n[1])
	}
}

// memoryIn holds frames from the wire.
type memoryIn struct {
	memoryRing
	event  *eventfd.FD
	queue  [][]byte // waiting
	taken  [][]byte
	images [][]byte // as taken, to see whether they were given back unchanged
	err    error
}

// give has frames come from the wire.
func (r *memoryIn) give(h virtio.NetHdr, frames ...[]byte) {
	r.mu.Lock()
	for _, f := range frames {
		image := make([]byte, virtio.NetHdrSize)
		h.Encode(image)
		r.queue = append(r.queue, append(image, f...))
	}
	r.mu.Unlock()
	if r.event != nil {
		_ = r.event.Signal()
	}
}

func (r *memoryIn) fail(err error) {
	r.mu.Lock()
	r.err = err
	r.mu.Unlock()
	_ = r.event.Signal()
}

func (r *memoryIn) Take(b *vring.Batch, limit int) (int, error) {
	defer r.use()()
	n := min(limit, len(r.queue))
	for i := range n {
		b.Append(uint16(len(r.taken)), r.queue[i:i+1], nil)
		r.taken = append(r.taken, r.queue[i])
		r.images = append(r.images, bytes.Clone(r.queue[i]))
	}
	r.queue = r.queue[n:]
	return n, r.err
}

func (r *memoryIn) Untake(chains []vring.Chain) {
	defer r.use()()
	keep := len(r.taken) - len(chains)
	r.queue = append(slices.Clone(r.taken[keep:]), r.queue...)
	r.taken, r.images = r.taken[:keep], r.images[:keep]
}

func (r *memoryIn) Complete(used []vring.Used) {
	defer r.use()()
	for i, u := range used {
		if int(u.ID) != i || u.Len != 0 || !bytes.Equal(r.taken[i], r.images[i]) {
			r.wire.t.Errorf("frame %d came back as %+v, want it in order and unchanged", i, u)
		}
	}
	r.taken, r.images = r.taken[len(used):], r.images[len(used):]
	if len(r.taken) > 0 {
		r.wire.t.Errorf("%d frames of a batch are missing", len(r.taken))
	}
}

func (r *memoryIn) Arm() bool {
	defer r.use()()
	return len(r.queue) > 0
}

// memoryOut takes frames for the wire.
type memoryOut struct {
	memoryRing
	bufs        [][]byte
	taken, done int
	got         []received
}

func (r *memoryOut) Take(b *vring.Batch, limit int) (int, error) {
	defer r.use()()
	n := min(limit, len(r.bufs)-(r.taken-r.done))
	for range n {
		i := r.taken % len(r.bufs)
		b.Append(uint16(i), nil, r.bufs[i:i+1])
		r.taken++
	}
	return n, nil
}

func (r *memoryOut) Untake(chains []vring.Chain) {
	defer r.use()()
	r.taken -= len(chains)
}

func (r *memoryOut) Complete(used []vring.Used) {
	defer r.use()()
	for _, u := range used {
		if int(u.ID) != r.done%len(r.bufs) {
			r.wire.t.Errorf("buffer %d completed, want %d", u.ID, r.done%len(r.bufs))
		}
		b := bytes.Clone(r.bufs[u.ID][:u.Len])
		r.got = append(r.got, received{hdr: virtio.DecodeNetHdr(b), b: b[12:]})
		r.done++
	}
}

func (r *memoryOut) Arm() bool { return false }

// recv waits for the next frame to the wire.
func (r *memoryOut) recv() (f received) {
	r.wire.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Microsecond) {
		r.mu.Lock()
		if len(r.got) > 0 {
			f, r.got = r.got[0], r.got[1:]
			r.mu.Unlock()
			return f
		}
		r.mu.Unlock()
		if time.Now().After(deadline) {
			r.wire.t.Fatalf("waited %v for a frame to the wire", patience)
		}
	}
}

// addWire adds a port for w that is removed when the test ends.
func addWire(t testing.TB, e *Engine, cfg WireConfig, w *memoryWire) *WirePort {
	t.Helper()
	p, err := e.AddWire(cfg, w)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeWire(e, p, w) })
	return p
}

func removeWire(e *Engine, p *WirePort, w *memoryWire) {
	e.RemoveWire(p)
	w.removed.Store(true)
}

// wireStatus returns the status of the wire's queue i.
func wireStatus(p *WirePort, i int) QueueStatus {
	for _, q := range p.Snapshot().Queues {
		if q.Index == i {
			return q
		}
	}
	return QueueStatus{Index: i, State: "absent"}
}

func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(50 * time.Microsecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// TestWire moves frames between a wire and a guest, and between two wires,
// whether the wire tells of frames or is polled.
func TestWire(t *testing.T) {
	for _, events := range []bool{true, false} {
		t.Run(fmt.Sprintf("events=%v", events), func(t *testing.T) {
			e := newEngine(t, 2)
			a, b := newMemoryWire(t, 1, 4, events), newMemoryWire(t, 1, 4, events)
			pa := addWire(t, e, WireConfig{Name: "a", Kind: "test", Place: "here"}, a)
			addWire(t, e, WireConfig{Name: "b"}, b)
			vm := plug(t, e, 1, nicOptions{})
			for i, size := range []int{14, 60, 1514, 9014, 65549} {
				time.Sleep(time.Duration(i) * time.Millisecond) // polled, the shard is asleep by then
				f := frame(vm.mac, macOf(100), size)
				a.in[0].give(virtio.NetHdr{}, f)
				if got := vm.recv(0); !bytes.Equal(got.b, f) {
					t.Fatalf("frame of %d bytes from the wire: the guest got %d, different", size, len(got.b))
				}
				vm.repost(0)
				f = frame(macOf(100), vm.mac, size)
				vm.send(0, virtio.NetHdr{}, f)
				if got := a.out[0].recv(); !bytes.Equal(got.b, f) {
					t.Fatalf("frame of %d bytes to the wire: it got %d, different", size, len(got.b))
				}
				f = frame(macOf(100), macOf(101), size)
				b.in[0].give(virtio.NetHdr{}, f)
				if got := a.out[0].recv(); !bytes.Equal(got.b, f) {
					t.Fatalf("frame of %d bytes from wire to wire: got %d, different", size, len(got.b))
				}
			}
			st := pa.Snapshot()
			if st.Kind != "test" || st.Place != "here" || st.Features != allOffloads || !st.LinkUp || st.Pairs != 1 || st.MaxPairs != 1 || len(st.Queues) != 2 {
				t.Errorf("status %+v", st)
			}
			if rx, tx := st.Queues[0], st.Queues[1]; rx.Kind != "rx" || rx.Packets != 10 || tx.Kind != "tx" || tx.Packets != 5 || tx.Shard < 0 || tx.State != "running" {
				t.Errorf("queues %+v, want 10 frames received, half of them from b, and 5 sent", st.Queues)
			}
			var names []string
			for _, p := range e.Status() {
				names = append(names, p.Name+" "+p.Kind)
			}
			if want := []string{"a test", "b ", "vm1 vhost-user"}; !slices.Equal(names, want) {
				t.Errorf("Status has %q, want %q", names, want)
			}
		})
	}
}

// TestWireSmallRing sends a wire more frames at a time than it has buffers.
func TestWireSmallRing(t *testing.T) {
	e := newStill(t, 1)
	w := newMemoryWire(t, 1, 3, true)
	w.features = 0
	p := addWire(t, e, WireConfig{Name: "w"}, w)
	vm := plug(t, e, 1, nicOptions{features: baseFeatures | virtio.FeatureCSUM | virtio.FeatureHostTSO4})
	fl := flow{dst: macOf(100), src: vm.mac, from: 1, to: 2, sport: 1, dport: 2}
	const supers, payload, mss = 10, 60_000, 1400
	want := 0
	for i := range supers {
		fl.seq = uint32(i * payload)
		b, h := fl.super(t, bytesOf(payload, uint64(i)), mss)
		vm.queue(0, vm.image(h, b))
		want += (payload + mss - 1) / mss
	}
	vm.ring(0)
	if len(w.out[0].got) != want {
		t.Fatalf("%d segments came out, want %d; status %+v", len(w.out[0].got), want, p.Snapshot())
	}
	seq := uint32(0)
	for _, got := range w.out[0].got {
		tcp := decodeTCP(t, got.b)
		if tcp.Seq != seq {
			t.Fatalf("sequence number %d, want %d", tcp.Seq, seq)
		}
		seq += uint32(len(tcp.Payload))
	}
}

// TestWireOffloads has super-frames pass whole where both sides take them.
func TestWireOffloads(t *testing.T) {
	e := newStill(t, 1)
	w := newMemoryWire(t, 1, 16, true)
	addWire(t, e, WireConfig{Name: "w"}, w)
	vm := plug(t, e, 1, nicOptions{features: baseFeatures | virtio.FeatureCSUM | virtio.FeatureHostTSO4})
	fl := flow{dst: macOf(100), src: vm.mac, from: 1, to: 2, sport: 1, dport: 2}
	b, h := fl.super(t, bytesOf(60_000, 1), 1400)
	vm.send(0, h, b)
	if len(w.out[0].got) != 1 {
		t.Fatalf("%d frames came out, want the super-frame", len(w.out[0].got))
	}
	if got := w.out[0].got[0]; !bytes.Equal(got.b, b) || got.hdr.GSOType != virtio.GSOTCPv4 || got.hdr.GSOSize != 1400 || got.hdr.Flags != virtio.HdrNeedsCsum {
		t.Errorf("the super-frame came out with header %+v", got.hdr)
	}
}

// TestWireMTU drops what the wire is not to get.
func TestWireMTU(t *testing.T) {
	e := newEngine(t, 1)
	w := newMemoryWire(t, 1, 16, true)
	p := addWire(t, e, WireConfig{Name: "w", MTU: 1000}, w)
	vm := plug(t, e, 1, nicOptions{})
	vm.send(0, virtio.NetHdr{}, frame(macOf(100), vm.mac, 1015))
	vm.send(0, virtio.NetHdr{}, tagged(frame(macOf(100), vm.mac, 1014), 0x8100, 5))
	if got := w.out[0].recv(); len(got.b) != 1018 {
		t.Errorf("a frame of %d bytes came out, want the tagged one of 1018", len(got.b))
	}
	if q := wireStatus(p, 0); q.Drops["rx_mtu"] != 1 || p.Snapshot().MTU != 1000 {
		t.Errorf("status %+v, want one frame dropped for its length", q)
	}
}

// TestWireSpread wants several pairs to share the flows, and to carry on when
// one of them breaks.
func TestWireSpread(t *testing.T) {
	e := newEngine(t, 2)
	w := newMemoryWire(t, 4, 16, true)
	p := addWire(t, e, WireConfig{Name: "w"}, w)
	vm := plug(t, e, 1, nicOptions{})
	flood := func() (seen [4]int) {
		before := [4]int{}
		for i, o := range w.out {
			o.mu.Lock()
			before[i] = len(o.got)
			o.mu.Unlock()
		}
		fl := flow{dst: macOf(100), src: vm.mac, from: 1, to: 2, dport: 2}
		for i := range 64 {
			fl.sport = uint16(1000 + i)
			vm.send(0, virtio.NetHdr{}, fl.packet(t, []byte("data")))
		}
		eventually(t, "64 frames", func() bool {
			sum := 0
			for i, o := range w.out {
				o.mu.Lock()
				seen[i] = len(o.got) - before[i]
				o.mu.Unlock()
				sum += seen[i]
			}
			return sum == 64
		})
		return seen
	}
	for i, n := range flood() {
		if n == 0 {
			t.Errorf("no frame of 64 flows on queue %d", i)
		}
	}
	w.in[2].fail(errors.New("cut by the test"))
	eventually(t, "a broken queue", func() bool { return wireStatus(p, 5).State == "broken" })
	if q := wireStatus(p, 5); q.Reason != "cut by the test" {
		t.Errorf("queue %+v", q)
	}
	eventually(t, "the reason in the log", func() bool {
		return e.journal().find("port w queue 5: stopped: cut by the test") != ""
	})
	flood()
	w.in[3].give(virtio.NetHdr{}, frame(vm.mac, macOf(100), 60))
	vm.recv(0)
	// A receive queue that breaks gets no frames any more.
	p.rx[1].breakDown(errors.New("cut by the test"))
	eventually(t, "three receive queues", func() bool { return p.Snapshot().Pairs == 3 })
	if seen := flood(); seen[1] != 0 {
		t.Errorf("%d frames on a broken queue", seen[1])
	}
}

// TestWireLosses wants what a wire loses among the drops, and frames that
// were counted as received no more.
func TestWireLosses(t *testing.T) {
	e := newEngine(t, 1)
	w := newMemoryWire(t, 1, 16, true)
	p := addWire(t, e, WireConfig{Name: "w"}, w)
	vm := plug(t, e, 1, nicOptions{})
	for range 3 {
		vm.send(0, virtio.NetHdr{}, frame(macOf(100), vm.mac, 100))
		w.out[0].recv()
	}
	eventually(t, "the count", func() bool { return wireStatus(p, 0).Packets == 3 })
	for _, r := range []*memoryRing{&w.out[0].memoryRing, &w.in[0].memoryRing} {
		r.mu.Lock()
		r.lose("busy", 2, 200)
		r.mu.Unlock()
	}
	if q := wireStatus(p, 0); q.Packets != 1 || q.Bytes != 100 || q.Drops["wire_busy"] != 2 {
		t.Errorf("receive queue %+v, want 2 of 3 frames lost", q)
	}
	if q := wireStatus(p, 1); q.Packets != 0 || q.Drops["wire_busy"] != 2 {
		t.Errorf("transmit queue %+v, want 2 frames lost before they were taken", q)
	}
}

// TestWireLink wants no frames while the link is down.
func TestWireLink(t *testing.T) {
	e := newEngine(t, 1)
	w := newMemoryWire(t, 1, 16, true)
	p := addWire(t, e, WireConfig{Name: "w", LinkDown: true}, w)
	vm := plug(t, e, 1, nicOptions{})
	vm.send(0, virtio.NetHdr{}, frame(macOf(100), vm.mac, 60))
	w.in[0].give(virtio.NetHdr{}, frame(vm.mac, macOf(100), 60))
	eventually(t, "both drops", func() bool {
		return wireStatus(p, 0).Drops["rx_link_down"] == 1 && wireStatus(p, 1).Drops["tx_link_down"] == 1
	})
	p.SetLink(true)
	p.SetLink(true)
	w.in[0].give(virtio.NetHdr{}, frame(vm.mac, macOf(100), 60))
	vm.recv(0)
	vm.send(0, virtio.NetHdr{}, frame(macOf(100), vm.mac, 60))
	w.out[0].recv()
	if len(e.MACTable()) != 2 {
		t.Errorf("MAC table %+v, want two addresses", e.MACTable())
	}
	p.SetLink(false)
	if table := e.MACTable(); len(table) != 1 || table[0].Port != "vm1" {
		t.Errorf("MAC table %+v, want the guest's address alone", table)
	}
	if want := []bool{false, true, false}; !slices.Equal(w.links, want) {
		t.Errorf("the wire was told %v, want %v", w.links, want)
	}
}

// TestWireRefused wants nothing left of a wire that could not be added.
func TestWireRefused(t *testing.T) {
	e := newEngine(t, 1)
	w := newMemoryWire(t, 2, 16, true)
	w.pairs[1].Ready = 1 << 20 // no such descriptor
	for what, cfg := range map[string]WireConfig{"no descriptor": {Name: "w"}, "no name": {}} {
		if p, err := e.AddWire(cfg, w); err == nil {
			t.Errorf("%s: AddWire(%+v) = %v, want an error", what, cfg, p)
		}
	}
	w.removed.Store(true)
	w.in[0].give(virtio.NetHdr{}, frame(macOf(1), macOf(100), 60))
	if p, err := e.AddWire(WireConfig{Name: "w"}, &memoryWire{t: t}); err == nil {
		t.Errorf("AddWire of a wire without pairs = %v, want an error", p)
	}
	plug(t, e, 1, nicOptions{})
	if p, err := e.AddWire(WireConfig{Name: "vm1"}, newMemoryWire(t, 1, 1, true)); err == nil {
		t.Errorf("AddWire of a name there is = %v, want an error", p)
	}
	if st := e.Status(); len(st) != 1 {
		t.Errorf("ports %+v, want vm1 alone", st)
	}
	e2 := newEngine(t, 1)
	e2.Close()
	if p, err := e2.AddWire(WireConfig{Name: "w"}, newMemoryWire(t, 1, 1, true)); err == nil {
		t.Errorf("AddWire to a closed engine = %v, want an error", p)
	}
}

// TestRemoveWire takes a wire out that others send to, and puts another in its
// place.
func TestRemoveWire(t *testing.T) {
	e := newEngine(t, 1)
	w := newMemoryWire(t, 1, 16, true)
	p := addWire(t, e, WireConfig{Name: "w"}, w)
	vm := plug(t, e, 1, nicOptions{})
	w.in[0].give(virtio.NetHdr{}, frame(vm.mac, macOf(100), 60))
	vm.recv(0)
	vm.send(0, virtio.NetHdr{}, frame(macOf(100), vm.mac, 60))
	w.out[0].recv()
	removeWire(e, p, w)
	// The descriptor's number may be somebody else's now.
	again := newMemoryWire(t, 1, 16, true)
	again.pairs[0].Ready = w.pairs[0].Ready
	again.in[0].event = w.in[0].event
	p2 := addWire(t, e, WireConfig{Name: "w"}, again)
	e.RemoveWire(p)
	p.SetLink(false)
	if len(e.MACTable()) != 1 || len(e.Status()) != 2 {
		t.Errorf("ports %+v and addresses %+v, want 2 and the guest's", e.Status(), e.MACTable())
	}
	// Unknown again, its address is looked for everywhere.
	vm.send(0, virtio.NetHdr{}, frame(macOf(100), vm.mac, 60))
	again.out[0].recv()
	again.in[0].give(virtio.NetHdr{}, frame(vm.mac, macOf(100), 60))
	vm.recv(0)
	if st := p2.Snapshot(); st.Pairs != 1 || p.Snapshot().Pairs != 0 {
		t.Errorf("status %+v", st)
	}
}

// TestWireChurn adds and removes wires, with and without events, while frames
// go to and from them.
func TestWireChurn(t *testing.T) {
	e := newEngine(t, 2)
	stay := newMemoryWire(t, 2, 16, true)
	addWire(t, e, WireConfig{Name: "stay"}, stay)
	var stop atomic.Bool
	var traffic sync.WaitGroup
	for i := range 2 {
		traffic.Go(func() {
			for n := 0; !stop.Load(); n++ {
				stay.in[i].give(virtio.NetHdr{}, frame(macOf(200+n%3), macOf(100), 60+n%1000), frame(broadcast, macOf(100), 60))
				time.Sleep(20 * time.Microsecond)
			}
		})
	}
	for n := range fewer(400) {
		w := newMemoryWire(t, 1+n%3, 4, n%2 == 0)
		p, err := e.AddWire(WireConfig{Name: "come and go"}, w)
		if err != nil {
			t.Fatal(err)
		}
		w.in[0].give(virtio.NetHdr{}, frame(macOf(100), macOf(200+n%3), 60))
		if n%4 == 0 {
			w.out[0].recv()
			p.SetLink(false)
		}
		removeWire(e, p, w)
	}
	stop.Store(true)
	traffic.Wait()
	if st := e.Status(); len(st) != 1 {
		t.Errorf("ports %+v, want one", st)
	}
}
