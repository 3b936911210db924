package packet

// The accessors below take the bytes that were parsed and return a view into
// them, by array pointer so that nothing has to be checked again. Each states
// what must hold of the level; a caller that has not made sure of it panics
// where the bytes end too early.

// Tunnelled reports whether the frame is a GRE packet that could be entered:
// Inner then describes what is in it.
func (p *Info) Tunnelled() bool { return p.Inner.Verdict != Absent }

// Innermost returns Inner if there is one, else Outer.
func (p *Info) Innermost() *Level {
	if p.Inner.Verdict != Absent {
		return &p.Inner
	}
	return &p.Outer
}

// MoreHead reports whether parsing stopped only because it was given too few
// bytes.
func (p *Info) MoreHead() bool {
	return p.Outer.Verdict == MoreHead || p.Inner.Verdict == MoreHead
}

// Whole reports whether the level is good in every respect: all headers found
// and lengths right.
func (l *Level) Whole() bool {
	return l.Verdict == OK && l.Flags&(BadIPLength|BadUDPLength) == 0
}

// HasPorts reports whether the packet is TCP or UDP with its header whole, and
// no fragment.
func (l *Level) HasPorts() bool {
	return (l.Trans == TCP || l.Trans == UDP) && l.Payload != 0 && l.Flags&Fragment == 0
}

// Plain reports whether the IP header has no options or extension headers, so
// that the transport header follows directly: 20 bytes of IPv4 or 40 of IPv6.
func (l *Level) Plain() bool {
	return l.Net == IPv4 && l.L4-l.L3 == ipv4Len || l.Net == IPv6 && l.L4-l.L3 == ipv6Len
}

// VLAN returns the VLAN id of the first tag, 0 if there is none.
func (l *Level) VLAN() uint16 { return l.TCI & 0xfff }

// DstMAC returns the destination of the Ethernet header. There must be one:
// the verdict is neither Absent nor, with L3 being 0, MoreHead or Truncated,
// and NoEthernet is clear.
func (l *Level) DstMAC(b []byte) *[6]byte { return (*[6]byte)(b[l.L2:]) }

// SrcMAC returns the source of the Ethernet header, as DstMAC.
func (l *Level) SrcMAC(b []byte) *[6]byte { return (*[6]byte)(b[l.L2+6:]) }

// IPv4Header returns the IPv4 header without its options. Net must be IPv4.
func (l *Level) IPv4Header(b []byte) *[20]byte { return (*[20]byte)(b[l.L3:]) }

// IPv4Addrs returns source and destination. Net must be IPv4.
func (l *Level) IPv4Addrs(b []byte) *[8]byte { return (*[8]byte)(b[l.L3+12:]) }

// IPv6Header returns the IPv6 header without extension headers. Net must be
// IPv6.
func (l *Level) IPv6Header(b []byte) *[40]byte { return (*[40]byte)(b[l.L3:]) }

// IPv6Addrs returns source and destination of the IPv6 header. Net must be
// IPv6.
func (l *Level) IPv6Addrs(b []byte) *[32]byte { return (*[32]byte)(b[l.L3+8:]) }

// IPv6Home returns source and destination as the ends of the connection know
// them: the home address and the final destination where the packet has them
// (RFC 6275 section 6.3, RFC 8200 section 8.1). Pseudo-headers are made of
// these. Net must be IPv6.
func (l *Level) IPv6Home(b []byte) (src, dst *[16]byte) {
	s, d := l.L3+8, l.L3+24
	if l.HomeAddr != 0 {
		s = l.HomeAddr
	}
	if l.FinalDst != 0 {
		d = l.FinalDst
	}
	return (*[16]byte)(b[s:]), (*[16]byte)(b[d:])
}

// IPv6Ex returns source and destination as the _EX hash types want them: the
// home address, and the destination of a type 2 routing header only. Net must
// be IPv6.
func (l *Level) IPv6Ex(b []byte) (src, dst *[16]byte) {
	s, d := l.L3+8, l.L3+24
	if l.HomeAddr != 0 {
		s = l.HomeAddr
	}
	if l.Flags&RoutingType2 != 0 {
		d = l.FinalDst
	}
	return (*[16]byte)(b[s:]), (*[16]byte)(b[d:])
}

// Ports returns source and destination port. Trans must be TCP or UDP and
// Payload not 0.
func (l *Level) Ports(b []byte) *[4]byte { return (*[4]byte)(b[l.L4:]) }

// IPv4WithPorts returns an IPv4 header without options and the ports behind
// it. Net must be IPv4, Plain and HasPorts hold.
func (l *Level) IPv4WithPorts(b []byte) *[24]byte { return (*[24]byte)(b[l.L3:]) }

// IPv6WithPorts returns an IPv6 header without extension headers and the ports
// behind it. Net must be IPv6, Plain and HasPorts hold.
func (l *Level) IPv6WithPorts(b []byte) *[44]byte { return (*[44]byte)(b[l.L3:]) }
