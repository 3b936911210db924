package gro_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"vhost-user-nvgre/offload/checksum"
	"vhost-user-nvgre/offload/finish"
	"vhost-user-nvgre/offload/gro"
	"vhost-user-nvgre/offload/gso"
	"vhost-user-nvgre/offload/internal/frametest"
	"vhost-user-nvgre/offload/packet"
	"vhost-user-nvgre/virtio"
)

// source makes the frames of a flow, mostly as a sender would, now and then
// otherwise.
type source struct {
	r    *rand.Rand
	s    spec
	kind sumKind
	mss  int
	odd  float64 // how often something unusual happens
	time uint32
	with bool // timestamps
}

func newSource(r *rand.Rand, n int, odd float64) *source {
	f := &source{r: r, odd: odd, mss: []int{1, 7, 100, 536, 1448, 1460, 8960}[r.IntN(7)]}
	f.s = spec{
		V6: r.IntN(3) == 0, Proto: frametest.TCP, SrcPort: uint16(n), DstPort: uint16(r.IntN(3)),
		Seq: r.Uint32(), Ack: r.Uint32(), Window: uint16(r.Uint32()), ID: uint16(r.Uint32()),
		Frag: uint16(r.IntN(2)) << 14, TTL: uint8(2 + r.IntN(60)),
	}
	if r.IntN(4) == 0 {
		f.s.Proto = frametest.UDP
	}
	if r.IntN(4) == 0 {
		f.s.Seq = -uint32(r.IntN(5000))
	}
	if r.IntN(5) == 0 {
		f.s.Tags = tagsOf([]uint16{7, 8}[:1+r.IntN(2)])
	}
	f.kind = sumKind(r.IntN(3))
	f.with = r.IntN(2) == 0
	f.time = r.Uint32()
	return f
}

func (f *source) chance() bool { return f.r.Float64() < f.odd }

// next returns the flow's next frame.
func (f *source) next() input {
	r, s := f.r, f.s
	n := f.mss
	switch {
	case f.chance():
		n = 0
	case f.chance():
		n = r.IntN(f.mss + 1)
	case f.chance():
		n = r.IntN(2 * f.mss)
	}
	s.Payload = make([]byte, n)
	for i := range s.Payload {
		s.Payload[i] = byte(r.Uint32())
	}
	f.s.ID++
	f.s.Seq += uint32(n)
	if f.chance() {
		f.s.Seq += uint32(r.IntN(3)) - 1
	}
	if r.IntN(3) == 0 {
		f.s.Ack += uint32(r.IntN(3000))
	}
	if f.chance() {
		f.s.Ack -= uint32(r.IntN(100))
	}
	if r.IntN(4) == 0 {
		f.s.Window += uint16(r.IntN(100))
	}
	if f.with {
		f.time += uint32(r.IntN(3))
		if f.chance() {
			f.time -= 3
		}
		stamps(f.time, f.time/2)(&s)
	}
	f.unusual(&s)
	kind := f.kind
	if f.chance() {
		kind = sumKind(r.IntN(3))
	}
	if kind == partial && (s.Frag&^0x4000 != 0 || len(s.Ext) > 0 || s.NoUDPSum) {
		kind = full
	}
	in := build(s, kind)
	in.hdr.HashValue, in.hdr.HashReport = uint32(s.SrcPort), 1
	in.head = []int{0, 0, 90, 192, 512}[r.IntN(5)]
	if kind == full && f.chance() && s.Frag&^0x4000 == 0 && !s.NoUDPSum {
		in = in.flip()
	}
	return in
}

// unusual changes a field of one frame.
func (f *source) unusual(s *spec) {
	if f.r.IntN(8) == 0 {
		s.TCPFlags = 0x18
	}
	if !f.chance() {
		return
	}
	r := f.r
	switch r.IntN(14) {
	case 0:
		s.TCPFlags = uint16(r.IntN(512))
	case 1:
		s.TOS = uint8(r.Uint32())
	case 2:
		s.TTL = uint8(1 + r.IntN(255))
	case 3:
		s.Frag ^= []uint16{0x4000, 0x2000, 0x0003}[r.IntN(3)]
		if s.V6 {
			s.Frag = 0
			s.Ext = []frametest.Extension{frametest.ExtFirst, frametest.ExtLater}[r.IntN(2):][:1]
		}
	case 4:
		if s.V6 {
			s.Ext = []frametest.Extension{frametest.ExtHopByHop, frametest.ExtPad1, frametest.ExtHome, frametest.ExtRouting2}[r.IntN(4):][:1]
		} else {
			s.Options = []byte{1, 1, 1, 1}
		}
	case 5:
		s.TCPOptions = []byte{1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2}
	case 6:
		s.NoUDPSum = true
	case 7:
		s.Tags = tagsOf([]uint16{7, 9, 1}[:r.IntN(4)])
	case 8:
		s.Urgent = 1
	case 9:
		s.Padding = 1 + r.IntN(20)
	case 10, 11:
		f.s.TOS = uint8(r.Uint32()) // from now on
	case 12:
		f.s.TCPFlags = []uint16{0, 0x50, 0x90}[r.IntN(3)]
	case 13:
		f.s.TTL = uint8(2 + r.IntN(60))
	}
}

// batches calls f with random batches.
func batches(t *testing.T, n int, f func(t *testing.T, r *rand.Rand, cfg gro.Config, in []input)) {
	for seed := range fewer(n) {
		r := rand.New(rand.NewPCG(uint64(seed), 7))
		odd := []float64{0, 0.01, 0.05, 0.3}[r.IntN(4)]
		flows := make([]*source, 1+r.IntN(8))
		for i := range flows {
			flows[i] = newSource(r, i, odd)
		}
		in := make([]input, 1+r.IntN(80))
		f0 := flows[0]
		for i := range in {
			if r.IntN(4) == 0 { // bursts
				f0 = flows[r.IntN(len(flows))]
			}
			in[i] = f0.next()
		}
		cfg := everything
		if r.IntN(4) == 0 {
			cfg = gro.Config{RSC4: r.IntN(2) == 0, RSC6: r.IntN(2) == 0, URO4: r.IntN(2) == 0, URO6: r.IntN(2) == 0}
		}
		cfg.RSCInfo = r.IntN(4) == 0
		f(t, r, cfg, in)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// Shows: NDIS-156, NDIS-157, NDIS-158, NDIS-159, NDIS-160, NDIS-161, NDIS-162, NDIS-163, NDIS-164, NDIS-165, NDIS-166, NDIS-167, NDIS-168, NDIS-169, NDIS-172, NDIS-173, NDIS-175, NDIS-177
func TestModel(t *testing.T) {
	units, frames, merged := 0, 0, 0
	batches(t, 1600, func(t *testing.T, r *rand.Rand, cfg gro.Config, in []input) {
		if r.IntN(2) == 0 {
			r = nil
		}
		m, out, stats := check(t, cfg, r, in)
		frames += len(in)
		units += int(stats.CoalesceEvents + stats.UROUnits)
		merged += int(stats.CoalescedPkts + stats.URODatagrams)
		payload := 0
		for _, h := range m.units {
			for _, s := range h.segs {
				payload -= len(s.in.frame)
			}
			if len(h.segs) > 1 {
				for _, s := range h.segs[1:] {
					payload += s.payload
				}
				for _, s := range h.segs {
					payload += len(s.in.frame) - s.end
				}
			}
		}
		for _, o := range out {
			payload += len(o.bytes)
		}
		if payload != 0 {
			t.Errorf("%s: %d bytes too many left", m.groups(), payload)
		}
	})
	t.Logf("%d frames, of which %d were merged into %d units", frames, merged, units)
	if merged < frames/4 || units < fewer(1000) {
		t.Errorf("only %d of %d frames were merged into %d units", merged, frames, units)
	}
}

// complete finishes the partial checksum of a unit, as a device or driver does
// that passes it on.
func complete(t *testing.T, o *output, start, offset int) []byte {
	t.Helper()
	var p packet.Info
	b := append([]byte(nil), o.bytes...)
	packet.Parse(&p, b, len(b))
	out := make([]byte, len(b))
	dst, tail := checksum.NewCursorAt(out, nil), checksum.Cursor{}
	if !finish.Deliver(&dst, b, &tail, &p, finish.Work{Transport: true, Partial: finish.Partial{Start: start, Offset: offset}}) {
		t.Fatalf("finish.Deliver of %+v = false\n%x", o.hdr, b)
	}
	return out
}

// decode has gopacket decode a frame and verify every checksum in it.
func decode(t *testing.T, b []byte) {
	t.Helper()
	pkt := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.NoCopy)
	if err := pkt.ErrorLayer(); err != nil && pkt.TransportLayer() == nil {
		t.Fatalf("gopacket: %v\n%x", err.Error(), b)
	}
	net := pkt.NetworkLayer()
	switch v := pkt.TransportLayer().(type) {
	case *layers.TCP:
		if err := v.SetNetworkLayerForChecksum(net); err != nil {
			t.Fatalf("gopacket: %v", err)
		}
	case *layers.UDP:
		if err := v.SetNetworkLayerForChecksum(net); err != nil {
			t.Fatalf("gopacket: %v", err)
		}
	default:
		t.Fatalf("gopacket: no transport layer\n%x", b)
	}
	err, bad := pkt.VerifyChecksums()
	if err != nil || len(bad) > 0 || pkt.Metadata().Truncated {
		t.Fatalf("gopacket: %v, bad checksums %+v, truncated %v\n%x", err, bad, pkt.Metadata().Truncated, b)
	}
}

// A unit that is segmented again gives the segments it was made of, but for
// what it does not keep: IPv4 identifications, TTL, timestamps, ACK number and
// window, PSH before the end, window updates, UDP checksums where there were
// none. gopacket decodes the unit and finds its checksums right.
//
// Shows: NDIS-169, NDIS-170, NDIS-176, VNET-065, VNET-066, VNET-070
func TestReverse(t *testing.T) {
	n := 0
	batches(t, 1200, func(t *testing.T, r *rand.Rand, cfg gro.Config, in []input) {
		cfg.RSCInfo = false
		m, out, _ := check(t, cfg, r, in)
		for i, h := range m.units {
			if len(h.segs) == 1 {
				continue
			}
			o := &out[i]
			decode(t, complete(t, o, int(o.hdr.CsumStart), int(o.hdr.CsumOffset)))
			if o.hdr.GSOType == virtio.GSONone {
				continue
			}
			n++
			again := resegment(t, o)
			var data []*seg
			for _, s := range h.segs {
				if s.LEN > 0 {
					data = append(data, s)
				}
			}
			if len(again) != len(data) || len(again) != int(o.unit.Segments) {
				t.Fatalf("%d segments, made of %d, Unit says %d", len(again), len(data), o.unit.Segments)
			}
			for j, s := range data {
				want := append([]byte(nil), s.in.frame[:s.end]...)
				decode(t, again[j])
				blur(s, want, h.PSH && j == len(data)-1)
				blur(s, again[j], h.PSH && j == len(data)-1)
				if !bytes.Equal(again[j], want) {
					t.Fatalf("%s: segment %d\n got %x\nwant %x", m.groups(), j, again[j], want)
				}
			}
		}
	})
	if n < fewer(1000) {
		t.Errorf("only %d units were segmented", n)
	}
}

// blur overwrites what a unit does not keep of a segment.
func blur(s *seg, b []byte, psh bool) {
	l4 := b[s.l4:]
	if s.v6 {
		b[s.l3+7] = 0
	} else {
		clear(b[s.l3+4 : s.l3+6])
		b[s.l3+8] = 0
		clear(b[s.l3+10 : s.l3+12])
	}
	if !s.isTCP() {
		clear(l4[6:8])
		return
	}
	clear(l4[8:12])
	clear(l4[14:18])
	l4[13] &^= 8
	if psh {
		l4[13] |= 8
	}
	if s.stamp != 0 {
		clear(l4[s.stamp : s.stamp+8])
	}
}

// resegment splits a unit as its packet header says.
func resegment(t *testing.T, o *output) [][]byte {
	t.Helper()
	var p packet.Info
	b := append([]byte(nil), o.bytes...)
	packet.Parse(&p, b, len(b))
	kind := map[uint8]gso.Kind{virtio.GSOTCPv4: gso.TCPv4, virtio.GSOTCPv6: gso.TCPv6, virtio.GSOUDPL4: gso.UDP}[o.hdr.GSOType]
	var g gso.Segmenter
	limits := gso.Limits{MaxPayload: 65535, MinSegments: 2, MaxHeader: gso.MaxHeader, SubMSS: true}
	if r := g.Start(b[:o.hdr.HdrLen], &p, gso.Request{Kind: kind, MSS: int(o.hdr.GSOSize)}, &limits); r != gso.Accepted {
		t.Fatalf("Start of a unit = %v\n%+v\n%x", r, o.hdr, b)
	}
	src := checksum.NewCursorAt(b[o.hdr.HdrLen:], nil)
	var out [][]byte
	for g.NextLen() > 0 {
		s := make([]byte, g.NextLen())
		dst := checksum.NewCursorAt(s, nil)
		if !g.Next(&dst, &src) {
			t.Fatal("Next = false")
		}
		out = append(out, s)
	}
	return out
}
