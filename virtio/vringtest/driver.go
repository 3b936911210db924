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

const descSize = 16

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
	Mem      *Memory
	Desc     uint64 // guest-physical addresses of the areas
	Avail    uint64
	Used     uint64
	features virtio.Features

	size     uint32
	free     []uint16       // descriptors not in use
	chains   map[uint16]int // head -> descriptors in the chain
	avail    uint16         // next available index
	kicked   uint16         // available index at the last NeedKick
	used     uint16         // next used index to read
	pending  uint16         // entries added but not published
	NoNotify bool           // what SetInterrupts last asked for
}

// NewDriver lays a ring of the given size out in m.
func NewDriver(m *Memory, size uint32, f virtio.Features) *Driver {
	n := uint64(size)
	d := &Driver{
		Mem: m, size: size, features: f,
		Desc:   m.Alloc(descSize*n, 16),
		Avail:  m.Alloc(6+2*n, 2),
		Used:   m.Alloc(6+8*n, 4),
		chains: map[uint16]int{},
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

// SetDesc writes descriptor i of the ring's table.
func (d *Driver) SetDesc(i uint16, addr uint64, n uint32, flags, next uint16) {
	d.setDesc(d.Desc, i, addr, n, flags, next)
}

func (d *Driver) setDesc(table uint64, i uint16, addr uint64, n uint32, flags, next uint16) {
	b := d.Mem.At(table+descSize*uint64(i), descSize)
	binary.LittleEndian.PutUint64(b, addr)
	binary.LittleEndian.PutUint32(b[8:], n)
	binary.LittleEndian.PutUint16(b[12:], flags)
	binary.LittleEndian.PutUint16(b[14:], next)
}

// WriteTable lays an indirect table of the elements out in fresh memory with
// the given alignment and returns its address and length in bytes.
func (d *Driver) WriteTable(align uint64, elems ...Elem) (addr uint64, n uint32) {
	addr = d.Mem.Alloc(uint64(len(elems))*descSize, align)
	for i, e := range elems {
		d.setDesc(addr, uint16(i), e.Addr, e.Len, elemFlags(e, i == len(elems)-1), uint16(i+1))
	}
	return addr, uint32(len(elems) * descSize)
}

func elemFlags(e Elem, last bool) uint16 {
	var f uint16
	if e.Write {
		f = Write
	}
	if !last {
		f |= Next
	}
	return f
}

// Free returns how many descriptors are not in use.
func (d *Driver) Free() int { return len(d.free) }

// Add makes a buffer of direct descriptors available without publishing it,
// and returns its head. It reports false when too few descriptors are free.
func (d *Driver) Add(elems ...Elem) (head uint16, ok bool) {
	if len(d.free) < len(elems) || len(elems) == 0 {
		return 0, false
	}
	at := len(d.free) - len(elems)
	ids := d.free[at:]
	d.free = d.free[:at]
	for i, e := range elems {
		var next uint16
		if i+1 < len(ids) {
			next = ids[i+1]
		}
		d.SetDesc(ids[i], e.Addr, e.Len, elemFlags(e, i == len(elems)-1), next)
	}
	head = ids[0]
	d.chains[head] = len(elems)
	d.PushAvail(head)
	return head, true
}

// AddIndirect makes a buffer available by one descriptor that refers to an
// indirect table, preceded by direct descriptors for the first elements.
func (d *Driver) AddIndirect(direct []Elem, elems ...Elem) (head uint16, ok bool) {
	addr, n := d.WriteTable(16, elems...)
	head, ok = d.Add(append(append([]Elem{}, direct...), Elem{Addr: addr, Len: n})...)
	if !ok {
		return 0, false
	}
	// Turn the chain's last descriptor into the reference.
	i := head
	for {
		b := d.Mem.At(d.Desc+descSize*uint64(i), descSize)
		flags := binary.LittleEndian.Uint16(b[12:])
		if flags&Next == 0 {
			binary.LittleEndian.PutUint16(b[12:], Indirect)
			return head, true
		}
		i = binary.LittleEndian.Uint16(b[14:])
	}
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
func (d *Driver) SetAvailIndex(idx uint16) {
	store16(d.Mem.At(d.Avail+2, 2), idx)
}

// AvailIndex returns the index published last.
func (d *Driver) AvailIndex() uint16 { return d.avail }

// Resume sets both positions of a driver that takes over rings as they are.
func (d *Driver) Resume(avail, used uint16) { d.avail, d.kicked, d.used = avail, avail, used }

// NeedKick reports whether the device wants to be kicked for what was
// published since the last call.
func (d *Driver) NeedKick() bool {
	old := d.kicked
	d.kicked = d.avail
	if old == d.avail {
		return false
	}
	if !d.features.Has(virtio.FeatureEventIdx) {
		return load16(d.Mem.At(d.Used, 2))&1 == 0
	}
	event := load16(d.Mem.At(d.Used+4+8*uint64(d.size), 2))
	return d.avail-event-1 < d.avail-old
}

// SetInterrupts asks the device to notify, or not to, for further used
// buffers.
func (d *Driver) SetInterrupts(on bool) {
	d.NoNotify = !on
	if d.features.Has(virtio.FeatureEventIdx) {
		event := d.used
		if !on {
			event-- // lies behind
		}
		store16(d.Mem.At(d.Avail+4+2*uint64(d.size), 2), event)
		return
	}
	var flags uint16
	if !on {
		flags = 1
	}
	store16(d.Mem.At(d.Avail, 2), flags)
}

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
	d.release(uint16(id))
	return id, n, true
}

func (d *Driver) release(head uint16) {
	n, ok := d.chains[head]
	if !ok {
		return // added by hand
	}
	delete(d.chains, head)
	for i := head; n > 0; n-- {
		d.free = append(d.free, i)
		i = binary.LittleEndian.Uint16(d.Mem.At(d.Desc+descSize*uint64(i)+14, 2))
	}
}
