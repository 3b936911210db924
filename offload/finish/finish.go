// Package finish completes what a sender left to the device: the transport
// checksum of a frame that was handed over with a partial one, and IPv4 header
// checksums.
package finish

import (
	"encoding/binary"

	"vhost-user-nvgre/offload/checksum"
	"vhost-user-nvgre/offload/packet"
)

// Partial says what a sender asks for, in the terms of virtio's packet header
// (VIRTIO_NET_HDR_F_NEEDS_CSUM): the sum over the frame from Start to its end,
// which includes what the sender put in the checksum field as the sum of the
// pseudo-header, is to be stored, complemented, at Start + Offset. Offsets are
// in bytes from the start of the frame.
type Partial struct {
	Start, Offset int
}

// Valid reports whether the checksum field lies within a frame of the given
// length.
func (c Partial) Valid(frameLen int) bool {
	return c.Start >= 0 && c.Offset >= 0 && c.Start < frameLen && c.Offset < frameLen && c.Start+c.Offset+2 <= frameLen
}

// udpOffset is where the checksum is in a UDP header, and in no other that
// Linux or NDIS offload.
const udpOffset = 6

// Work is what there is to complete in a frame.
type Work struct {
	// Transport asks for the checksum that Partial describes.
	Transport bool
	Partial   Partial
	// IPv4 asks for the header checksum of the (outer) IPv4 header, whatever
	// its field holds, and Tunnel for that of the inner one besides.
	IPv4, Tunnel bool
}

// Deliver copies a frame to dst and completes it on the way. head is a private
// copy of the frame's first bytes, at least the headers that p, which Parse
// made of it, describes; tail is the rest, which may change meanwhile: the
// checksums are of what dst holds afterwards. head may be changed.
//
// It is false if the checksum field is not within the frame, in which case
// nothing is written, or if dst or tail ends too early: then what was written
// is no frame.
func Deliver(dst *checksum.Cursor, head []byte, tail *checksum.Cursor, p *packet.Info, w Work) bool {
	frameLen := int(p.FrameLen)
	if w.Transport && !w.Partial.Valid(frameLen) {
		return false
	}
	head = head[:min(len(head), frameLen)]
	rest := frameLen - len(head)
	if !dst.Has(frameLen) || !tail.Has(rest) || w.Transport && !simple(head, p, &w) {
		if w.IPv4 {
			ipv4Headers(head, head, p, w.Tunnel)
		}
		if w.Transport {
			return deliver(dst, head, tail, frameLen, w.Partial)
		}
		return dst.Write(head) == len(head) && checksum.Move(dst, tail, rest) == rest
	}
	d, t := dst.Take(frameLen), tail.Take(rest)
	var sum checksum.Acc
	if w.Transport {
		covered := head[w.Partial.Start:]
		sum = checksum.Sum(covered) + checksum.Copy(d[len(head):], t).At(len(covered))
	} else {
		copy(d[len(head):], t)
	}
	// The fields are stored in dst behind the copy of head: stored in head,
	// they would hold the copy up.
	copy(d, head)
	if w.IPv4 {
		ipv4Headers(d, head, p, w.Tunnel)
	}
	if w.Transport {
		w.Partial.store(sum, d[w.Partial.Start+w.Partial.Offset:])
	}
	return true
}

// simple reports whether the checksum field is in head and the checksum does
// not cover an IPv4 header that is to be completed, too.
func simple(head []byte, p *packet.Info, w *Work) bool {
	return w.Partial.Start+w.Partial.Offset+2 <= len(head) && w.Partial.Start >= int(max(p.Outer.L4, p.Inner.L4))
}

// store stores the checksum for the given sum at the front of b.
func (c Partial) store(sum checksum.Acc, b []byte) {
	if c.Offset == udpOffset {
		sum.PutUDP(b)
	} else {
		sum.Put(b)
	}
}

// deliver copies the frame and completes the checksum wherever its field is.
func deliver(dst *checksum.Cursor, head []byte, tail *checksum.Cursor, frameLen int, c Partial) bool {
	at := *dst
	if dst.Write(head) != len(head) {
		return false
	}
	var sum checksum.Acc
	pos := len(head)
	if c.Start < pos {
		sum = checksum.Sum(head[c.Start:])
	} else {
		if n := c.Start - pos; checksum.Move(dst, tail, n) != n {
			return false
		}
		pos = c.Start
	}
	a, n := checksum.Transfer(dst, tail, frameLen-pos)
	if n != frameLen-pos {
		return false
	}
	var result [2]byte
	c.store(sum+a.At(pos-c.Start), result[:])
	at.Skip(c.Start + c.Offset)
	at.Write(result[:])
	return true
}

// ipv4Headers stores the checksums of the IPv4 headers in head at their places
// in dst, which may be head.
func ipv4Headers(dst, head []byte, p *packet.Info, tunnel bool) {
	if p.Outer.Net == packet.IPv4 {
		header(dst[p.Outer.L3:], head[p.Outer.L3:p.Outer.L4])
	}
	if tunnel && p.Inner.Net == packet.IPv4 {
		header(dst[p.Inner.L3:], head[p.Inner.L3:p.Inner.L4])
	}
}

func header(dst, h []byte) {
	const field = 10
	var sum checksum.Acc
	if len(h) == 20 {
		sum = checksum.IPv4Header((*[20]byte)(h))
	} else {
		sum = checksum.Sum(h)
	}
	// Less what the field holds: clearing it first would hold the sum up.
	sum += checksum.Acc(^binary.LittleEndian.Uint16(h[field:]))
	sum.Put(dst[field:])
}
