package vring_test

import (
	"fmt"
	"testing"

	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/guestmem"
	"vhost-user-nvgre/virtio/vring"
	"vhost-user-nvgre/virtio/vringtest"
)

// BenchmarkTakeComplete measures what the device does per chain: take a batch,
// give it back. The driver only moves its index, for its ring entries and
// descriptors stay the same from round to round.
func BenchmarkTakeComplete(b *testing.B) {
	const size, batch = 1024, 64
	for _, bc := range []struct {
		name  string
		elems int
		table bool
	}{
		{"direct/1", 1, false},
		{"direct/2", 2, false},
		{"direct/4", 4, false},
		{"indirect/1", 1, true},
		{"indirect/2", 2, true},
		{"indirect/4", 4, true},
	} {
		for _, regions := range []int{1, 2, 32} {
			b.Run(fmt.Sprintf("%s/regions=%d", bc.name, regions), func(b *testing.B) {
				benchTakeComplete(b, size, batch, bc.elems, bc.table, regions)
			})
		}
	}
}

func benchTakeComplete(b *testing.B, size uint32, batch, elems int, table bool, regions int) {
	mem, err := vringtest.NewMemory(0x4000_0000, 8<<20)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { mem.Close() })
	var maps []*guestmem.Region
	for i := range regions - 1 { // smaller addresses, none of them used
		info := guestmem.RegionInfo{Guest: uint64(i) << 20, User: uint64(i) << 20, Size: 1 << 20}
		r, err := guestmem.MapRegion(mem.FD, info)
		if err != nil {
			b.Fatal(err)
		}
		maps = append(maps, r)
	}
	r, err := guestmem.MapRegion(mem.FD, mem.Info)
	if err != nil {
		b.Fatal(err)
	}
	maps = append(maps, r)
	b.Cleanup(func() {
		for _, r := range maps {
			r.Unmap()
		}
	})
	guest, err := guestmem.NewMap(maps...)
	if err != nil {
		b.Fatal(err)
	}
	d := vringtest.NewDriver(mem, size, virtio.FeatureVersion1|virtio.FeatureIndirectDesc|virtio.FeatureEventIdx)
	ring, err := vring.New(guest, d.Config())
	if err != nil {
		b.Fatal(err)
	}
	list := make([]vringtest.Elem, elems)
	for i := range list {
		list[i] = vringtest.Elem{Addr: mem.Alloc(512, 64), Len: 512}
	}
	// As many buffers as fit; the slots of the ring repeat them.
	var heads []uint16
	for {
		var head uint16
		var ok bool
		if table {
			head, ok = d.AddIndirect(nil, list...)
		} else {
			head, ok = d.Add(list...)
		}
		if !ok {
			break
		}
		heads = append(heads, head)
	}
	for i := len(heads); i < int(size); i++ {
		d.PushAvail(heads[i%len(heads)])
	}
	var batchOf vring.Batch
	used := make([]vring.Used, 0, batch)
	idx := uint16(0)
	round := func() {
		idx += uint16(batch)
		d.SetAvailIndex(idx)
		batchOf.Reset()
		n, err := ring.Take(&batchOf, batch)
		if n != batch || err != nil {
			b.Fatalf("Take = %d, %v; want %d", n, err, batch)
		}
		used = used[:0]
		for _, c := range batchOf.Chains {
			used = append(used, c.Used(0))
		}
		ring.Complete(used)
	}
	round()
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		round()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/chain")
}
