package packet

import "encoding/binary"

// The start of an Ethernet frame with a plain packet, and the least lengths
// that common looks at.
const (
	l3   = ethLen
	v4   = ethLen + ipv4Len
	v6   = ethLen + ipv6Len
	min4 = v4 + tcpLen // a shorter UDP packet is parsed the slower way
	min6 = v6 + tcpLen
)

// Fields as they are in memory, read little endian.
const (
	// EtherType, version and header length.
	plain4     = 0x450008
	plain4Mask = 0xffffff
	plain6     = 0x60dd86
	plain6Mask = 0xf0ffff
	// Fragment offset and more fragments.
	fragMask = 0xff3f
	// Flags, version and protocol of NVGRE's GRE header.
	greNVGRE = 0x58650020
)

// common is Parse for what nearly all traffic consists of: Ethernet without
// tags, IPv4 without options or IPv6 without extension headers, no fragment,
// TCP or UDP, or NVGRE and the same again in it, all lengths right. It returns
// the offset behind the last header; for anything else it returns 0, having
// set nothing that Parse's other functions do not set again. They would give
// the same result in three times the time.
//
// Fields are stored one by one and as soon as they are known: a composite
// literal would be built elsewhere and copied, and the copy would wait for the
// stores; values kept for later would be spilled. Words are compared as they
// are in memory.
func (p *Info) common(b []byte, end int) int {
	be, le := binary.BigEndian, binary.LittleEndian
	l, off := &p.Outer, 0
	for {
		if len(b)-off < min4 {
			break
		}
		h := (*[min4]byte)(b[off:])
		var (
			proto     uint8
			l4, ipEnd int
			t         *[tcpLen]byte // the transport header
		)
		kind := le.Uint32(h[ethLen-2:])
		if kind&plain4Mask == plain4 {
			if le.Uint16(h[l3+6:])&fragMask != 0 {
				break
			}
			proto, l4 = h[l3+9], off+v4
			ipEnd = off + l3 + int(be.Uint16(h[l3+2:]))
			t = (*[tcpLen]byte)(h[v4:])
			l.Net, l.Verdict = IPv4, OK
		} else if kind&plain6Mask == plain6 && len(b)-off >= min6 {
			h := (*[min6]byte)(b[off:])
			proto, l4 = h[l3+6], off+v6
			ipEnd = l4 + int(be.Uint16(h[l3+4:]))
			t = (*[tcpLen]byte)(h[v6:])
			l.Net, l.Verdict = IPv6, OK
		} else {
			break
		}
		if ipEnd > end {
			break
		}
		l.End = uint32(ipEnd)
		l.L2, l.L3, l.L4 = uint16(off), uint16(off+l3), uint16(l4)
		l.TCI, l.HomeAddr, l.FinalDst, l.Flags = 0, 0, 0, 0
		if proto == protoTCP {
			size := int(t[12]>>4) * 4
			next := l4 + size
			if size < tcpLen || next > len(b) || next > ipEnd {
				break
			}
			l.Protocol, l.Trans = protoTCP, TCP
			l.Payload = uint16(next)
			if l == &p.Outer {
				p.noTunnel()
			}
			return next
		}
		next := l4 + udpLen // a GRE header with key is as long
		l.Payload = uint16(next)
		if next > ipEnd {
			break
		}
		if proto == protoUDP {
			if size := int(be.Uint16(t[4:])); size < udpLen || l4+size > ipEnd {
				break
			}
			l.Protocol, l.Trans = protoUDP, UDP
			if l == &p.Outer {
				p.noTunnel()
			}
			return next
		}
		if proto != protoGRE || le.Uint32(t[:]) != greNVGRE {
			break
		}
		l.Protocol, l.Trans = protoGRE, GRE
		if l != &p.Outer {
			return next // a second tunnel is not entered
		}
		p.setNVGRE(be.Uint32(t[4:]))
		// Padding behind the outer packet is no part of the inner one.
		l, off, end = &p.Inner, next, ipEnd
		if len(b) > end {
			b = b[:end]
		}
	}
	if l == &p.Outer {
		return 0
	}
	p.Inner = Level{}
	return p.Inner.ethernet(b, off, end)
}
