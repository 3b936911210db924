package packet

import "encoding/binary"

// EtherTypes.
const (
	typeIPv4   = 0x0800
	typeIPv6   = 0x86dd
	typeCTag   = 0x8100 // IEEE 802.1Q
	typeSTag   = 0x88a8 // IEEE 802.1ad
	typeOldTag = 0x9100 // 802.1ad's predecessor, still in use
)

// Protocols and IPv6 extension headers.
const (
	protoHopByHop    = 0
	protoICMP        = 1
	protoTCP         = 6
	protoUDP         = 17
	protoRouting     = 43
	protoFragment    = 44
	protoGRE         = 47
	protoAH          = 51
	protoICMPv6      = 58
	protoNone        = 59
	protoDestination = 60
)

// Header sizes.
const (
	ethLen    = 14
	tagLen    = 4
	ipv4Len   = 20
	ipv6Len   = 40
	tcpLen    = 20
	udpLen    = 8
	icmpLen   = 8 // RFC 792
	icmpv6Len = 4 // RFC 4443 section 2.1
	greLen    = 4
)

// maxHead keeps offsets within 16 bits.
const maxHead = 1<<16 - 1

// Parse finds the headers of the frame of which b holds the first bytes, all
// or fewer, and which is frameLen bytes long, and fills p completely. b is not
// kept; the accessors of Level want the same bytes again.
func Parse(p *Info, b []byte, frameLen int) {
	if len(b) > frameLen || len(b) > maxHead {
		b = b[:max(0, min(frameLen, maxHead))]
	}
	p.FrameLen = uint32(frameLen)
	next := p.parseTypical(b, frameLen)
	if next == 0 {
		next = p.common(b, frameLen)
	}
	if next == 0 {
		next = p.other(b, frameLen)
	}
	p.HeaderLen = uint16(next)
}

// other is Parse for frames that are not of the common kinds. It returns how
// far it got.
func (p *Info) other(b []byte, frameLen int) int {
	p.Outer = Level{}
	next := p.Outer.ethernet(b, 0, frameLen)
	if p.Outer.Trans == GRE && p.Outer.Verdict == OK && p.Outer.Flags&Fragment == 0 {
		return p.gre(b, next)
	}
	p.noTunnel()
	return next
}

func (p *Info) noTunnel() {
	p.Inner = Level{}
	p.VSID, p.GREProtocol = 0, 0
	p.FlowID, p.GREFlags, p.Tunnel = 0, 0, NoTunnel
}

// setNVGRE notes that the packet is NVGRE with the given key.
func (p *Info) setNVGRE(key uint32) {
	p.VSID, p.FlowID = key>>8, uint8(key)
	p.GREProtocol, p.GREFlags, p.Tunnel = ProtocolEthernet, GREKey, NVGRE
}

// gre parses the GRE header at off and what is in the tunnel. A second tunnel
// within is not entered. It returns how far it got.
func (p *Info) gre(b []byte, off int) int {
	// The outer level was found whole with this header.
	h := b[p.Outer.L4:off]
	flags := h[0] & (GREChecksum | GREKey | GRESequence)
	protocol := binary.BigEndian.Uint16(h[2:])
	var key uint32
	if flags&GREKey != 0 {
		h = h[greLen:]
		if flags&GREChecksum != 0 {
			h = h[4:]
		}
		key = binary.BigEndian.Uint32(h)
	}
	p.VSID, p.FlowID = key>>8, uint8(key)
	p.GREFlags, p.GREProtocol, p.Tunnel = flags, protocol, OtherGRE
	// Padding behind the outer packet is no part of the inner one.
	end := int(p.Outer.End)
	b = b[:min(len(b), end)]
	p.Inner = Level{}
	switch protocol {
	case ProtocolEthernet:
		if flags == GREKey {
			p.setNVGRE(key)
		}
		return p.Inner.ethernet(b, off, end)
	case ProtocolIPv4:
		p.Inner.L2, p.Inner.Flags = uint16(off), NoEthernet
		return p.Inner.ipv4(b, off, end)
	case ProtocolIPv6:
		p.Inner.L2, p.Inner.Flags = uint16(off), NoEthernet
		return p.Inner.ipv6(b, off, end)
	}
	p.Inner.L2, p.Inner.Flags = uint16(off), NoEthernet
	p.Inner.End, p.Inner.Verdict = uint32(end), NotIP
	return off
}

// missing is the verdict on a header that would end at off, behind the end of
// b: either more of the frame must be looked at, or there is no more.
func missing(off, end int) Verdict {
	if off > end {
		return Truncated
	}
	return MoreHead
}

// ethernet parses the Ethernet header at off in a frame that reaches to end,
// and what follows. Like the functions below it returns how far it got: behind
// the last header that is whole.
func (l *Level) ethernet(b []byte, off, end int) int {
	l.L2, l.End = uint16(off), uint32(end)
	next := off + ethLen
	if next > len(b) {
		l.Verdict = missing(next, end)
		return off
	}
	kind := binary.BigEndian.Uint16(b[next-2:])
	for kind == typeCTag || kind == typeSTag || kind == typeOldTag {
		if l.Tags() == MaxTags {
			l.Verdict = TooManyTags
			return next
		}
		if next+tagLen > len(b) {
			l.Verdict = missing(next+tagLen, end)
			return next
		}
		tag := binary.BigEndian.Uint32(b[next:])
		if l.Tags() == 0 {
			l.TCI = uint16(tag >> 16)
		}
		kind = uint16(tag)
		l.Flags += oneTag
		next += tagLen
	}
	switch kind {
	case typeIPv4:
		return l.ipv4(b, next, end)
	case typeIPv6:
		return l.ipv6(b, next, end)
	}
	l.Verdict = NotIP
	return next
}

// ipv4 parses the IPv4 header at off and what follows.
func (l *Level) ipv4(b []byte, off, end int) int {
	l.End = uint32(end)
	if off+ipv4Len > len(b) {
		l.Verdict = missing(off+ipv4Len, end)
		return off
	}
	h := (*[ipv4Len]byte)(b[off:])
	if h[0]>>4 != 4 {
		l.Verdict = BadVersion
		return off
	}
	size := int(h[0]&0xf) * 4
	if size < ipv4Len {
		l.Verdict = BadIPHeader
		return off
	}
	next := off + size
	if next > len(b) {
		l.Verdict = missing(next, end)
		return off
	}
	if total := int(binary.BigEndian.Uint16(h[2:])); total < size || off+total > end {
		l.Flags |= BadIPLength
	} else {
		end = off + total
		l.End = uint32(end)
	}
	l.Net, l.L3, l.L4, l.Protocol = IPv4, uint16(off), uint16(next), h[9]
	if frag := binary.BigEndian.Uint16(h[6:]); frag&0x3fff != 0 {
		if frag&0x1fff != 0 {
			l.Flags |= FragmentLater
			l.Verdict = OK
			return next
		}
		l.Flags |= FragmentFirst
	}
	return l.transport(b, next, end)
}

// ipv6 parses the IPv6 header at off and what follows.
func (l *Level) ipv6(b []byte, off, end int) int {
	l.End = uint32(end)
	next := off + ipv6Len
	if next > len(b) {
		l.Verdict = missing(next, end)
		return off
	}
	h := (*[ipv6Len]byte)(b[off:])
	if h[0]>>4 != 6 {
		l.Verdict = BadVersion
		return off
	}
	// A length of 0 with something behind it stands for a jumbogram, or for a
	// super-frame whose sender left it open: either way it does not tell.
	if size := int(binary.BigEndian.Uint16(h[4:])); next+size > end || size == 0 && h[6] != protoNone {
		l.Flags |= BadIPLength
	} else {
		end = next + size
		l.End = uint32(end)
	}
	l.Net, l.L3, l.L4, l.Protocol = IPv6, uint16(off), uint16(next), h[6]
	if isExtension(l.Protocol) {
		next = l.extensions(b, next, end)
		if l.Verdict != Absent {
			return next
		}
	}
	return l.transport(b, next, end)
}

// transport parses the header of l.Protocol at off.
func (l *Level) transport(b []byte, off, end int) int {
	var next int
	switch {
	case l.Protocol == protoTCP:
		l.Trans = TCP
		next = off + tcpLen
		if next > len(b) || next > end {
			break
		}
		size := int(b[off+12]>>4) * 4
		if size < tcpLen {
			l.Verdict = BadTCPHeader
			return off
		}
		next = off + size
	case l.Protocol == protoUDP:
		l.Trans = UDP
		next = off + udpLen
		if next > len(b) || next > end {
			break
		}
		if size := int(binary.BigEndian.Uint16(b[off+4:])); size < udpLen || off+size > end {
			l.Flags |= BadUDPLength
		}
	case l.Protocol == protoGRE:
		l.Trans = GRE
		next = off + greLen
		if next > len(b) || next > end {
			break
		}
		flags := binary.BigEndian.Uint16(b[off:])
		// Version, and bits 1, 4 and 5 of RFC 1701.
		if flags&0x4c07 != 0 {
			l.Verdict = BadGRE
			return off
		}
		next += int(flags>>15+flags>>13&1+flags>>12&1) * 4
	case l.Protocol == protoICMP && l.Net == IPv4:
		l.Trans = ICMP
		next = off + icmpLen
	case l.Protocol == protoICMPv6 && l.Net == IPv6:
		l.Trans = ICMPv6
		next = off + icmpv6Len
	case l.Protocol == protoNone && l.Net == IPv6:
		l.Verdict = OK
		return off
	default:
		l.Trans = OtherTransport
		l.Verdict = OK
		return off
	}
	if next > end || next > len(b) {
		l.Verdict = missing(next, end)
		return off
	}
	l.Payload = uint16(next)
	l.Verdict = OK
	return next
}
