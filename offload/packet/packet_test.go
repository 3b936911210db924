package packet_test

import (
	"encoding/binary"
	"math/rand/v2"
	"reflect"
	"testing"

	"vhost-user-nvgre/offload/internal/frametest"
	"vhost-user-nvgre/offload/packet"
)

// parse parses b into an Info full of rubbish: every field must be set.
func parse(b []byte, frameLen int) packet.Info {
	p := packet.Info{
		FrameLen: 0xdeadbeef, VSID: 0xdeadbeef, GREProtocol: 0xdead, HeaderLen: 0xbeef, FlowID: 0xde, GREFlags: 0xad, Tunnel: 0xbe,
	}
	p.Outer = packet.Level{End: 1, Protocol: 2, Net: 3, Trans: 4, Verdict: 5, L2: 6, L3: 7, L4: 8, Payload: 9, TCI: 10, HomeAddr: 11, FinalDst: 12, Flags: 0xffff}
	p.Inner = p.Outer
	packet.Parse(&p, b, frameLen)
	// TestTypical has this one.
	p.Untypical()
	return p
}

func TestSize(t *testing.T) {
	if n := reflect.TypeFor[packet.Info]().Size(); n != 64 {
		t.Errorf("Info takes %d bytes, want 64: a cache line", n)
	}
}

// frames returns all plain levels and tunnels over them.
func frames(payload []byte) []frametest.Named {
	levels := frametest.Levels(payload)
	out := levels
	for i, l := range levels {
		out = append(out, frametest.Tunnels(l, i%9 == 0)...)
	}
	return out
}

var (
	nets = map[bool]packet.Net{false: packet.IPv4, true: packet.IPv6}
	// Kinds of transport by protocol.
	transports = map[uint8]packet.Transport{
		frametest.TCP: packet.TCP, frametest.UDP: packet.UDP, frametest.ICMP: packet.ICMP,
		frametest.ICMPv6: packet.ICMPv6, frametest.GRE: packet.GRE, frametest.SCTP: packet.OtherTransport,
	}
)

// wantLevel is what the builder of a frame says of a level.
func wantLevel(s *frametest.Spec, o frametest.Offsets) packet.Level {
	l := packet.Level{
		End: uint32(o.End), L2: uint16(o.L2), L3: uint16(o.L3), L4: uint16(o.L4), Payload: uint16(o.Payload),
		Protocol: s.Proto, Net: nets[s.V6], Trans: transports[s.Proto], Verdict: packet.OK,
		HomeAddr: uint16(o.HomeAddr), FinalDst: uint16(o.FinalDst),
	}
	if s.Proto == frametest.SCTP {
		l.Payload = 0
	}
	if len(s.Tags) > 0 {
		l.TCI = s.Tags[0].TCI
	}
	l.Flags = packet.Flags(len(s.Tags)) << 12
	if s.Bare {
		l.Flags |= packet.NoEthernet
	}
	if o.FinalDst != 0 && o.FinalType == 2 {
		l.Flags |= packet.RoutingType2
	}
	for _, e := range s.Ext {
		switch e.Type {
		case frametest.Fragment:
			l.Flags |= packet.FragmentHeader
		case frametest.AH:
			l.Flags |= packet.Authenticated
		}
	}
	return l
}

func wantInfo(s *frametest.Spec, f frametest.Frame) packet.Info {
	p := packet.Info{FrameLen: uint32(len(f.Bytes)), Outer: wantLevel(s, f.Levels[0])}
	last, o := s, f.Levels[0]
	if s.Inner != nil {
		last, o = s.Inner, f.Levels[1]
		p.Inner = wantLevel(last, o)
		p.GREFlags = s.GREFlags
		if s.GREFlags&0x20 != 0 {
			p.VSID, p.FlowID = s.GREKey>>8, uint8(s.GREKey)
		}
		p.Tunnel, p.GREProtocol = packet.OtherGRE, 0x6558
		switch {
		case last.Bare && last.V6:
			p.GREProtocol = 0x86dd
		case last.Bare:
			p.GREProtocol = 0x0800
		case s.GREFlags == 0x20:
			p.Tunnel = packet.NVGRE
		}
	}
	p.HeaderLen = uint16(o.Payload)
	if last.Proto == frametest.SCTP {
		p.HeaderLen = uint16(o.L4)
	}
	return p
}

// Every form of a frame is parsed as it was built, with padding behind it,
// with the whole frame or only the headers at hand, and the short cut for
// common frames makes no difference.
//
// Shows: NDIS-005, NDIS-006, NDIS-007, NDIS-117
func TestMatrix(t *testing.T) {
	n := 0
	for _, c := range frames([]byte("some payload of a transport")) {
		for _, padding := range []int{0, 9} {
			c.Spec.Padding = padding
			f := c.Spec.Build()
			want := wantInfo(&c.Spec, f)
			for _, head := range []int{len(f.Bytes), int(want.HeaderLen)} {
				got := parse(f.Bytes[:head], len(f.Bytes))
				if got != want {
					t.Fatalf("%s, padding %d: Parse of the first %d bytes of\n%x\n got %+v\nwant %+v", c.Name, padding, head, f.Bytes, got, want)
				}
				packet.ParseOther(&got, f.Bytes[:head], len(f.Bytes))
				if got != want {
					t.Fatalf("%s, padding %d: without the short cut\n got %+v\nwant %+v", c.Name, padding, got, want)
				}
			}
			n++
		}
	}
	t.Logf("%d frames", n)
}

// The views that the accessors give are the fields of the frame.
func TestAccessors(t *testing.T) {
	for _, c := range frames([]byte("payload")) {
		f := c.Spec.Build()
		p := parse(f.Bytes, len(f.Bytes))
		for i, l := range []*packet.Level{&p.Outer, &p.Inner} {
			if i == len(f.Levels) {
				break
			}
			s := &c.Spec
			if i == 1 {
				s = s.Inner
			}
			o, b := f.Levels[i], f.Bytes
			check := func(name string, got, want []byte) {
				t.Helper()
				if string(got) != string(want) {
					t.Fatalf("%s, level %d: %s = %x, want %x", c.Name, i, name, got, want)
				}
			}
			if !s.Bare {
				check("DstMAC", l.DstMAC(b)[:], []byte{2, 0, 0, 0, 0, byte(i + 1)})
				check("SrcMAC", l.SrcMAC(b)[:], []byte{2, 0, 0, 0, 1, byte(i + 1)})
			}
			if got := l.Tags(); got != len(s.Tags) {
				t.Fatalf("%s, level %d: Tags() = %d, want %d", c.Name, i, got, len(s.Tags))
			}
			if len(s.Tags) > 0 && l.VLAN() != s.Tags[0].TCI&0xfff {
				t.Fatalf("%s, level %d: VLAN() = %#x, want %#x", c.Name, i, l.VLAN(), s.Tags[0].TCI&0xfff)
			}
			ports := s.Proto == frametest.TCP || s.Proto == frametest.UDP
			if l.HasPorts() != ports || !l.Whole() {
				t.Fatalf("%s, level %d: HasPorts() = %v, Whole() = %v, want %v, true", c.Name, i, l.HasPorts(), l.Whole(), ports)
			}
			if ports {
				check("Ports", l.Ports(b)[:], binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, s.SrcPort), s.DstPort))
			}
			if want := len(s.Options) == 0 && len(s.Ext) == 0; l.Plain() != want {
				t.Fatalf("%s, level %d: Plain() = %v, want %v", c.Name, i, l.Plain(), want)
			}
			if s.V6 {
				check("IPv6Header", l.IPv6Header(b)[:], b[o.L3:o.L3+40])
				check("IPv6Addrs", l.IPv6Addrs(b)[:], b[o.L3+8:o.L3+40])
				wantSrc, wantDst, exDst := b[o.L3+8:o.L3+24], b[o.L3+24:o.L3+40], b[o.L3+24:o.L3+40]
				if o.HomeAddr != 0 {
					wantSrc = b[o.HomeAddr : o.HomeAddr+16]
				}
				if o.FinalDst != 0 {
					wantDst = b[o.FinalDst : o.FinalDst+16]
					if o.FinalType == 2 {
						exDst = wantDst
					}
				}
				src, dst := l.IPv6Home(b)
				check("IPv6Home source", src[:], wantSrc)
				check("IPv6Home destination", dst[:], wantDst)
				src, dst = l.IPv6Ex(b)
				check("IPv6Ex source", src[:], wantSrc)
				check("IPv6Ex destination", dst[:], exDst)
				if ports && l.Plain() {
					check("IPv6WithPorts", l.IPv6WithPorts(b)[:], b[o.L3:o.L3+44])
				}
			} else {
				check("IPv4Header", l.IPv4Header(b)[:], b[o.L3:o.L3+20])
				check("IPv4Addrs", l.IPv4Addrs(b)[:], b[o.L3+12:o.L3+20])
				if ports && l.Plain() {
					check("IPv4WithPorts", l.IPv4WithPorts(b)[:], b[o.L3:o.L3+24])
				}
			}
		}
		want := &p.Outer
		if len(f.Levels) == 2 {
			want = &p.Inner
		}
		if p.Innermost() != want || p.Tunnelled() != (len(f.Levels) == 2) || p.MoreHead() {
			t.Fatalf("%s: Innermost, Tunnelled or MoreHead wrong: %+v", c.Name, p)
		}
	}
}

// Cut at every byte, by the end of the frame or by the end of what is at hand,
// a frame is good up to the header that is cut, and says why it ends there.
func TestCutAnywhere(t *testing.T) {
	for i, c := range frames([]byte("xyz")) {
		if i%5 != 0 {
			continue
		}
		f := c.Spec.Build()
		whole := parse(f.Bytes, len(f.Bytes))
		for n := range len(f.Bytes) {
			short := parse(f.Bytes[:n], len(f.Bytes))
			if n >= int(whole.HeaderLen) {
				if short != whole {
					t.Fatalf("%s: the first %d bytes, which hold the headers, give\n%+v\nwant %+v", c.Name, n, short, whole)
				}
			} else if !short.MoreHead() {
				t.Fatalf("%s: the first %d of %d header bytes: no MoreHead in %+v", c.Name, n, whole.HeaderLen, short)
			}
			cut := parse(f.Bytes[:n], n)
			// The two differ only in the reason and in what lengths reveal.
			if cut.MoreHead() {
				t.Fatalf("%s: a frame cut to %d bytes wants more of it: %+v", c.Name, n, cut)
			}
			for j, l := range []*packet.Level{&cut.Outer, &cut.Inner} {
				s := []*packet.Level{&short.Outer, &short.Inner}[j]
				if s.Verdict == packet.MoreHead && l.Verdict != packet.Truncated {
					t.Fatalf("%s cut to %d bytes: level %d is %v, want truncated", c.Name, n, j, l.Verdict)
				}
				if l.L3 != s.L3 || l.L4 != s.L4 || l.Payload != s.Payload || l.Net != s.Net || l.Trans != s.Trans {
					t.Fatalf("%s: level %d cut to %d bytes %+v, with more to come %+v", c.Name, j, n, l, s)
				}
				if l.Net != packet.NoNet && l.Flags&packet.BadIPLength == 0 {
					t.Fatalf("%s cut to %d bytes: level %d has no BadIPLength: %+v", c.Name, n, j, l)
				}
			}
		}
	}
}

// What makes a frame malformed, and how far it is good then.
func TestMalformed(t *testing.T) {
	type change func(b []byte, o frametest.Offsets)
	put16 := func(at func(o frametest.Offsets) int, v uint16) change {
		return func(b []byte, o frametest.Offsets) { binary.BigEndian.PutUint16(b[at(o):], v) }
	}
	l3 := func(d int) func(o frametest.Offsets) int {
		return func(o frametest.Offsets) int { return o.L3 + d }
	}
	l4 := func(d int) func(o frametest.Offsets) int {
		return func(o frametest.Offsets) int { return o.L4 + d }
	}
	v4 := frametest.Spec{Proto: frametest.TCP, Payload: make([]byte, 40)}
	v6 := frametest.Spec{V6: true, Proto: frametest.TCP, Payload: make([]byte, 40)}
	u4 := frametest.Spec{Proto: frametest.UDP, Payload: make([]byte, 40)}
	do := frametest.Spec{V6: true, Proto: frametest.TCP, Ext: []frametest.Extension{frametest.ExtHome}, Payload: make([]byte, 40)}
	// Type 2 with a segment left, and no room for its address.
	noRoom := frametest.Extension{Type: frametest.Routing, Body: []byte{0, 2, 1, 0, 0, 0, 0}}
	rt := frametest.Spec{V6: true, Proto: frametest.TCP, Ext: []frametest.Extension{noRoom}, Payload: make([]byte, 40)}
	gre := frametest.Spec{Proto: frametest.GRE, GREFlags: 0x20, Payload: make([]byte, 40)}
	many := frametest.Spec{V6: true, Proto: frametest.TCP, Payload: make([]byte, 40)}
	for range packet.MaxExtensions + 1 {
		many.Ext = append(many.Ext, frametest.ExtPad1)
	}
	five := v4
	five.Tags = make([]frametest.Tag, packet.MaxTags+1)
	for i := range five.Tags {
		five.Tags[i].Type = 0x8100
	}
	for _, c := range []struct {
		name    string
		spec    frametest.Spec
		change  change
		verdict packet.Verdict
		flags   packet.Flags
		net     packet.Net
		trans   packet.Transport
	}{
		{"version 5", v4, put16(l3(0), 0x5500), packet.BadVersion, 0, packet.NoNet, packet.NoTransport},
		{"version 6 in IPv4", v4, put16(l3(0), 0x6500), packet.BadVersion, 0, packet.NoNet, packet.NoTransport},
		{"version 4 in IPv6", v6, put16(l3(0), 0x4500), packet.BadVersion, 0, packet.NoNet, packet.NoTransport},
		{"header of 16 bytes", v4, put16(l3(0), 0x4400), packet.BadIPHeader, 0, packet.NoNet, packet.NoTransport},
		{"header longer than the frame", frametest.Spec{Proto: 0}, put16(l3(0), 0x4600), packet.Truncated, 0, packet.NoNet, packet.NoTransport},
		{"total length 0", v4, put16(l3(2), 0), packet.OK, packet.BadIPLength, packet.IPv4, packet.TCP},
		{"total length 19", v4, put16(l3(2), 19), packet.OK, packet.BadIPLength, packet.IPv4, packet.TCP},
		{"total length 20", v4, put16(l3(2), 20), packet.Truncated, 0, packet.IPv4, packet.TCP},
		{"total length 39", v4, put16(l3(2), 39), packet.Truncated, 0, packet.IPv4, packet.TCP},
		{"total length 81", v4, put16(l3(2), 81), packet.OK, packet.BadIPLength, packet.IPv4, packet.TCP},
		{"payload length 0", v6, put16(l3(4), 0), packet.OK, packet.BadIPLength, packet.IPv6, packet.TCP},
		{"payload length 19", v6, put16(l3(4), 19), packet.Truncated, 0, packet.IPv6, packet.TCP},
		{"payload length 61", v6, put16(l3(4), 61), packet.OK, packet.BadIPLength, packet.IPv6, packet.TCP},
		{"data offset 16", v4, put16(l4(12), 0x4010), packet.BadTCPHeader, 0, packet.IPv4, packet.TCP},
		{"data offset 60", v4, put16(l4(12), 0xf010), packet.OK, 0, packet.IPv4, packet.TCP},
		{"data offset beyond", func() frametest.Spec { s := v4; s.Payload = nil; return s }(), put16(l4(12), 0x6010), packet.Truncated, 0, packet.IPv4, packet.TCP},
		{"UDP length 7", u4, put16(l4(4), 7), packet.OK, packet.BadUDPLength, packet.IPv4, packet.UDP},
		{"UDP length 49", u4, put16(l4(4), 49), packet.OK, packet.BadUDPLength, packet.IPv4, packet.UDP},
		{"UDP length 47", u4, put16(l4(4), 47), packet.OK, 0, packet.IPv4, packet.UDP},
		{"option overruns", do, put16(func(o frametest.Offsets) int { return o.L3 + 42 }, 0xc940), packet.BadExtension, 0, packet.IPv6, packet.NoTransport},
		{"extension overruns", do, put16(func(o frametest.Offsets) int { return o.L3 + 40 }, 0x06ff), packet.Truncated, 0, packet.IPv6, packet.NoTransport},
		{"routing header too short", rt, nil, packet.OK, 0, packet.IPv6, packet.TCP},
		{"too many extensions", many, nil, packet.BadExtension, 0, packet.IPv6, packet.NoTransport},
		{"too many tags", five, nil, packet.TooManyTags, 0, packet.NoNet, packet.NoTransport},
		{"ARP", frametest.Spec{NotIP: 0x0806, Payload: make([]byte, 28)}, nil, packet.NotIP, 0, packet.NoNet, packet.NoTransport},
		{"length field", frametest.Spec{NotIP: 46, Payload: make([]byte, 46)}, nil, packet.NotIP, 0, packet.NoNet, packet.NoTransport},
		{"GRE version 1", gre, put16(l4(0), 0x2001), packet.BadGRE, 0, packet.IPv4, packet.GRE},
		{"GRE routing", gre, put16(l4(0), 0x4000), packet.BadGRE, 0, packet.IPv4, packet.GRE},
		{"GRE strict source route", gre, put16(l4(0), 0x0800), packet.BadGRE, 0, packet.IPv4, packet.GRE},
		{"GRE reserved bits to ignore", gre, put16(l4(0), 0x23f8), packet.OK, 0, packet.IPv4, packet.GRE},
		{"no next header", frametest.Spec{V6: true, Proto: frametest.None}, nil, packet.OK, 0, packet.IPv6, packet.NoTransport},
		{"protocol 59 in IPv4", frametest.Spec{Proto: frametest.None}, nil, packet.OK, 0, packet.IPv4, packet.OtherTransport},
		{"ICMP in IPv6", frametest.Spec{V6: true, Proto: frametest.ICMP, Payload: make([]byte, 9)}, nil, packet.OK, 0, packet.IPv6, packet.OtherTransport},
		{"ICMPv6 in IPv4", frametest.Spec{Proto: frametest.ICMPv6, Payload: make([]byte, 9)}, nil, packet.OK, 0, packet.IPv4, packet.OtherTransport},
	} {
		// As the outer level and, the same bytes, as the inner one.
		for _, tunnel := range []bool{false, true} {
			s, level := c.spec, 0
			if tunnel {
				if c.trans == packet.GRE {
					continue // no second tunnel is entered, see TestSecondTunnel
				}
				inner := s
				s, level = frametest.Spec{Proto: frametest.GRE, GREFlags: 0x20, Inner: &inner}, 1
			}
			f := s.Build()
			if c.change != nil {
				c.change(f.Bytes, f.Levels[level])
			}
			p := parse(f.Bytes, len(f.Bytes))
			l := []*packet.Level{&p.Outer, &p.Inner}[level]
			if l.Verdict != c.verdict || l.Flags&^0xf000 != c.flags || l.Net != c.net || l.Trans != c.trans {
				t.Errorf("%s (level %d): verdict %v, flags %#x, net %d, transport %d; want %v, %#x, %d, %d",
					c.name, level, l.Verdict, l.Flags, l.Net, l.Trans, c.verdict, c.flags, c.net, c.trans)
			}
			if tunnel && p.Outer.Verdict != packet.OK {
				t.Errorf("%s in a tunnel: outer verdict %v, want ok", c.name, p.Outer.Verdict)
			}
			if wantWhole := c.verdict == packet.OK && c.flags == 0; l.Whole() != wantWhole {
				t.Errorf("%s (level %d): Whole() = %v, want %v", c.name, level, l.Whole(), wantWhole)
			}
		}
	}
}

// Fragments have no transport header but in the first one, and a tunnel in
// fragments is not entered.
//
// Shows: NDIS-065
func TestFragments(t *testing.T) {
	inner := frametest.Spec{Proto: frametest.TCP, Payload: make([]byte, 40)}
	for _, c := range []struct {
		name  string
		spec  frametest.Spec
		flags packet.Flags
	}{
		{"v4 first", frametest.Spec{Frag: 0x2000}, packet.FragmentFirst},
		{"v4 middle", frametest.Spec{Frag: 0x2001}, packet.FragmentLater},
		{"v4 last", frametest.Spec{Frag: 0x1fff}, packet.FragmentLater},
		{"v4 don't fragment", frametest.Spec{Frag: 0x4000}, 0},
		{"v4 reserved bit", frametest.Spec{Frag: 0x8000}, 0},
		{"v6 first", frametest.Spec{V6: true, Ext: []frametest.Extension{frametest.ExtFirst}}, packet.FragmentFirst | packet.FragmentHeader},
		{"v6 later", frametest.Spec{V6: true, Ext: []frametest.Extension{frametest.ExtLater}}, packet.FragmentLater | packet.FragmentHeader},
		{"v6 later, more headers", frametest.Spec{V6: true, Ext: []frametest.Extension{frametest.ExtLater, frametest.ExtPad1}}, packet.FragmentLater | packet.FragmentHeader},
		{"v6 atomic", frametest.Spec{V6: true, Ext: []frametest.Extension{frametest.ExtAtomic}}, packet.FragmentHeader},
	} {
		for _, proto := range []uint8{frametest.TCP, frametest.UDP, frametest.GRE} {
			s := c.spec
			s.Proto, s.Payload = proto, make([]byte, 40)
			if proto == frametest.GRE {
				s.GREFlags, s.Inner = 0x20, &inner
			}
			f := s.Build()
			p := parse(f.Bytes, len(f.Bytes))
			l := &p.Outer
			later := c.flags&packet.FragmentLater != 0
			if l.Flags != c.flags || l.Verdict != packet.OK || (l.Trans == packet.NoTransport) != later {
				t.Errorf("%s, protocol %d: %+v, want flags %#x", c.name, proto, l, c.flags)
			}
			whole := c.flags&packet.Fragment == 0
			if l.HasPorts() != (whole && proto != frametest.GRE) {
				t.Errorf("%s, protocol %d: HasPorts() = %v", c.name, proto, l.HasPorts())
			}
			if p.Tunnelled() != (whole && proto == frametest.GRE) {
				t.Errorf("%s, protocol %d: Tunnelled() = %v", c.name, proto, p.Tunnelled())
			}
			if proto != frametest.GRE {
				outer := frametest.Spec{Proto: frametest.GRE, GREFlags: 0x20, Inner: &s}
				f := outer.Build()
				p := parse(f.Bytes, len(f.Bytes))
				in := &p.Inner
				if in.Flags != c.flags || in.Verdict != packet.OK || (in.Trans == packet.NoTransport) != later || in.HasPorts() != whole {
					t.Errorf("%s, protocol %d, in a tunnel: %+v, want flags %#x", c.name, proto, in, c.flags)
				}
			}
			if !p.Tunnelled() && (p.Tunnel != packet.NoTunnel || p.VSID != 0 || p.GREProtocol != 0) {
				t.Errorf("%s, protocol %d: tunnel fields set: %+v", c.name, proto, p)
			}
		}
	}
}

// VSID and FlowID are two fields, of NVGRE only by its exact form.
func TestNVGREForm(t *testing.T) {
	inner := frametest.Spec{Proto: frametest.TCP, Payload: make([]byte, 40)}
	for _, c := range []struct {
		flags  uint8
		key    uint32
		proto  uint16
		tunnel packet.Tunnel
		vsid   uint32
		flow   uint8
	}{
		{0x20, 0x123456ab, 0x6558, packet.NVGRE, 0x123456, 0xab},
		{0x20, 0x12345600, 0x6558, packet.NVGRE, 0x123456, 0},
		{0x20, 0x000000ff, 0x6558, packet.NVGRE, 0, 0xff},
		{0x20, 0xffffffff, 0x6558, packet.NVGRE, 0xffffff, 0xff},
		{0x00, 0x123456ab, 0x6558, packet.OtherGRE, 0, 0},
		{0xa0, 0x123456ab, 0x6558, packet.OtherGRE, 0x123456, 0xab},
		{0x30, 0x123456ab, 0x6558, packet.OtherGRE, 0x123456, 0xab},
		{0xb0, 0x123456ab, 0x6558, packet.OtherGRE, 0x123456, 0xab},
		{0x20, 0x123456ab, 0x0800, packet.OtherGRE, 0x123456, 0xab},
		{0x20, 0x123456ab, 0x880b, packet.OtherGRE, 0x123456, 0xab},
	} {
		s := frametest.Spec{Proto: frametest.GRE, GREFlags: c.flags, GREKey: c.key, GREProto: c.proto, Inner: &inner}
		f := s.Build()
		p := parse(f.Bytes, len(f.Bytes))
		if p.Tunnel != c.tunnel || p.VSID != c.vsid || p.FlowID != c.flow || p.GREProtocol != c.proto || p.GREFlags != c.flags {
			t.Errorf("GRE flags %#x, key %#x, protocol %#x: tunnel %d, VSID %#x, FlowID %#x, protocol %#x, flags %#x; want %d, %#x, %#x",
				c.flags, c.key, c.proto, p.Tunnel, p.VSID, p.FlowID, p.GREProtocol, p.GREFlags, c.tunnel, c.vsid, c.flow)
		}
	}
}

// What is inside a second tunnel is not looked at.
func TestSecondTunnel(t *testing.T) {
	third := frametest.Spec{Proto: frametest.TCP, Payload: make([]byte, 40)}
	second := frametest.Spec{Proto: frametest.GRE, GREFlags: 0x20, GREKey: 0x22222222, Inner: &third}
	first := frametest.Spec{Proto: frametest.GRE, GREFlags: 0x20, GREKey: 0x11111111, Inner: &second}
	f := first.Build()
	p := parse(f.Bytes, len(f.Bytes))
	if p.VSID != 0x111111 || p.FlowID != 0x11 || p.Inner.Trans != packet.GRE || p.Inner.Verdict != packet.OK ||
		int(p.HeaderLen) != f.Levels[1].Payload {
		t.Errorf("tunnel in a tunnel: %+v; want the first key, and headers up to the second GRE header at %d", p, f.Levels[1].Payload)
	}
}

// Typical means one form only, whatever was parsed before.
func TestTypical(t *testing.T) {
	var p packet.Info
	for _, c := range frames([]byte("payload")) {
		f := c.Spec.Build()
		packet.Parse(&p, f.Bytes, len(f.Bytes))
		o, i := &c.Spec, c.Spec.Inner
		want := i != nil && !o.V6 && !i.V6 && !i.Bare && o.GREFlags == 0x20 && i.Proto == frametest.TCP &&
			len(o.Tags)+len(i.Tags)+len(o.Options)+len(i.Options) == 0
		if p.Typical() != want {
			t.Errorf("%s: Typical() = %v, want %v", c.Name, p.Typical(), want)
		}
		if want && (p.Inner.L3 != 56 || p.Inner.L4 != 76) {
			t.Errorf("%s: inner IP header at %d, TCP header at %d, want 56, 76", c.Name, p.Inner.L3, p.Inner.L4)
		}
	}
}

// The EtherType of double tags before 802.1ad, which gopacket does not know.
func TestOldTag(t *testing.T) {
	s := frametest.Spec{Tags: []frametest.Tag{{Type: 0x9100, TCI: 0x2abc}, {Type: 0x8100, TCI: 5}}, Proto: frametest.UDP}
	f := s.Build()
	if got, want := parse(f.Bytes, len(f.Bytes)), wantInfo(&s, f); got != want {
		t.Errorf("tags 9100 and 8100: Parse\n got %+v\nwant %+v", got, want)
	}
}

func TestVerdictNames(t *testing.T) {
	seen := map[string]bool{}
	for v := packet.Absent; v <= packet.BadGRE; v++ {
		s := v.String()
		if s == "" || s == "unknown verdict" || seen[s] {
			t.Errorf("Verdict(%d).String() = %q", v, s)
		}
		seen[s] = true
	}
	if got := (packet.BadGRE + 1).String(); got != "unknown verdict" {
		t.Errorf("Verdict(%d).String() = %q", packet.BadGRE+1, got)
	}
}

func TestNoAllocation(t *testing.T) {
	f := frames([]byte("payload"))[200].Spec.Build()
	var p packet.Info
	if n := testing.AllocsPerRun(100, func() { packet.Parse(&p, f.Bytes, len(f.Bytes)) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

// Rubbish in every position of good frames.
func TestCorrupted(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for i, c := range frames([]byte("payload")) {
		if i%11 != 0 {
			continue
		}
		f := c.Spec.Build()
		for range 200 {
			b := append([]byte(nil), f.Bytes...)
			for range 1 + r.IntN(4) {
				b[r.IntN(len(b))] = byte(r.Uint32())
			}
			checkInvariants(t, b, r.IntN(len(b)+1), len(b))
		}
	}
}
