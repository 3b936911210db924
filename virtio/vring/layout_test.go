package vring_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"vhost-user-nvgre/virtio/guestmem"
	"vhost-user-nvgre/virtio/vring"
	"vhost-user-nvgre/virtio/vringtest"
)

// layoutRig maps its memory as adjacent regions with odd borders; the first
// has room for the ring.
type layoutRig struct {
	*rig
	borders []uint64 // guest addresses where a region ends and another begins
	scratch uint64
	before  []byte // copy of the memory
}

func newLayoutRig(t *testing.T) *layoutRig {
	const base, size = 0x10_0000, 1 << 18
	borders := []uint64{base + 0x10003, base + 0x10008, base + 0x20000}
	var regions []guestmem.RegionInfo
	from := uint64(base)
	for _, to := range append(borders, base+size) {
		// The user addresses are not adjacent: only guest addresses may count.
		user := from + vringtest.UserOffset
		if from != base {
			user = 2*from + vringtest.UserOffset
		}
		regions = append(regions, guestmem.RegionInfo{Guest: from, User: user, Offset: from - base, Size: to - from})
		from = to
	}
	mem, m := memory(t, base, size, regions...)
	for i := range mem.Bytes()[0x4000:] { // the ring lies before
		mem.Bytes()[0x4000+i] = byte(i * 7 / 3)
	}
	return &layoutRig{rig: attach(t, mem, m, 64, event), borders: borders, scratch: base + 0x18000}
}

// check offers a buffer of the elements and compares what the device sees with
// what the driver put there.
func (r *layoutRig) check(t *testing.T, name string, elems []vringtest.Elem, offer func() (uint16, bool)) {
	t.Helper()
	head, ok := offer()
	if !ok {
		t.Fatalf("%s: does not fit the ring", name)
	}
	r.driver.Publish()
	r.before = append(r.before[:0], r.mem.Bytes()...)
	before := r.before

	var b vring.Batch
	c := r.take(t, &b, 1)[0]
	var wantRead []byte
	writable := 0
	for _, e := range elems {
		if e.Write {
			writable += int(e.Len)
		} else if e.Len > 0 {
			wantRead = append(wantRead, r.mem.At(e.Addr, uint64(e.Len))...)
		}
	}
	if got := bytes.Join(b.Readable(c), nil); !bytes.Equal(got, wantRead) {
		t.Fatalf("%s: %d readable bytes differ from the driver's %d", name, len(got), len(wantRead))
	}
	// Every writable byte gets a number; the driver must find them in order
	// and nothing else changed.
	n := 0
	for _, w := range b.Writable(c) {
		if cap(w) != len(w) {
			t.Fatalf("%s: an element of %d bytes has capacity %d", name, len(w), cap(w))
		}
		for i := range w {
			w[i] = byte(n * 11)
			n++
		}
	}
	if n != writable {
		t.Fatalf("%s: %d writable bytes, want %d", name, n, writable)
	}
	n = 0
	for _, e := range elems {
		if !e.Write || e.Len == 0 {
			continue
		}
		want := before[e.Addr-r.mem.Info.Guest:][:e.Len]
		for i := range want {
			want[i] = byte(n * 11)
			n++
		}
		if got := r.mem.At(e.Addr, uint64(e.Len)); !bytes.Equal(got, want) {
			t.Fatalf("%s: element at 0x%x is %x, want %x", name, e.Addr, got, want)
		}
	}
	if !bytes.Equal(before, r.mem.Bytes()) {
		t.Fatalf("%s: Take changed memory outside the writable part", name) // VNET-011
	}
	r.ring.Complete([]vring.Used{c.Used(uint32(writable))})
	if id, got, ok := r.driver.Pop(); !ok || id != uint32(head) || got != uint32(writable) {
		t.Fatalf("%s: the driver got back %d, %d bytes, %t; want %d, %d", name, id, got, ok, head, writable)
	}
}

// tableAt returns where an indirect table can lie: aligned, misaligned by 1 to
// 15 bytes, over a border of regions, over two of them.
func (r *layoutRig) tableAt(n int) []uint64 {
	at := []uint64{r.scratch}
	for off := range uint64(15) {
		at = append(at, r.scratch+1+off)
	}
	bytes := uint64(n * vringtest.DescSize)
	for _, border := range r.borders {
		for _, before := range []uint64{1, 8, 16, bytes / 2, bytes - 1} {
			at = append(at, border-before)
		}
	}
	return at
}

// layouts returns element lists: all splits of a short buffer, all pairs of
// sizes, and elements over the borders of regions.
func (r *layoutRig) layouts() (lists [][]vringtest.Elem) {
	const at = 0x10_0000 + 0x24000
	// A header of 12 bytes cut everywhere, also into single bytes.
	for cut := range 1 << 11 {
		if cut%7 != 0 && cut != 1<<11-1 {
			continue
		}
		var elems []vringtest.Elem
		n := uint32(0)
		addr := uint64(at)
		for i := range 12 {
			n++
			if i == 11 || cut>>i&1 != 0 {
				elems = append(elems, vringtest.Elem{Addr: addr, Len: n})
				addr, n = addr+uint64(n)+3, 0
			}
		}
		lists = append(lists, elems)
	}
	// Readable and writable parts of every shape, empty elements with bad
	// addresses among them.
	sizes := []uint32{0, 1, 12, 1500}
	for shape := range 4 * 4 * 4 * 4 {
		elems := make([]vringtest.Elem, 4)
		for writeFrom := range 5 {
			for i := range elems {
				size := sizes[shape>>(2*i)&3]
				addr := uint64(at + 0x1000*i + 5)
				if size == 0 {
					addr = 0xdead_0000_0000_0000 + uint64(shape)
				}
				elems[i] = vringtest.Elem{Addr: addr, Len: size, Write: i >= writeFrom}
			}
			lists = append(lists, append([]vringtest.Elem{}, elems...))
		}
	}
	for _, border := range r.borders {
		for _, before := range []uint64{1, 2, 5, 100} {
			for _, n := range []uint32{1, 2, 3, 7, 300} {
				for _, write := range []bool{false, true} {
					lists = append(lists, []vringtest.Elem{{Addr: border - before, Len: n, Write: write}})
				}
			}
		}
	}
	// From the first region through the second into the last two.
	lists = append(lists, []vringtest.Elem{
		{Addr: r.borders[0] - 10, Len: 0xfffb + 100},
		{Addr: 0x10_0000 + 0x28000, Len: 0x1000, Write: true},
	})
	return lists
}

// Every layout of elements, as direct descriptors, in an indirect table, and
// as direct ones followed by a table.
//
// Hostile: CVE-2018-1059, CVE-2020-10725, CVE-2022-2132
// Shows: VNET-010, VNET-011, VNET-012, VNET-014
func TestLayouts(t *testing.T) {
	r := newLayoutRig(t)
	for i, elems := range r.layouts() {
		name := fmt.Sprintf("layout %d %+v", i, elems)
		r.check(t, name+" direct", elems, func() (uint16, bool) { return r.driver.Add(elems...) })
		at := r.tableAt(len(elems))
		for direct := range elems {
			table, rest := at[(i+direct)%len(at)], elems[direct:]
			r.check(t, fmt.Sprintf("%s, %d direct, table at 0x%x", name, direct, table), elems, func() (uint16, bool) {
				return r.driver.AddTable(elems[:direct], table, r.mem.WriteTable(table, rest...))
			})
		}
	}
}

// One list of elements with its table at every odd place, and with the WRITE
// flag on the reference, which means nothing.
//
// Shows: VNET-012
func TestTablePlaces(t *testing.T) {
	r := newLayoutRig(t)
	elems := []vringtest.Elem{
		{Addr: 0x10_0000 + 0x28000, Len: 12},
		{Addr: r.borders[1] - 1, Len: 1514},
		{Addr: 0x10_0000 + 0x2c000, Len: 9, Write: true},
	}
	for _, table := range r.tableAt(len(elems)) {
		for _, write := range []bool{false, true} {
			r.check(t, fmt.Sprintf("table at 0x%x", table), elems, func() (uint16, bool) {
				n := r.mem.WriteTable(table, elems...)
				head, ok := r.driver.AddTable(nil, table, n)
				if write {
					r.driver.SetDesc(head, table, n, vringtest.Indirect|vringtest.Write, 0)
				}
				return head, ok
			})
		}
	}
}

// A table's descriptors are linked by their next fields, in whatever order.
func TestTableLinks(t *testing.T) {
	r := newLayoutRig(t)
	elems := make([]vringtest.Elem, 9)
	for i := range elems {
		elems[i] = vringtest.Elem{Addr: r.scratch + 0x1000 + uint64(100*i), Len: uint32(10 + i), Write: i > 4}
	}
	random := rand.New(rand.NewPCG(9, 9))
	for range 50 {
		order := append([]int{0}, random.Perm(len(elems))...) // entry 0 comes first
		order = append(order[:1], without(order[1:], 0)...)
		for i, at := range order {
			flags, next := uint16(0), 0
			if i+1 < len(order) {
				flags, next = vringtest.Next, order[i+1]
			}
			if elems[i].Write {
				flags |= vringtest.Write
			}
			r.mem.SetDesc(r.scratch, uint16(at), elems[i].Addr, elems[i].Len, flags, uint16(next))
		}
		r.check(t, fmt.Sprintf("order %v", order), elems, func() (uint16, bool) {
			return r.driver.AddTable(nil, r.scratch, uint32(vringtest.DescSize*len(elems)))
		})
	}
}

func without(list []int, x int) (rest []int) {
	for _, v := range list {
		if v != x {
			rest = append(rest, v)
		}
	}
	return rest
}

// The longest chains there are: as many descriptors as the ring has, and a
// ring of them up to a table of MaxIndirect.
func TestLongestChains(t *testing.T) {
	mem, m := memory(t, 0x10_0000, 4<<20)
	for _, size := range []uint32{1, 2, 64, 1024, 32768} {
		r := attach(t, mem, m, size, plain)
		data := mem.Alloc(1, 1)
		list := func(n uint32) (elems []vringtest.Elem) {
			for range n {
				elems = append(elems, vringtest.Elem{Addr: data, Len: 1})
			}
			return elems
		}
		var b vring.Batch
		if _, ok := r.driver.Add(list(size)...); !ok {
			t.Fatalf("ring of %d: the driver has no room", size)
		}
		r.driver.Publish()
		if c := r.take(t, &b, 1)[0]; len(b.Readable(c)) != int(size) || len(b.Writable(c)) != 0 {
			t.Errorf("ring of %d: chain of %d readable, %d writable elements, want %d, 0", size, len(b.Readable(c)), len(b.Writable(c)), size)
		} else {
			r.ring.Complete([]vring.Used{c.Used(0)})
		}
		r.driver.Pop()
		if _, ok := r.driver.AddIndirect(list(size-1), list(vring.MaxIndirect)...); !ok {
			t.Fatalf("ring of %d: the driver has no room", size)
		}
		r.driver.Publish()
		want := int(size) - 1 + vring.MaxIndirect
		if c := r.take(t, &b, 1)[0]; len(b.Readable(c)) != want {
			t.Errorf("ring of %d: chain of %d elements, want %d", size, len(b.Readable(c)), want)
		}
	}
}
