package vring_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/guestmem"
	"vhost-user-nvgre/virtio/vring"
	"vhost-user-nvgre/virtio/vringtest"
)

// Guest memory of the fault tests: two adjacent regions, a hole, a region.
const (
	faultBase   = 0x10_0000
	faultBorder = faultBase + 0x20000
	faultHole   = faultBase + 0x30000
	faultAgain  = faultBase + 0x38000
	faultEnd    = faultBase + 0x40000
)

func faultMemory(t testing.TB) (*vringtest.Memory, *guestmem.Map) {
	region := func(from, to uint64) guestmem.RegionInfo {
		return guestmem.RegionInfo{Guest: from, User: from + vringtest.UserOffset, Offset: from - faultBase, Size: to - from}
	}
	return memory(t, faultBase, faultEnd-faultBase,
		region(faultBase, faultBorder), region(faultBorder, faultHole), region(faultAgain, faultEnd))
}

const (
	next     = vringtest.Next
	write    = vringtest.Write
	indirect = vringtest.Indirect
)

// Addresses that fault tests use freely.
const (
	data  = faultBase + 0x10000
	table = faultBase + 0x18000
)

// desc is a descriptor as it is written.
type desc struct {
	addr  uint64
	len   uint32
	flags uint16
	next  uint16
}

func (r *rig) setDescs(at uint64, descs ...desc) {
	for i, d := range descs {
		r.mem.SetDesc(at, uint16(i), d.addr, d.len, d.flags, d.next)
	}
}

// chain writes descriptors from index 0 and makes 0 available.
func chain(descs ...desc) func(*rig) {
	return func(r *rig) {
		r.setDescs(r.driver.Desc, descs...)
		r.driver.PushAvail(0)
		r.driver.Publish()
	}
}

// inTable writes an indirect table and makes a reference to it available.
func inTable(descs ...desc) func(*rig) {
	return func(r *rig) {
		r.setDescs(table, descs...)
		chain(desc{table, uint32(len(descs) * vringtest.DescSize), indirect, 0})(r)
	}
}

func reference(addr uint64, n uint32) func(*rig) { return chain(desc{addr, n, indirect, 0}) }

func head(i uint16) func(*rig) {
	return func(r *rig) {
		r.driver.PushAvail(i)
		r.driver.Publish()
	}
}

func availIndex(ahead uint16) func(*rig) {
	return func(r *rig) { r.driver.SetAvailIndex(r.driver.AvailIndex() + ahead) }
}

const ringSize = 16

var ok16 = desc{data, 16, 0, 0}

// faults has every violation of VNET-013, each in a ring of ringSize.
var faults = []struct {
	name         string
	offer        func(*rig)
	fault        vring.Fault
	value, limit uint64
}{
	{"index one too far", availIndex(ringSize + 1), vring.FaultAvailIndex, ringSize + 1, ringSize},
	{"index backwards", availIndex(0xffff), vring.FaultAvailIndex, 0xffff, ringSize},
	{"index half way round", availIndex(0x8000), vring.FaultAvailIndex, 0x8000, ringSize},

	{"head behind the ring", head(ringSize), vring.FaultHead, ringSize, ringSize},
	{"largest head", head(0xffff), vring.FaultHead, 0xffff, ringSize},

	{"next behind the ring", chain(desc{data, 1, next, ringSize}), vring.FaultNext, ringSize, ringSize},
	{"largest next", chain(desc{data, 1, next, 1}, desc{data, 1, next, 0xffff}), vring.FaultNext, 0xffff, ringSize},
	{"next behind the table", inTable(desc{data, 1, next, 2}, ok16), vring.FaultNext, 2, 2},
	{"next behind the table, within the ring", inTable(desc{data, 1, next, 5}), vring.FaultNext, 5, 1},

	{"loop to itself", chain(desc{data, 1, next, 0}), vring.FaultLoop, 0, ringSize},
	{"loop of two", chain(desc{data, 1, next, 1}, desc{data, 1, next, 0}), vring.FaultLoop, 1, ringSize},
	{"loop without bytes", chain(desc{0, 0, next, 0}), vring.FaultLoop, 0, ringSize},
	{"loop of writable elements", chain(desc{data, 1, next | write, 0}), vring.FaultLoop, 0, ringSize},
	{"loop in a table", inTable(desc{data, 1, next, 1}, desc{data, 1, next, 0}), vring.FaultLoop, 1, 2},
	{"loop to itself in a table", inTable(desc{data, 1, next, 0}), vring.FaultLoop, 0, 1},
	{
		"loop in a table behind direct descriptors",
		func(r *rig) {
			r.setDescs(table, desc{data, 1, next, 0}, ok16)
			chain(desc{data, 1, next, 1}, desc{table, 32, indirect, 0})(r)
		},
		vring.FaultLoop, 0, 2,
	},

	{"address of nothing", chain(desc{0x77, 1, 0, 0}), vring.FaultAddress, 0x77, 1},
	{"address 2^64-1", chain(desc{math.MaxUint64, 1, 0, 0}), vring.FaultAddress, math.MaxUint64, 1},
	{"address plus length wraps", chain(desc{math.MaxUint64 - 7, 0x200000, 0, 0}), vring.FaultAddress, math.MaxUint64 - 7, 0x200000},
	{"ends in the hole", chain(desc{faultHole - 1, 2, 0, 0}), vring.FaultAddress, faultHole - 1, 2},
	{"over the border into the hole", chain(desc{faultBorder - 1, 0x10002, 0, 0}), vring.FaultAddress, faultBorder - 1, 0x10002},
	{"over the hole", chain(desc{faultHole - 1, 0x9000, 0, 0}), vring.FaultAddress, faultHole - 1, 0x9000},
	{"starts in the hole", chain(desc{faultAgain - 1, 2, 0, 0}), vring.FaultAddress, faultAgain - 1, 2},
	{"ends behind memory", chain(desc{faultEnd - 1, 2, write, 0}), vring.FaultAddress, faultEnd - 1, 2},
	{"longest length", chain(desc{data, math.MaxUint32, write, 0}), vring.FaultAddress, data, math.MaxUint32},
	{"user address", chain(desc{data + vringtest.UserOffset, 1, 0, 0}), vring.FaultAddress, data + vringtest.UserOffset, 1},
	{"second element nowhere", chain(desc{data, 1, next, 1}, desc{faultHole, 1, 0, 0}), vring.FaultAddress, faultHole, 1},
	{"element of a table nowhere", inTable(desc{faultHole, 1, write, 0}), vring.FaultAddress, faultHole, 1},

	{"readable after writable", chain(desc{data, 1, next | write, 1}, ok16), vring.FaultOrder, 1, 0},
	{"empty readable after empty writable", chain(desc{0, 0, next | write, 1}, desc{0, 0, 0, 0}), vring.FaultOrder, 1, 0},
	{"readable after writable in a table", inTable(desc{data, 1, next | write, 1}, ok16), vring.FaultOrder, 1, 0},
	{
		"readable in a table after direct writable",
		func(r *rig) {
			r.setDescs(table, ok16)
			chain(desc{data, 1, next | write, 1}, desc{table, 16, indirect, 0})(r)
		},
		vring.FaultOrder, 0, 0,
	},

	{"nested table", inTable(desc{table, 16, indirect, 0}), vring.FaultIndirectNested, 0, 0},
	{"nested table, later", inTable(desc{data, 1, next, 1}, desc{table, 16, indirect, 0}), vring.FaultIndirectNested, 1, 0},
	{"reference with NEXT", chain(desc{table, 16, indirect | next, 1}, ok16), vring.FaultIndirectNext, 0, 0},
	{"later reference with NEXT", chain(desc{data, 1, next, 1}, desc{table, 16, indirect | next, 2}, ok16), vring.FaultIndirectNext, 1, 0},
	{"table of no length", reference(table, 0), vring.FaultIndirectLength, 0, vring.MaxIndirect * 16},
	{"table of 1 byte", reference(table, 1), vring.FaultIndirectLength, 1, vring.MaxIndirect * 16},
	{"table of 15 bytes", reference(table, 15), vring.FaultIndirectLength, 15, vring.MaxIndirect * 16},
	{"table of 17 bytes", reference(table, 17), vring.FaultIndirectLength, 17, vring.MaxIndirect * 16},
	{"table too long", reference(table, (vring.MaxIndirect+1)*16), vring.FaultIndirectLength, (vring.MaxIndirect + 1) * 16, vring.MaxIndirect * 16},
	{"longest table", reference(table, math.MaxUint32&^15), vring.FaultIndirectLength, math.MaxUint32 &^ 15, vring.MaxIndirect * 16},
	{"table nowhere", reference(faultHole, 16), vring.FaultAddress, faultHole, 16},
	{"table ends in the hole", reference(faultHole-16, 32), vring.FaultAddress, faultHole - 16, 32},
	{"misaligned table ends in the hole", reference(faultHole-15, 16), vring.FaultAddress, faultHole - 15, 16},
	{"table wraps", reference(math.MaxUint64-15, 32), vring.FaultAddress, math.MaxUint64 - 15, 32},
}

// Each violation stops its ring with the right error, after the good chains
// before it; the other ring in the same memory goes on.
//
// Hostile: CVE-2018-1059, CVE-2019-9547, CVE-2020-10725, CVE-2026-93683, CVE-2026-86845, 6ec1778134
// Shows: VNET-013
func TestFaults(t *testing.T) {
	for _, tt := range faults {
		t.Run(tt.name, func(t *testing.T) {
			mem, m := faultMemory(t)
			r := attach(t, mem, m, ringSize, event)
			other := attach(t, mem, m, ringSize, event)

			elem := vringtest.Elem{Addr: data, Len: 5}
			good := 3
			if tt.fault == vring.FaultAvailIndex {
				good = 0 // such an index says nothing of what is there
			}
			for range 3 {
				other.driver.Add(elem)
			}
			other.driver.Publish()
			r.driver.SetDesc(ringSize-1, elem.Addr, elem.Len, 0, 0)
			for range good {
				r.driver.PushAvail(ringSize - 1)
			}
			r.driver.Publish()

			tt.offer(r)
			var b vring.Batch
			other.take(t, &b, 1)
			n, err := r.ring.Take(&b, 64)
			want := vring.Error{Fault: tt.fault, Value: tt.value, Limit: tt.limit}
			var got *vring.Error
			if !errors.As(err, &got) || *got != want || n != good || len(b.Chains) != 1+good {
				t.Fatalf("Take = %d, %v, %d chains in the batch; want %d, %v", n, err, len(b.Chains), good, &want)
			}
			for _, c := range b.Chains[1:] {
				if len(b.Readable(c)) != 1 || len(b.Readable(c)[0]) != 5 {
					t.Errorf("a chain before the fault has elements %v", b.Readable(c))
				}
			}
			other.take(t, &b, 2)
		})
	}
}

// The same violations while nothing else is in the ring, and again: the error
// stays, and nothing of the broken chain gets into the batch.
//
// Shows: VNET-013
func TestFaultsPersist(t *testing.T) {
	mem, m := faultMemory(t)
	for _, tt := range faults {
		r := attach(t, mem, m, ringSize, event)
		tt.offer(r)
		var b vring.Batch
		for range 3 {
			n, err := r.ring.Take(&b, 1)
			var got *vring.Error
			if want := (vring.Error{Fault: tt.fault, Value: tt.value, Limit: tt.limit}); !errors.As(err, &got) || *got != want || n != 0 || len(b.Chains) != 0 {
				t.Errorf("%s: Take = %d, %v, %d chains; want 0, %v", tt.name, n, err, len(b.Chains), &want)
			}
		}
	}
}

// An index that jumped is found out also when Arm was the first to load it, or
// when chains were given back.
//
// Hostile: CVE-2026-86845
// Shows: VNET-013
func TestAvailIndexAfterArmAndUntake(t *testing.T) {
	for _, mode := range modes {
		r := newRig(t, ringSize, mode.features)
		r.driver.SetAvailIndex(40000)
		var b vring.Batch
		if !r.ring.Arm() {
			t.Errorf("%s: Arm = false with an index far ahead", mode.name)
		}
		if n, err := r.ring.Take(&b, 4); n != 0 || !isFault(err, vring.FaultAvailIndex) {
			t.Errorf("%s: Take after Arm = %d, %v; want %v", mode.name, n, err, vring.FaultAvailIndex)
		}

		// A driver that refills the ring before anything came back makes more
		// chains outstanding than the ring has slots.
		r = newRig(t, ringSize, mode.features)
		r.setDescs(r.driver.Desc, desc{r.mem.Info.Guest, 1, 0, 0})
		b.Reset()
		for i := range uint16(3) {
			r.driver.SetAvailIndex(ringSize * (i + 1))
			r.take(t, &b, ringSize)
		}
		r.ring.Untake(b.Chains)
		b.Reset()
		if n, err := r.ring.Take(&b, 4); n != 0 || !isFault(err, vring.FaultAvailIndex) {
			t.Errorf("%s: Take after Untake = %d, %v; want %v", mode.name, n, err, vring.FaultAvailIndex)
		}
	}
}

func isFault(err error, f vring.Fault) bool {
	var e *vring.Error
	return errors.As(err, &e) && e.Fault == f
}

// Shows: VNET-013
func TestIndirectNeedsNegotiation(t *testing.T) {
	mem, m := faultMemory(t)
	r := attach(t, mem, m, ringSize, virtio.FeatureVersion1|virtio.FeatureEventIdx)
	r.setDescs(table, ok16)
	reference(table, 16)(r)
	var b vring.Batch
	if n, err := r.ring.Take(&b, 1); n != 0 || !isFault(err, vring.FaultIndirectOff) {
		t.Errorf("Take = %d, %v; want %v", n, err, vring.FaultIndirectOff)
	}
}

// A chain may have 2^32 bytes and not one more.
//
// Shows: VNET-013
func TestChainBytes(t *testing.T) {
	const most = math.MaxUint32
	mem, m := memory(t, 0, 4<<30) // sparse
	for _, tt := range []struct {
		name  string
		lens  []uint32
		table bool
		fault bool
	}{
		{"one element", []uint32{most}, false, false},
		{"2^32", []uint32{most, 1}, false, false},
		{"2^32+1", []uint32{most, 2}, false, true},
		{"2^32 in a table", []uint32{1, most}, true, false},
		{"2^32+1 in a table", []uint32{1 << 31, 1 << 31, 1}, true, true},
	} {
		r := attach(t, mem, m, ringSize, event)
		var elems []vringtest.Elem
		sum := uint64(0)
		for _, n := range tt.lens {
			elems = append(elems, vringtest.Elem{Len: n})
			sum += uint64(n)
		}
		if tt.table {
			r.driver.AddIndirect(nil, elems...)
		} else {
			r.driver.Add(elems...)
		}
		r.driver.Publish()
		var b vring.Batch
		n, err := r.ring.Take(&b, 1)
		if tt.fault {
			var got *vring.Error
			if want := (vring.Error{Fault: vring.FaultLength, Value: sum, Limit: 1 << 32}); !errors.As(err, &got) || *got != want || n != 0 {
				t.Errorf("%s: Take = %d, %v; want %v", tt.name, n, err, &want)
			}
		} else if n != 1 || err != nil {
			t.Errorf("%s: Take = %d, %v; want 1", tt.name, n, err)
		}
	}
}

// Elements over many small regions fall into many pieces; their number has a
// bound, as memory and time do.
func TestChainPieces(t *testing.T) {
	const base, step, regions = 0x10_0000, 4096, 40
	infos := []guestmem.RegionInfo{{Guest: base, User: base + vringtest.UserOffset, Size: 1 << 20}}
	for i := range uint64(regions) {
		at := base + 1<<20 + i*step
		infos = append(infos, guestmem.RegionInfo{Guest: at, User: at + vringtest.UserOffset, Offset: 1<<20 + i*step, Size: step})
	}
	mem, m := memory(t, base, 1<<20+regions*step, infos...)
	for _, tt := range []struct {
		elems int
		fault bool
	}{
		{1, false},
		{vring.MaxPieces / regions, false},
		{vring.MaxPieces/regions + 1, true},
		{vring.MaxIndirect, true},
	} {
		r := attach(t, mem, m, ringSize, event)
		elems := make([]vringtest.Elem, tt.elems)
		for i := range elems {
			elems[i] = vringtest.Elem{Addr: base + 1<<20, Len: regions * step, Write: true}
		}
		r.driver.AddIndirect(nil, elems...)
		r.driver.Publish()
		var b vring.Batch
		n, err := r.ring.Take(&b, 1)
		switch {
		case tt.fault && (n != 0 || !isFault(err, vring.FaultPieces)):
			t.Errorf("%d elements: Take = %d, %v; want %v", tt.elems, n, err, vring.FaultPieces)
		case !tt.fault && (n != 1 || err != nil || len(b.Writable(b.Chains[0])) != tt.elems*regions):
			t.Errorf("%d elements: Take = %d, %v; want a chain of %d pieces", tt.elems, n, err, tt.elems*regions)
		}
	}
}

// Take returns before it is done when chains are long; the rest is still there.
func TestTakeBoundsWork(t *testing.T) {
	const size = 1024
	r := newRig(t, size, plain)
	var long []vringtest.Elem
	for range size {
		long = append(long, vringtest.Elem{Addr: 1}) // empty
	}
	head, _ := r.driver.Add(long...)
	for range size - 1 {
		r.driver.PushAvail(head) // the same chain again and again
	}
	r.driver.Publish()
	total := 0
	for total < size {
		var b vring.Batch
		n, err := r.ring.Take(&b, size)
		if err != nil || n == 0 || n*size >= vring.TakeWork+size {
			t.Fatalf("Take = %d, %v; want 1 to %d chains of %d links", n, err, (vring.TakeWork+size-1)/size, size)
		}
		if total += n; total < size && !r.ring.Arm() {
			t.Fatalf("Arm = false with %d chains waiting", size-total)
		}
	}
	if r.ring.Arm() {
		t.Error("Arm = true with nothing waiting")
	}
}

func TestErrorText(t *testing.T) {
	for f := vring.FaultAvailIndex; f <= vring.FaultIndirectLength; f++ {
		text := (&vring.Error{Fault: f, Value: 0x4d2, Limit: 42}).Error()
		if strings.Contains(f.String(), "fault") || !strings.HasPrefix(text, f.String()+": ") ||
			!strings.Contains(text, "1234") && !strings.Contains(text, "0x4d2") {
			t.Errorf("Error of fault %d reads %q, want its text and the value", f, text)
		}
	}
	for _, f := range []vring.Fault{0, vring.FaultIndirectLength + 1, 255} {
		if got := f.String(); !strings.HasPrefix(got, "fault ") {
			t.Errorf("Fault(%d).String() = %q", uint8(f), got)
		}
	}
}
