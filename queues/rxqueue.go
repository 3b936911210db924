package queues

import (
	"fmt"

	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/offload/checksum"
	"vhost-user-nvgre/offload/verify"
	"vhost-user-nvgre/virtio"
)

// rxQueue is a queue on which a port receives frames. Any shard delivers into
// it, one at a time.
type rxQueue struct {
	virtqueue
	id int // dense over the engine, for outboxes

	// Guarded by mu. batch holds chains taken ahead.
	hdrLen    int
	mergeable bool
	stalled   bool // frames waited too long for room; no more do until one gets in

	// The reservation between Reserve and Commit.
	reserved int        // chains from pos on
	want     int        // bytes, the packet header included
	hdr, dst [][]byte   // where header and frame go
	refusal  dropReason // why the last Reserve failed
}

// deliver puts a batch's frames into the ring and notifies the driver once. It
// returns those that wait for room, as in l.frames, until the next call.
func (q *rxQueue) deliver(s *shard, l *outList) []uint16 {
	q.mu.Lock()
	defer q.mu.Unlock()
	defer q.publish() // also when the memory of a frame's sender vanishes
	l.countRejected()
	if len(l.frames) > 1 && l.st.receiver.Coalesces() {
		return q.deliverCoalesced(s, l)
	}
	for k, i := range l.frames {
		l.done = k
		if !q.open(l.st) {
			q.count.drops[dropRxStopped] += uint64(len(l.frames) - k)
			break
		}
		if !q.put(s, s.frames[i&^flooded], l.st) {
			if !q.stalled && i&flooded == 0 {
				return l.frames[k:]
			}
			q.count.drops[dropRxFull]++
		}
	}
	return nil
}

// open reports whether frames may be delivered to a port in the given state.
func (q *rxQueue) open(st *portState) bool {
	q.hdrLen, q.mergeable = st.hdrLen, st.mergeable
	return q.running() && q.enabled
}

// put delivers a frame or counts why it cannot. It reports false, and has done
// nothing, if the ring has too few buffers at the moment.
func (q *rxQueue) put(s *shard, f *offload.Frame, st *portState) bool {
	packets, bytes := q.count.packets, q.count.bytes
	var v offload.Verdict
	switch {
	case f.Whole(&st.receiver):
		v = q.copyWhole(f)
	// Half of a super-frame's segments would be worse than none: the sender
	// has to send the others again.
	case f.IsSuper() && !q.fits(f):
		v = offload.NoRoom
	default:
		v = s.worker.Deliver(f, &st.receiver, q)
	}
	if h := f.Ethernet(); h.ToGroup() {
		q.count.groups.add(h.DstMAC(), q.count.packets-packets, q.count.bytes-bytes)
	}
	switch {
	case v == offload.OK:
		q.stalled = false
	case v == offload.NoRoom && q.refusal == dropRxFull && q.count.packets == packets:
		return false
	default:
		q.count.drops[q.whyDropped(v)]++
	}
	return true
}

// countDrops counts frames that were to be delivered here.
func (q *rxQueue) countDrops(why dropReason, n uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.count.drops[why] += n
}

func (q *rxQueue) whyDropped(v offload.Verdict) dropReason {
	if v == offload.NoRoom {
		return q.refusal
	}
	return dropOf(v)
}

// Validated counts what the checksums of a frame were found to be
// (offload.Sink).
func (q *rxQueue) Validated(r verify.Result) {
	c := &q.count.checksums
	c.outerIP[r.OuterIP]++
	c.innerIP[r.InnerIP]++
	c.transport[r.Transport]++
}

// copyWhole copies a frame as it is.
func (q *rxQueue) copyWhole(f *offload.Frame) offload.Verdict {
	want := q.hdrLen + f.Len
	if q.pos < len(q.batch.Chains) {
		c := q.batch.Chains[q.pos]
		if segs := q.batch.Writable(c); len(segs) == 1 && len(segs[0]) >= want {
			// Nearly always the next buffer is one piece and large enough.
			b := segs[0]
			f.Hdr.NumBuffers = 1
			f.Hdr.Encode(b[:q.hdrLen])
			b = b[q.hdrLen:]
			b = b[copy(b, f.Head):]
			for _, t := range f.Tail {
				b = b[copy(b, t):]
			}
			q.pos++
			q.used = append(q.used, c.Used(uint32(want)))
			q.count.packets++
			q.count.bytes += uint64(f.Len)
			return offload.OK
		}
	}
	room, ok := q.Reserve(f.Len)
	if !ok {
		return offload.NoRoom
	}
	dst := checksum.NewCursor(room)
	dst.Write(f.Head)
	for _, t := range f.Tail {
		dst.Write(t)
	}
	q.Commit(&f.Hdr)
	return offload.OK
}

// Reserve returns room for a frame of n bytes behind its packet header
// (offload.Sink).
func (q *rxQueue) Reserve(n int) ([][]byte, bool) {
	q.want = q.hdrLen + n
	q.hdr, q.dst = q.hdr[:0], q.dst[:0]
	if q.pos < len(q.batch.Chains) {
		segs := q.batch.Writable(q.batch.Chains[q.pos])
		if len(segs) == 1 && len(segs[0]) >= q.want {
			q.reserved = 1
			q.hdr = append(q.hdr, segs[0][:q.hdrLen])
			q.dst = append(q.dst, segs[0][q.hdrLen:q.want])
			return q.dst, true
		}
	}
	if !q.gather() {
		return nil, false
	}
	q.layOut()
	return q.dst, true
}

// gather finds enough chains for the reservation, taking more from the ring
// when those at hand are too few.
func (q *rxQueue) gather() bool {
	for {
		have := 0
		q.reserved = 0
		for _, c := range q.batch.Chains[q.pos:] {
			room := capacity(q.batch.Writable(c))
			if room < q.hdrLen {
				// Nothing fits such a buffer, ever (VNET-073).
				q.breakOff(fmt.Errorf("receive buffer of %d bytes, shorter than the packet header of %d", room, q.hdrLen))
				return false
			}
			have += room
			q.reserved++
			if have >= q.want {
				return true
			}
			if !q.mergeable {
				q.refusal = dropRxSmall
				return false
			}
		}
		if !q.refill() {
			return false
		}
	}
}

// fits takes chains from the ring until those at hand have room for all segments
// of a super-frame, and reports false if the ring has too few at the moment.
//
// It is true, too, if there is no use in waiting for more: drivers post buffers
// when half of them are used up, some no earlier, so half of the ring is all that
// can be relied on.
func (q *rxQueue) fits(f *offload.Frame) bool {
	k, descriptors := q.pos, 0
	for header, left, mss := f.Split(); left > 0; left -= mss {
		for want := q.hdrLen + header + min(left, mss); want > 0; k++ {
			for k == len(q.batch.Chains) {
				if descriptors >= q.ring.Size()/2 {
					return true
				}
				had := q.pos
				if !q.refill() {
					return false
				}
				if had > 0 {
					// What was at hand was taken again: it may not be the same.
					return q.fits(f)
				}
			}
			c := q.batch.Chains[k]
			descriptors += c.Descriptors()
			room := capacity(q.batch.Writable(c))
			if room < q.hdrLen || room < want && !q.mergeable {
				return true // no more of them would help
			}
			want -= room
		}
	}
	return true
}

// refill takes more chains from the ring.
func (q *rxQueue) refill() bool {
	had := 0
	if q.pos > 0 {
		// The batch is not to grow for ever. Only the first refill of a frame
		// comes here, so the work for one is bounded by the chains it needs.
		had = len(q.batch.Chains) - q.pos
		q.giveBack()
	}
	n, err := q.ring.Take(&q.batch, had+batchSize)
	if err == nil && n <= had && len(q.used) > 0 {
		// A receiver that is quick, and a wire always, has buffers again when
		// it has what is staged.
		q.publish()
		var more int
		more, err = q.ring.Take(&q.batch, batchSize)
		n += more
	}
	if err != nil {
		q.breakOff(err)
		return false
	}
	q.refusal = dropRxFull
	return n > had
}

// breakOff marks the queue broken in the middle of a delivery. What was
// delivered before is the driver's.
func (q *rxQueue) breakOff(err error) {
	q.publish()
	q.fail(err)
	q.refusal = dropRxStopped
}

func capacity(segs [][]byte) (n int) {
	for _, s := range segs {
		n += len(s)
	}
	return n
}

// layOut splits the reserved chains into room for header and frame.
func (q *rxQueue) layOut() {
	hdr, left := q.hdrLen, q.want
	for _, c := range q.batch.Chains[q.pos : q.pos+q.reserved] {
		for _, s := range q.batch.Writable(c) {
			s = s[:min(len(s), left)]
			left -= len(s)
			if n := min(hdr, len(s)); n > 0 {
				q.hdr = append(q.hdr, s[:n])
				s = s[n:]
				hdr -= n
			}
			if len(s) > 0 {
				q.dst = append(q.dst, s)
			}
		}
	}
}

// Trim cuts the reservation to its first n bytes (gro.Sink).
func (q *rxQueue) Trim(n int) {
	q.want = q.hdrLen + n
	have := 0
	for i, c := range q.batch.Chains[q.pos : q.pos+q.reserved] {
		if have += capacity(q.batch.Writable(c)); have >= q.want {
			q.reserved = i + 1
			return
		}
	}
}

// Commit writes the packet header of the frame that was stored in the room of
// the last Reserve and stages its buffers (offload.Sink).
func (q *rxQueue) Commit(h *virtio.NetHdr) {
	h.NumBuffers = uint16(q.reserved)
	if len(q.hdr) == 1 {
		h.Encode(q.hdr[0])
	} else {
		var image [virtio.NetHdrMaxSize]byte
		b := image[:q.hdrLen]
		h.Encode(b)
		for _, s := range q.hdr {
			b = b[copy(s, b):]
		}
	}
	left := q.want
	for _, c := range q.batch.Chains[q.pos : q.pos+q.reserved] {
		// Every buffer but the last is filled completely (VNET-061).
		n := min(left, capacity(q.batch.Writable(c)))
		left -= n
		q.used = append(q.used, c.Used(uint32(n)))
	}
	q.pos += q.reserved
	q.count.packets++
	q.count.bytes += uint64(q.want - q.hdrLen)
}
