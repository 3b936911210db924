package vring

import (
	"fmt"

	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/guestmem"
)

// Descriptor flags (section "The Virtqueue Descriptor Table").
const (
	descNext     = 1
	descWrite    = 2
	descIndirect = 4
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
	guest    *guestmem.Map
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
	// straddles two regions. It is allocated for the first such driver.
	table []descriptor
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
	q.Disarm()
	return q, nil
}

func (q *split) Remap(m *guestmem.Map) error {
	mem, err := mapSplit(m, q.cfg)
	if err != nil {
		return err
	}
	q.guest, q.mem = m, mem
	return nil
}

func (q *split) Size() int { return int(q.cfg.Size) }

func (q *split) Base() uint32 { return uint32(q.next) }

func (q *split) Take(b *Batch, limit int) (int, error) {
	n := int(q.seenAvail - q.next)
	if n < limit {
		q.seenAvail = q.mem.loadAvailIndex()
		n = int(q.seenAvail - q.next)
		if n > q.Size() {
			return 0, &Error{FaultAvailIndex, uint64(n), uint64(q.Size())}
		}
	}
	n = min(n, limit)
	for i := range n {
		if err := q.takeOne(b, q.mem.availEntry(q.next&q.mask)); err != nil {
			return i, err
		}
		q.next++
	}
	return n, nil
}

// takeOne walks the chain that starts at head and adds it to b. It visits at
// most as many descriptors as the table has, so a loop ends.
func (q *split) takeOne(b *Batch, head uint16) error {
	if int(head) >= q.Size() {
		return &Error{FaultHead, uint64(head), uint64(q.Size())}
	}
	first := len(b.segs)
	mid := -1 // where the writable part starts, once seen
	table, nested := q.mem.desc, false
	for i, left := head, len(table); ; left-- {
		if left == 0 {
			return &Error{FaultLoop, uint64(i), uint64(len(table))}
		}
		if int(i) >= len(table) {
			return &Error{FaultNext, uint64(i), uint64(len(table))}
		}
		d := table[i].load()
		if d.flags&descIndirect != 0 {
			if nested {
				return &Error{FaultIndirectNested, uint64(i), 0}
			}
			var err error
			if table, err = q.indirectTable(d, i); err != nil {
				return err
			}
			// left is decremented once more before the first entry is read.
			nested, i, left = true, 0, len(table)+1
			continue
		}
		if d.flags&descWrite == 0 {
			if mid >= 0 {
				return &Error{FaultOrder, uint64(i), 0}
			}
		} else if mid < 0 {
			mid = len(b.segs)
		}
		// An empty element has no address worth checking.
		if d.len > 0 {
			segs, ok := q.guest.AppendGuest(b.segs, d.addr, uint64(d.len))
			if !ok {
				return &Error{FaultAddress, d.addr, uint64(d.len)}
			}
			b.segs = segs
		}
		if d.flags&descNext == 0 {
			break
		}
		i = d.next
	}
	if mid < 0 {
		mid = len(b.segs)
	}
	b.Chains = append(b.Chains, Chain{id: head, first: uint32(first), mid: uint32(mid), last: uint32(len(b.segs))})
	return nil
}

// indirectTable checks descriptor i, which refers to a table, and returns the
// table: in place where it is aligned and contiguous, else as a private copy.
func (q *split) indirectTable(d desc, i uint16) ([]descriptor, error) {
	switch {
	case !q.indirect:
		return nil, &Error{FaultIndirectOff, uint64(i), 0}
	case d.flags&descNext != 0:
		return nil, &Error{FaultIndirectNext, uint64(i), 0}
	case d.len == 0 || d.len%descSize != 0 || d.len/descSize > MaxIndirect:
		return nil, &Error{FaultIndirectLength, uint64(d.len), MaxIndirect * descSize}
	}
	if b := q.guest.Guest(d.addr, uint64(d.len)); b != nil && aligned(b, descAlign) {
		return descriptors(b), nil
	}
	pieces, ok := q.guest.AppendGuest(nil, d.addr, uint64(d.len))
	if !ok {
		return nil, &Error{FaultAddress, d.addr, uint64(d.len)}
	}
	if q.table == nil {
		q.table = make([]descriptor, MaxIndirect)
	}
	table := q.table[:d.len/descSize]
	into := bytesOf(table)
	for _, p := range pieces {
		into = into[copy(into, p):]
	}
	return table, nil
}

func (q *split) Untake(chains []Chain) { q.next -= uint16(len(chains)) }

func (q *split) Complete(used []Used) {
	if len(used) == 0 {
		return
	}
	for i, u := range used {
		q.mem.storeUsed((q.used+uint16(i))&q.mask, u)
	}
	q.used += uint16(len(used))
	q.mem.publishUsed(q.usedFlags, q.used)
}

func (q *split) NeedNotify() bool {
	old := q.decided
	if q.decidedValid && old == q.used {
		return false
	}
	first := !q.decidedValid
	q.decided, q.decidedValid = q.used, true
	// publishUsed was a full fence, so these loads see what the driver stored
	// before it could see our index.
	if !q.eventIdx {
		return q.mem.loadAvailFlags()&availNoInterrupt == 0
	}
	event := q.mem.loadUsedEvent()
	return first || q.used-event-1 < q.used-old
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
