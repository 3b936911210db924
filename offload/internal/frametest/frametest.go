// Package frametest builds frames for the tests under offload and checks the
// checksums of frames, in the slow and obvious way, straight from the RFCs. It
// shares no code with what it is used to test.
package frametest

import "encoding/binary"

// Transport protocols.
const (
	ICMP   = 1
	TCP    = 6
	UDP    = 17
	GRE    = 47
	ICMPv6 = 58
	None   = 59  // IPv6 only
	SCTP   = 132 // one that is no concern of the packages tested
)

// IPv6 extension headers.
const (
	HopByHop    = 0
	Routing     = 43
	Fragment    = 44
	AH          = 51
	Destination = 60
)

// NoFlags in Spec.TCPFlags makes 0 of the other bits mean 0.
const NoFlags = 0x8000

// Tag is a VLAN tag.
type Tag struct {
	Type uint16 // EtherType that announces it
	TCI  uint16
}

// Extension is an IPv6 extension header: everything but the next header field.
// For fragment headers Body is the 7 bytes behind it, for others it begins
// with the length field, which must be right.
type Extension struct {
	Type uint8
	Body []byte
}

// Spec describes an Ethernet frame, or with Bare an IP packet in GRE.
type Spec struct {
	Bare    bool
	Tags    []Tag
	V6      bool
	NotIP   uint16      // EtherType instead of an IP one; Payload follows
	Options []byte      // IPv4, a multiple of 4 bytes
	Ext     []Extension // IPv6
	Proto   uint8

	ID      uint16 // IPv4
	Frag    uint16 // IPv4 flags and fragment offset
	TOS     uint8  // or traffic class
	TTL     uint8  // or hop limit; 0 = 64
	Src     []byte // addresses; nil = some fixed ones
	Dst     []byte
	SrcPort uint16
	DstPort uint16

	TCPOptions []byte // a multiple of 4 bytes
	TCPFlags   uint16 // 9 bits; 0 = ACK, NoFlags = none
	Seq, Ack   uint32
	Window     uint16
	Urgent     uint16
	NoUDPSum   bool // UDP checksum 0

	GREFlags uint8 // 0x80 checksum, 0x20 key, 0x10 sequence
	GREKey   uint32
	GREProto uint16 // 0 = that of Inner
	Inner    *Spec

	Payload []byte
	Padding int // bytes behind the IP packet
}

// Offsets are where Build put things, from the start of the outer frame.
type Offsets struct {
	L2, L3, L4, Payload, End int
	HomeAddr, FinalDst       int
	FinalType                byte
}

// Frame is what Build returns: Levels[0] is the outer level, Levels[1] the
// inner one if there is one.
type Frame struct {
	Bytes  []byte
	Levels []Offsets
}

var (
	src4 = []byte{192, 0, 2, 17}
	dst4 = []byte{198, 51, 100, 200}
	src6 = []byte{0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6}
	dst6 = []byte{0x20, 0x01, 0x0d, 0xb8, 0xff, 0xee, 0xdd, 0xcc, 0xbb, 0xaa, 0x99, 0x88, 0x77, 0x66, 0x55, 0x44}
)

// Build returns the frame that s describes, with lengths and checksums right.
func (s *Spec) Build() Frame {
	var f Frame
	f.Bytes = s.build(0, &f.Levels)
	return f
}

func (s *Spec) build(base int, levels *[]Offsets) []byte {
	be := binary.BigEndian
	o := Offsets{L2: base}
	at := len(*levels)
	*levels = append(*levels, o)
	var b []byte
	kind := uint16(0x0800)
	if s.V6 {
		kind = 0x86dd
	}
	if s.NotIP != 0 {
		kind = s.NotIP
	}
	if !s.Bare {
		b = append(b, 0x02, 0, 0, 0, 0, byte(1+at), 0x02, 0, 0, 0, 1, byte(1+at))
		for _, t := range s.Tags {
			b = be.AppendUint16(b, t.Type)
			b = be.AppendUint16(b, t.TCI)
		}
		b = be.AppendUint16(b, kind)
	}
	if s.NotIP != 0 {
		b = append(b, s.Payload...)
		o.End = base + len(b)
		(*levels)[at] = o
		return append(b, make([]byte, s.Padding)...)
	}
	l3 := len(b)
	o.L3 = base + l3
	b = append(b, s.ip(&o)...)
	l4 := len(b)
	o.L4 = base + l4
	b = append(b, s.transport()...)
	o.Payload = base + len(b)
	if s.Proto == GRE && s.Inner != nil {
		b = append(b, s.Inner.build(base+len(b), levels)...)
	} else {
		b = append(b, s.Payload...)
	}
	o.End = base + len(b)
	(*levels)[at] = o
	s.finish(b, l3, l4)
	return append(b, make([]byte, s.Padding)...)
}

func or(v, def []byte) []byte {
	if v != nil {
		return v
	}
	return def
}

func (s *Spec) ttl() byte {
	if s.TTL != 0 {
		return s.TTL
	}
	return 64
}

// ip returns the IP header with options or extension headers, lengths and
// checksum open. It notes the addresses in extension headers in o.
func (s *Spec) ip(o *Offsets) []byte {
	be := binary.BigEndian
	if !s.V6 {
		h := []byte{0x40 | byte(5+len(s.Options)/4), s.TOS, 0, 0}
		h = be.AppendUint16(h, s.ID)
		h = be.AppendUint16(h, s.Frag)
		h = append(h, s.ttl(), s.Proto, 0, 0)
		h = append(append(h, or(s.Src, src4)...), or(s.Dst, dst4)...)
		return append(h, s.Options...)
	}
	next := s.Proto
	for i := len(s.Ext) - 1; i >= 0; i-- {
		next = s.Ext[i].Type
	}
	h := []byte{0x60 | s.TOS>>4, s.TOS << 4, 0, 0, 0, 0, next, s.ttl()}
	h = append(append(h, or(s.Src, src6)...), or(s.Dst, dst6)...)
	for i, e := range s.Ext {
		next = s.Proto
		if i+1 < len(s.Ext) {
			next = s.Ext[i+1].Type
		}
		switch {
		case e.Type == Routing && e.Body[2] != 0:
			// Final destination: the last address of types 0 and 2, the first
			// of type 4.
			o.FinalDst, o.FinalType = o.L3+len(h)+8, e.Body[1]
			if e.Body[1] == 0 {
				o.FinalDst = o.L3 + len(h) + 1 + len(e.Body) - 16
			}
		case e.Type == Destination && len(e.Body) >= 19 && e.Body[1] == 0xc9:
			o.HomeAddr = o.L3 + len(h) + 4
		}
		h = append(append(h, next), e.Body...)
	}
	return h
}

// transport returns the transport header, checksum and UDP length open.
func (s *Spec) transport() []byte {
	be := binary.BigEndian
	var h []byte
	switch s.Proto {
	case TCP:
		flags := s.TCPFlags
		if flags == 0 {
			flags = 0x10
		}
		h = be.AppendUint16(h, s.SrcPort)
		h = be.AppendUint16(h, s.DstPort)
		h = be.AppendUint32(h, s.Seq)
		h = be.AppendUint32(h, s.Ack)
		h = be.AppendUint16(h, uint16(5+len(s.TCPOptions)/4)<<12|flags&0x1ff)
		h = be.AppendUint16(h, s.Window)
		h = be.AppendUint16(h, 0)
		h = be.AppendUint16(h, s.Urgent)
		h = append(h, s.TCPOptions...)
	case UDP:
		h = be.AppendUint16(h, s.SrcPort)
		h = be.AppendUint16(h, s.DstPort)
		h = append(h, 0, 0, 0, 0)
	case ICMP:
		h = []byte{8, 0, 0, 0, 1, 2, 3, 4}
	case ICMPv6:
		h = []byte{128, 0, 0, 0}
	case GRE:
		proto := s.GREProto
		if proto == 0 && s.Inner != nil {
			proto = 0x6558
			if s.Inner.Bare {
				proto = 0x0800
				if s.Inner.V6 {
					proto = 0x86dd
				}
			}
		}
		h = []byte{s.GREFlags, 0}
		h = be.AppendUint16(h, proto)
		if s.GREFlags&0x80 != 0 {
			h = append(h, 0, 0, 0, 0)
		}
		if s.GREFlags&0x20 != 0 {
			h = be.AppendUint32(h, s.GREKey)
		}
		if s.GREFlags&0x10 != 0 {
			h = append(h, 9, 8, 7, 6)
		}
	}
	return h
}

// finish sets the lengths and checksums of the packet at b[l3:].
func (s *Spec) finish(b []byte, l3, l4 int) {
	be := binary.BigEndian
	if s.V6 {
		be.PutUint16(b[l3+4:], uint16(len(b)-l3-40))
	} else {
		be.PutUint16(b[l3+2:], uint16(len(b)-l3))
		be.PutUint16(b[l3+10:], ^Sum(b[l3:l4]))
	}
	if s.Frag&0x1fff != 0 || s.fragmentLater() {
		return
	}
	seg := b[l4:]
	switch s.Proto {
	case TCP:
		be.PutUint16(seg[16:], ^Sum(s.pseudo(b[l3:], len(seg)), seg))
	case UDP:
		be.PutUint16(seg[4:], uint16(len(seg)))
		if !s.NoUDPSum {
			v := ^Sum(s.pseudo(b[l3:], len(seg)), seg)
			if v == 0 {
				v = 0xffff
			}
			be.PutUint16(seg[6:], v)
		}
	case ICMP:
		be.PutUint16(seg[2:], ^Sum(seg))
	case ICMPv6:
		be.PutUint16(seg[2:], ^Sum(s.pseudo(b[l3:], len(seg)), seg))
	case GRE:
		if s.GREFlags&0x80 != 0 {
			be.PutUint16(seg[4:], ^Sum(seg))
		}
	}
}

func (s *Spec) fragmentLater() bool {
	for _, e := range s.Ext {
		if e.Type == Fragment && binary.BigEndian.Uint16(e.Body[1:])&^7 != 0 {
			return true
		}
	}
	return false
}

// pseudo returns the pseudo-header of RFC 768, 793 or 8200 for the packet
// beginning with ip.
func (s *Spec) pseudo(ip []byte, length int) []byte {
	be := binary.BigEndian
	if !s.V6 {
		p := append([]byte(nil), ip[12:20]...)
		p = append(p, 0, s.Proto)
		return be.AppendUint16(p, uint16(length))
	}
	src, dst := ip[8:24], ip[24:40]
	at := 40
	for _, e := range s.Ext {
		if e.Type == Routing && e.Body[2] != 0 {
			dst = ip[at+8 : at+24]
			if e.Body[1] == 0 {
				dst = e.Body[len(e.Body)-16:]
			}
		}
		if e.Type == Destination && len(e.Body) >= 19 && e.Body[1] == 0xc9 {
			src = ip[at+4 : at+20]
		}
		at += 1 + len(e.Body)
	}
	p := append(append([]byte(nil), src...), dst...)
	p = be.AppendUint32(p, uint32(length))
	return append(p, 0, 0, 0, s.Proto)
}

// Sum returns the one's complement sum of RFC 1071 over the parts one after
// the other, as a number in network order, not complemented.
func Sum(parts ...[]byte) uint16 {
	var all []byte
	for _, p := range parts {
		all = append(all, p...)
	}
	if len(all)%2 != 0 {
		all = append(all, 0)
	}
	var sum uint32
	for i := 0; i < len(all); i += 2 {
		sum += uint32(all[i])<<8 | uint32(all[i+1])
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}
