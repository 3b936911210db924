package offload_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/offload/gso"
	"vhost-user-nvgre/offload/internal/frametest"
	"vhost-user-nvgre/virtio"
)

// admit loads a frame and returns what Admit says of it and leaves of the
// header.
func admit(t *testing.T, h virtio.NetHdr, b []byte, tx *offload.Sender) (offload.Verdict, *offload.Frame) {
	t.Helper()
	var (
		w offload.Worker
		f offload.Frame
	)
	if v := f.Load([][]byte{image(h, b)}, virtio.NetHdrSize); v != offload.OK {
		t.Fatal(v)
	}
	return w.Admit(&f, tx), &f
}

// Without a checksum to finish, or a segmentation, nothing in the header means
// anything, whatever was negotiated.
//
// Shows: VNET-040, VNET-041, VNET-044, VNET-055
func TestAdmitPlain(t *testing.T) {
	s := frametest.Spec{Proto: frametest.TCP, Payload: make([]byte, 100)}
	b := s.Build().Bytes
	for _, features := range []virtio.Features{0, txAll} {
		tx := offload.SenderOf(features, stateWith(true))
		for flags := range 256 {
			if flags&virtio.HdrNeedsCsum != 0 {
				continue
			}
			for _, kind := range []uint8{virtio.GSONone, virtio.GSOECN} {
				for _, v := range []uint16{0, 1, 0xffff} {
					h := virtio.NetHdr{Flags: uint8(flags), GSOType: kind, HdrLen: v, GSOSize: v, CsumStart: v, CsumOffset: v}
					if got, f := admit(t, h, b, &tx); got != offload.OK || f.Hdr != (virtio.NetHdr{}) || f.IsSuper() {
						t.Fatalf("%+v: %v, header %+v; want %v and zeros", h, got, f.Hdr, offload.OK)
					}
				}
			}
		}
	}
}

// A checksum is finished wherever its field is within the frame, behind the
// Ethernet header; anything else is dropped, as is what was not negotiated.
//
// Shows: VNET-040, VNET-043, VNET-055
// Hostile: CVE-2024-11614
func TestAdmitChecksum(t *testing.T) {
	st := stateWith(false)
	tx, none := offload.SenderOf(txAll, st), offload.SenderOf(0, st)
	for _, size := range []int{14, 15, 17, 60, 129, 1514} {
		b := make([]byte, size)
		edge := []int{0, 1, 13, 14, 15, 16, 34, size - 20, size - 3, size - 2, size - 1, size, size + 1, 0x7fff, 0x8000, 0xfffd, 0xfffe, 0xffff}
		for _, start := range edge {
			for _, offset := range edge {
				if start < 0 || offset < 0 {
					continue
				}
				for _, flags := range []uint8{virtio.HdrNeedsCsum, 0xff} {
					h := virtio.NetHdr{Flags: flags, HdrLen: uint16(start * 7), GSOSize: uint16(offset), CsumStart: uint16(start), CsumOffset: uint16(offset)}
					want := offload.OK
					if start < 14 || start+offset+2 > size {
						want = offload.BadChecksum
					}
					got, f := admit(t, h, b, &tx)
					if got != want {
						t.Fatalf("frame of %d bytes, csum_start %d, csum_offset %d: %v, want %v", size, start, offset, got, want)
					}
					left := virtio.NetHdr{Flags: virtio.HdrNeedsCsum, HdrLen: uint16(start + offset + 2), CsumStart: uint16(start), CsumOffset: uint16(offset)}
					if got == offload.OK && f.Hdr != left {
						t.Fatalf("frame of %d bytes: header %+v, want %+v", size, f.Hdr, left)
					}
					if got, _ := admit(t, h, b, &none); got != offload.NotNegotiated {
						t.Fatalf("frame of %d bytes, csum_start %d, without CSUM: %v, want %v", size, start, got, offload.NotNegotiated)
					}
				}
			}
		}
	}
}

// needs says which features a super-frame needs.
func needs(kind uint8) virtio.Features {
	f := virtio.FeatureCSUM
	if kind&virtio.GSOECN != 0 {
		f |= virtio.FeatureHostECN
	}
	switch kind &^ virtio.GSOECN {
	case virtio.GSOTCPv4:
		return f | virtio.FeatureHostTSO4
	case virtio.GSOTCPv6:
		return f | virtio.FeatureHostTSO6
	case virtio.GSOUDPL4:
		return f | virtio.FeatureHostUSO
	}
	return 1 << 40 // never offered
}

// Every gso_type there is, with every set of features, on frames of every kind:
// only what was negotiated and fits the frame is taken. A type that does not
// exist, the tunnel types among them, never is.
//
// Shows: VNET-045, VNET-047, VNET-048, NDIS-136, NDIS-149
func TestAdmitTypes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	type sample struct {
		name string
		spec frametest.Spec
		kind uint8 // that fits
	}
	samples := []sample{
		{"tcp4", frametest.Spec{Proto: frametest.TCP}, virtio.GSOTCPv4},
		{"tcp6", frametest.Spec{Proto: frametest.TCP, V6: true}, virtio.GSOTCPv6},
		{"udp4", frametest.Spec{Proto: frametest.UDP}, virtio.GSOUDPL4},
		{"udp6", frametest.Spec{Proto: frametest.UDP, V6: true}, virtio.GSOUDPL4},
		{"icmp", frametest.Spec{Proto: frametest.ICMP}, 0},
		{"not IP", frametest.Spec{NotIP: 0x88b5}, 0},
	}
	sets := []virtio.Features{
		0, txAll,
		txAll &^ virtio.FeatureHostTSO4, txAll &^ virtio.FeatureHostTSO6, txAll &^ virtio.FeatureHostUSO,
		txAll &^ virtio.FeatureHostECN, txAll &^ virtio.FeatureCSUM, virtio.FeatureCSUM,
	}
	on := *stateWith(false)
	states := []struct {
		name string
		st   offload.State
		off  uint8 // the type that is off
	}{
		{"all", on, 0},
		{"no LSOv4", func() offload.State { s := on; s.LSOv4 = false; return s }(), virtio.GSOTCPv4},
		{"no LSOv6", func() offload.State { s := on; s.LSOv6 = false; return s }(), virtio.GSOTCPv6},
		{"no USO", func() offload.State { s := on; s.USOv4, s.USOv6 = false, false; return s }(), virtio.GSOUDPL4},
	}
	for _, c := range samples {
		c.spec.Payload = randomBytes(r, 3000)
		b, h := c.spec.Build().Bytes, virtio.NetHdr{Flags: virtio.HdrNeedsCsum, CsumStart: 34, CsumOffset: 16}
		if c.kind != 0 {
			b, h = super(r, &c.spec, 1000)
		}
		h.GSOSize = 1000
		for kind := range 256 {
			for _, features := range sets {
				for _, st := range states {
					kind := uint8(kind)
					if kind&^virtio.GSOECN == virtio.GSONone {
						continue
					}
					tx := offload.SenderOf(features, &st.st)
					h.GSOType = kind
					want := offload.OK
					switch base := kind &^ virtio.GSOECN; {
					case !features.Has(needs(kind)) || base == st.off:
						want = offload.NotNegotiated
					case base != c.kind:
						want = refusedOrBad
					}
					got, f := admit(t, h, b, &tx)
					if got != want && (want != refusedOrBad || got == offload.OK || got == offload.NotNegotiated) {
						t.Fatalf("%s, gso_type %#x, features %s, %s: %v, want %v", c.name, kind, features, st.name, got, want)
					}
					if got == offload.OK && (!f.IsSuper() || f.Hdr.GSOType != kind || f.Hdr.Flags != virtio.HdrNeedsCsum) {
						t.Errorf("%s, gso_type %#x: header %+v", c.name, kind, f.Hdr)
					}
					// Without size, or checksum to finish, it is none.
					bad := h
					bad.GSOSize = 0
					if got, _ := admit(t, bad, b, &tx); got != offload.BadGSO {
						t.Fatalf("%s, gso_type %#x, gso_size 0: %v, want %v", c.name, kind, got, offload.BadGSO)
					}
					bad = h
					bad.Flags = 0xff &^ virtio.HdrNeedsCsum
					if got, _ := admit(t, bad, b, &tx); got != offload.BadGSO {
						t.Fatalf("%s, gso_type %#x without NEEDS_CSUM: %v, want %v", c.name, kind, got, offload.BadGSO)
					}
				}
			}
		}
	}
}

// refusedOrBad is any verdict on a super-frame whose headers do not fit.
const refusedOrBad = offload.NumVerdicts

// UDP segmentation can be off for one family.
//
// Shows: NDIS-149
func TestAdmitUSOByFamily(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, v6 := range []bool{false, true} {
		for _, off := range []bool{false, true} {
			st := *stateWith(true)
			if off {
				st.USOv4, st.USOv6 = v6, !v6 // the other one stays
			}
			tx := offload.SenderOf(txAll, &st)
			inner := frametest.Spec{V6: v6, Proto: frametest.UDP, Payload: randomBytes(r, 300)}
			for _, s := range []frametest.Spec{inner, {V6: !v6, Proto: frametest.GRE, GREFlags: 0x20, Inner: &inner}} {
				b, h := super(r, &s, 100)
				want := offload.OK
				if off {
					want = offload.NotNegotiated
				}
				if got, _ := admit(t, h, b, &tx); got != want {
					t.Errorf("IPv6 %t, its USO off %t, tunnel %t: %v, want %v", v6, off, s.Inner != nil, got, want)
				}
			}
		}
	}
}

// The checksum must be that of the transport header of the frame, or of the one
// in the tunnel; hdr_len does not matter, and is right afterwards.
//
// Shows: VNET-044, VNET-045, VNET-070, NDIS-111
// Hostile: CVE-2024-11614, 7023f3e532, CVE-2026-43057
func TestAdmitHeaders(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	tx := offload.SenderOf(txAll, stateWith(true))
	for i, c := range frames() {
		if i%5 != 0 && i%7 != 0 {
			continue
		}
		s := withPayload(c.Spec, randomBytes(r, 500))
		b, h := super(r, &s, 100)
		at := s.Build().Levels
		payload := at[len(at)-1].Payload
		for _, hint := range []uint16{0, 1, uint16(payload) - 1, uint16(payload), uint16(payload) + 1, 0xffff} {
			h.HdrLen = hint
			got, f := admit(t, h, b, &tx)
			if got != offload.OK {
				t.Fatalf("%s, hdr_len %d: %v, want %v", c.Name, hint, got, offload.OK)
			}
			if int(f.Hdr.HdrLen) != payload || f.Hdr.CsumStart != h.CsumStart || f.Hdr.CsumOffset != h.CsumOffset || f.Hdr.GSOSize != 100 {
				t.Errorf("%s, hdr_len %d: header %+v, want a hdr_len of %d and the rest of %+v", c.Name, hint, f.Hdr, payload, h)
			}
		}
		for start := range len(b) + 4 {
			if start == int(h.CsumStart) {
				continue
			}
			bad := h
			bad.CsumStart = uint16(start)
			if got, _ := admit(t, bad, b, &tx); got == offload.OK {
				t.Fatalf("%s, csum_start %d: taken, the transport header is at %d", c.Name, start, h.CsumStart)
			}
		}
		for offset := range 40 {
			if offset == int(h.CsumOffset) {
				continue
			}
			bad := h
			bad.CsumOffset = uint16(offset)
			if got, _ := admit(t, bad, b, &tx); got != offload.BadGSO {
				t.Fatalf("%s, csum_offset %d: %v, want %v", c.Name, offset, got, offload.BadGSO)
			}
		}
	}
}

// What the segmentation refuses is refused before anything is sent, and every
// reason has a name of its own for its counter.
//
// Shows: NDIS-022, NDIS-131, NDIS-133
// Hostile: CVE-2026-100236, 7023f3e532
func TestAdmitRefusals(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	tcp := frametest.Spec{Proto: frametest.TCP, Payload: randomBytes(r, 3000)}
	udp := frametest.Spec{Proto: frametest.UDP, Payload: randomBytes(r, 3000)}
	with := func(s frametest.Spec, change func(s *frametest.Spec)) frametest.Spec { change(&s); return s }
	options := func(n int) func(*frametest.Spec) {
		return func(s *frametest.Spec) { s.TCPOptions = make([]byte, n) }
	}
	tunnel := func(in frametest.Spec, flags uint8, ext ...frametest.Extension) frametest.Spec {
		return frametest.Spec{V6: true, Ext: ext, Proto: frametest.GRE, GREFlags: flags, Inner: &in}
	}
	limited := func(change func(l *gso.Limits)) offload.State {
		st := *stateWith(true)
		change(&st.Limits.LSOv4)
		change(&st.Limits.LSOv6)
		change(&st.Limits.USO)
		return st
	}
	on := *stateWith(true)
	off := *stateWith(false)
	for _, c := range []struct {
		name string
		spec frametest.Spec
		mss  int
		st   offload.State
		want string
	}{
		{"within limits", tcp, 1000, on, "ok"},
		{"in a tunnel", tunnel(tcp, 0x20), 1000, on, "ok"},
		{"tunnel off", tunnel(tcp, 0x20), 1000, off, "nvgre_off"},
		{"datagrams, tunnel off", tunnel(udp, 0x20), 1000, off, "nvgre_off"},
		{"inner family off", tunnel(tcp, 0x20), 1000, func() offload.State {
			s := on
			s.NVGRE.LSO = offload.AllFamilies &^ offload.InnerIPv4
			return s
		}(), "nvgre_off"},
		{"outer family off", tunnel(tcp, 0x20), 1000, func() offload.State {
			s := on
			s.NVGRE.LSO = offload.AllFamilies &^ offload.OuterIPv6
			return s
		}(), "nvgre_off"},
		{"USO in tunnels off", tunnel(udp, 0x20), 1000, func() offload.State { s := on; s.NVGRE.USO = 0; return s }(), "nvgre_off"},
		{"SYN", with(tcp, func(s *frametest.Spec) { s.TCPFlags = 0x12 }), 1000, on, "gso_tcp_flags"},
		{"urgent", with(tcp, func(s *frametest.Spec) { s.Urgent = 1 }), 1000, on, "gso_tcp_flags"},
		{"first fragment", with(tcp, func(s *frametest.Spec) { s.Frag = 0x2000 }), 1000, on, "gso"},
		{"GRE with checksum", tunnel(tcp, 0xa0), 1000, on, "gso_gre_checksum"},
		{"GRE with sequence number", tunnel(tcp, 0x30), 1000, on, "gso_gre_checksum"},
		{"GRE without key", tunnel(tcp, 0), 1000, on, "gso_not_nvgre"},
		{"authenticated", with(tcp, func(s *frametest.Spec) { s.V6, s.Ext = true, []frametest.Extension{frametest.ExtAH} }), 1000, on, "gso_auth_header"},
		{"256 bytes of headers", tunnel(with(tcp, options(12)), 0x20, frametest.ExtLong), 1000, on, "ok"},
		{"260 bytes of headers", tunnel(with(tcp, options(16)), 0x20, frametest.ExtLong), 1000, on, "gso_header_too_long"},
		{"shorter headers wanted", tcp, 1000, limited(func(l *gso.Limits) { l.MaxHeader = 53 }), "gso_header_too_long"},
		{"the longest TCP header, segments of 1", with(tcp, func(s *frametest.Spec) { s.TCPOptions, s.Payload = make([]byte, 40), make([]byte, 10) }), 1, on, "ok"},
		{"payload", tcp, 1000, limited(func(l *gso.Limits) { l.MaxPayload = 2999 }), "gso_payload_too_long"},
		{"no payload", with(tcp, func(s *frametest.Spec) { s.Payload = nil }), 1000, on, "gso_too_few_segments"},
		{"few segments", tcp, 3000, limited(func(l *gso.Limits) { l.MinSegments = 2 }), "gso_too_few_segments"},
		{"segments", tcp, 1, on, "gso_too_many_segments"},
		{"uneven", udp, 999, limited(func(l *gso.Limits) { l.SubMSS = false }), "gso_uneven_udp"},
		{"even", udp, 1000, limited(func(l *gso.Limits) { l.SubMSS = false }), "ok"},
	} {
		b, h := super(r, &c.spec, c.mss)
		tx := offload.SenderOf(txAll, &c.st)
		if got, _ := admit(t, h, b, &tx); got.String() != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	seen := map[string]bool{}
	for v := range offload.NumVerdicts {
		if seen[v.String()] || v.String() == "" {
			t.Errorf("verdict %d has the name %q, which is another's", v, v)
		}
		seen[v.String()] = true
	}
}

// Each offload in tunnels applies to the pairs of families that it names, and
// only as far as the plain one of its kind.
//
// Shows: NDIS-003, NDIS-021, NDIS-036, NDIS-056
func TestFamilies(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	for m := range offload.AllFamilies + 1 {
		for pair := range 4 {
			inner6, outer6 := pair&1 != 0, pair&2 != 0
			named := m&offload.InnerIPv4 != 0
			if inner6 {
				named = m&offload.InnerIPv6 != 0
			}
			if outer6 {
				named = named && m&offload.OuterIPv6 != 0
			} else {
				named = named && m&offload.OuterIPv4 != 0
			}
			for _, proto := range []uint8{frametest.TCP, frametest.UDP} {
				inner := frametest.Spec{V6: inner6, Proto: proto, SrcPort: 1000, DstPort: 2000, Payload: randomBytes(r, 300)}
				s := frametest.Spec{V6: outer6, Proto: frametest.GRE, GREFlags: 0x20, Inner: &inner}
				what := fmt.Sprintf("families %04b, IPv6 inside %t, outside %t, protocol %d", m, inner6, outer6, proto)
				st := *stateWith(true)
				st.NVGRE.LSO, st.NVGRE.USO, st.NVGRE.TxChecksum, st.NVGRE.RxChecksum, st.NVGRE.RSS = m, m, m, m, m
				tx := offload.SenderOf(txAll, &st)
				b, h := super(r, &s, 100)
				want := offload.TunnelOff
				if named {
					want = offload.OK
				}
				if got, _ := admit(t, h, b, &tx); got != want {
					t.Errorf("%s: large send: %v, want %v", what, got, want)
				}
				// Without the plain offload there is none in tunnels either.
				base := txAll &^ (virtio.FeatureHostTSO4 | virtio.FeatureHostTSO6 | virtio.FeatureHostUSO)
				plain := offload.SenderOf(base, &st)
				if got, _ := admit(t, h, b, &plain); got != offload.NotNegotiated {
					t.Errorf("%s: large send without the plain one: %v, want %v", what, got, offload.NotNegotiated)
				}
				b, h = partial(&s)
				none := offload.SenderOf(0, &st)
				if got, _ := admit(t, h, b, &none); got != offload.NotNegotiated {
					t.Errorf("%s: checksum without the plain one: %v, want %v", what, got, offload.NotNegotiated)
				}
				// The device finishes all checksums, or only the one asked for.
				spoilIPv4(r, &s, b)
				var w offload.Worker
				var f offload.Frame
				got := sink{t: t, r: r, limit: -1}
				rx := offload.ReceiverOf(0, &st)
				if v := transfer(&w, &f, [][]byte{image(h, b)}, &tx, &rx, &got); v != offload.OK {
					t.Fatalf("%s: %v", what, v)
				}
				result, wantResult := inspect(got.frames[0].b, &s), inspectResult{outer: true, inner: named || inner6, transport: true}
				if result != wantResult {
					t.Errorf("%s: checksums good after the transmit checksum: %+v, want %+v", what, result, wantResult)
				}
				// Receive.
				rx = offload.ReceiverOf(rxAll, &st)
				got = sink{t: t, r: r, limit: -1}
				if v := transfer(&w, &f, [][]byte{image(virtio.NetHdr{}, s.Build().Bytes)}, &tx, &rx, &got); v != offload.OK {
					t.Fatalf("%s: %v", what, v)
				}
				flags := uint8(0)
				if named {
					flags = virtio.HdrDataValid
				}
				if got.frames[0].hdr != (virtio.NetHdr{Flags: flags}) {
					t.Errorf("%s: received header %+v, want flags %d", what, got.frames[0].hdr, flags)
				}
				hasher := offload.Hasher{Key: testKey, Types: everyType, NVGRE: st.NVGRE}
				value, _ := hasher.Hash(&f)
				if inside := value == referenceHash(&s, true).value; inside != named {
					t.Errorf("%s: hash %#x, by the inner header: %t, want %t", what, value, inside, named)
				}
			}
		}
	}
}
