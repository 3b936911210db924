package queues

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/eventfd"
	"vhost-user-nvgre/virtio/guestmem"
	"vhost-user-nvgre/virtio/vringtest"
)

// testLog sends the engine's log to the test.
type testLog struct{ testing.TB }

func (l testLog) Debugf(f string, a ...any) { l.Helper(); l.Logf("debug: "+f, a...) }
func (l testLog) Infof(f string, a ...any)  { l.Helper(); l.Logf("info: "+f, a...) }
func (l testLog) Warnf(f string, a ...any)  { l.Helper(); l.Logf("warning: "+f, a...) }

// quiet drops what the engine logs.
type quiet struct{}

func (quiet) Debugf(string, ...any) {}
func (quiet) Infof(string, ...any)  {}
func (quiet) Warnf(string, ...any)  {}

// newEngine returns an engine that is closed when the test ends.
func newEngine(t testing.TB, shards int) *Engine {
	t.Helper()
	e, err := New(Config{
		Shards: shards, PollMax: 50 * time.Microsecond,
		MACTable: 1024, MACAge: 300 * time.Second, Log: quiet{},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

// nic is a driver with its memory on a port: the caller of Port's methods
// that a vhost-user session would be.
type nic struct {
	t       testing.TB
	port    *Port
	mac     virtio.MAC
	mem     *vringtest.Memory
	region  *guestmem.Region
	f       virtio.Features
	hdr     int
	rings   map[int]*ring
	changes chan struct{} // configuration changes
}

// ring is a virtqueue with its eventfds.
type ring struct {
	*vringtest.Driver
	kick, call, err *eventfd.FD
	index           int
	bufs            map[uint16][]vringtest.Elem // receive buffers by head
	popped          [][]vringtest.Elem          // receive buffers given back
}

func (n *nic) ConfigChanged() {
	select {
	case n.changes <- struct{}{}:
	default:
	}
}

// nicOptions describe a nic; zero values are completed.
type nicOptions struct {
	pairs    int
	features virtio.Features // acknowledged
	size     uint32          // of each ring
	rxBuf    uint32          // bytes of a receive buffer
	mtu      int
	memory   uint64
}

const baseFeatures = virtio.FeatureVersion1 | virtio.FeatureMrgRxbuf | virtio.FeatureIndirectDesc | virtio.FeatureEventIdx

// plug adds a port and starts a driver on it, all rings enabled.
func plug(t testing.TB, e *Engine, id int, o nicOptions) *nic {
	t.Helper()
	o.pairs = max(1, o.pairs)
	if o.features == 0 {
		o.features = baseFeatures
	}
	if o.size == 0 {
		o.size = 256
	}
	if o.rxBuf == 0 {
		o.rxBuf = 2048
	}
	if o.memory == 0 {
		o.memory = 16 << 20
	}
	mac := virtio.MAC{0x52, 0x54, 0, 0, 0, byte(id)}
	p, err := e.AddPort(PortConfig{Name: fmt.Sprintf("vm%d", id), QueuePairs: o.pairs, MAC: mac, MTU: o.mtu, Speed: virtio.SpeedUnknown})
	if err != nil {
		t.Fatal(err)
	}
	mem, err := vringtest.NewMemory(0x10_0000, o.memory)
	if err != nil {
		t.Fatal(err)
	}
	region, err := guestmem.MapRegion(mem.FD, mem.Info)
	if err != nil {
		t.Fatal(err)
	}
	n := &nic{
		t: t, port: p, mac: mac, mem: mem, region: region, f: o.features,
		hdr: virtio.NetHdrLen(o.features), rings: map[int]*ring{}, changes: make(chan struct{}, 1),
	}
	t.Cleanup(n.unplug)
	m, err := guestmem.NewMap(region)
	if err != nil {
		t.Fatal(err)
	}
	p.Attach(n)
	if err := p.SetFeatures(o.features); err != nil {
		t.Fatal(err)
	}
	p.SetMemory(m)
	for i := range 2 * o.pairs {
		n.startRing(i, o.size)
		if i%2 == 0 {
			n.rings[i].fill(o.rxBuf)
		}
		p.SetQueueEnabled(i, true)
	}
	return n
}

func (n *nic) unplug() {
	n.port.Detach()
	for _, r := range n.rings {
		r.kick.Close()
		r.call.Close()
		r.err.Close()
	}
	n.region.Unmap()
	n.mem.Close()
}

func (n *nic) eventfd() *eventfd.FD {
	e, err := eventfd.New()
	if err != nil {
		n.t.Fatal(err)
	}
	return e
}

func (n *nic) startRing(i int, size uint32) *ring {
	n.t.Helper()
	r := &ring{
		Driver: vringtest.NewDriver(n.mem, size, n.f), index: i,
		kick: n.eventfd(), call: n.eventfd(), err: n.eventfd(),
		bufs: map[uint16][]vringtest.Elem{},
	}
	n.rings[i] = r
	n.port.SetQueueCall(i, r.call)
	n.port.SetQueueErr(i, r.err)
	if err := n.port.StartQueue(i, r.Config(), r.kick); err != nil {
		n.t.Fatal(err)
	}
	return r
}

func (n *nic) rx(pair int) *ring { return n.rings[2*pair] }
func (n *nic) tx(pair int) *ring { return n.rings[2*pair+1] }

// fill posts receive buffers of one element until the ring is full.
func (r *ring) fill(size uint32) {
	for r.Free() > 0 {
		e := vringtest.Elem{Addr: r.Mem.Alloc(uint64(size), 64), Len: size, Write: true}
		head, _ := r.Add(e)
		r.bufs[head] = []vringtest.Elem{e}
	}
	r.Publish()
}

// post makes one buffer of the given elements available.
func (r *ring) post(elems ...vringtest.Elem) {
	head, ok := r.Add(elems...)
	if !ok {
		panic("ring full")
	}
	r.bufs[head] = elems
	r.Publish()
}

// frame returns an Ethernet frame of n bytes with a recognisable content.
func frame(dst, src virtio.MAC, n int) []byte {
	b := make([]byte, n)
	copy(b, dst[:])
	copy(b[6:], src[:])
	binary.BigEndian.PutUint16(b[12:], 0x88b5) // local experimental
	for i := 14; i < n; i++ {
		b[i] = byte(i * 7)
	}
	return b
}

// send puts header and frame into pieces of guest memory of the given sizes
// (the last one is what remains) and hands them to the device.
func (n *nic) send(pair int, h virtio.NetHdr, b []byte, pieces ...int) {
	n.t.Helper()
	r := n.tx(pair)
	for {
		if _, _, ok := r.Pop(); !ok {
			break
		}
	}
	image := make([]byte, n.hdr)
	h.Encode(image)
	image = append(image, b...)
	var elems []vringtest.Elem
	for len(image) > 0 {
		k := len(image)
		if len(pieces) > 0 {
			k, pieces = min(k, pieces[0]), pieces[1:]
		}
		elems = append(elems, vringtest.Elem{Addr: n.mem.Write(image[:k]), Len: uint32(k)})
		image = image[k:]
	}
	if _, ok := r.Add(elems...); !ok {
		n.t.Fatal("transmit ring full")
	}
	r.Publish()
	if r.NeedKick() {
		r.kick.Signal()
	}
}

// received is a frame as the driver finds it.
type received struct {
	hdr     virtio.NetHdr
	buffers int // num_buffers
	b       []byte
}

const patience = 5 * time.Second

// recv waits for the next frame of a pair.
func (n *nic) recv(pair int) received {
	n.t.Helper()
	r := n.rx(pair)
	deadline := time.Now().Add(patience)
	var image []byte
	want := 1
	for got := 0; got < want; got++ {
		var id, size uint32
		for {
			var ok bool
			if id, size, ok = r.Pop(); ok {
				break
			}
			if time.Now().After(deadline) {
				n.t.Fatalf("port %s: no frame within %v", n.port.Name(), patience)
			}
			r.SetInterrupts(true)
			r.call.Wait(1)
		}
		left := size
		for _, e := range r.bufs[uint16(id)] {
			k := min(left, e.Len)
			image = append(image, n.mem.At(e.Addr, uint64(k))...)
			left -= k
		}
		r.popped = append(r.popped, r.bufs[uint16(id)])
		delete(r.bufs, uint16(id))
		if got == 0 && n.f.Has(virtio.FeatureMrgRxbuf) {
			want = int(binary.LittleEndian.Uint16(image[10:]))
		}
	}
	h := virtio.DecodeNetHdr(image)
	if n.hdr >= virtio.NetHdrSize {
		h.NumBuffers = binary.LittleEndian.Uint16(image[10:])
	}
	if n.hdr >= virtio.NetHdrHashSize {
		h.HashValue = binary.LittleEndian.Uint32(image[12:])
		h.HashReport = binary.LittleEndian.Uint16(image[16:])
	}
	return received{hdr: h, buffers: int(h.NumBuffers), b: image[n.hdr:]}
}

// repost makes the receive buffers that came back available again.
func (n *nic) repost(pair int) {
	r := n.rx(pair)
	for _, elems := range r.popped {
		r.post(elems...)
	}
	r.popped = nil
}

// silent fails the test if a frame is waiting.
func (n *nic) silent(pair int) {
	n.t.Helper()
	if id, size, ok := n.rx(pair).Pop(); ok {
		n.t.Errorf("port %s pair %d: got buffer %d with %d bytes, want nothing", n.port.Name(), pair, id, size)
	}
}

// drops waits until the port counts n drops for a reason, at any queue.
func (n *nic) drops(why dropReason, want uint64) {
	n.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		var got uint64
		st := n.port.Snapshot()
		for _, q := range st.Queues {
			got += q.Drops[why.String()]
		}
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			n.t.Fatalf("port %s: %d drops for %v, want %d: %+v", n.port.Name(), got, why, want, st.Queues)
		}
		time.Sleep(time.Millisecond)
	}
}
