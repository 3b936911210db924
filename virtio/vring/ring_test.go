package vring_test

import (
	"encoding/binary"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/guestmem"
	"vhost-user-nvgre/virtio/vring"
	"vhost-user-nvgre/virtio/vringtest"
)

func TestNewRefuses(t *testing.T) {
	mem, m := memory(t, 0x10_0000, 1<<20)
	driver := vringtest.NewDriver(mem, 8, plain)
	end := mem.Info.User + mem.Info.Size
	for _, tt := range []struct {
		name   string
		change func(c *vring.Config)
		err    string
	}{
		{"size 0", func(c *vring.Config) { c.Size = 0 }, "ring size 0: want a power of two from 1 to 32768"},
		{"size 3", func(c *vring.Config) { c.Size = 3 }, "ring size 3"},
		{"size 65536", func(c *vring.Config) { c.Size = 65536 }, "ring size 65536"},
		{"size 2^31", func(c *vring.Config) { c.Size = 1 << 31 }, "ring size 2147483648"},
		{"base", func(c *vring.Config) { c.Base = 0x10000 }, "ring base 0x10000: a split ring's is at most 0xffff"},
		{"packed", func(c *vring.Config) { c.Features |= virtio.FeatureRingPacked }, "packed rings are not offered"},
		{"guest addresses", func(c *vring.Config) { c.Desc -= vringtest.UserOffset }, "descriptor table at 0x"},
		{"descriptors beyond memory", func(c *vring.Config) { c.Desc = end - 112 }, "128 bytes: not within one memory region"},
		{"available ring beyond memory", func(c *vring.Config) { c.Avail = end - 20 }, "available ring at 0x"},
		{"used ring beyond memory", func(c *vring.Config) { c.Used = end - 68 }, "used ring at 0x"},
		{"used ring wraps", func(c *vring.Config) { c.Used = ^uint64(3) }, "used ring at 0xfffffffffffffffc, 70 bytes"},
		{"descriptors misaligned", func(c *vring.Config) { c.Desc += 8 }, "want an alignment of 16 bytes"},
		{"available ring misaligned", func(c *vring.Config) { c.Avail++ }, "want an alignment of 2 bytes"},
		{"used ring misaligned", func(c *vring.Config) { c.Used += 2 }, "want an alignment of 4 bytes"},
	} {
		c := driver.Config()
		tt.change(&c)
		if r, err := vring.New(m, c); err == nil || !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: New = %v, %v; want an error with %q", tt.name, r, err, tt.err)
		}
	}
	// Areas may end where memory does.
	c := driver.Config()
	c.Used = end - 72
	if r, err := vring.New(m, c); err != nil || r.Size() != 8 {
		t.Errorf("used ring at the end of memory: New = %v, %v", r, err)
	}
}

// Rings of every size carry buffers, in order and each once, while their
// indices wrap: soon after the start, and for some sizes also after all of
// their range. The driver fills the ring as far as it goes.
//
// Shows: VNET-019, VNET-014
func TestEverySizeWraps(t *testing.T) {
	mem, m := memory(t, 0, 4<<20)
	for size := uint32(1); size <= vring.MaxSize; size *= 2 {
		for base, total := range map[uint16]int{0xfff1: 3*int(size) + 1000, 0: 66000} {
			if base == 0 && size != 1 && size != 1024 && size != vring.MaxSize {
				continue
			}
			r := &rig{mem: mem, guest: m, driver: vringtest.NewDriver(mem, size, event)}
			r.driver.Resume(base, base)
			binary.LittleEndian.PutUint16(mem.At(r.driver.Used+2, 2), base) // what an earlier device left
			r.start(t, base)
			if got := r.ring.Base(); got != uint32(base) {
				t.Fatalf("size %d: Base = %d at the start, want %d", size, got, base)
			}
			var b vring.Batch
			var used []vring.Used
			var pending []uint16 // heads by the driver, in order
			added, taken, popped := 0, 0, 0
			for popped < total {
				for added < total {
					head, ok := r.driver.Add(vringtest.Elem{Len: uint32(added%1000 + 1)})
					if !ok {
						break
					}
					pending = append(pending, head)
					added++
				}
				r.driver.Publish()
				b.Reset()
				want := min(added-taken, 100+taken%999)
				used = used[:0]
				for _, c := range r.take(t, &b, want) {
					if got := len(b.Readable(c)[0]); got != taken%1000+1 {
						t.Fatalf("size %d: chain %d has %d bytes, want %d", size, taken, got, taken%1000+1)
					}
					used = append(used, c.Used(uint32(taken)))
					taken++
				}
				if got := r.ring.Base(); got != uint32(base+uint16(taken)) {
					t.Fatalf("size %d: Base = %d after %d chains from %d", size, got, taken, base)
				}
				r.ring.Complete(used)
				if got := r.driver.UsedIndex(); got != base+uint16(taken) {
					t.Fatalf("size %d: used index %d after %d chains from %d", size, got, taken, base)
				}
				for {
					id, n, ok := r.driver.Pop()
					if !ok {
						break
					}
					if id != uint32(pending[0]) || n != uint32(popped) {
						t.Fatalf("size %d: used buffer %d is %d with %d bytes, want %d, %d", size, popped, id, n, pending[0], popped)
					}
					pending = pending[1:]
					popped++
				}
			}
		}
	}
}

// Buffers come back in whatever order the device completes them.
func TestCompleteInAnyOrder(t *testing.T) {
	r := newRig(t, 8, plain)
	for i := range uint32(8) {
		r.driver.Add(vringtest.Elem{Addr: r.mem.Info.Guest, Len: i + 1, Write: true})
	}
	r.driver.Publish()
	var b vring.Batch
	chains := r.take(t, &b, 8)
	order := []int{3, 1, 7, 0, 2, 6, 5, 4}
	r.ring.Complete(nil)
	if got := r.driver.UsedIndex(); got != 0 {
		t.Errorf("used index %d after completing nothing", got)
	}
	r.ring.Complete([]vring.Used{chains[order[0]].Used(4)})
	var rest []vring.Used
	for _, i := range order[1:] {
		rest = append(rest, chains[i].Used(uint32(i+1)))
	}
	r.ring.Complete(rest)
	for _, i := range order {
		id, n, ok := r.driver.Pop()
		// The driver numbered its buffers by descriptor.
		if !ok || id != uint32(i) || n != uint32(i+1) {
			t.Errorf("Pop = %d, %d, %t; want %d, %d", id, n, ok, i, i+1)
		}
	}
}

// Chains given back come again, from the same memory, at the same position.
func TestUntake(t *testing.T) {
	r := newRig(t, 8, plain)
	for i := range uint32(6) {
		r.driver.Add(vringtest.Elem{Addr: r.mem.Info.Guest, Len: i + 1})
	}
	r.driver.Publish()
	var b vring.Batch
	first := r.take(t, &b, 5)
	r.ring.Untake(first[2:])
	if got := r.ring.Base(); got != 2 {
		t.Errorf("Base = %d after taking 5 and giving 3 back, want 2", got)
	}
	if !r.ring.Arm() {
		t.Error("Arm = false with chains given back")
	}
	r.ring.Untake(nil)
	var again vring.Batch
	chains := r.take(t, &again, 4)
	for i, c := range chains {
		if got := len(again.Readable(c)[0]); got != i+3 {
			t.Errorf("chain %d after Untake has %d bytes, want %d", i, got, i+3)
		}
	}
	if n, err := r.ring.Take(&again, 1); n != 0 || err != nil {
		t.Errorf("Take = %d, %v; want nothing more", n, err)
	}
	for _, limit := range []int{0, -1} {
		r.ring.Untake(chains)
		if n, err := r.ring.Take(&again, limit); n != 0 || err != nil {
			t.Errorf("Take(%d) = %d, %v", limit, n, err)
		}
		r.take(t, &again, 4)
	}
}

// One batch collects chains of several rings.
func TestBatchOfSeveralRings(t *testing.T) {
	mem, m := memory(t, 0, 1<<20)
	var b vring.Batch
	for range 2 {
		for i := range uint32(3) {
			r := attach(t, mem, m, 4, plain)
			r.driver.Add(vringtest.Elem{Len: i + 1}, vringtest.Elem{Len: 10, Write: true})
			r.driver.Publish()
			r.take(t, &b, 1)
		}
		for i, c := range b.Chains {
			if r, w := b.Readable(c), b.Writable(c); len(r) != 1 || len(r[0]) != i+1 || len(w) != 1 || len(w[0]) != 10 {
				t.Errorf("chain %d: readable %d, writable %d elements", i, len(r), len(w))
			}
		}
		b.Reset()
		if len(b.Chains) != 0 {
			t.Errorf("%d chains after Reset", len(b.Chains))
		}
	}
}

// A ring that moves to another map goes on where it was; a map without its
// areas is refused and leaves it where it is.
func TestRemap(t *testing.T) {
	r := newRig(t, 8, plain)
	add := func(n uint32) {
		r.driver.Add(vringtest.Elem{Addr: r.mem.Info.Guest, Len: n})
		r.driver.Publish()
	}
	var b vring.Batch
	add(1)
	old := r.take(t, &b, 1)[0]

	second, err := r.mem.Map()
	if err != nil {
		t.Fatal(err)
	}
	defer vringtest.Unmap(second)
	if err := r.ring.Remap(&guestmem.Map{}); err == nil {
		t.Error("Remap to an empty map succeeded")
	}
	add(2)
	r.take(t, &b, 1)
	if err := r.ring.Remap(second); err != nil {
		t.Fatalf("Remap: %v", err)
	}
	add(3)
	c := r.take(t, &b, 1)[0]
	if got := b.Readable(c)[0]; len(got) != 3 || !inside(second, got) || inside(r.guest, got) {
		t.Errorf("after Remap: element of %d bytes, in the new map %t, in the old %t", len(got), inside(second, got), inside(r.guest, got))
	}
	if !inside(r.guest, b.Readable(old)[0]) {
		t.Error("a chain taken before Remap lost its memory")
	}
	r.ring.Complete([]vring.Used{old.Used(0), c.Used(0)})
	if got := r.driver.UsedIndex(); got != 2 {
		t.Errorf("used index %d, want 2", got)
	}
}

// The front end truncates the file behind guest memory while rings are in use:
// a fault that can be recovered from, and told apart from a fault of our own.
//
// Hostile: CVE-2026-86561
func TestTruncatedFile(t *testing.T) {
	mem, m := memory(t, 0x10_0000, 1<<20)
	r := attach(t, mem, m, 8, plain)
	r.driver.Add(vringtest.Elem{Addr: mem.Info.Guest, Len: 8})
	r.driver.Publish()
	var b vring.Batch
	c := r.take(t, &b, 1)[0]
	if err := unix.Ftruncate(mem.FD, 0); err != nil {
		t.Fatal(err)
	}
	for name, touch := range map[string]func(){
		"Take":     func() { _, _ = r.ring.Take(&b, 1) },
		"Complete": func() { r.ring.Complete([]vring.Used{c.Used(0)}) },
		"Arm":      func() { r.ring.Arm() },
		"data":     func() { b.Readable(c)[0][0]++ },
	} {
		addr, ok := faultAddress(touch)
		if !ok || !m.Contains(addr) {
			t.Errorf("%s: recovered %t, address 0x%x, in guest memory %t; want a fault there", name, ok, addr, m.Contains(addr))
		}
	}
}

// faultAddress runs f and returns the address of the memory fault that ended
// it.
func faultAddress(f func()) (addr uintptr, ok bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if fault, is := recover().(interface{ Addr() uintptr }); is {
			addr, ok = fault.Addr(), true
		}
	}()
	f()
	return 0, false
}

// A chain takes up the descriptors of the ring that the driver gets back with
// it, which those of an indirect table are not.
func TestDescriptors(t *testing.T) {
	r := newRig(t, 16, plain)
	e := vringtest.Elem{Addr: r.mem.Alloc(64, 1), Len: 64}
	var want []int
	add := func(direct, table int) {
		t.Helper()
		before := r.driver.Free()
		all := slices.Repeat([]vringtest.Elem{e}, direct+table)
		ok := false
		if table == 0 {
			_, ok = r.driver.Add(all...)
		} else {
			_, ok = r.driver.AddIndirect(all[:direct], all[direct:]...)
		}
		if !ok {
			t.Fatal("the ring is full")
		}
		want = append(want, before-r.driver.Free())
	}
	add(1, 0)
	add(3, 0)
	add(0, 1)
	add(0, 5)
	add(2, 4)
	add(2, 0)
	r.driver.Publish()
	var b vring.Batch
	for i, c := range r.take(t, &b, len(want)) {
		if got := c.Descriptors(); got != want[i] {
			t.Errorf("chain %d: %d descriptors, want %d", i, got, want[i])
		}
	}
}
