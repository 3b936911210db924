package packet

import "encoding/binary"

// isExtension reports whether an IPv6 next header value names an extension
// header that can be walked over. Encrypted payload cannot, and headers that
// carry no upper layer (mobility, HIP, shim6) are left to be other transports.
func isExtension(proto uint8) bool {
	switch proto {
	case protoHopByHop, protoRouting, protoFragment, protoAH, protoDestination:
		return true
	}
	return false
}

// extensions walks over the extension headers at off, of which the first is
// l.Protocol, and sets L4 and Protocol to what follows them. It sets Verdict
// only where parsing ends.
func (l *Level) extensions(b []byte, off, end int) int {
	for range MaxExtensions {
		// The last field of the fixed part that matters is in the fourth byte;
		// every header is 8 bytes long at least.
		if off+8 > end || off+8 > len(b) {
			l.Verdict = missing(off+8, end)
			return off
		}
		h := (*[8]byte)(b[off:])
		next := off + 8*(1+int(h[1]))
		switch l.Protocol {
		case protoFragment:
			next = off + 8
		case protoAH:
			next = off + 4*(2+int(h[1]))
		}
		if next > end || next > len(b) {
			l.Verdict = missing(next, end)
			return off
		}
		switch l.Protocol {
		case protoRouting:
			l.routing(b[off:next], off)
		case protoDestination:
			if !l.destination(b[off:next], off) {
				l.Verdict = BadExtension
				return off
			}
		case protoAH:
			l.Flags |= Authenticated
		case protoFragment:
			l.Flags |= FragmentHeader
			field := binary.BigEndian.Uint16(h[2:])
			if field&^7 != 0 {
				// What follows is from the middle of the packet.
				l.Flags |= FragmentLater
				l.L4, l.Protocol, l.Verdict = uint16(next), h[0], OK
				return next
			}
			if field&1 != 0 {
				l.Flags |= FragmentFirst
			}
		}
		l.L4, l.Protocol = uint16(next), h[0]
		off = next
		if !isExtension(h[0]) {
			return off
		}
	}
	l.Verdict = BadExtension
	return off
}

// routing notes the final destination of the routing header h at off. While
// segments are left, the destination in the IPv6 header is the next hop, and
// pseudo-headers want the final one (RFC 8200 section 8.1).
func (l *Level) routing(h []byte, off int) {
	if h[3] == 0 {
		return
	}
	var at int
	switch h[2] {
	case 0: // source route, deprecated: the last address
		at = len(h) - 16
	case 2: // mobile IPv6, RFC 6275 section 6.4: the only address
		at = 8
	case 4: // segment routing, RFC 8754 section 2: the first address
		at = 8
	default:
		return
	}
	if at < 8 || at+16 > len(h) {
		return
	}
	l.FinalDst = uint16(off + at)
	if h[2] == 2 {
		l.Flags |= RoutingType2
	} else {
		l.Flags &^= RoutingType2
	}
}

// destination looks for the home address option (RFC 6275 section 6.3) in the
// destination options header h at off. It is false if an option overruns h.
func (l *Level) destination(h []byte, off int) bool {
	home := l.HomeAddr
	for i := 2; i < len(h); {
		if h[i] == 0 { // Pad1 has no length
			i++
			continue
		}
		if i+2 > len(h) || i+2+int(h[i+1]) > len(h) {
			return false
		}
		if h[i] == 0xc9 && h[i+1] == 16 {
			home = uint16(off + i + 2)
		}
		i += 2 + int(h[i+1])
	}
	l.HomeAddr = home
	return true
}
