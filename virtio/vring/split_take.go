package vring

import "slices"

// Descriptor flags (section "The Virtqueue Descriptor Table").
const (
	descNext     = 1
	descWrite    = 2
	descIndirect = 4
)

const (
	// maxChainBytes bounds a chain (same section).
	maxChainBytes = 1 << 32
	// maxPieces bounds what a chain may fall into where memory regions adjoin:
	// as many as the longest chain has elements.
	maxPieces = MaxSize + MaxIndirect
	// takeWork is the number of links after which Take stops for this time,
	// so that chains of maximal length do not hold up everybody else.
	takeWork = 8192
)

func (q *split) Take(b *Batch, limit int) (int, error) {
	waiting := int(q.seenAvail - q.next)
	if waiting < limit {
		q.seenAvail = q.mem.loadAvailIndex()
		waiting = int(q.seenAvail - q.next)
	}
	// Arm loads the index too, hence a check whoever loaded it.
	if waiting > q.Size() {
		return 0, &Error{FaultAvailIndex, uint64(waiting), uint64(q.Size())}
	}
	n := max(0, min(waiting, limit))
	b.Chains = slices.Grow(b.Chains, n)
	b.segs = slices.Grow(b.segs, n)
	taken, links := 0, 1
	for work := 0; taken < n && work < takeWork; work += links {
		var head uint16
		var d desc
		// After a chain of several links the next is likely to have as many.
		if links == 1 {
			var simple int
			simple, head, d = q.takeSimple(b, n-taken)
			q.next += uint16(simple)
			if taken += simple; taken == n {
				break
			}
		} else {
			head, d = q.peek()
		}
		var err error
		if links, err = q.takeChain(b, head, d); err != nil {
			return taken, err
		}
		q.next++
		taken++
	}
	return taken, nil
}

// takeSimple adds chains to b as long as they are one element of the region
// used last, up to limit. It returns how many and, when they were fewer, what
// it read of the next: its head and, if that is within the ring, its first
// descriptor. This is where a loaded device spends its time, hence a loop
// that calls nothing.
func (q *split) takeSimple(b *Batch, limit int) (taken int, head uint16, d desc) {
	hadChains, hadSegs := len(b.Chains), len(b.segs)
	chains := b.Chains[hadChains:min(hadChains+limit, cap(b.Chains))]
	segs := b.segs[hadSegs:cap(b.segs)]
	heads, table, window := q.mem.heads, q.mem.desc, q.guest.Window()
	next, mask := q.next, q.mask
	for taken < len(chains) {
		// The results are set where the loop ends, not in passing: that keeps
		// them out of its registers.
		h := heads[next&mask]
		if int(h) >= len(table) {
			head = h
			break
		}
		e := table[h].load()
		seg := window.At(e.addr, uint64(e.len))
		if len(seg) == 0 || e.flags&^descWrite != 0 || taken >= len(segs) {
			head, d = h, e
			break
		}
		segs[taken] = seg
		first := uint32(hadSegs + taken)
		mid := first
		if e.flags == 0 {
			mid++
		}
		chains[taken] = Chain{head: uint32(h), first: first, mid: mid, last: first + 1}
		taken++
		next++
	}
	b.Chains = b.Chains[:hadChains+taken]
	b.segs = b.segs[:hadSegs+taken]
	return taken, head, d
}

// peek reads the next chain's head and, if that is within the ring, its first
// descriptor.
func (q *split) peek() (head uint16, d desc) {
	if head = q.mem.heads[q.next&q.mask]; int(head) < len(q.mem.desc) {
		d = q.mem.desc[head].load()
	}
	return head, d
}

// takeChain adds the chain that starts at head, whose first descriptor is d if
// head is within the ring, and returns the number of links it followed. It
// visits at most as many descriptors as the tables have, so a loop ends. After
// an error b is as it was.
func (q *split) takeChain(b *Batch, head uint16, d desc) (links int, err error) {
	table, nested := q.mem.desc, false
	i, end := head, len(table) // the table's last descriptor may be link end-1
	if int(i) >= len(table) {
		return 0, &Error{FaultHead, uint64(i), uint64(len(table))}
	}
	segs := b.segs
	first, mid := len(segs), -1
	var bytes uint64
	more := uint32(0)
	for {
		if d.flags&descIndirect != 0 {
			if nested {
				return 0, &Error{FaultIndirectNested, uint64(i), 0}
			}
			if table, err = q.indirectTable(d, i); err != nil {
				return 0, err
			}
			nested, i = true, 0
			links++
			end = links + len(table)
			d = table[0].load()
			continue
		}
		if d.flags&descWrite == 0 {
			if mid >= 0 {
				return 0, &Error{FaultOrder, uint64(i), 0}
			}
		} else if mid < 0 {
			mid = len(segs)
		}
		bytes += uint64(d.len)
		if seg := q.guest.Window().At(d.addr, uint64(d.len)); len(seg) > 0 {
			segs = append(segs, seg)
		} else if d.len > 0 { // an empty element has no address worth checking
			var ok bool
			if segs, ok = q.guest.AppendGuest(segs, d.addr, uint64(d.len)); !ok {
				return 0, &Error{FaultAddress, d.addr, uint64(d.len)}
			}
			if len(segs)-first > maxPieces {
				return 0, &Error{FaultPieces, uint64(len(segs) - first), maxPieces}
			}
		}
		links++
		if d.flags&descNext == 0 {
			break
		}
		if int(d.next) >= len(table) {
			return 0, &Error{FaultNext, uint64(d.next), uint64(len(table))}
		}
		if links == end {
			return 0, &Error{FaultLoop, uint64(i), uint64(len(table))}
		}
		i = d.next
		d = table[i].load()
		if !nested {
			more++
		}
	}
	if bytes > maxChainBytes {
		return 0, &Error{FaultLength, bytes, maxChainBytes}
	}
	if mid < 0 {
		mid = len(segs)
	}
	b.segs = segs
	b.Chains = append(b.Chains, Chain{head: more<<16 | uint32(head), first: uint32(first), mid: uint32(mid), last: uint32(len(segs))})
	return links, nil
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
	if b := q.guest.Window().At(d.addr, uint64(d.len)); b != nil && aligned(b, descAlign) {
		return descriptors(b), nil
	}
	var ok bool
	if q.pieces, ok = q.guest.AppendGuest(q.pieces[:0], d.addr, uint64(d.len)); !ok {
		return nil, &Error{FaultAddress, d.addr, uint64(d.len)}
	}
	if len(q.pieces) == 1 && aligned(q.pieces[0], descAlign) {
		return descriptors(q.pieces[0]), nil
	}
	if q.table == nil {
		q.table = make([]descriptor, MaxIndirect)
	}
	table := q.table[:d.len/descSize]
	into := bytesOf(table)
	for _, p := range q.pieces {
		into = into[copy(into, p):]
	}
	return table, nil
}
