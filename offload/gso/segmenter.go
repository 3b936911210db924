package gso

import (
	"encoding/binary"

	"vhost-user-nvgre/offload/checksum"
	"vhost-user-nvgre/offload/packet"
)

// TCP flags, and where they stand in the header.
const (
	tcpSeq      = 4
	tcpFlags    = 13
	tcpChecksum = 16
	tcpUrgent   = 18

	flagFIN = 0x01
	flagSYN = 0x02
	flagRST = 0x04
	flagPSH = 0x08
	flagURG = 0x20
	flagCWR = 0x80
)

// Offsets in the UDP header.
const (
	udpLength   = 4
	udpChecksum = 6
)

// Offsets in IP headers.
const (
	ipv4Length   = 2
	ipv4ID       = 4
	ipv4Checksum = 10
	ipv4Size     = 20
	ipv6Length   = 4
	ipv6Size     = 40
)

const maxUint16 = 1<<16 - 1

// Segmenter splits one super-frame after the other. It holds no references and
// does not allocate; a shard keeps one. It is not for concurrent use.
type Segmenter struct {
	outer, inner ipPatch // inner.kind is packet.NoNet without a tunnel
	l4           l4Patch

	segments int
	index    int // of the next segment
	mss      int
	left     int // payload bytes not yet sent
	payload  int // of the next segment
	header   int // length of the header stack

	template [MaxHeader]byte
	// scratch takes a header on its way to a receiver whose pieces cut it.
	scratch [MaxHeader]byte
}

// ipPatch is what changes in an IP header from segment to segment.
type ipPatch struct {
	kind packet.Net
	// base is the sum of an IPv4 header without length, identification and
	// checksum.
	base checksum.Acc
	at   int // of the header
	// fixed is what the length field counts besides the payload.
	fixed  int
	id     uint16
	idMask uint16
}

// l4Patch is what changes in the transport header.
type l4Patch struct {
	// base is the sum of the pseudo-header, without the length, and of the
	// transport header without the fields that change.
	base  checksum.Acc
	at    int // of the header
	fixed int // length of the header
	seq   uint32
	udp   bool
	noSum bool  // UDP without checksum
	flags uint8 // of a TCP segment that is neither first nor last
	first uint8 // flags that only the first segment has
	last  uint8 // flags that only the last one has
}

// Start prepares for the super-frame whose first bytes are head and whose
// headers p describes, after checking that it may be split. What head holds is
// copied as far as it is needed. After a refusal Next must not be called.
//
// Stated IP and UDP lengths are ignored, as senders leave them open or set them
// to that of the whole; so is what the transport checksum field holds, except
// that 0 in a UDP header asks for segments without a checksum.
func (s *Segmenter) Start(head []byte, p *packet.Info, req Request, lim *Limits) Refusal {
	s.segments = 0
	if r := s.check(head, p, req, lim); r != Accepted {
		return r
	}
	l := &p.Outer
	if req.Inner {
		l = &p.Inner
	}
	s.header = int(l.Payload)
	copy(s.template[:], head[:s.header])
	s.mss = req.MSS
	s.left = int(p.FrameLen) - s.header
	s.segments = (s.left + s.mss - 1) / s.mss
	s.index = 0
	s.payload = min(s.mss, s.left)

	idMask := uint16(0x7fff)
	if req.Kind == UDP {
		idMask = maxUint16
	}
	s.outer.set(s.template[:s.header], &p.Outer, idMask)
	s.inner.kind = packet.NoNet
	if req.Inner {
		s.inner.set(s.template[:s.header], &p.Inner, idMask)
	}
	s.l4.set(s.template[:s.header], l)
	return Accepted
}

// check decides whether the frame may be split.
func (s *Segmenter) check(head []byte, p *packet.Info, req Request, lim *Limits) Refusal {
	if req.MSS <= 0 {
		return ZeroMSS
	}
	l := &p.Outer
	if req.Inner {
		switch {
		case !p.Tunnelled():
			return NoTunnel
		case p.GREFlags&(packet.GREChecksum|packet.GRESequence) != 0:
			return GREChecksum
		case p.Tunnel != packet.NVGRE:
			return NotNVGRE
		case p.Outer.Flags&packet.Authenticated != 0:
			return AuthHeader
		}
		l = &p.Inner
	}
	if l.Verdict != packet.OK {
		return Malformed
	}
	if l.Flags&packet.Fragment != 0 {
		return Fragmented
	}
	if !matches(req.Kind, l) {
		return WrongType
	}
	if int(l.Payload) > min(lim.MaxHeader, MaxHeader) {
		return HeaderTooLong
	}
	if l.Flags&packet.Authenticated != 0 {
		return AuthHeader
	}
	if l.Trans == packet.TCP {
		h := head[l.L4:l.Payload]
		if h[tcpFlags]&(flagSYN|flagRST|flagURG) != 0 || h[tcpUrgent]|h[tcpUrgent+1] != 0 {
			return TCPFlags
		}
	}
	payload := int(p.FrameLen) - int(l.Payload)
	segments := (payload + req.MSS - 1) / req.MSS
	switch {
	case payload > lim.MaxPayload:
		return PayloadTooLong
	case segments < max(lim.MinSegments, 1):
		return TooFewSegments
	case lim.MaxSegments > 0 && segments > lim.MaxSegments:
		return TooManySegments
	case req.Kind == UDP && !lim.SubMSS && payload%req.MSS != 0:
		return UnevenUDP
	}
	// Of the headers stacked, the outermost has the largest length to state.
	room := maxUint16
	if p.Outer.Net == packet.IPv6 {
		room += ipv6Size
	}
	if int(l.Payload)-int(p.Outer.L3)+min(req.MSS, payload) > room {
		return SegmentTooLong
	}
	return Accepted
}

// matches reports whether l is a packet that kind can split.
func matches(kind Kind, l *packet.Level) bool {
	switch kind {
	case TCPv4:
		return l.Trans == packet.TCP && l.Net == packet.IPv4
	case TCPv6:
		return l.Trans == packet.TCP && l.Net == packet.IPv6
	case UDP:
		return l.Trans == packet.UDP
	}
	return false
}

func (ip *ipPatch) set(template []byte, l *packet.Level, idMask uint16) {
	ip.kind = l.Net
	ip.at = int(l.L3)
	ip.idMask = idMask
	if l.Net == packet.IPv6 {
		ip.fixed = len(template) - ip.at - ipv6Size
		return
	}
	ip.fixed = len(template) - ip.at
	h := template[ip.at:l.L4]
	ip.id = binary.BigEndian.Uint16(h[ipv4ID:])
	clear(h[ipv4Length : ipv4ID+2])
	clear(h[ipv4Checksum : ipv4Checksum+2])
	ip.base = checksum.Sum(h)
}

func (t *l4Patch) set(template []byte, l *packet.Level) {
	t.at = int(l.L4)
	h := template[t.at:]
	t.fixed = len(h)
	t.udp = l.Trans == packet.UDP
	if t.udp {
		t.noSum = h[udpChecksum]|h[udpChecksum+1] == 0
		clear(h[udpLength : udpChecksum+2])
	} else {
		t.seq = binary.BigEndian.Uint32(h[tcpSeq:])
		flags := h[tcpFlags]
		t.first, t.last = flags&flagCWR, flags&(flagFIN|flagPSH)
		t.flags = flags &^ (flagCWR | flagFIN | flagPSH)
		clear(h[tcpSeq : tcpSeq+4])
		h[tcpFlags] = 0
		clear(h[tcpChecksum : tcpChecksum+2])
	}
	t.base = checksum.Sum(h)
	if l.Net == packet.IPv4 {
		t.base += checksum.PseudoIPv4(l.IPv4Addrs(template), l.Protocol, 0)
		return
	}
	src, dst := l.IPv6Home(template)
	t.base += checksum.PseudoIPv6Split(src, dst, l.Protocol, 0)
}

// Segments returns how many segments the super-frame makes.
func (s *Segmenter) Segments() int { return s.segments }

// HeaderLen returns the length of the header stack of every segment.
func (s *Segmenter) HeaderLen() int { return s.header }

// NextLen returns the length of the frame that Next writes next, 0 after the
// last.
func (s *Segmenter) NextLen() int {
	if s.index >= s.segments {
		return 0
	}
	return s.header + s.payload
}

// Next writes the next segment, NextLen bytes, at dst, with its payload read
// from src, and moves both past it. It is false, and the segmenter is at its
// end, if dst or src ends before that: then what was written is no frame.
func (s *Segmenter) Next(dst, src *checksum.Cursor) bool {
	if s.index >= s.segments {
		return false
	}
	if n := s.header + s.payload; dst.Has(n) && src.Has(s.payload) {
		d := dst.Take(n)
		s.putHeader(d, checksum.Copy(d[s.header:], src.Take(s.payload)))
		return true
	}
	return s.nextScattered(dst, src)
}

// nextScattered is Next where the frame or the payload is in several pieces.
func (s *Segmenter) nextScattered(dst, src *checksum.Cursor) bool {
	at := *dst
	if dst.Skip(s.header) != s.header {
		s.segments = 0
		return false
	}
	sum, n := checksum.Transfer(dst, src, s.payload)
	if n != s.payload {
		s.segments = 0
		return false
	}
	if h := at.Next(s.header); len(h) == s.header {
		s.putHeader(h, sum)
	} else {
		rest := len(h)
		s.putHeader(s.scratch[:s.header], sum)
		copy(h, s.scratch[:rest])
		at.Write(s.scratch[rest:s.header])
	}
	return true
}

// putHeader writes the header of the next segment, whose payload has the given
// sum, to h, and goes on to the segment after it. h is only written to.
func (s *Segmenter) putHeader(h []byte, sum checksum.Acc) {
	h = h[:s.header]
	copy(h, s.template[:s.header])
	s.outer.put(h, s.payload)
	if s.inner.kind != packet.NoNet {
		s.inner.put(h, s.payload)
	}
	s.l4.put(h, s.payload, sum, s.index == 0, s.index == s.segments-1)
	s.index++
	s.left -= s.payload
	s.payload = min(s.mss, s.left)
}

// put writes the fields of the IP header that differ.
func (ip *ipPatch) put(h []byte, payload int) {
	be := binary.BigEndian
	length := uint16(ip.fixed + payload)
	if ip.kind == packet.IPv6 {
		be.PutUint16(h[ip.at+ipv6Length:], length)
		return
	}
	v4 := (*[ipv4Size]byte)(h[ip.at:])
	be.PutUint32(v4[ipv4Length:], uint32(length)<<16|uint32(ip.id))
	(ip.base + checksum.Word(length) + checksum.Word(ip.id)).Put(v4[ipv4Checksum:])
	ip.id = (ip.id + 1) & ip.idMask
}

// put writes the fields of the transport header that differ.
func (t *l4Patch) put(h []byte, payload int, sum checksum.Acc, first, last bool) {
	be := binary.BigEndian
	length := uint32(t.fixed + payload)
	sum += t.base + checksum.Long(length)
	if t.udp {
		u := (*[8]byte)(h[t.at:])
		be.PutUint16(u[udpLength:], uint16(length))
		if !t.noSum {
			(sum + checksum.Word(uint16(length))).PutUDP(u[udpChecksum:])
		}
		return
	}
	flags := t.flags
	if first {
		flags |= t.first
	}
	if last {
		flags |= t.last
	}
	tcp := (*[20]byte)(h[t.at:])
	be.PutUint32(tcp[tcpSeq:], t.seq)
	tcp[tcpFlags] = flags
	// The flags are the second byte of their word.
	(sum + checksum.Long(t.seq) + checksum.Acc(flags)<<8).Put(tcp[tcpChecksum:])
	t.seq += uint32(payload)
}
