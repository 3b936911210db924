package vring

import (
	"fmt"

	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/guestmem"
)

// Flags by which each side asks for silence without EVENT_IDX.
const (
	availNoInterrupt = 1
	usedNoNotify     = 1
)

// split is a split virtqueue (section "Split Virtqueues"). The indices run
// freely modulo 65536; a slot is an index modulo the ring size.
type split struct {
	cfg      Config
	guest    guestmem.Cursor
	mem      splitMem
	mask     uint16
	indirect bool
	eventIdx bool

	next      uint16 // of the next chain to take
	seenAvail uint16 // the driver's index as last loaded
	used      uint16 // published
	usedFlags uint16
	// decided is the used index of the last NeedNotify; before the first one
	// there is no valid old value and the driver is notified unconditionally.
	decided      uint16
	decidedValid bool

	// table holds the private copy of an indirect table that is misaligned or
	// straddles regions, in pieces. Allocated for the first such driver.
	table  []descriptor
	pieces [][]byte
}

func newSplit(m *guestmem.Map, c Config) (*split, error) {
	if c.Size == 0 || c.Size > MaxSize || c.Size&(c.Size-1) != 0 {
		return nil, fmt.Errorf("ring size %d: want a power of two from 1 to %d", c.Size, MaxSize)
	}
	if c.Base > 0xffff {
		return nil, fmt.Errorf("ring base 0x%x: a split ring's is at most 0xffff", c.Base)
	}
	q := &split{
		cfg:       c,
		mask:      uint16(c.Size - 1),
		indirect:  c.Features.Has(virtio.FeatureIndirectDesc),
		eventIdx:  c.Features.Has(virtio.FeatureEventIdx),
		next:      uint16(c.Base),
		seenAvail: uint16(c.Base),
	}
	if err := q.Remap(m); err != nil {
		return nil, err
	}
	// What earlier devices completed is in guest memory; a fresh ring has 0.
	q.used = q.mem.loadUsedIndex()
	if c.Base == 0 || int16(q.used-q.next) > 0 {
		// DPDK's virtio-user says 0 also when its driver goes on after it lost
		// the back end before, and QEMU what it read while that one was about to
		// end. Buffers are completed in order, so what follows is still to do,
		// and a buffer before would come back twice.
		q.next, q.seenAvail = q.used, q.used
	}
	q.Disarm()
	return q, nil
}

func (q *split) Remap(m *guestmem.Map) error {
	mem, err := mapSplit(m, q.cfg)
	if err != nil {
		return err
	}
	q.guest, q.mem = m.Cursor(), mem
	return nil
}

func (q *split) Size() int { return int(q.cfg.Size) }

func (q *split) Base() uint32 { return uint32(q.next) }

func (q *split) Untake(chains []Chain) { q.next -= uint16(len(chains)) }

func (q *split) Complete(used []Used) {
	if len(used) == 0 {
		return
	}
	elems, at, mask := q.mem.elems, q.used, q.mask
	for _, u := range used {
		elems[at&mask] = usedElem{id: uint32(u.ID), len: u.Len}
		at++
	}
	q.used = at
	if int(at-q.decided) < len(used) {
		// All of the index's range has gone by since the last decision: the
		// old value says nothing any more.
		q.decidedValid = false
	}
	q.mem.publishUsed(q.usedFlags, q.used)
}

func (q *split) NeedNotify() bool {
	old, valid := q.decided, q.decidedValid
	if valid && old == q.used {
		return false
	}
	q.decided, q.decidedValid = q.used, true
	// publishUsed was a full fence, so these loads see what the driver stored
	// before it could see our index.
	if !q.eventIdx {
		return q.mem.loadAvailFlags()&availNoInterrupt == 0
	}
	return !valid || q.used-q.mem.loadUsedEvent()-1 < q.used-old
}

func (q *split) Arm() bool {
	if q.eventIdx {
		q.mem.storeAvailEvent(q.next)
	} else {
		q.usedFlags = 0
		q.mem.publishUsed(q.usedFlags, q.used)
	}
	q.seenAvail = q.mem.loadAvailIndex()
	return q.seenAvail != q.next
}

func (q *split) Disarm() {
	if q.eventIdx {
		return // avail_event lies behind, which is as good as silence
	}
	q.usedFlags = usedNoNotify
	q.mem.publishUsed(q.usedFlags, q.used)
}
