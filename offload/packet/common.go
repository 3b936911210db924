package packet

import "encoding/binary"

// common is Parse for what nearly all traffic consists of: Ethernet without
// tags, IPv4 without options or IPv6 without extension headers, no fragment,
// TCP or UDP, or NVGRE and the same again in it, all lengths right. It returns
// the offset behind the last header; for anything else it returns 0, having
// set nothing that Parse's other functions do not set again. They would give
// the same result in three times the time.
func (p *Info) common(b []byte, end int) int {
	const (
		l3   = ethLen
		v4   = ethLen + ipv4Len
		v6   = ethLen + ipv6Len
		min4 = v4 + tcpLen // a shorter UDP packet is parsed the slower way
		min6 = v6 + tcpLen
	)
	be := binary.BigEndian
	l, off := &p.Outer, 0
	for {
		if len(b)-off < min4 {
			break
		}
		h := (*[min4]byte)(b[off:])
		var (
			net       Net
			proto     uint8
			l4, ipEnd int
			t         *[tcpLen]byte // the transport header
		)
		// EtherType, version and header length in one.
		kind := be.Uint32(h[ethLen-2:])
		if kind>>8 == typeIPv4<<8|0x45 {
			if be.Uint16(h[l3+6:])&0x3fff != 0 {
				break
			}
			net, proto, l4 = IPv4, h[l3+9], off+v4
			ipEnd = off + l3 + int(be.Uint16(h[l3+2:]))
			t = (*[tcpLen]byte)(h[v4:])
		} else if kind>>12 == typeIPv6<<4|6 && len(b)-off >= min6 {
			h := (*[min6]byte)(b[off:])
			net, proto, l4 = IPv6, h[l3+6], off+v6
			ipEnd = l4 + int(be.Uint16(h[l3+4:]))
			t = (*[tcpLen]byte)(h[v6:])
		} else {
			break
		}
		next, trans := l4+udpLen, UDP
		if proto == protoTCP {
			size := int(t[12]>>4) * 4
			if size < tcpLen {
				break
			}
			next, trans = l4+size, TCP
			if next > len(b) {
				break
			}
		} else if proto == protoUDP {
			if size := int(be.Uint16(t[4:])); size < udpLen || l4+size > ipEnd {
				break
			}
		} else if proto == protoGRE && be.Uint32(t[:]) == GREKey<<24|ProtocolEthernet {
			trans = GRE // the key makes it 8 bytes, too
		} else {
			break
		}
		if ipEnd > end || next > ipEnd {
			break
		}
		// Field by field: a composite literal would be built elsewhere and
		// copied, and the copy would wait for the stores.
		l.End = uint32(ipEnd)
		l.Protocol, l.Net, l.Trans, l.Verdict = proto, net, trans, OK
		l.L2, l.L3, l.L4, l.Payload = uint16(off), uint16(off+l3), uint16(l4), uint16(next)
		l.TCI, l.HomeAddr, l.FinalDst, l.Flags = 0, 0, 0, 0
		if l == &p.Inner {
			return next
		}
		if trans != GRE {
			p.noTunnel()
			return next
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
