// Package vring is the device side of virtqueues: it takes the buffers a
// driver made available, resolves them to slices of guest memory and returns
// them used.
//
// A Ring belongs to one goroutine at a time. Nothing here blocks, signals or
// allocates per buffer. The driver may be hostile: every word it can write is
// loaded once into a local, checked, and only the copy is used; a driver that
// breaks the rules gets an *Error and its ring must not be used any more.
//
// Section numbers refer to "Virtual I/O Device (VIRTIO)" version 1.4, chapter
// "Basic Facilities of a Virtio Device".
package vring

import (
	"fmt"

	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/guestmem"
)

// MaxSize is the largest number of descriptors in a ring.
const MaxSize = 32768

// MaxIndirect bounds the entries of an indirect table. The specification
// bounds a chain by the ring size, which drivers of tiny rings exceed; this
// bound is our own and equals the one QEMU uses.
const MaxIndirect = 1024

// Config says where a ring lies and where to resume. Addresses are those of
// the front end's address space (guestmem.Map.User), as vhost-user gives them.
type Config struct {
	Size  uint32 // descriptors
	Desc  uint64
	Avail uint64 // driver area
	Used  uint64 // device area
	// Base is the position to resume from in the format of vhost-user's
	// SET_VRING_BASE: for a split ring the next available index. 0, and a
	// position before chains that were completed, stand for that of the first
	// chain that was not, which is 0 in a fresh ring.
	Base     uint32
	Features virtio.Features // negotiated; INDIRECT_DESC and EVENT_IDX matter
}

// Ring is the device's end of one virtqueue.
type Ring interface {
	// Size returns the number of descriptors.
	Size() int
	// Take adds up to limit available chains to b, in the driver's order, and
	// returns how many. After an *Error the chains taken before it are in b
	// and the ring is broken.
	Take(b *Batch, limit int) (int, error)
	// Untake gives back the newest chains taken, as if they never had been.
	// They must be the last ones of the ring's Takes and not completed.
	Untake(chains []Chain)
	// Complete returns buffers to the driver, in the order given; they become
	// visible together.
	Complete(used []Used)
	// NeedNotify reports whether the driver wants an interrupt for what was
	// completed since the last call.
	NeedNotify() bool
	// Arm asks the driver to kick when it next makes a buffer available, and
	// reports true when one is waiting already: then no kick may come.
	Arm() bool
	// Disarm asks the driver not to kick.
	Disarm()
	// Base returns the position of the next chain in the format of Config.Base.
	Base() uint32
	// Remap resolves the ring's own areas in another memory map. Chains taken
	// earlier keep pointing into the old one.
	Remap(m *guestmem.Map) error
}

// New returns the ring described by c. Every area must lie within one region
// of m and be aligned as section "Virtqueues" demands.
func New(m *guestmem.Map, c Config) (Ring, error) {
	if c.Features.Has(virtio.FeatureRingPacked) {
		return nil, fmt.Errorf("packed rings are not offered")
	}
	return newSplit(m, c)
}

// Chain is one buffer made available by the driver: elements to read followed
// by elements to write.
type Chain struct {
	// head has the chain's id in its lower half, in the upper one the number of
	// the ring's descriptors after the first. A fifth field would keep the
	// compiler from holding chains in registers, at a tenth of the packet rate.
	head             uint32
	first, mid, last uint32 // in Batch.segs: readable [first,mid), writable [mid,last)
}

// Descriptors returns how many of the ring's descriptors the chain takes up; a
// table of indirect ones takes up the one that refers to it.
func (c Chain) Descriptors() int { return 1 + int(c.head>>16) }

// Used returns the record that gives the chain back after written bytes were
// stored from the start of its writable part.
func (c Chain) Used(written uint32) Used { return Used{ID: uint16(c.head), Len: written} }

// Used is a buffer on its way back to the driver.
type Used struct {
	ID  uint16
	Len uint32
}

// Batch collects chains and the slices they consist of. Its storage is reused:
// slices obtained from it live until Reset or until the memory map changes.
type Batch struct {
	Chains []Chain
	segs   [][]byte
}

// Reset empties the batch.
func (b *Batch) Reset() {
	b.Chains = b.Chains[:0]
	b.segs = b.segs[:0]
}

// Append adds a chain of the given elements, for rings that are no virtqueues:
// whatever takes and gives frames can be driven as one by implementing Ring.
func (b *Batch) Append(id uint16, readable, writable [][]byte) {
	first := len(b.segs)
	b.segs = append(append(b.segs, readable...), writable...)
	mid := first + len(readable)
	b.Chains = append(b.Chains, Chain{head: uint32(id), first: uint32(first), mid: uint32(mid), last: uint32(len(b.segs))})
}

// Readable returns the elements of c that the driver filled.
func (b *Batch) Readable(c Chain) [][]byte { return b.segs[c.first:c.mid] }

// Writable returns the elements of c that the device may fill.
func (b *Batch) Writable(c Chain) [][]byte { return b.segs[c.mid:c.last] }
