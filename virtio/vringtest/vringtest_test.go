package vringtest_test

import (
	"bytes"
	"testing"

	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/guestmem"
	"vhost-user-nvgre/virtio/vring"
	"vhost-user-nvgre/virtio/vringtest"
)

func newMemory(t *testing.T, guest, size uint64) *vringtest.Memory {
	t.Helper()
	m, err := vringtest.NewMemory(guest, size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// Both sides see the same bytes, by guest and by user address.
func TestMemory(t *testing.T) {
	m := newMemory(t, 0x10_0000, 0x4000)
	guest, err := m.Map()
	if err != nil {
		t.Fatal(err)
	}
	defer vringtest.Unmap(guest)
	if at := m.Alloc(3, 1); at != 0x10_0000 {
		t.Errorf("first Alloc = 0x%x", at)
	}
	if at := m.Alloc(16, 64); at != 0x10_0040 {
		t.Errorf("Alloc aligned to 64 = 0x%x, want 0x100040", at)
	}
	at := m.Write([]byte("hello"))
	for how, got := range map[string][]byte{
		"At": m.At(at, 5), "Bytes": m.Bytes()[at-0x10_0000:][:5],
		"Guest": guest.Guest(at, 5), "User": guest.User(at+vringtest.UserOffset, 5),
	} {
		if !bytes.Equal(got, []byte("hello")) {
			t.Errorf("%s: %q", how, got)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("Alloc beyond the memory did not panic")
		}
	}()
	m.Alloc(0x4000, 1)
}

// Map maps what is asked for and cleans up after a failure.
func TestMap(t *testing.T) {
	m := newMemory(t, 0, 0x4000)
	half := func(at uint64) guestmem.RegionInfo {
		return guestmem.RegionInfo{Guest: at, User: at + vringtest.UserOffset, Offset: at, Size: 0x2000}
	}
	guest, err := m.Map(half(0x2000), half(0))
	if err != nil || len(guest.Regions()) != 2 {
		t.Fatalf("Map of two halves = %v, %v", guest, err)
	}
	if err := vringtest.Unmap(guest); err != nil {
		t.Error(err)
	}
	if err := vringtest.Unmap(guest); err == nil {
		t.Error("second Unmap succeeded")
	}
	for name, infos := range map[string][]guestmem.RegionInfo{
		"overlap": {half(0), half(0x1fff)}, "too large": {half(0), half(0x3000)},
	} {
		if guest, err := m.Map(infos...); err == nil {
			t.Errorf("%s: Map = %v", name, guest.Regions())
		}
	}
}

func TestNewMemoryFails(t *testing.T) {
	for name, create := range map[string]func(guest, size uint64) (*vringtest.Memory, error){
		"NewMemory": vringtest.NewMemory, "NewHugeMemory": vringtest.NewHugeMemory,
	} {
		for _, size := range []uint64{0, 1<<63 - 1, 1 << 63} {
			if m, err := create(0, size); err == nil {
				m.Close()
				t.Errorf("%s of 0x%x bytes succeeded", name, size)
			}
		}
	}
	// Not a multiple of the page size, which hugetlbfs wants.
	if m, err := vringtest.NewHugeMemory(0, 4096); err == nil {
		m.Close()
		t.Error("NewHugeMemory of 4096 bytes succeeded")
	}
}

// The driver's buffers go to the device and come back, descriptors and all,
// in both notification modes.
func TestDriver(t *testing.T) {
	for _, features := range []virtio.Features{
		virtio.FeatureVersion1 | virtio.FeatureIndirectDesc,
		virtio.FeatureVersion1 | virtio.FeatureIndirectDesc | virtio.FeatureEventIdx,
	} {
		m := newMemory(t, 0x10_0000, 1<<20)
		guest, err := m.Map()
		if err != nil {
			t.Fatal(err)
		}
		defer vringtest.Unmap(guest)
		d := vringtest.NewDriver(m, 8, features)
		ring, err := vring.New(guest, d.Config())
		if err != nil {
			t.Fatal(err)
		}
		a := vringtest.Elem{Addr: m.Write([]byte("abc")), Len: 3}
		b := vringtest.Elem{Addr: m.Write([]byte("defg")), Len: 4}
		w := vringtest.Elem{Addr: m.Alloc(10, 1), Len: 10, Write: true}
		if _, ok := d.Add(); ok {
			t.Error("Add of nothing succeeded")
		}
		for range 30 {
			var heads []uint16
			for i, add := range []func() (uint16, bool){
				func() (uint16, bool) { return d.Add(a, b, w) },
				func() (uint16, bool) { return d.AddIndirect(nil, a, b, w) },
				func() (uint16, bool) { return d.AddIndirect([]vringtest.Elem{a}, b, w) },
			} {
				head, ok := add()
				if !ok {
					t.Fatalf("buffer %d does not fit, %d descriptors are free", i, d.Free())
				}
				heads = append(heads, head)
			}
			if d.Free() != 2 {
				t.Fatalf("%d descriptors are free, want 2", d.Free())
			}
			if _, ok := d.Add(a, b, w); ok {
				t.Fatal("Add of more elements than are free succeeded")
			}
			if _, ok := d.AddTable([]vringtest.Elem{a, b}, 0, 16); ok {
				t.Fatal("AddTable of more elements than are free succeeded")
			}
			ring.Arm()
			d.Publish()
			if !d.NeedKick() || d.NeedKick() {
				t.Fatal("NeedKick is not true once after Arm")
			}
			var batch vring.Batch
			if n, err := ring.Take(&batch, 8); n != 3 || err != nil {
				t.Fatalf("Take = %d, %v; want 3", n, err)
			}
			d.SetInterrupts(true)
			var used []vring.Used
			for _, c := range batch.Chains {
				if got := bytes.Join(batch.Readable(c), nil); string(got) != "abcdefg" {
					t.Fatalf("the device read %q", got)
				}
				used = append(used, c.Used(uint32(copy(batch.Writable(c)[0], "written"))))
			}
			ring.Complete(used)
			if !ring.NeedNotify() {
				t.Fatal("NeedNotify = false after SetInterrupts(true)")
			}
			for _, head := range heads {
				if id, n, ok := d.Pop(); !ok || id != uint32(head) || n != 7 {
					t.Fatalf("Pop = %d, %d, %t; want %d, 7", id, n, ok, head)
				}
			}
			if _, _, ok := d.Pop(); ok || d.Free() != 8 || d.AvailIndex() != d.UsedIndex() {
				t.Fatalf("after all came back: another buffer %t, %d free, indices %d and %d", ok, d.Free(), d.AvailIndex(), d.UsedIndex())
			}
			if got := string(m.At(w.Addr, 7)); got != "written" {
				t.Fatalf("the driver reads %q", got)
			}
			d.SetInterrupts(false)
			d.Add(a)
			d.Publish()
			batch.Reset()
			if n, err := ring.Take(&batch, 8); n != 1 || err != nil {
				t.Fatalf("Take = %d, %v; want 1", n, err)
			}
			ring.Complete([]vring.Used{batch.Chains[0].Used(0)})
			if ring.NeedNotify() {
				t.Fatal("NeedNotify = true after SetInterrupts(false)")
			}
			d.Pop()
		}
	}
}

// A device that returns what it never got, or spoils the descriptors, does not
// confuse the driver's own lists.
func TestDriverSurvivesDevice(t *testing.T) {
	m := newMemory(t, 0, 1<<20)
	guest, err := m.Map()
	if err != nil {
		t.Fatal(err)
	}
	defer vringtest.Unmap(guest)
	d := vringtest.NewDriver(m, 4, virtio.FeatureVersion1)
	ring, err := vring.New(guest, d.Config())
	if err != nil {
		t.Fatal(err)
	}
	head, _ := d.Add(vringtest.Elem{Len: 1}, vringtest.Elem{Len: 1})
	d.Publish()
	clear(m.At(d.Desc, 4*vringtest.DescSize))
	ring.Complete([]vring.Used{{ID: 0xffff}, {ID: head + 1}, {ID: head}, {ID: head}})
	for i, free := range []int{2, 2, 4, 4} {
		if _, _, ok := d.Pop(); !ok || d.Free() != free {
			t.Errorf("after used buffer %d: %t, %d descriptors are free, want %d", i, ok, d.Free(), free)
		}
	}
	seen := map[uint16]bool{}
	for range 4 {
		head, ok := d.Add(vringtest.Elem{Len: 1})
		if !ok || head > 3 || seen[head] {
			t.Errorf("Add = %d, %t; want a descriptor not in use", head, ok)
		}
		seen[head] = true
	}
}
