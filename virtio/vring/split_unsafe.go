package vring

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"vhost-user-nvgre/virtio/guestmem"
)

const (
	descSize  = 16
	descAlign = 8 // what the two loads of descriptor.load need
)

// descriptor is an entry of a descriptor table in shared memory: address in
// the first word; length, flags and next in the second.
type descriptor [2]uint64

// desc is a private copy of a descriptor.
type desc struct {
	addr  uint64
	len   uint32
	flags uint16
	next  uint16
}

// load copies a descriptor by exactly two loads. They are atomic so that the
// compiler cannot repeat them, and cost the same as plain ones.
func (d *descriptor) load() desc {
	addr, rest := atomic.LoadUint64(&d[0]), atomic.LoadUint64(&d[1])
	return desc{addr: addr, len: uint32(rest), flags: uint16(rest >> 32), next: uint16(rest >> 48)}
}

// usedElem is an element of the used ring in shared memory, 4-aligned.
type usedElem struct {
	id  uint32
	len uint32
}

// splitMem gives access to the three areas of a split ring. The slices cover
// exactly what the format defines, so Go's bounds checks hold for them.
type splitMem struct {
	desc  []descriptor
	avail []uint16   // flags, idx, ring..., used_event
	heads []uint16   // the ring in avail
	used  []uint16   // flags, idx, ring..., avail_event
	elems []usedElem // the ring in used
}

// mapSplit finds the areas in guest memory and checks their alignment.
func mapSplit(m *guestmem.Map, c Config) (splitMem, error) {
	size := uint64(c.Size)
	areas := [...]struct {
		name        string
		addr, bytes uint64
		align       uintptr
	}{
		{"descriptor table", c.Desc, descSize * size, 16},
		{"available ring", c.Avail, 6 + 2*size, 2},
		{"used ring", c.Used, 6 + 8*size, 4},
	}
	var b [len(areas)][]byte
	for i, a := range areas {
		b[i] = m.User(a.addr, a.bytes)
		if b[i] == nil {
			return splitMem{}, fmt.Errorf("%s at 0x%x, %d bytes: not within one memory region", a.name, a.addr, a.bytes)
		}
		if !aligned(b[i], a.align) {
			return splitMem{}, fmt.Errorf("%s at 0x%x: want an alignment of %d bytes", a.name, a.addr, a.align)
		}
	}
	avail, used := halves(b[1]), halves(b[2])
	return splitMem{
		desc:  descriptors(b[0]),
		avail: avail,
		heads: avail[2 : 2+size],
		used:  used,
		elems: unsafe.Slice((*usedElem)(unsafe.Pointer(&used[2])), size),
	}, nil
}

func (m *splitMem) loadAvailFlags() uint16 { return load16(&m.avail[0]) }

// loadAvailIndex is an acquire: entries and descriptors below the index are
// visible after it.
func (m *splitMem) loadAvailIndex() uint16 { return load16(&m.avail[1]) }

func (m *splitMem) loadUsedEvent() uint16 { return load16(&m.avail[len(m.avail)-1]) }

func (m *splitMem) loadUsedIndex() uint16 { return load16(&m.used[1]) }

// publishUsed stores flags and index, which share an aligned word of which we
// are the only writer, after everything written before. It is a full fence:
// loads after it are not older than the store.
func (m *splitMem) publishUsed(flags, idx uint16) {
	storeFence32((*uint32)(unsafe.Pointer(&m.used[0])), uint32(flags)|uint32(idx)<<16)
}

// storeAvailEvent asks for a kick once the driver's index passes idx. It is a
// full fence. The field has no neighbour it could share a wider store with.
func (m *splitMem) storeAvailEvent(idx uint16) {
	storeFence16(&m.used[len(m.used)-1], idx)
}

func aligned(b []byte, align uintptr) bool {
	return uintptr(unsafe.Pointer(unsafe.SliceData(b)))%align == 0
}

func descriptors(b []byte) []descriptor {
	return unsafe.Slice((*descriptor)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/descSize)
}

func halves(b []byte) []uint16 {
	return unsafe.Slice((*uint16)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/2)
}

func bytesOf(table []descriptor) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(table))), len(table)*descSize)
}
