package vring_test

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/guestmem"
	"vhost-user-nvgre/virtio/vring"
	"vhost-user-nvgre/virtio/vringtest"
)

// Fuzzed rings lie in the first of two adjacent regions, in memory that is
// small enough for random addresses to hit.
const (
	fuzzBase   = 0x1000
	fuzzBorder = fuzzBase + 0x8800
	fuzzEnd    = fuzzBase + 0x1_0000
	fuzzDesc   = fuzzBase
	fuzzAvail  = fuzzBase + 0x4000 + 2 // as misaligned as it may be
	fuzzUsed   = fuzzBase + 0x5000 + 4
	fuzzTables = fuzzBase + 0x8000
)

// fuzzMemory is made once, for mapping memory takes longer than a run.
var fuzzMemory = sync.OnceValues(func() (*vringtest.Memory, *guestmem.Map) {
	mem, err := vringtest.NewMemory(fuzzBase, fuzzEnd-fuzzBase)
	if err != nil {
		panic(err)
	}
	m, err := mem.Map(
		guestmem.RegionInfo{Guest: fuzzBase, User: 0x10_0000, Size: fuzzBorder - fuzzBase},
		guestmem.RegionInfo{Guest: fuzzBorder, User: 0x20_0000, Offset: fuzzBorder - fuzzBase, Size: fuzzEnd - fuzzBorder},
	)
	if err != nil {
		panic(err)
	}
	return mem, m
})

// fuzzRing returns a ring of 2^log descriptors over the fuzzed memory.
func fuzzRing(t *testing.T, m *guestmem.Map, log uint8, base uint16, f virtio.Features) vring.Ring {
	const user = 0x10_0000 - fuzzBase
	r, err := vring.New(m, vring.Config{
		Size: 1 << (log % 11), Desc: fuzzDesc + user, Avail: fuzzAvail + user, Used: fuzzUsed + user,
		Base: uint32(base), Features: f,
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// exercise calls the ring as the script says and checks what it hands out.
func exercise(t *testing.T, m *guestmem.Map, r vring.Ring, script []byte) {
	var b vring.Batch
	broken := false
	for _, op := range script[:min(len(script), 64)] {
		arg := int(op >> 3)
		switch op & 7 {
		case 0, 1, 2, 3:
			if broken {
				return
			}
			had, base := len(b.Chains), r.Base()
			n, err := r.Take(&b, arg)
			if n < 0 || n > arg || n > r.Size() || len(b.Chains) != had+n || r.Base() != (base+uint32(n))&0xffff {
				t.Fatalf("Take(%d) = %d, %v with a ring of %d: %d chains more, base from %d to %d", arg, n, err, r.Size(), len(b.Chains)-had, base, r.Base())
			}
			if fault := (*vring.Error)(nil); err != nil && (!errors.As(err, &fault) || fault.Error() == "") {
				t.Fatalf("Take: %v is no *Error", err)
			}
			broken = err != nil
			for _, c := range b.Chains[had:] {
				checkChain(t, m, r, &b, c)
			}
		case 4:
			n := min(arg, len(b.Chains))
			used := make([]vring.Used, n)
			for i, c := range b.Chains[:n] {
				used[i] = c.Used(uint32(op))
			}
			r.Complete(used)
			r.NeedNotify()
			b.Reset()
		case 5:
			r.Untake(b.Chains[max(0, len(b.Chains)-arg):])
			b.Reset()
		case 6:
			r.Arm()
		case 7:
			r.Disarm()
		}
	}
}

// checkChain verifies that a chain is within its bounds and that all of it can
// be touched.
func checkChain(t *testing.T, m *guestmem.Map, r vring.Ring, b *vring.Batch, c vring.Chain) {
	if id := c.Used(0).ID; int(id) >= r.Size() {
		t.Fatalf("chain %d of a ring of %d", id, r.Size())
	}
	readable, writable := b.Readable(c), b.Writable(c)
	// Two regions: each element falls into two pieces at most.
	if n := len(readable) + len(writable); n > 2*(r.Size()+vring.MaxIndirect) {
		t.Fatalf("chain of %d elements in a ring of %d", n, r.Size())
	}
	total := uint64(0)
	for _, s := range append(append([][]byte{}, readable...), writable...) {
		if !inside(m, s) || cap(s) != len(s) {
			t.Fatalf("an element of %d bytes, capacity %d, is not within guest memory", len(s), cap(s))
		}
		total += uint64(len(s))
	}
	if total > 1<<32 {
		t.Fatalf("chain of %d bytes", total)
	}
	for _, s := range writable {
		s[0]++
		s[len(s)-1]++
	}
}

func fuzzFeatures(bits uint8) (f virtio.Features) {
	if bits&1 != 0 {
		f |= virtio.FeatureIndirectDesc
	}
	if bits&2 != 0 {
		f |= virtio.FeatureEventIdx
	}
	return f | virtio.FeatureVersion1
}

// FuzzRing is a ring whose memory is arbitrary.
//
// Hostile: CVE-2018-1059, CVE-2019-9547, CVE-2020-10725, CVE-2022-2132, CVE-2026-86845, CVE-2026-93683, 6ec1778134
// Shows: VNET-013
func FuzzRing(f *testing.F) {
	random := rand.New(rand.NewPCG(11, 12))
	for log := range uint8(11) {
		b := make([]byte, 360)
		for i := range b {
			b[i] = byte(random.Uint32() >> random.IntN(8))
		}
		f.Add(log, uint16(log)*7000, uint8(log), b, []byte{0xf8, 0x7c, 0x36, 0x87, 0xf0, 0xfc})
	}
	f.Add(uint8(4), uint16(0xfff0), uint8(3), []byte{}, []byte{0xf8, 0xf8})
	f.Fuzz(func(t *testing.T, log uint8, base uint16, features uint8, content, script []byte) {
		mem, m := fuzzMemory()
		clear(mem.Bytes())
		// The content goes where it is looked at: descriptors first, then
		// available ring, then tables.
		part := len(content) / 3
		for i, area := range []uint64{fuzzDesc, fuzzAvail, fuzzTables} {
			copy(mem.At(area, 1024), content[i*part:][:part])
		}
		idx := mem.At(fuzzAvail+2, 2)
		if log&0x80 != 0 { // make the index plausible
			binary.LittleEndian.PutUint16(idx, base+binary.LittleEndian.Uint16(idx)%(1<<(log%11)+1))
		}
		exercise(t, m, fuzzRing(t, m, log, base, fuzzFeatures(features)), script)
	})
}

// FuzzRingChanging is a ring of good chains that another goroutine spoils all
// the time: indices, heads, descriptors, tables.
//
// Hostile: CVE-2026-86562, CVE-2026-86845, CVE-2026-93683, 93ed2f49de, 285e6b8b18
// Shows: VNET-013
func FuzzRingChanging(f *testing.F) {
	for i := range uint64(12) {
		f.Add(i, uint8(i), uint8(i/3), []byte{0xf8, 0xf9, 0xfc, 0x36, 0xf8, 0x74, 0x3d, 0xfa, 0xfc, 0x8f, 0xfb, 0xfc})
	}
	f.Fuzz(func(t *testing.T, seed uint64, log, features uint8, script []byte) {
		mem, m := fuzzMemory()
		clear(mem.Bytes())
		size := 1 << (log % 11)
		random := rand.New(rand.NewPCG(seed, 1))
		goodRing(mem, random, size)

		var stop atomic.Bool
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			spoil(mem, rand.New(rand.NewPCG(seed, 2)), size, &stop)
		}()
		for range 50 {
			// A broken ring is started again at the driver's position.
			base := binary.LittleEndian.Uint16(mem.At(fuzzAvail+2, 2)) - uint16(random.IntN(size+1))
			exercise(t, m, fuzzRing(t, m, log, base, fuzzFeatures(features)), script)
		}
		stop.Store(true)
		<-ended
	})
}

// randomDesc is good most of the time.
func randomDesc(r *rand.Rand, entries int, inTable bool) desc {
	d := desc{
		addr: fuzzBase + 0x9000 + r.Uint64N(0x6000), len: uint32(r.IntN(4096)),
		flags: uint16(r.IntN(4)), next: uint16(r.IntN(entries)),
	}
	switch r.IntN(16) {
	case 0:
		d.addr = fuzzBorder - r.Uint64N(64)
	case 1:
		d.len = r.Uint32()
	case 2:
		d.flags, d.next = uint16(r.Uint32()), uint16(r.Uint32())
	case 3:
		d.addr = r.Uint64()
	case 4, 5, 6:
		if !inTable {
			d = desc{fuzzTables + r.Uint64N(64)*4, uint32(16 * (1 + r.IntN(8))), indirect, 0}
		}
	}
	return d
}

func goodRing(mem *vringtest.Memory, r *rand.Rand, size int) {
	for i := range size {
		d := randomDesc(r, size, false)
		mem.SetDesc(fuzzDesc, uint16(i), d.addr, d.len, d.flags, d.next)
		binary.LittleEndian.PutUint16(mem.At(fuzzAvail+4+2*uint64(i), 2), uint16(i))
	}
	for i := range uint16(24) {
		d := randomDesc(r, 8, true)
		mem.SetDesc(fuzzTables, i, d.addr, d.len, d.flags, d.next)
	}
}

// spoil writes descriptors, heads and indices until stop, in the sizes in
// which a driver would, and single bytes.
func spoil(mem *vringtest.Memory, r *rand.Rand, size int, stop *atomic.Bool) {
	idx := uint16(0)
	for !stop.Load() {
		switch r.IntN(6) {
		case 0:
			d := randomDesc(r, size, false)
			mem.SetDesc(fuzzDesc, uint16(r.IntN(size)), d.addr, d.len, d.flags, d.next)
		case 1:
			d := randomDesc(r, 8, true)
			mem.SetDesc(fuzzTables, uint16(r.IntN(24)), d.addr, d.len, d.flags, d.next)
		case 2:
			head := uint16(r.IntN(size))
			if r.IntN(32) == 0 {
				head = uint16(r.Uint32())
			}
			binary.LittleEndian.PutUint16(mem.At(fuzzAvail+4+2*uint64(r.IntN(size)), 2), head)
		case 3:
			if idx += uint16(r.IntN(size + 1)); r.IntN(64) == 0 {
				idx = uint16(r.Uint32())
			}
			binary.LittleEndian.PutUint16(mem.At(fuzzAvail+2, 2), idx)
		case 4: // flags, used_event
			binary.LittleEndian.PutUint16(mem.At(fuzzAvail, 2), uint16(r.Uint32()))
			binary.LittleEndian.PutUint16(mem.At(fuzzAvail+4+2*uint64(size), 2), uint16(r.Uint32()))
		case 5:
			mem.At(fuzzBase+r.Uint64N(fuzzEnd-fuzzBase), 1)[0] = byte(r.Uint32())
		}
	}
}
