package queues

import (
	"encoding/binary"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/eventfd"
	"vhost-user-nvgre/virtio/guestmem"
	"vhost-user-nvgre/virtio/vringtest"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// nic is a driver with its memory on a port, and the caller of the port's
// methods that a vhost-user session would be.
type nic struct {
	t      testing.TB
	port   *Port
	mac    virtio.MAC
	mem    *vringtest.Memory
	region *guestmem.Region
	guest  *guestmem.Map
	f      virtio.Features
	hdr    int // length of the packet header
	rxBuf  uint32
	rings  map[int]*ring

	told  atomic.Int64 // notifications of configuration changes
	heard int64        // those that the test looked for

	arena, used uint64 // where frames to send lie, and how much of it is taken
}

// arenaSize bounds the bytes of frames that are on their way at a time.
const arenaSize = 2 << 20

// ring is a virtqueue with its eventfds.
type ring struct {
	*vringtest.Driver
	kick, call, err *eventfd.FD
	index           int
	bufs            map[uint16][]vringtest.Elem // receive buffers by head
	popped          [][]vringtest.Elem          // receive buffers given back
}

// close may be called more than once.
func (r *ring) close() {
	for _, e := range []**eventfd.FD{&r.kick, &r.call, &r.err} {
		(*e).Close()
		*e = nil
	}
}

// ConfigChanged is what a port calls of its front end.
func (n *nic) ConfigChanged() {
	n.told.Add(1)
}

// nicOptions describe a nic; zero values are completed.
type nicOptions struct {
	pairs    int
	features virtio.Features // acknowledged
	size     uint32          // of each ring
	rxBuf    uint32          // bytes of a receive buffer; noBuffers: none are posted
	mtu      int
	memory   uint64
	bare     bool // no rings yet
}

const noBuffers = 1<<32 - 1

const baseFeatures = virtio.FeatureVersion1 | virtio.FeatureMrgRxbuf | virtio.FeatureIndirectDesc | virtio.FeatureEventIdx

func macOf(id int) virtio.MAC { return virtio.MAC{0x52, 0x54, 0, 0, byte(id >> 8), byte(id)} }

// plug adds a port and starts a driver on it, all rings enabled.
func plug(t testing.TB, e *Engine, id int, o nicOptions) *nic {
	t.Helper()
	o.pairs = max(1, o.pairs)
	mac := macOf(id)
	p, err := e.AddPort(PortConfig{Name: fmt.Sprintf("vm%d", id), QueuePairs: o.pairs, MAC: mac, MTU: o.mtu, Speed: virtio.SpeedUnknown})
	if err != nil {
		t.Fatal(err)
	}
	n := attach(t, p, o)
	if o.bare {
		return n
	}
	for i := range 2 * o.pairs {
		n.startRing(i, o.size)
		if i%2 == 0 && o.rxBuf != noBuffers {
			n.rings[i].fill(n.rxBuf)
		}
		p.SetQueueEnabled(i, true)
	}
	return n
}

// attach makes a driver the user of a port, its rings not started.
func attach(t testing.TB, p *Port, o nicOptions) *nic {
	t.Helper()
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
	mem, err := vringtest.NewMemory(0x10_0000, o.memory)
	if err != nil {
		t.Fatal(err)
	}
	n := &nic{
		t: t, port: p, mac: p.cfg.MAC, mem: mem, f: o.features,
		hdr: virtio.NetHdrLen(o.features), rxBuf: o.rxBuf, rings: map[int]*ring{},
	}
	t.Cleanup(n.unplug)
	if n.guest, err = mem.Map(); err != nil {
		t.Fatal(err)
	}
	n.region = n.guest.Regions()[0]
	n.arena = mem.Alloc(arenaSize, 64)
	p.Attach(n)
	if err := p.SetFeatures(o.features); err != nil {
		t.Fatal(err)
	}
	p.SetMemory(n.guest)
	return n
}

// unplug detaches the driver and frees its memory, after looking whether a
// queue broke by a fault of ours.
func (n *nic) unplug() {
	if n.mem == nil {
		return
	}
	for _, q := range n.port.Snapshot().Queues {
		for _, what := range ours {
			if strings.Contains(q.Reason, what) && !n.port.engine.journal().faulty {
				n.t.Errorf("port %s queue %d: %s", n.port.Name(), q.Index, q.Reason)
			}
		}
	}
	n.port.Detach()
	for _, r := range n.rings {
		r.close()
	}
	n.region.Unmap()
	n.mem.Close()
	n.mem = nil
}

// remove unplugs the driver and takes the port away.
func (n *nic) remove() {
	n.unplug()
	n.port.engine.RemovePort(n.port)
}

func (n *nic) eventfd() *eventfd.FD {
	n.t.Helper()
	e, err := eventfd.New()
	if err != nil {
		n.t.Fatal(err)
	}
	return e
}

// layRing makes a ring for virtqueue i without starting it.
func (n *nic) layRing(i int, size uint32) *ring {
	n.t.Helper()
	if size == 0 {
		size = 256
	}
	if old := n.rings[i]; old != nil {
		n.t.Cleanup(old.close)
	}
	r := &ring{
		Driver: vringtest.NewDriver(n.mem, size, n.f), index: i,
		kick: n.eventfd(), call: n.eventfd(), err: n.eventfd(),
		bufs: map[uint16][]vringtest.Elem{},
	}
	n.rings[i] = r
	return r
}

func (n *nic) startRing(i int, size uint32) *ring {
	n.t.Helper()
	r := n.layRing(i, size)
	n.port.SetQueueCall(i, r.call)
	n.port.SetQueueErr(i, r.err)
	n.resume(i, 0)
	return r
}

// resume starts a ring that exists at a position.
func (n *nic) resume(i int, base uint32) {
	n.t.Helper()
	r := n.rings[i]
	c := r.Config()
	c.Base = base
	if err := n.port.StartQueue(i, c, r.kick); err != nil {
		n.t.Fatal(err)
	}
}

func (n *nic) rx(pair int) *ring { return n.rings[2*pair] }
func (n *nic) tx(pair int) *ring { return n.rings[2*pair+1] }

// fill posts receive buffers of one element until the ring is full.
func (r *ring) fill(size uint32) {
	for r.Free() > 0 {
		r.post(vringtest.Elem{Addr: r.Mem.Alloc(uint64(size), 64), Len: size, Write: true})
	}
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

// room posts a buffer of elements of the given sizes in fresh memory.
func (r *ring) room(sizes ...uint32) { r.post(r.elements(sizes)...) }

// roomInTable is room with the elements in an indirect table.
func (r *ring) roomInTable(sizes ...uint32) {
	elems := r.elements(sizes)
	head, ok := r.AddIndirect(nil, elems...)
	if !ok {
		panic("ring full")
	}
	r.bufs[head] = elems
	r.Publish()
}

func (r *ring) elements(sizes []uint32) (elems []vringtest.Elem) {
	for _, n := range sizes {
		elems = append(elems, vringtest.Elem{Addr: r.Mem.Alloc(uint64(n), 1), Len: n, Write: true})
	}
	return elems
}

// frame returns an Ethernet frame of n bytes, at least 14, with a recognisable
// content that is no IP.
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

// tagged returns b with a VLAN tag.
func tagged(b []byte, kind, tci uint16) []byte {
	out := append([]byte{}, b[:12]...)
	out = binary.BigEndian.AppendUint16(out, kind)
	out = binary.BigEndian.AppendUint16(out, tci)
	return append(out, b[12:]...)
}

// place copies b to guest memory that nothing on its way occupies.
func (n *nic) place(b []byte) uint64 {
	if n.used+uint64(len(b)) > arenaSize {
		n.used = 0
	}
	at := n.arena + n.used
	copy(n.mem.At(at, uint64(len(b))), b)
	n.used += uint64(len(b))
	return at
}

// image returns header and frame as a driver lays them out.
func (n *nic) image(h virtio.NetHdr, b []byte) []byte {
	image := make([]byte, n.hdr)
	h.Encode(image)
	return append(image, b...)
}

// send puts header and frame into pieces of guest memory of the given sizes
// (the last one is what remains) and hands them to the device.
func (n *nic) send(pair int, h virtio.NetHdr, b []byte, pieces ...int) {
	n.t.Helper()
	n.sendRaw(pair, n.image(h, b), pieces...)
}

// sendRaw is send for what may be no frame.
func (n *nic) sendRaw(pair int, image []byte, pieces ...int) {
	n.t.Helper()
	n.queue(pair, image, pieces...)
	n.ring(pair)
}

// queue is sendRaw without telling the device.
func (n *nic) queue(pair int, image []byte, pieces ...int) {
	n.t.Helper()
	r := n.tx(pair)
	n.reap(pair)
	var elems []vringtest.Elem
	for len(image) > 0 {
		k := len(image)
		if len(pieces) > 0 {
			k, pieces = min(k, pieces[0]), pieces[1:]
		}
		elems = append(elems, vringtest.Elem{Addr: n.place(image[:k]), Len: uint32(k)})
		image = image[k:]
	}
	if _, ok := r.Add(elems...); !ok {
		n.t.Fatal("transmit ring full")
	}
}

// ring publishes what is queued and kicks the device if it wants that.
func (n *nic) ring(pair int) {
	r := n.tx(pair)
	r.Publish()
	if r.NeedKick() {
		r.kick.Signal()
	}
	settle(n.port.engine)
}

// reap takes back what the device sent; none of it may have been written to.
func (n *nic) reap(pair int) (count int) {
	n.t.Helper()
	for {
		id, size, ok := n.tx(pair).Pop()
		if !ok {
			return count
		}
		if size != 0 {
			n.t.Errorf("port %s pair %d: transmit buffer %d came back with %d bytes written, want 0", n.port.Name(), pair, id, size)
		}
		count++
	}
}

// reaped waits until everything sent has come back.
func (n *nic) reaped(pair int) {
	n.t.Helper()
	r := n.tx(pair)
	n.wait("transmit buffers", func() bool {
		n.reap(pair)
		return r.UsedIndex() == r.AvailIndex()
	})
}

// wait polls until something holds.
func (n *nic) wait(what string, done func() bool) {
	n.t.Helper()
	settle(n.port.engine)
	for deadline := time.Now().Add(patience); !done(); lapse(n.port.engine) {
		if time.Now().After(deadline) {
			n.t.Fatalf("port %s: waited %v for %s: %+v", n.port.Name(), patience, what, n.port.Snapshot())
		}
	}
}

// received is a frame as the driver finds it.
type received struct {
	hdr     virtio.NetHdr
	buffers int   // num_buffers, 0 in a header that has none
	used    []int // bytes in each buffer
	b       []byte
}

// poll returns the next frame of a pair if there is one.
func (n *nic) poll(pair int) (f received, ok bool) {
	n.t.Helper()
	r := n.rx(pair)
	var image []byte
	for want := 1; len(f.used) < want; {
		id, size, ok := r.Pop()
		if !ok {
			if len(f.used) > 0 {
				n.t.Fatalf("port %s pair %d: %d of %d buffers of a frame are there", n.port.Name(), pair, len(f.used), want)
			}
			return f, false
		}
		elems, known := r.bufs[uint16(id)]
		if !known || id > 0xffff {
			n.t.Fatalf("port %s pair %d: buffer %d came back, which was not posted", n.port.Name(), pair, id)
		}
		left := size
		for _, e := range elems {
			k := min(left, e.Len)
			image = append(image, n.mem.At(e.Addr, uint64(k))...)
			left -= k
		}
		if left > 0 {
			n.t.Fatalf("port %s pair %d: buffer %d came back with %d bytes more than it has", n.port.Name(), pair, id, left)
		}
		r.popped = append(r.popped, elems)
		delete(r.bufs, uint16(id))
		f.used = append(f.used, int(size))
		if len(f.used) == 1 {
			if len(image) < n.hdr {
				n.t.Fatalf("port %s pair %d: %d bytes received, less than a header", n.port.Name(), pair, len(image))
			}
			if n.f.Has(virtio.FeatureMrgRxbuf) {
				want = max(1, int(binary.LittleEndian.Uint16(image[10:])))
			}
		}
	}
	f.hdr = virtio.DecodeNetHdr(image)
	if n.hdr >= virtio.NetHdrSize {
		f.hdr.NumBuffers = binary.LittleEndian.Uint16(image[10:])
	}
	if n.hdr >= virtio.NetHdrHashSize {
		f.hdr.HashValue = binary.LittleEndian.Uint32(image[12:])
		f.hdr.HashReport = binary.LittleEndian.Uint16(image[16:])
	}
	f.buffers = int(f.hdr.NumBuffers)
	f.b = image[n.hdr:]
	return f, true
}

// recv waits for the next frame of a pair.
func (n *nic) recv(pair int) (f received) {
	n.t.Helper()
	n.wait("a frame", func() (ok bool) {
		f, ok = n.poll(pair)
		return ok
	})
	return f
}

// all returns what is there on a pair and makes its buffers available again.
func (n *nic) all(pair int) (list []received) {
	n.t.Helper()
	settle(n.port.engine)
	for {
		f, ok := n.poll(pair)
		if !ok {
			n.repost(pair)
			return list
		}
		list = append(list, f)
	}
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
	settle(n.port.engine)
	if f, ok := n.poll(pair); ok {
		n.t.Errorf("port %s pair %d: got %+v, want nothing", n.port.Name(), pair, f)
	}
}

// dropped returns how many frames the port counts as dropped, by reason.
func (n *nic) dropped() map[string]uint64 {
	sum := map[string]uint64{}
	for _, q := range n.port.Snapshot().Queues {
		for why, count := range q.Drops {
			sum[why] += count
		}
	}
	return sum
}

// drops waits until the port counts a number of drops for a reason, at any
// queue.
func (n *nic) drops(why dropReason, want uint64) {
	n.t.Helper()
	n.wait(fmt.Sprintf("%d drops by %v", want, why), func() bool { return n.dropped()[why.String()] == want })
}

// queueStatus returns the status of virtqueue i.
func (n *nic) queueStatus(i int) QueueStatus {
	for _, q := range n.port.Snapshot().Queues {
		if q.Index == i {
			return q
		}
	}
	return QueueStatus{Index: i, State: "absent"}
}

// broke waits until virtqueue i is broken for a reason that has the text, and
// checks that the driver and the front end were told (VNET-006).
func (n *nic) broke(i int, reason string) {
	n.t.Helper()
	n.wait("the end of the queue", func() bool { return n.queueStatus(i).State == "broken" })
	if got := n.queueStatus(i).Reason; !strings.Contains(got, reason) {
		n.t.Errorf("port %s queue %d: broken by %q, want %q", n.port.Name(), i, got, reason)
	}
	if !n.rings[i].err.Drain() {
		n.t.Errorf("port %s queue %d: broken, but its error eventfd was not signalled", n.port.Name(), i)
	}
	n.wait("NEEDS_RESET", func() bool { return n.port.Status()&statusNeedsReset != 0 })
	n.changed()
}

// changed waits for one more notification of a configuration change.
func (n *nic) changed() {
	n.t.Helper()
	n.heard++
	n.wait("a notification of a configuration change", func() bool { return n.told.Load() >= n.heard })
}

// unheard reports whether there was a notification that the test did not look
// for.
func (n *nic) unheard() bool { return n.told.Load() > n.heard }

// elem is an element that the device reads.
func elem(addr uint64, n int) vringtest.Elem { return vringtest.Elem{Addr: addr, Len: uint32(n)} }
