package vringtest

import (
	"encoding/binary"

	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/vring"
)

// Descriptor flags.
const (
	Next     = 1
	Write    = 2
	Indirect = 4
)

// DescSize is the size in bytes of a descriptor.
const DescSize = 16

// Elem is one element of a buffer: guest memory that the device reads, or
// writes when Write is set.
type Elem struct {
	Addr  uint64
	Len   uint32
	Write bool
}

// Driver is the driver's end of a split virtqueue. It belongs to one goroutine
// at a time.
type Driver struct {
	Mem   *Memory
	Desc  uint64 // guest-physical addresses of the areas
	Avail uint64
	Used  uint64

	features virtio.Features
	size     uint32

	free    []uint16 // descriptors not in use, the next one last
	links   []uint16 // by descriptor: the next of its chain
	lengths []uint16 // by head: descriptors in the chain, 0 if not in use
	avail   uint16   // published available index
	pending uint16   // entries added but not published
	kicked  uint16   // available index at the last NeedKick
	used    uint16   // next used index to read
}

// NewDriver lays a ring of the given size out in m.
func NewDriver(m *Memory, size uint32, f virtio.Features) *Driver {
	n := uint64(size)
	d := &Driver{
		Mem:   m,
		Desc:  m.Alloc(DescSize*n, 16),
		Avail: m.Alloc(6+2*n, 2),
		Used:  m.Alloc(6+8*n, 4),

		features: f,
		size:     size,
		links:    make([]uint16, size),
		lengths:  make([]uint16, size),
	}
	for i := range size {
		d.free = append(d.free, uint16(size-1-i))
	}
	return d
}

// Config returns what the device needs to know of the ring.
func (d *Driver) Config() vring.Config {
	return vring.Config{
		Size: d.size,
		Desc: d.Desc + UserOffset, Avail: d.Avail + UserOffset, Used: d.Used + UserOffset,
		Features: d.features,
	}
}

// Resume sets both positions of a driver that takes over rings as they are.
func (d *Driver) Resume(avail, used uint16) { d.avail, d.kicked, d.used = avail, avail, used }

// SetDesc writes descriptor i of the ring's table.
func (d *Driver) SetDesc(i uint16, addr uint64, n uint32, flags, next uint16) {
	d.Mem.SetDesc(d.Desc, i, addr, n, flags, next)
}

// Free returns how many descriptors are not in use.
func (d *Driver) Free() int { return len(d.free) }

// Add makes a buffer of direct descriptors available without publishing it,
// and returns its head. It reports false when too few descriptors are free.
func (d *Driver) Add(elems ...Elem) (head uint16, ok bool) {
	at := len(d.free) - len(elems)
	if at < 0 || len(elems) == 0 {
		return 0, false
	}
	ids := d.free[at:]
	d.free = d.free[:at]
	for i, e := range elems {
		var next uint16
		if i+1 < len(ids) {
			next = ids[i+1]
		}
		d.links[ids[i]] = next
		d.SetDesc(ids[i], e.Addr, e.Len, elemFlags(e, i == len(elems)-1), next)
	}
	head = ids[0]
	d.lengths[head] = uint16(len(elems))
	d.PushAvail(head)
	return head, true
}

// AddIndirect makes a buffer available whose elements, after some direct ones,
// are in an indirect table in fresh memory.
func (d *Driver) AddIndirect(direct []Elem, elems ...Elem) (head uint16, ok bool) {
	addr := d.Mem.Alloc(uint64(len(elems))*DescSize, 16)
	return d.AddTable(direct, addr, d.Mem.WriteTable(addr, elems...))
}

// AddTable makes a buffer available of direct elements followed by the
// indirect table of n bytes at addr.
func (d *Driver) AddTable(direct []Elem, addr uint64, n uint32) (head uint16, ok bool) {
	head, ok = d.Add(append(append([]Elem{}, direct...), Elem{Addr: addr, Len: n})...)
	if !ok {
		return 0, false
	}
	last := head
	for range direct {
		last = d.links[last]
	}
	d.SetDesc(last, addr, n, Indirect, 0)
	return head, true
}

// PushAvail puts a head into the available ring without publishing it.
func (d *Driver) PushAvail(head uint16) {
	slot := uint64(d.avail+d.pending) % uint64(d.size)
	binary.LittleEndian.PutUint16(d.Mem.At(d.Avail+4+2*slot, 2), head)
	d.pending++
}

// Publish makes everything added visible to the device.
func (d *Driver) Publish() {
	d.avail += d.pending
	d.pending = 0
	d.SetAvailIndex(d.avail)
}

// SetAvailIndex stores the available index as it is.
func (d *Driver) SetAvailIndex(idx uint16) { store16(d.Mem.At(d.Avail+2, 2), idx) }

// AvailIndex returns the index published last.
func (d *Driver) AvailIndex() uint16 { return d.avail }

// UsedIndex returns the device's index.
func (d *Driver) UsedIndex() uint16 { return load16(d.Mem.At(d.Used+2, 2)) }

// Pop returns the next used buffer, or false when there is none, and frees its
// descriptors.
func (d *Driver) Pop() (id, n uint32, ok bool) {
	if d.UsedIndex() == d.used {
		return 0, 0, false
	}
	slot := uint64(d.used) % uint64(d.size)
	b := d.Mem.At(d.Used+4+8*slot, 8)
	id, n = binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
	d.used++
	if id < d.size {
		d.release(uint16(id))
	}
	return id, n, true
}

// release frees the chain's descriptors so that they are used again in the
// same order. What was added by hand has length 0.
func (d *Driver) release(head uint16) {
	n := int(d.lengths[head])
	d.lengths[head] = 0
	at := len(d.free)
	d.free = append(d.free, make([]uint16, n)...)
	for i := range n {
		d.free[at+i] = head
		head = d.links[head]
	}
}
