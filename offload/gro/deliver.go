package gro

import (
	"encoding/binary"

	"vhost-user-nvgre/offload/checksum"
	"vhost-user-nvgre/offload/packet"
	"vhost-user-nvgre/virtio"
)

// Single is a frame that is to be delivered alone, as it came.
type Single struct {
	// Frame is its number.
	Frame int
	// Bad says that the frame was to be merged, but its transport checksum was
	// found wrong, or its Tail shorter than it was said to be.
	Bad bool
}

// Next delivers units into sink until a frame's turn comes that is to be
// delivered alone, which it returns; false means that all is delivered. Every
// frame is either returned once or part of one unit.
//
// Of a unit for which the sink has no room, as many frames are merged as there
// is room for; where it has none for two, they are returned one by one.
func (c *Coalescer) Next(sink Sink) (Single, bool) {
	for c.more() {
		first := c.cur
		if n, payload := c.extent(first); n == 1 || !c.merge(sink, n, payload) {
			c.advance(first)
			return Single{Frame: first, Bad: first == c.bad}, true
		}
	}
	return Single{}, false
}

// Rest returns the number of the next frame that was not delivered yet, in the
// order in which Next would deliver, and is done with it; false means that
// there is none. It is for what is left when no frame can be delivered any
// more.
func (c *Coalescer) Rest() (int, bool) {
	if !c.more() {
		return 0, false
	}
	first := c.cur
	c.advance(first)
	return first, true
}

// more makes cur the next frame; false means that all are delivered.
func (c *Coalescer) more() bool {
	if c.cur >= 0 {
		return true
	}
	if c.item == len(c.items) {
		return false
	}
	it := &c.items[c.item]
	c.item++
	c.cur = int(it.first)
	c.alone, c.whole = it.frames == 1, true
	return true
}

// advance goes on to the frame that follows frame i of the item.
func (c *Coalescer) advance(i int) {
	c.whole = false
	if c.cur = int(c.segs[i].next); c.cur == 0 {
		c.cur = -1
	}
}

// extent returns how many frames from the given one of an item on make a unit,
// and their payload.
func (c *Coalescer) extent(i int) (int, uint32) {
	if c.alone || i == c.bad {
		return 1, 0
	}
	if c.whole { // as planned
		it := &c.items[c.item-1]
		return int(it.frames), it.payload
	}
	// The unit ended before a bad frame, or where there was no room. What the
	// others have in common stays.
	l := &c.frames[i].Info.Outer
	var u unit
	u.start(&c.segs[i])
	for j := c.segs[i].next; j != 0 && u.takes(&c.segs[j], l.Trans == packet.TCP, limit(l)); j = c.segs[j].next {
		u.add(&c.segs[j])
	}
	return int(u.frames), u.payload
}

// merge delivers n frames from c.cur on, with the given payload, as a unit:
// all of them, or those before one that turns out bad. False means that the
// first is to be delivered alone.
func (c *Coalescer) merge(sink Sink, n int, payload uint32) bool {
	first := c.cur
	f := &c.frames[first]
	header := int(f.Info.Outer.Payload)
	room, ok := sink.Reserve(header + int(payload))
	if !ok {
		c.count(kindOf(&f.Info.Outer), exceptional) // exception 1
	}
	for ; !ok; room, ok = sink.Reserve(header + int(payload)) {
		// The front of a unit is one too.
		if n == 2 {
			c.alone = true
			return false
		}
		n = (n + 1) / 2
		payload = c.payload(first, n)
	}
	dst := checksum.NewCursor(room)
	start := dst
	dst.Skip(header)
	var u unit
	verified := uint16(0)
	i := first
	for ; int(u.frames) < n; i = int(c.segs[i].next) {
		s := &c.segs[i]
		if !c.copyPayload(&dst, i) {
			c.bad = i
			break
		}
		if s.check {
			verified++
		}
		if u.frames == 0 {
			u.start(s)
		} else {
			u.add(s)
		}
	}
	if u.frames < 2 {
		return false
	}
	if c.cur, c.whole = i, false; i == 0 {
		c.cur = -1
	}
	if n := header + int(u.payload); n != header+int(payload) {
		sink.Trim(n)
	}
	c.commit(sink, f, &c.segs[first], &u, &start, verified)
	return true
}

// payload returns the payload of n frames of an item from the given one on.
func (c *Coalescer) payload(i, n int) (sum uint32) {
	for ; n > 0; n-- {
		sum += c.segs[i].payload
		i = int(c.segs[i].next)
	}
	return sum
}

// copyPayload copies the payload of frame i to dst and verifies the frame if
// need be. False means that it must not become part of a unit: its checksum is
// bad, or it is shorter than it is said to be.
func (c *Coalescer) copyPayload(dst *checksum.Cursor, i int) bool {
	f, s := &c.frames[i], &c.segs[i]
	l := &f.Info.Outer
	head := f.Head[:min(len(f.Head), int(l.End))]
	rest := int(l.End) - len(head)
	src := checksum.NewCursor(f.Tail)
	inHead := head[l.Payload:]
	if dst.Write(inHead) != len(inHead) {
		return false
	}
	if !s.check {
		return checksum.Move(dst, &src, rest) == rest
	}
	sum, n := checksum.Transfer(dst, &src, rest)
	if n != rest {
		return false
	}
	covered := head[l.L4:]
	sum = sum.At(len(covered)) + checksum.Sum(covered) + pseudo(l, head, l.End-uint32(l.L4))
	if sum.Good() {
		return true
	}
	c.count(kindOf(l), exceptional) // exception 2
	return false
}

func pseudo(l *packet.Level, b []byte, length uint32) checksum.Acc {
	if l.Net == packet.IPv4 {
		return checksum.PseudoIPv4(l.IPv4Addrs(b), l.Protocol, length)
	}
	return checksum.PseudoIPv6(l.IPv6Addrs(b), l.Protocol, length)
}

// commit writes the header of a unit in front of its payload and hands it over.
func (c *Coalescer) commit(sink Sink, f *Frame, s *segment, u *unit, start *checksum.Cursor, verified uint16) {
	l := &f.Info.Outer
	h := c.template[:copy(c.template[:], f.Head[:l.Payload])]
	kind := kindOf(l)
	offset := uint16(udpChecksum)
	length := uint32(l.Payload-l.L4) + u.payload
	if kind.tcp() {
		u.putTCP(h[l.L4:], s)
		offset = tcpChecksum
	} else {
		binary.BigEndian.PutUint16(h[l.L4+udpLength:], uint16(length))
	}
	// The field has to hold the sum of the pseudo-header (VNET-066), also for
	// datagrams that had no checksum: without HdrNeedsCsum there is no
	// super-frame (VNET-065).
	binary.LittleEndian.PutUint16(h[l.L4+offset:], pseudo(l, h, length).Fold())
	u.putIP(h[l.L3:l.L4], length)
	start.Write(h)

	c.unit = Unit{
		Kind: kind, Frames: u.frames, Segments: u.data, SegSize: uint16(u.size), Payload: u.payload,
		TimestampDelta: u.tsval - u.first, Verified: verified,
	}
	c.stats.count(&c.unit)
	c.hdr = virtio.NetHdr{
		Flags:  virtio.HdrNeedsCsum,
		HdrLen: l.Payload, CsumStart: l.L4, CsumOffset: offset,
		HashValue: f.Hdr.HashValue, HashReport: f.Hdr.HashReport,
	}
	if u.data > 1 { // else window updates have been merged, and it is no super-frame
		c.hdr.GSOType, c.hdr.GSOSize = gsoTypes[kind], uint16(u.size)
		if c.cfg.RSCInfo {
			c.hdr.Flags |= virtio.HdrRSCInfo
			c.hdr.CsumStart, c.hdr.CsumOffset = c.unit.Segments, c.unit.DupAcks
		}
	}
	sink.Commit(&c.hdr)
}

var gsoTypes = [numKinds]uint8{
	TCPv4: virtio.GSOTCPv4, TCPv6: virtio.GSOTCPv6, UDPv4: virtio.GSOUDPL4, UDPv6: virtio.GSOUDPL4,
}

// putTCP sets the fields of the TCP header that are not the first segment's.
// s is that segment.
func (u *unit) putTCP(h []byte, s *segment) {
	be := binary.BigEndian
	be.PutUint32(h[tcpAck:], u.ack)
	h[tcpFlags] = u.flags
	be.PutUint16(h[tcpWindow:], u.window)
	if s.stamp != 0 {
		be.PutUint32(h[s.stamp:], u.tsval)
		be.PutUint32(h[s.stamp+4:], u.tsecr)
	}
}

// putIP sets the fields of the IP header h ("Updating the IP Headers for
// Coalesced Segments"). length is that of what follows.
func (u *unit) putIP(h []byte, length uint32) {
	be := binary.BigEndian
	if len(h) == ipv6Size {
		be.PutUint16(h[ipv6Length:], uint16(length))
		h[ipv6HopLimit] = u.ttl
		return
	}
	be.PutUint16(h[ipv4Length:], uint16(ipv4Size+length))
	h[ipv4TTL] = u.ttl
	h[ipv4Checksum], h[ipv4Checksum+1] = 0, 0
	checksum.IPv4Header((*[20]byte)(h)).Put(h[ipv4Checksum:])
}
