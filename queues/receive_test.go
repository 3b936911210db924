package queues

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/vring"
	"vhost-user-nvgre/virtio/vringtest"
)

// hashFeatures make the packet header longer.
const hashFeatures = baseFeatures | virtio.FeatureCtrlVQ | virtio.FeatureHashReport

// layout describes the elements of a receive buffer by their sizes.
type layout []uint32

func (l layout) size() (n int) {
	for _, s := range l {
		n += int(s)
	}
	return n
}

// expected is what the specification makes of a frame that needs want bytes,
// header included, and of buffers in order: how many of them it takes, or why
// it is dropped.
func expected(want int, mergeable bool, bufs []layout) (take int, why dropReason) {
	if len(bufs) == 0 {
		return 0, dropRxFull
	}
	if !mergeable {
		if bufs[0].size() < want {
			return 0, dropRxSmall
		}
		return 1, dropNone
	}
	for have := 0; have < want; take++ {
		if take == len(bufs) {
			return 0, dropRxFull
		}
		have += bufs[take].size()
	}
	return take, dropNone
}

// Buffers of every kind of size and split, with and without mergeable ones,
// in each layout of the packet header: the frame is whole, num_buffers says
// over how many buffers it goes, all but the last are full; or there is no
// trace of it and it is counted.
//
// Shows: VNET-010, VNET-011, VNET-029, VNET-051, VNET-060, VNET-061, VNET-062, VNET-071
// Hostile: CVE-2022-2132
func TestReceiveLayouts(t *testing.T) {
	headerSplit := layout{}
	for range 14 {
		headerSplit = append(headerSplit, 1)
	}
	layouts := []layout{
		{12},
		{13},
		{14},
		{17},
		{26},
		{27},
		{61},
		{511},
		{1526},
		{2048},
		{4096},
		{66_000},
		{1, 11},
		{11, 1, 30},
		{12, 100},
		{10, 2, 14, 1000},
		{13, 1, 1, 3000},
		append(headerSplit, 1500), append(headerSplit, 1, 1, 1),
	}
	for _, f := range []virtio.Features{
		baseFeatures, // mergeable
		baseFeatures &^ virtio.FeatureIndirectDesc &^ virtio.FeatureEventIdx,
		virtio.FeatureMrgRxbuf,
		baseFeatures &^ virtio.FeatureMrgRxbuf,
		0, // legacy header
		hashFeatures,
		hashFeatures &^ virtio.FeatureMrgRxbuf,
	} {
		e := newStill(t, 1)
		a := plug(t, e, 1, nicOptions{})
		b := plug(t, e, 2, nicOptions{features: f | 1<<29, size: 1024, rxBuf: noBuffers, memory: 128 << 20})
		// What goes to two ports does not wait for room.
		plug(t, e, 3, nicOptions{rxBuf: noBuffers})
		mergeable := f.Has(virtio.FeatureMrgRxbuf)
		rnd := rand.New(rand.NewPCG(uint64(f), 0))
		for _, l := range layouts {
			for _, size := range []int{14, 15, 60, l.size() - b.hdr - 1, l.size() - b.hdr, l.size() - b.hdr + 1, 3*l.size() - b.hdr, 3*l.size() - b.hdr + 1, 1514, 9014} {
				if raceEnabled && rnd.IntN(4) > 0 || size < 14 || size > offload.MaxFrame || l.size() < b.hdr {
					continue
				}
				// Some buffers of one layout with another one in between.
				var bufs []layout
				for len(b.rx(0).bufs) < 40 && b.rx(0).Free() > len(l) {
					next := l
					if rnd.IntN(5) == 0 {
						next = layout{uint32(b.hdr) + rnd.Uint32N(900)}
					}
					b.rx(0).room(next...)
					bufs = append(bufs, next)
				}
				for len(bufs) > 0 {
					what := fmt.Sprintf("features %s, frame of %d bytes, buffers %v...", b.f, size, bufs[0])
					want := frame(b.mac, a.mac, size)
					before := b.dropped()
					a.send(0, virtio.NetHdr{}, want)
					take, why := expected(size+b.hdr, mergeable, bufs)
					if why != dropNone {
						if used := b.rx(0).UsedIndex(); int(used) != int(uint16(b.rx(0).AvailIndex()-uint16(len(bufs)))) {
							t.Fatalf("%s: %d buffers used, want none", what, used)
						}
						if got := b.dropped()[why.String()] - before[why.String()]; got != 1 {
							t.Fatalf("%s: dropped %v, want 1 more for %s than %v", what, b.dropped(), why, before)
						}
						break
					}
					got, ok := b.poll(0)
					if !ok || !bytes.Equal(got.b, want) {
						t.Fatalf("%s: got %x, want %x", what, got.b, want)
					}
					num := take
					if b.hdr < virtio.NetHdrSize {
						num = 0 // there is no such field
					}
					if got.hdr != (virtio.NetHdr{NumBuffers: uint16(num)}) || len(got.used) != take {
						t.Fatalf("%s: header %+v, %d buffers; want zeros and num_buffers %d", what, got.hdr, len(got.used), take)
					}
					for i, n := range got.used[:take-1] {
						if n != bufs[i].size() {
							t.Fatalf("%s: buffer %d holds %d bytes, want all of its %d", what, i, n, bufs[i].size())
						}
					}
					bufs = bufs[take:]
				}
				// What is left goes with the ring.
				b.port.StopQueue(0)
				b.rx(0).close()
				delete(b.rings, 0)
				b.startRing(0, 1024)
			}
		}
	}
}

// A buffer that cannot hold the packet header, or that the device must not
// write, breaks the ring where it is met; what came before is delivered, and
// nothing is written afterwards.
//
// Shows: VNET-062, VNET-073
// Hostile: CVE-2026-86566, CVE-2023-6693
func TestReceiveRunts(t *testing.T) {
	for _, f := range []virtio.Features{baseFeatures, baseFeatures &^ virtio.FeatureMrgRxbuf, hashFeatures, hashFeatures &^ virtio.FeatureMrgRxbuf} {
		mergeable := f.Has(virtio.FeatureMrgRxbuf)
		for n := range uint32(virtio.NetHdrLen(f) + 1) {
			for _, kind := range []string{"runt", "runt in pieces", "readable", "indirect"} {
				e := newStill(t, 1)
				a, b := plug(t, e, 1, nicOptions{}), plug(t, e, 2, nicOptions{features: f, rxBuf: noBuffers})
				r := b.rx(0)
				what := fmt.Sprintf("features %s, %s of %d bytes", f, kind, n)
				r.room(100)
				canary := r.Mem.Alloc(100, 1)
				r.post(vringtest.Elem{Addr: canary, Len: 100, Write: true})
				at := r.Mem.Alloc(64, 64)
				switch {
				case kind == "readable":
					r.Add(elem(at, 64))
				case kind == "indirect":
					r.AddIndirect(nil, vringtest.Elem{Addr: at, Len: n, Write: true})
				case kind == "runt in pieces" && n > 1:
					r.Add(vringtest.Elem{Addr: at, Len: 1, Write: true}, vringtest.Elem{Addr: at, Len: n - 1, Write: true})
				default:
					r.Add(vringtest.Elem{Addr: at, Len: n, Write: true})
				}
				r.Publish()
				r.room(3000)
				first, last := frame(b.mac, a.mac, 60), frame(b.mac, a.mac, 61)
				second := 120 // needs the runt too, if buffers are merged
				if !mergeable {
					second = 80 // takes the buffer before the runt
				}
				a.queue(0, a.image(virtio.NetHdr{}, first))
				a.queue(0, a.image(virtio.NetHdr{}, frame(b.mac, a.mac, second)))
				a.queue(0, a.image(virtio.NetHdr{}, last))
				a.ring(0)
				a.reaped(0)
				if int(n) >= b.hdr && kind != "readable" {
					continue // large enough for the header: another test's
				}
				b.broke(0, fmt.Sprintf("shorter than the packet header of %d", b.hdr))
				if got, ok := b.poll(0); !ok || !bytes.Equal(got.b, first) {
					t.Errorf("%s: the frame before: got %x, want %x", what, got.b, first)
				}
				if !mergeable {
					if _, ok := b.poll(0); !ok {
						t.Errorf("%s: the second frame before is missing", what)
					}
				} else if !bytes.Equal(b.mem.At(canary, 100), make([]byte, 100)) {
					t.Errorf("%s: the buffer before it was written to", what)
				}
				b.silent(0)
				if !bytes.Equal(b.mem.At(at, 64), make([]byte, 64)) {
					t.Errorf("%s: it was written to", what)
				}
				stopped := uint64(2)
				if !mergeable {
					stopped = 1
				}
				b.drops(dropRxStopped, stopped)
			}
		}
	}
}

// countingRing counts what is taken from a ring.
type countingRing struct {
	vring.Ring
	taken int
}

func (r *countingRing) Take(b *vring.Batch, limit int) (int, error) {
	n, err := r.Ring.Take(b, limit)
	r.taken += n
	return n, err
}

// However small the buffers are, the work for a frame is of the order of the
// buffers it needs.
func TestReceiveTinyBuffers(t *testing.T) {
	e := newStill(t, 1)
	a := plug(t, e, 1, nicOptions{})
	b := plug(t, e, 2, nicOptions{size: 16384, rxBuf: 12})
	r := &countingRing{Ring: b.port.rx[0].ring}
	b.port.rx[0].ring = r
	for i, size := range []int{65_549, 60, 65_549, 14, 9014} {
		want := frame(b.mac, a.mac, size)
		before := r.taken
		a.send(0, virtio.NetHdr{}, want)
		got := b.recv(0)
		need := (size + 12 + 11) / 12
		if !bytes.Equal(got.b, want) || got.buffers != need {
			t.Errorf("frame of %d bytes: %d bytes in %d buffers, want %d", size, len(got.b), got.buffers, need)
		}
		if n := r.taken - before; n > need+2*batchSize {
			t.Errorf("frame %d: took %d chains for %d buffers", i, n, need)
		}
	}
	// The last is dropped, and its buffers remain for others.
	a.send(0, virtio.NetHdr{}, frame(b.mac, a.mac, 65_549))
	b.silent(0)
	b.drops(dropRxFull, 1)
	for range 3 {
		exchange(t, a, b, 1514)
	}
	base := b.port.StopQueue(0)
	if want := uint32(b.rx(0).UsedIndex()); base != want {
		t.Errorf("StopQueue = %d, want %d: what was taken ahead counts as not taken", base, want)
	}
}

// Chains with ten thousand elements.
//
// Shows: VNET-010, VNET-012
func TestReceiveLongChains(t *testing.T) {
	e := newStill(t, 1)
	a := plug(t, e, 1, nicOptions{})
	b := plug(t, e, 2, nicOptions{size: 32768, rxBuf: noBuffers})
	for range 3 {
		sizes := make([]uint32, 10_000)
		for i := range sizes {
			sizes[i] = 7
		}
		b.rx(0).room(sizes...)
	}
	for range 3 {
		want := frame(b.mac, a.mac, 65_549)
		a.send(0, virtio.NetHdr{}, want)
		if got := b.recv(0); got.buffers != 1 || !bytes.Equal(got.b, want) {
			t.Errorf("got %d bytes in %d buffers", len(got.b), got.buffers)
		}
	}
}

// Frames longer than the MTU that was negotiated are not delivered, nor are
// segments that would be; super-frames are no frames in this sense.
//
// Shows: VNET-032
func TestMTU(t *testing.T) {
	e := newStill(t, 1)
	const all = offered &^ (virtio.FeatureMTU | virtio.FeatureCtrlVLAN | virtio.FeatureMQ)
	a := plug(t, e, 1, nicOptions{features: all, mtu: 9000})
	plain := plug(t, e, 2, nicOptions{features: baseFeatures | virtio.FeatureMTU, mtu: 1500})
	tso := plug(t, e, 3, nicOptions{features: all | virtio.FeatureMTU, mtu: 1500})
	unaware := plug(t, e, 4, nicOptions{mtu: 1500})
	for _, n := range []*nic{plain, tso, unaware} {
		for _, vlan := range []uint16{5, 6, 7, 9} { // be learned
			n.send(0, virtio.NetHdr{}, tagged(frame(a.mac, n.mac, 60), 0x8100, vlan))
		}
		n.send(0, virtio.NetHdr{}, frame(a.mac, n.mac, 60))
	}
	for _, n := range []*nic{a, plain, tso, unaware} {
		n.all(0)
	}
	for _, tt := range []struct {
		to   *nic
		b    []byte
		fits bool
	}{
		{plain, frame(plain.mac, a.mac, 1514), true},
		{plain, frame(plain.mac, a.mac, 1515), false},
		{plain, tagged(frame(plain.mac, a.mac, 1514), 0x8100, 5), true},
		{plain, tagged(frame(plain.mac, a.mac, 1515), 0x8100, 5), false},
		{plain, tagged(tagged(frame(plain.mac, a.mac, 1514), 0x8100, 5), 0x88a8, 6), true},
		{plain, tagged(tagged(frame(plain.mac, a.mac, 1515), 0x8100, 5), 0x88a8, 6), false},
		// A third tag is payload.
		{plain, tagged(tagged(tagged(frame(plain.mac, a.mac, 1514), 0x8100, 5), 0x88a8, 6), 0x88a8, 7), false},
		{tso, frame(tso.mac, a.mac, 1514), true},
		{tso, frame(tso.mac, a.mac, 1515), false},
		{unaware, frame(unaware.mac, a.mac, 65_000), true},
	} {
		before := tt.to.dropped()[dropRxMTU.String()]
		a.send(0, virtio.NetHdr{}, tt.b)
		got := tt.to.all(0)
		drops := tt.to.dropped()[dropRxMTU.String()] - before
		if fits := len(got) == 1 && bytes.Equal(got[0].b, tt.b); fits != tt.fits || (drops == 0) != tt.fits {
			t.Errorf("frame of %d bytes to %s: delivered %t, drops %v; want delivered %t", len(tt.b), tt.to.port.Name(), fits, tt.to.dropped(), tt.fits)
		}
	}
	for _, tt := range []struct {
		to       *nic
		vlan     uint16
		mss, len int
		frames   int
	}{
		{tso, 0, 8000, 30_000, 1},
		{plain, 0, 1460, 30_000, 21},
		{plain, 0, 1461, 30_000, 0},
		{plain, 9, 1460, 30_000, 21},
		{plain, 9, 1461, 30_000, 0},
		{plain, 0, 8000, 1460, 1}, // a single segment is as long as it is
		{plain, 0, 8000, 1461, 0},
	} {
		b, h := flow{dst: tt.to.mac, src: a.mac, vlan: tt.vlan, from: 1, to: 2, sport: 3, dport: 4}.super(t, bytesOf(tt.len, 1), tt.mss)
		a.send(0, h, b)
		if got := tt.to.all(0); len(got) != tt.frames {
			t.Errorf("super-frame of %d bytes, segments of %d, VLAN %d to %s: %d frames, want %d", tt.len, tt.mss, tt.vlan, tt.to.port.Name(), len(got), tt.frames)
		}
	}
	plain.drops(dropRxMTU, 4+3)
}
