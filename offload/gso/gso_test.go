package gso_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"vhost-user-nvgre/offload/checksum"
	"vhost-user-nvgre/offload/gso"
	"vhost-user-nvgre/offload/internal/frametest"
	"vhost-user-nvgre/offload/packet"
)

var wide = gso.Limits{MaxPayload: 1 << 20, MinSegments: 1, MaxHeader: gso.MaxHeader, SubMSS: true}

// target returns the level of s that a request means.
func target(s *frametest.Spec, inner bool) *frametest.Spec {
	if inner {
		return s.Inner
	}
	return s
}

// request is what a sender would ask for s.
func request(s *frametest.Spec, mss int) gso.Request {
	r := gso.Request{Inner: s.Proto == frametest.GRE, MSS: mss}
	switch t := target(s, r.Inner); {
	case t.Proto == frametest.UDP:
		r.Kind = gso.UDP
	case t.V6:
		r.Kind = gso.TCPv6
	}
	return r
}

// reference returns the segments that a request makes of s.
func reference(s frametest.Spec, req gso.Request) [][]byte { return s.Segments(req.MSS) }

// spoil sets what a sender may leave in a template: lengths of 0 or of the
// whole, any IPv4 header checksum, any transport checksum but 0.
func spoil(r *rand.Rand, s *frametest.Spec, f frametest.Frame) {
	for i, l := range f.Levels {
		spec := s
		if i == 1 {
			spec = s.Inner
		}
		b := f.Bytes[l.L3:]
		length := 2
		if spec.V6 {
			length = 4
		} else {
			b[10], b[11] = byte(r.Uint32()), byte(r.Uint32())
		}
		if r.IntN(2) == 0 {
			b[length], b[length+1] = 0, 0
		}
		h := f.Bytes[l.L4:]
		switch {
		case spec.Proto == frametest.TCP:
			h[16], h[17] = byte(r.Uint32()), byte(r.Uint32())
		case spec.Proto == frametest.UDP && !spec.NoUDPSum:
			h[6], h[7] = byte(r.Uint32()), 1+byte(r.UintN(255))
		}
	}
}

// cut splits b into pieces of random lengths by layout: 0 = one piece, 1 =
// many, 2 = also of one byte and empty.
func cut(r *rand.Rand, b []byte, layout int) [][]byte {
	if layout == 0 {
		return [][]byte{b}
	}
	var out [][]byte
	for len(b) > 0 {
		n := 1 + r.IntN(2000)
		if layout == 2 {
			n = []int{0, 1, 1, 2, 3, 7, 40, 100}[r.IntN(8)]
		}
		n = min(n, len(b))
		out = append(out, b[:n:n])
		b = b[n:]
	}
	return out
}

// split runs the segmenter over frame, of which the first head bytes are the
// private part, and returns the segments it writes to a receiver.
func split(t *testing.T, r *rand.Rand, frame []byte, head int, req gso.Request, lim *gso.Limits, layout int) ([][]byte, gso.Refusal) {
	t.Helper()
	var p packet.Info
	head = min(head, len(frame))
	private := append([]byte(nil), frame[:head]...)
	packet.Parse(&p, private, len(frame))
	var s gso.Segmenter
	if ref := s.Start(private, &p, req, lim); ref != gso.Accepted {
		var d, src checksum.Cursor
		if s.Next(&d, &src) || s.NextLen() != 0 || s.Segments() != 0 {
			t.Fatalf("after refusal %v the segmenter goes on", ref)
		}
		return nil, ref
	}
	src := checksum.NewCursorAt(private[s.HeaderLen():], cut(r, frame[head:], layout))
	// Start must have kept nothing of the headers.
	for i := range private[:s.HeaderLen()] {
		private[i] = 0xee
	}
	var out [][]byte
	n := s.Segments()
	for s.NextLen() > 0 {
		seg := bytes.Repeat([]byte{0xdd}, s.NextLen()+8)
		d := checksum.NewCursor(cut(r, seg, layout))
		if !s.Next(&d, &src) {
			t.Fatalf("Next of segment %d of %d failed", len(out), n)
		}
		if left := d.Len(); left != 8 {
			t.Fatalf("after segment %d: %d bytes left in the buffer, want 8", len(out), left)
		}
		if !bytes.Equal(seg[len(seg)-8:], bytes.Repeat([]byte{0xdd}, 8)) {
			t.Fatalf("segment %d: bytes behind the frame were written", len(out))
		}
		out = append(out, seg[:len(seg)-8])
	}
	if len(out) != n {
		t.Fatalf("%d segments, Segments() said %d", len(out), n)
	}
	if src.Len() != 0 {
		t.Fatalf("%d bytes of the payload are left", src.Len())
	}
	if s.Next(&src, &src) {
		t.Fatal("Next after the last segment")
	}
	return out, gso.Accepted
}

// frames returns the forms of a packet that can be split, plain and in NVGRE.
func frames() []frametest.Named {
	var out []frametest.Named
	for i, l := range frametest.Levels(nil) {
		if l.Spec.Proto != frametest.TCP && l.Spec.Proto != frametest.UDP || len(l.Spec.Ext) > 0 && l.Spec.Ext[0].Type == frametest.AH {
			continue
		}
		out = append(out, l)
		for _, t := range frametest.Tunnels(l, i%3 == 0) {
			if t.Spec.GREFlags == 0x20 && !t.Spec.Inner.Bare {
				out = append(out, t)
			}
		}
	}
	return out
}

func setPayload(s *frametest.Spec, payload []byte) {
	t := target(s, s.Proto == frametest.GRE)
	if t == s.Inner {
		inner := *t
		s.Inner, t = &inner, &inner
	}
	t.Payload = payload
}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// Families x tags x options x tunnels x payload sizes x segment sizes x piece
// layouts: every segment is, byte by byte, the frame that its description
// makes, and gopacket finds no fault in it.
//
// Shows: NDIS-003, NDIS-024, NDIS-039, NDIS-040, NDIS-041, NDIS-042, NDIS-043, NDIS-044, NDIS-045, NDIS-046, NDIS-047
// Shows: NDIS-048, NDIS-049, NDIS-050, NDIS-055, NDIS-117, NDIS-120, NDIS-122, NDIS-123, NDIS-124, NDIS-126, NDIS-127
// Shows: NDIS-129, NDIS-130, NDIS-137, NDIS-144, NDIS-145, NDIS-147, NDIS-148, VNET-046
func TestMatrix(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	sizes := []struct{ payload, mss int }{
		{1, 1}, {2, 1}, {10, 3}, {1399, 1400}, {1400, 1400}, {1401, 1400}, {3000, 1400}, {5599, 1400}, {9000, 8960}, {20000, 1447},
	}
	count := 0
	for i, c := range frames() {
		for j, size := range sizes {
			if (i+j)%3 != 0 && size.payload > 10 {
				continue
			}
			spec := c.Spec
			setPayload(&spec, randomBytes(r, size.payload))
			req := request(&spec, size.mss)
			want := reference(spec, req)
			frame := spec.Build()
			spoil(r, &spec, frame)
			headers := frame.Levels[len(frame.Levels)-1].Payload
			if headers > gso.MaxHeader {
				continue // TestRefusals has these
			}
			layout := (i + j) % 3
			head := min(len(frame.Bytes), headers+r.IntN(64))
			got, ref := split(t, r, frame.Bytes, head, req, &wide, layout)
			what := fmt.Sprintf("%s, %d bytes by %d, layout %d", c.Name, size.payload, size.mss, layout)
			if ref != gso.Accepted {
				t.Fatalf("%s: refused: %v", what, ref)
			}
			if len(got) != len(want) {
				t.Fatalf("%s: %d segments, want %d", what, len(got), len(want))
			}
			for k := range want {
				if !bytes.Equal(got[k], want[k]) {
					t.Fatalf("%s: segment %d\n got %x\nwant %x", what, k, got[k], want[k])
				}
				if k < 2 || k == len(want)-1 {
					decode(t, what, got[k])
				}
				count++
			}
		}
	}
	t.Logf("%d segments", count)
}

// The numbers of the NVGRE model: 3,000 bytes by 1,400.
//
// Shows: NDIS-039, NDIS-040, NDIS-043
func TestNVGRENumbers(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	inner := frametest.Spec{Proto: frametest.TCP, Payload: randomBytes(r, 3000), ID: 7}
	s := frametest.Spec{Proto: frametest.GRE, GREFlags: 0x20, GREKey: 0x12345678, Inner: &inner, ID: 9}
	f := s.Build()
	got, ref := split(t, r, f.Bytes, 128, request(&s, 1400), &wide, 0)
	if ref != gso.Accepted || len(got) != 3 {
		t.Fatalf("3,000 bytes by 1,400: %v, %d segments, want 3", ref, len(got))
	}
	for i, want := range []struct{ frame, outer, inner int }{{1496, 1482, 1440}, {1496, 1482, 1440}, {296, 282, 240}} {
		b := got[i]
		be := func(at int) int { return int(b[at])<<8 | int(b[at+1]) }
		if len(b) != want.frame || be(16) != want.outer || be(58) != want.inner {
			t.Errorf("segment %d: frame %d, outer total length %d, inner %d; want %+v", i, len(b), be(16), be(58), want)
		}
		if be(18) != 9+i || be(60) != 7+i {
			t.Errorf("segment %d: outer ID %d, inner ID %d; want %d, %d", i, be(18), be(60), 9+i, 7+i)
		}
		if key := b[38:42]; !bytes.Equal(key, []byte{0x12, 0x34, 0x56, 0x78}) {
			t.Errorf("segment %d: GRE key %x, want 12345678", i, key)
		}
	}
}

// Identifications wrap at 0x7fff for TCP and at 0xffff for UDP, each header's
// by itself; one that starts beyond stays as it is in the first segment.
//
// Shows: NDIS-045, NDIS-046, NDIS-128, NDIS-146
func TestIDWrap(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, c := range []struct {
		proto        uint8
		outer, inner []uint16
	}{
		{frametest.TCP, []uint16{0x7ffe, 0x7fff, 0, 1}, []uint16{0, 1, 2, 3}},
		{frametest.TCP, []uint16{0x8000, 1, 2, 3}, []uint16{0xffff, 0, 1, 2}},
		{frametest.TCP, []uint16{3, 4, 5, 6}, []uint16{0x7fff, 0, 1, 2}},
		{frametest.UDP, []uint16{0xfffe, 0xffff, 0, 1}, []uint16{0x7ffe, 0x7fff, 0x8000, 0x8001}},
		{frametest.UDP, []uint16{0, 1, 2, 3}, []uint16{0xffff, 0, 1, 2}},
	} {
		inner := frametest.Spec{Proto: c.proto, ID: c.inner[0], Payload: randomBytes(r, 40)}
		plain := inner
		plain.ID = c.outer[0]
		for _, s := range []frametest.Spec{plain, {Proto: frametest.GRE, GREFlags: 0x20, Inner: &inner, ID: c.outer[0]}} {
			f := s.Build()
			got, ref := split(t, r, f.Bytes, 128, request(&s, 10), &wide, 0)
			if ref != gso.Accepted || len(got) != 4 {
				t.Fatalf("protocol %d, inner %v: %v, %d segments", c.proto, s.Inner != nil, ref, len(got))
			}
			for i, b := range got {
				if id := uint16(b[18])<<8 | uint16(b[19]); id != c.outer[i] {
					t.Errorf("protocol %d, tunnel %v, segment %d: ID %#x, want %#x", c.proto, s.Inner != nil, i, id, c.outer[i])
				}
				if s.Inner != nil {
					if id := uint16(b[60])<<8 | uint16(b[61]); id != c.inner[i] {
						t.Errorf("protocol %d, segment %d: inner ID %#x, want %#x", c.proto, i, id, c.inner[i])
					}
				}
			}
		}
	}
}

// Every combination of TCP flags that may be split.
//
// Shows: NDIS-123, NDIS-124, NDIS-125
func TestFlags(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for flags := range uint16(512) {
		s := frametest.Spec{Proto: frametest.TCP, TCPFlags: flags | frametest.NoFlags, Payload: randomBytes(r, 40), Seq: 0xfffffff0}
		f := s.Build()
		got, ref := split(t, r, f.Bytes, 60, request(&s, 10), &wide, 0)
		if flags&0x26 != 0 { // SYN, RST, URG
			if ref != gso.TCPFlags {
				t.Errorf("TCP flags %#x: %v, want %v", flags, ref, gso.TCPFlags)
			}
			continue
		}
		for i, b := range got {
			want := flags
			if i != 0 {
				want &^= 0x80
			}
			if i != 3 {
				want &^= 0x09
			}
			if have := uint16(b[46]&1)<<8 | uint16(b[47]); have != want {
				t.Errorf("TCP flags %#x: segment %d has %#x, want %#x", flags, i, have, want)
			}
		}
		for i, want := range reference(s, request(&s, 10)) {
			if !bytes.Equal(got[i], want) {
				t.Errorf("TCP flags %#x: segment %d\n got %x\nwant %x", flags, i, got[i], want)
			}
		}
	}
}

// A computed UDP checksum of 0 is sent as 0xffff; none stays none.
//
// Shows: NDIS-145
func TestUDPZero(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	seen := false
	for v := range 0x10000 {
		// One payload of all makes the sum 0xffff.
		payload := []byte{byte(v >> 8), byte(v), 1, 2}
		s := frametest.Spec{Proto: frametest.UDP, Payload: payload, SrcPort: 1, DstPort: 2}
		want := reference(s, request(&s, 2))
		if want[0][40] != 0xff || want[0][41] != 0xff {
			continue
		}
		seen = true
		f := s.Build()
		got, ref := split(t, r, f.Bytes, 42, request(&s, 2), &wide, 0)
		if ref != gso.Accepted || !bytes.Equal(got[0], want[0]) {
			t.Errorf("payload %x: %v, %x, want %x", payload, ref, got[0], want[0])
		}
	}
	if !seen {
		t.Error("no payload gave a checksum of 0: the test shows nothing")
	}
}

// Shows: NDIS-022, NDIS-023, NDIS-051, NDIS-131, NDIS-133, NDIS-142, NDIS-143, VNET-045
func TestRefusals(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	tcp := frametest.Spec{Proto: frametest.TCP, Payload: randomBytes(r, 3000)}
	tcp6 := frametest.Spec{V6: true, Proto: frametest.TCP, Payload: randomBytes(r, 3000)}
	udp := frametest.Spec{Proto: frametest.UDP, Payload: randomBytes(r, 3000)}
	with := func(s frametest.Spec, f func(s *frametest.Spec)) frametest.Spec { f(&s); return s }
	tunnel := func(in frametest.Spec, flags uint8, f func(s *frametest.Spec)) frametest.Spec {
		s := frametest.Spec{Proto: frametest.GRE, GREFlags: flags, GREKey: 5, Inner: &in}
		if f != nil {
			f(&s)
		}
		return s
	}
	none := func(*frametest.Spec) {}
	cut := func(n int) func(b []byte) []byte { return func(b []byte) []byte { return b[:n] } }
	limits := func(f func(l *gso.Limits)) gso.Limits { l := wide; f(&l); return l }
	long := []frametest.Extension{frametest.ExtLong, frametest.ExtLong}
	for _, c := range []struct {
		name string
		spec frametest.Spec
		req  gso.Request
		lim  gso.Limits
		edit func(b []byte) []byte
		want gso.Refusal
	}{
		{"mss 0", tcp, gso.Request{Kind: gso.TCPv4}, wide, nil, gso.ZeroMSS},
		{"mss -1", tcp, gso.Request{Kind: gso.TCPv4, MSS: -1}, wide, nil, gso.ZeroMSS},
		{"inner of a plain packet", tcp, gso.Request{Kind: gso.TCPv4, MSS: 1400, Inner: true}, wide, nil, gso.NoTunnel},
		{"inner of a fragment", tunnel(tcp, 0x20, func(s *frametest.Spec) { s.Frag = 0x2000 }), gso.Request{Kind: gso.TCPv4, MSS: 1400, Inner: true}, wide, nil, gso.NoTunnel},
		{"outer of a tunnel", tunnel(tcp, 0x20, none), gso.Request{Kind: gso.TCPv4, MSS: 1400}, wide, nil, gso.WrongType},
		{"GRE with checksum", tunnel(tcp, 0xa0, none), gso.Request{Kind: gso.TCPv4, MSS: 1400, Inner: true}, wide, nil, gso.GREChecksum},
		{"GRE with sequence number", tunnel(tcp, 0x30, none), gso.Request{Kind: gso.TCPv4, MSS: 1400, Inner: true}, wide, nil, gso.GREChecksum},
		{"GRE without key", tunnel(tcp, 0, none), gso.Request{Kind: gso.TCPv4, MSS: 1400, Inner: true}, wide, nil, gso.NotNVGRE},
		{"IP in GRE", tunnel(with(tcp, func(s *frametest.Spec) { s.Bare = true }), 0x20, none), gso.Request{Kind: gso.TCPv4, MSS: 1400, Inner: true}, wide, nil, gso.NotNVGRE},
		{"TCPv6 asked of TCPv4", tcp, gso.Request{Kind: gso.TCPv6, MSS: 1400}, wide, nil, gso.WrongType},
		{"TCPv4 asked of TCPv6", tcp6, gso.Request{Kind: gso.TCPv4, MSS: 1400}, wide, nil, gso.WrongType},
		{"UDP asked of TCP", tcp, gso.Request{Kind: gso.UDP, MSS: 1400}, wide, nil, gso.WrongType},
		{"TCP asked of UDP", udp, gso.Request{Kind: gso.TCPv4, MSS: 1400}, wide, nil, gso.WrongType},
		{"outer family asked in a tunnel", tunnel(tcp6, 0x20, none), gso.Request{Kind: gso.TCPv4, MSS: 1400, Inner: true}, wide, nil, gso.WrongType},
		{"inner family asked in a tunnel", tunnel(tcp6, 0x20, none), gso.Request{Kind: gso.TCPv6, MSS: 1400, Inner: true}, wide, nil, gso.Accepted},
		{"unknown kind", tcp, gso.Request{Kind: 9, MSS: 1400}, wide, nil, gso.WrongType},
		{"ICMP", with(tcp, func(s *frametest.Spec) { s.Proto = frametest.ICMP }), gso.Request{Kind: gso.TCPv4, MSS: 1400}, wide, nil, gso.WrongType},
		{"ARP", frametest.Spec{NotIP: 0x806, Payload: make([]byte, 1000)}, gso.Request{Kind: gso.TCPv4, MSS: 100}, wide, nil, gso.Malformed},
		{"frame ends in the TCP header", tcp, gso.Request{Kind: gso.TCPv4, MSS: 1400}, wide, cut(50), gso.Malformed},
		{"frame ends in the inner TCP header", tunnel(tcp, 0x20, none), gso.Request{Kind: gso.TCPv4, MSS: 1400, Inner: true}, wide, cut(90), gso.Malformed},
		{"frame ends with the TCP header", tcp, gso.Request{Kind: gso.TCPv4, MSS: 1400}, wide, cut(54), gso.TooFewSegments},
		{"data offset beyond the frame", tcp, gso.Request{Kind: gso.TCPv4, MSS: 1}, wide, func(b []byte) []byte { b[46] = 0xf0; return b[:60] }, gso.Malformed},
		{"data offset of 16", tcp, gso.Request{Kind: gso.TCPv4, MSS: 1}, wide, func(b []byte) []byte { b[46] = 0x40; return b }, gso.Malformed},
		{"header of 254 bytes", with(tcp6, func(s *frametest.Spec) { s.Ext, s.TCPOptions = append(long[:1:1], padded(46)), []byte{1, 1, 1, 0} }), gso.Request{Kind: gso.TCPv6, MSS: 1400}, wide, nil, gso.Accepted},
		{"header of 258 bytes", with(tcp6, func(s *frametest.Spec) { s.Ext = append(long[:1:1], padded(54)) }), gso.Request{Kind: gso.TCPv6, MSS: 1400}, wide, nil, gso.HeaderTooLong},
		{"header over a limit of 53", tcp, gso.Request{Kind: gso.TCPv4, MSS: 1400}, limits(func(l *gso.Limits) { l.MaxHeader = 53 }), nil, gso.HeaderTooLong},
		{"header at a limit of 54", tcp, gso.Request{Kind: gso.TCPv4, MSS: 1400}, limits(func(l *gso.Limits) { l.MaxHeader = 54 }), nil, gso.Accepted},
		{"limit above the template", with(tcp6, func(s *frametest.Spec) { s.Ext = long }), gso.Request{Kind: gso.TCPv6, MSS: 1400}, limits(func(l *gso.Limits) { l.MaxHeader = 1000 }), nil, gso.HeaderTooLong},
		{"more fragments", with(tcp, func(s *frametest.Spec) { s.Frag = 0x2000 }), gso.Request{Kind: gso.TCPv4, MSS: 1400}, wide, nil, gso.Fragmented},
		{"fragment offset", with(tcp, func(s *frametest.Spec) { s.Frag = 5 }), gso.Request{Kind: gso.TCPv4, MSS: 1400}, wide, nil, gso.Fragmented},
		{"inner fragment", tunnel(with(tcp, func(s *frametest.Spec) { s.Frag = 0x2000 }), 0x20, none), gso.Request{Kind: gso.TCPv4, MSS: 1400, Inner: true}, wide, nil, gso.Fragmented},
		{"IPv6 first fragment", with(tcp6, func(s *frametest.Spec) { s.Ext = []frametest.Extension{frametest.ExtFirst} }), gso.Request{Kind: gso.TCPv6, MSS: 1400}, wide, nil, gso.Fragmented},
		{"don't fragment", with(tcp, func(s *frametest.Spec) { s.Frag = 0x4000 }), gso.Request{Kind: gso.TCPv4, MSS: 1400}, wide, nil, gso.Accepted},
		{"authentication header", with(tcp6, func(s *frametest.Spec) { s.Ext = []frametest.Extension{frametest.ExtAH} }), gso.Request{Kind: gso.TCPv6, MSS: 1400}, wide, nil, gso.AuthHeader},
		{"outer authentication header", tunnel(tcp, 0x20, func(s *frametest.Spec) { s.V6, s.Ext = true, []frametest.Extension{frametest.ExtAH} }), gso.Request{Kind: gso.TCPv4, MSS: 1400, Inner: true}, wide, nil, gso.AuthHeader},
		{"SYN", with(tcp, func(s *frametest.Spec) { s.TCPFlags = 0x12 }), gso.Request{Kind: gso.TCPv4, MSS: 1400}, wide, nil, gso.TCPFlags},
		{"RST", with(tcp, func(s *frametest.Spec) { s.TCPFlags = 0x14 }), gso.Request{Kind: gso.TCPv4, MSS: 1400}, wide, nil, gso.TCPFlags},
		{"URG", with(tcp, func(s *frametest.Spec) { s.TCPFlags = 0x30 }), gso.Request{Kind: gso.TCPv4, MSS: 1400}, wide, nil, gso.TCPFlags},
		{"urgent pointer", with(tcp, func(s *frametest.Spec) { s.Urgent = 0x0100 }), gso.Request{Kind: gso.TCPv4, MSS: 1400}, wide, nil, gso.TCPFlags},
		{"inner SYN", tunnel(with(tcp, func(s *frametest.Spec) { s.TCPFlags = 2 }), 0x20, none), gso.Request{Kind: gso.TCPv4, MSS: 1400, Inner: true}, wide, nil, gso.TCPFlags},
		{"payload over the limit", tcp, gso.Request{Kind: gso.TCPv4, MSS: 1400}, limits(func(l *gso.Limits) { l.MaxPayload = 2999 }), nil, gso.PayloadTooLong},
		{"payload at the limit", tcp, gso.Request{Kind: gso.TCPv4, MSS: 1400}, limits(func(l *gso.Limits) { l.MaxPayload = 3000 }), nil, gso.Accepted},
		{"one segment where two are needed", tcp, gso.Request{Kind: gso.TCPv4, MSS: 3000}, limits(func(l *gso.Limits) { l.MinSegments = 2 }), nil, gso.TooFewSegments},
		{"two segments where two are needed", tcp, gso.Request{Kind: gso.TCPv4, MSS: 2999}, limits(func(l *gso.Limits) { l.MinSegments = 2 }), nil, gso.Accepted},
		{"UDP payload of MSS*(min-1)", udp, gso.Request{Kind: gso.UDP, MSS: 1000}, limits(func(l *gso.Limits) { l.MinSegments = 4 }), nil, gso.TooFewSegments},
		{"UDP payload of MSS*(min-1)+1", udp, gso.Request{Kind: gso.UDP, MSS: 999}, limits(func(l *gso.Limits) { l.MinSegments = 4 }), nil, gso.Accepted},
		{"no payload", with(tcp, func(s *frametest.Spec) { s.Payload = nil }), gso.Request{Kind: gso.TCPv4, MSS: 3000}, limits(func(l *gso.Limits) { l.MinSegments = 0 }), nil, gso.TooFewSegments},
		{"3,000 segments where 2,999 are allowed", tcp, gso.Request{Kind: gso.TCPv4, MSS: 1}, limits(func(l *gso.Limits) { l.MaxSegments = 2999 }), nil, gso.TooManySegments},
		{"3,000 segments where 3,000 are allowed", tcp, gso.Request{Kind: gso.TCPv4, MSS: 1}, limits(func(l *gso.Limits) { l.MaxSegments = 3000 }), nil, gso.Accepted},
		{"UDP with a short last datagram", udp, gso.Request{Kind: gso.UDP, MSS: 1400}, limits(func(l *gso.Limits) { l.SubMSS = false }), nil, gso.UnevenUDP},
		{"UDP without one", udp, gso.Request{Kind: gso.UDP, MSS: 1500}, limits(func(l *gso.Limits) { l.SubMSS = false }), nil, gso.Accepted},
		{"inner UDP with a short last datagram", tunnel(udp, 0x20, none), gso.Request{Kind: gso.UDP, MSS: 1400, Inner: true}, limits(func(l *gso.Limits) { l.SubMSS = false }), nil, gso.UnevenUDP},
		{"TCP with a short last segment", tcp, gso.Request{Kind: gso.TCPv4, MSS: 1400}, limits(func(l *gso.Limits) { l.SubMSS = false }), nil, gso.Accepted},
	} {
		b := c.spec.Build().Bytes
		if c.edit != nil {
			b = c.edit(b)
		}
		if _, got := split(t, r, b, min(len(b), 512), c.req, &c.lim, 0); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// padded returns destination options that take up n+2 bytes, a multiple of 8.
func padded(n int) frametest.Extension {
	return frametest.Extension{Type: frametest.Destination, Body: append([]byte{byte((n+2)/8 - 1), 1, byte(n - 2)}, make([]byte, n-2)...)}
}

// A segment must fit an IP packet: the outermost length field decides.
func TestSegmentTooLong(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	payload := randomBytes(r, 70000)
	for _, c := range []struct {
		spec frametest.Spec
		max  int // the largest segment size
	}{
		{frametest.Spec{Proto: frametest.TCP, Payload: payload}, 65535 - 40},
		{frametest.Spec{V6: true, Proto: frametest.TCP, Payload: payload}, 65535 - 20},
		{frametest.Spec{Proto: frametest.UDP, Payload: payload}, 65535 - 28},
		{frametest.Spec{Proto: frametest.GRE, GREFlags: 0x20, Inner: &frametest.Spec{V6: true, Proto: frametest.TCP, Payload: payload}}, 65535 - 20 - 8 - 14 - 40 - 20},
		{frametest.Spec{V6: true, Proto: frametest.GRE, GREFlags: 0x20, Inner: &frametest.Spec{Proto: frametest.TCP, Payload: payload}}, 65535 - 8 - 14 - 20 - 20},
	} {
		b := c.spec.Build().Bytes
		// The lengths do not fit their fields: what is there is no use.
		req := request(&c.spec, c.max)
		if got, ref := split(t, r, b, 512, req, &wide, 1); ref != gso.Accepted {
			t.Errorf("segments of %d bytes: %v, want %v", c.max, ref, gso.Accepted)
		} else {
			for i, want := range reference(c.spec, req) {
				if !bytes.Equal(got[i], want) {
					t.Errorf("segments of %d bytes: segment %d differs", c.max, i)
				}
			}
		}
		req.MSS++
		if _, ref := split(t, r, b, 512, req, &wide, 1); ref != gso.SegmentTooLong {
			t.Errorf("segments of %d bytes: %v, want %v", req.MSS, ref, gso.SegmentTooLong)
		}
	}
}

// Where the receiver's buffers or the sender's payload end too early, Next
// fails, and no further segment is made.
func TestTooShort(t *testing.T) {
	s := frametest.Spec{Proto: frametest.TCP, Payload: make([]byte, 100)}
	b := s.Build().Bytes
	var p packet.Info
	packet.Parse(&p, b, len(b))
	for _, c := range []struct{ room, payload int }{{0, 100}, {53, 100}, {54, 100}, {63, 100}, {64, 9}, {64, 0}} {
		var g gso.Segmenter
		if r := g.Start(b, &p, request(&s, 10), &wide); r != gso.Accepted {
			t.Fatal(r)
		}
		d, src := checksum.NewCursor([][]byte{make([]byte, c.room)}), checksum.NewCursor([][]byte{make([]byte, c.payload)})
		if g.Next(&d, &src) || g.NextLen() != 0 || g.Next(&d, &src) {
			t.Errorf("Next with %d bytes of room and %d of payload went on", c.room, c.payload)
		}
	}
}

func TestRefusalNames(t *testing.T) {
	seen := map[string]bool{}
	for r := range gso.NumRefusals {
		s := r.String()
		if s == "" || s == "unknown" || seen[s] {
			t.Errorf("Refusal(%d).String() = %q", r, s)
		}
		seen[s] = true
	}
	if got := gso.NumRefusals.String(); got != "unknown" {
		t.Errorf("Refusal(%d).String() = %q", gso.NumRefusals, got)
	}
}
