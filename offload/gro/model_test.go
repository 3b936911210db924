package gro_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"vhost-user-nvgre/offload/gro"
	"vhost-user-nvgre/offload/internal/frametest"
	"vhost-user-nvgre/virtio"
)

// The reference: NDIS's flowcharts word for word, on frames that gopacket
// decoded, one frame after the other with everything known of it from the
// start, checksums included.

// seg is SEG in the flowcharts.
type seg struct {
	in    *input
	index int

	kind gro.Kind // NoKind: nothing the rules are about
	flow string
	// alone: no exception, and yet never part of a unit.
	alone     bool
	exception int    // 1 to 6, 0 if none
	planned   bool   // bad, and found to be when it was to be merged
	stray     bool   // its flow cannot be told
	noSum     bool   // UDP without checksum
	same      string // what has to be equal in a unit
	ecn       string // what exception 8 is about

	l3, l4, payload, end int
	v6                   bool
	SEQ, ACK             uint32
	WND                  uint16
	LEN                  int
	PSH, CWR             bool
	stamp                int // offset of the timestamps in the TCP header, 0 if none
	TSval, TSecr         uint32
	ttl                  uint8
}

func (s *seg) NXT() uint32 { return s.SEQ + uint32(s.LEN) }

// decodeSeg finds out what a frame is to the rules, its transport checksum
// aside.
func decodeSeg(index int, in *input, cfg gro.Config) *seg {
	s := &seg{in: in, index: index}
	pkt := gopacket.NewPacket(in.frame, layers.LayerTypeEthernet, gopacket.NoCopy)
	var at int
	var same []string
	note := func(format string, args ...any) { same = append(same, fmt.Sprintf(format, args...)) }
	proto := layers.IPProtocol(0)
	var addrs string
decode:
	for _, layer := range pkt.Layers() {
		switch v := layer.(type) {
		case *layers.GRE:
			return s
		case *layers.Ethernet, *layers.Dot1Q:
			note("%x", layer.LayerContents())
		case *layers.IPv4:
			s.l3, s.l4, s.ttl, proto = at, at+4*int(v.IHL), v.TTL, v.Protocol
			s.end = s.l3 + int(v.Length)
			addrs = fmt.Sprint(v.SrcIP, v.DstIP)
			note("DSCP %d flags %v", v.TOS>>2, v.Flags)
			s.ecn = fmt.Sprint("IP ", v.TOS&3)
			switch {
			case v.FragOffset != 0 || v.Flags&layers.IPv4MoreFragments != 0:
				s.exception, s.stray = 6, true
			case v.IHL > 5:
				s.exception = 5
			case frametest.Sum(in.frame[s.l3:s.l4]) != 0xffff:
				s.exception = 2
			}
		case *layers.IPv6:
			s.v6 = true
			s.l3, s.l4, s.ttl, proto = at, at+40, v.HopLimit, v.NextHeader
			s.end = s.l4 + int(v.Length)
			addrs = fmt.Sprint(v.SrcIP, v.DstIP)
			note("DSCP %d flow label %d", v.TrafficClass>>2, v.FlowLabel)
			s.ecn = fmt.Sprint("IP ", v.TrafficClass&3)
		case *layers.IPv6HopByHop:
			s.exception, s.l4, proto = 5, at+len(v.Contents), v.NextHeader
		case *layers.IPv6Destination:
			s.exception, s.l4, proto = 5, at+len(v.Contents), v.NextHeader
			s.stray = s.stray || v.Contents[2] == 0xc9
		case *layers.IPv6Routing:
			s.exception, s.l4, proto = 5, at+len(v.Contents), v.NextHeader
			s.stray = s.stray || v.Contents[3] != 0
		case *layers.IPv6Fragment:
			s.exception, s.stray, proto = 6, true, v.NextHeader
		case *layers.TCP:
			s.tcp(v)
			note("header of %d bytes, stamps at %d", s.payload-s.l3, s.stamp)
			addrs += fmt.Sprint(" ", v.SrcPort, v.DstPort)
		case *layers.UDP:
			s.payload, s.LEN, s.noSum = s.l4+8, s.end-s.l4-8, v.Checksum == 0
			note("TTL %d ECN %s checksum %v", s.ttl, s.ecn, v.Checksum != 0)
			addrs += fmt.Sprint(" ", uint16(v.SrcPort), uint16(v.DstPort))
			s.alone = s.LEN == 0 || int(v.Length) != s.end-s.l4 || v.Checksum == 0 && s.v6
			if cfg.VXLANPort != 0 && uint16(v.DstPort) == cfg.VXLANPort {
				return s
			}
			break decode // what is in the datagram is none of our business
		}
		at += len(layer.LayerContents())
	}
	switch {
	case proto == layers.IPProtocolTCP && !s.v6:
		s.kind = gro.TCPv4
	case proto == layers.IPProtocolTCP:
		s.kind = gro.TCPv6
	case proto == layers.IPProtocolUDP && !s.v6:
		s.kind = gro.UDPv4
	case proto == layers.IPProtocolUDP:
		s.kind = gro.UDPv6
	}
	// A super-frame, or padding that cannot be told from payload.
	if form := in.hdr.GSOType != 0 || s.end != len(in.frame) && in.private() < len(in.frame); form && !s.stray {
		s.alone, s.exception = true, 0
	}
	if in.hdr.Flags&virtio.HdrNeedsCsum != 0 && s.exception == 0 && !s.alone && s.kind != gro.NoKind {
		s.partial(proto)
	}
	on := map[gro.Kind]bool{gro.TCPv4: cfg.RSC4, gro.TCPv6: cfg.RSC6, gro.UDPv4: cfg.URO4, gro.UDPv6: cfg.URO6}
	if !on[s.kind] {
		s.kind = gro.NoKind
	}
	s.flow = fmt.Sprint(s.kind, " ", addrs)
	s.same = strings.Join(same, ", ")
	return s
}

// partial looks at a checksum that a local sender left open. The device
// vouches for it if it is of the right field and its pseudo-header is right.
func (s *seg) partial(proto layers.IPProtocol) {
	offset := map[layers.IPProtocol]int{layers.IPProtocolTCP: 16, layers.IPProtocolUDP: 6}[proto]
	b := s.in.frame
	if int(s.in.hdr.CsumStart) != s.l4 || int(s.in.hdr.CsumOffset) != offset {
		s.alone = true
	} else if binary.BigEndian.Uint16(b[s.l4+offset:]) != pseudoSum(b, s.v6, s.l3, s.l4, s.end, uint8(proto)) {
		s.exception = 2
	}
}

func (s *seg) isTCP() bool { return s.kind == gro.TCPv4 || s.kind == gro.TCPv6 }

func (s *seg) tcp(v *layers.TCP) {
	s.payload = s.l4 + len(v.Contents)
	s.SEQ, s.ACK, s.WND, s.LEN = v.Seq, v.Ack, v.Window, s.end-s.payload
	s.PSH, s.CWR = v.PSH, v.CWR
	s.ecn += fmt.Sprint(" ECE ", v.ECE, " CWR ", v.CWR)
	if s.exception != 0 {
		return
	}
	if v.SYN || v.FIN || v.RST || v.URG || v.NS || !v.ACK || v.Urgent != 0 {
		s.exception = 3
		return
	}
	if n := len(v.Options); len(v.Padding) > 0 && (n == 0 || v.Options[n-1].OptionType != layers.TCPOptionKindEndList) {
		s.exception = 4 // an option that gopacket could not decode
		return
	}
	off := 20
	for _, o := range v.Options {
		switch {
		case o.OptionType == layers.TCPOptionKindTimestamps && o.OptionLength == 10 && s.stamp == 0:
			s.stamp = off + 2
			s.TSval = binary.BigEndian.Uint32(o.OptionData)
			s.TSecr = binary.BigEndian.Uint32(o.OptionData[4:])
			off += 10
		case o.OptionType == layers.TCPOptionKindNop || o.OptionType == layers.TCPOptionKindEndList:
			off++
		default:
			s.exception = 4
			return
		}
	}
}

// scu is H in the flowcharts, the unit being tracked.
type scu struct {
	kind              gro.Kind
	segs              []*seg
	SEQ, NXT, ACK     uint32
	WND               uint16
	LEN               int
	CoalescedSegCount int
	DupAckCount       int
	PSH               bool
	ttl               uint8
	TSval, TSecr      uint32
	EarliestTSval     uint32
	// What virtio adds: the size of all segments but the last.
	size  int
	short bool
}

// model is the state of the receiver.
type model struct {
	cfg   gro.Config
	units []*scu // in the order in which they began
	flows map[string]*scu
	stats gro.Stats
}

func newModel(cfg gro.Config) *model { return &model{cfg: cfg, flows: map[string]*scu{}} }

// begin is box C of the flowcharts: H := SEG.
func (m *model) begin(s *seg) {
	h := &scu{
		kind: s.kind, segs: []*seg{s}, SEQ: s.SEQ, NXT: s.NXT(), ACK: s.ACK, WND: s.WND, LEN: s.LEN,
		CoalescedSegCount: 1, PSH: s.PSH, ttl: s.ttl, TSval: s.TSval, TSecr: s.TSecr, EarliestTSval: s.TSval, size: s.LEN,
	}
	m.units = append(m.units, h)
	m.flows[s.flow] = h
}

func (m *model) alone(s *seg) {
	m.units = append(m.units, &scu{segs: []*seg{s}, LEN: s.LEN})
}

// arrive processes SEG.
func (m *model) arrive(s *seg) {
	if s.kind == gro.NoKind {
		m.alone(s)
		return
	}
	h := m.flows[s.flow]
	switch {
	case s.alone || s.exception != 0: // exceptions 1 to 6
		if s.exception != 0 && s.isTCP() {
			m.stats.Aborts++
		}
		delete(m.flows, s.flow)
		if s.stray {
			clear(m.flows)
		}
		m.alone(s)
	case h == nil:
		m.begin(s)
	case s.isTCP() && h.segs[len(h.segs)-1].ecn != s.ecn: // exception 8
		m.stats.Aborts++
		m.begin(s)
	case s.payload-s.l3+h.LEN+s.LEN > 65535 && s.LEN > 0: // exception 7
		m.begin(s)
	case h.segs[0].same != s.same:
		m.begin(s)
	case !s.isTCP():
		if s.LEN > h.size || h.short {
			m.begin(s)
		} else {
			h.append(s)
		}
	case s.LEN == 0:
		m.pureACK(h, s)
	default:
		m.data(h, s)
	}
}

// older is the timestamp check, which the other two charts begin with.
func (h *scu) older(s *seg) bool { return s.stamp != 0 && s.TSval-h.TSval >= 1<<31 }

func (m *model) pureACK(h *scu, s *seg) {
	switch {
	case h.older(s) || s.CWR:
		m.begin(s)
	case !(h.DupAckCount == 0 || s.ACK == h.ACK):
		m.begin(s)
	case s.NXT() == h.NXT && s.ACK == h.ACK && s.WND != h.WND: // window update
		h.absorb(s)
	case s.NXT() == h.NXT && s.ACK == h.ACK && s.WND == h.WND: // duplicate ACK, exempt
		m.begin(s)
	default:
		m.begin(s)
	}
}

func (m *model) data(h *scu, s *seg) {
	switch {
	case h.older(s) || s.CWR:
		m.begin(s)
	case s.SEQ != h.NXT:
		m.begin(s)
	case !(h.DupAckCount == 0 && h.LEN > 0):
		m.begin(s)
	case s.ACK-h.ACK >= 1<<31: // the text, not the chart
		m.begin(s)
	case s.LEN > h.size || h.short: // virtio
		m.begin(s)
	default:
		h.append(s)
	}
}

// append adds a segment's payload.
func (h *scu) append(s *seg) {
	h.LEN += s.LEN
	h.short = s.LEN < h.size
	h.CoalescedSegCount++
	h.absorb(s)
	h.NXT = h.SEQ + uint32(h.LEN)
}

// absorb takes over what a segment's header says.
func (h *scu) absorb(s *seg) {
	h.segs = append(h.segs, s)
	h.WND, h.ACK = s.WND, s.ACK
	h.PSH = h.PSH || s.PSH
	h.ttl = min(h.ttl, s.ttl)
	h.TSval, h.TSecr = s.TSval, s.TSecr
}

// batch processes frames in two steps. Which belong together follows from
// headers alone. Then those that do arrive once more, with their checksums
// known.
func (m *model) batch(in []input) {
	plan := newModel(m.cfg)
	for i := range in {
		plan.arrive(decodeSeg(i, &in[i], m.cfg))
	}
	m.stats.Aborts = plan.stats.Aborts
	for _, h := range plan.units {
		if len(h.segs) == 1 {
			m.units = append(m.units, h)
			continue
		}
		clear(m.flows)
		for _, s := range h.segs {
			if s.in.bad {
				s.exception, s.planned = 2, true
			}
			m.arrive(s)
		}
	}
	m.finish()
}

// finish counts what was coalesced.
func (m *model) finish() {
	for _, h := range m.units {
		switch n := uint64(len(h.segs)); {
		case n == 1:
		case h.segs[0].isTCP():
			m.stats.CoalescedPkts += n
			m.stats.CoalescedOctets += uint64(h.LEN)
			if h.LEN > 0 {
				m.stats.CoalesceEvents++
			}
		default:
			m.stats.UROUnits++
			m.stats.URODatagrams += n
			m.stats.UROOctets += uint64(h.LEN)
		}
	}
}

// groups describes what leaves: "0+2 1 3!" is a unit of frames 0 and 2, then
// 1 and 3, of which 3 is bad.
func (m *model) groups() string {
	var out []string
	for _, h := range m.units {
		var ids []string
		for _, s := range h.segs {
			id := fmt.Sprint(s.index)
			if s.in.bad {
				id += "!"
			}
			ids = append(ids, id)
		}
		out = append(out, strings.Join(ids, "+"))
	}
	return strings.Join(out, " ")
}

// want returns the frame and the packet header that a unit makes.
func (m *model) want(h *scu) ([]byte, virtio.NetHdr, gro.Unit) {
	be := binary.BigEndian
	s := h.segs[0]
	b := append([]byte(nil), s.in.frame[:s.payload]...)
	for _, s := range h.segs {
		b = append(b, s.in.frame[s.payload:s.end]...)
	}
	if s.v6 {
		be.PutUint16(b[s.l3+4:], uint16(len(b)-s.l4))
		b[s.l3+7] = h.ttl
	} else {
		be.PutUint16(b[s.l3+2:], uint16(len(b)-s.l3))
		b[s.l3+8] = h.ttl
		b[s.l3+10], b[s.l3+11] = 0, 0
		be.PutUint16(b[s.l3+10:], ^frametest.Sum(b[s.l3:s.l4]))
	}
	hdr := virtio.NetHdr{Flags: 1, HdrLen: uint16(s.payload), CsumStart: uint16(s.l4), HashValue: s.in.hdr.HashValue, HashReport: s.in.hdr.HashReport}
	proto := uint8(frametest.UDP)
	if s.isTCP() {
		proto = frametest.TCP
		hdr.CsumOffset = 16
		t := b[s.l4:]
		be.PutUint32(t[8:], h.ACK)
		be.PutUint16(t[14:], h.WND)
		if h.PSH {
			t[13] |= 8
		}
		if s.stamp != 0 {
			be.PutUint32(t[s.stamp:], h.TSval)
			be.PutUint32(t[s.stamp+4:], h.TSecr)
		}
	} else {
		hdr.CsumOffset = 6
		be.PutUint16(b[s.l4+4:], uint16(len(b)-s.l4))
	}
	be.PutUint16(b[s.l4+int(hdr.CsumOffset):], pseudoSum(b, s.v6, s.l3, s.l4, len(b), proto))

	u := gro.Unit{
		Kind: h.kind, Frames: uint16(len(h.segs)), Segments: uint16(h.CoalescedSegCount), SegSize: uint16(h.size),
		Payload: uint32(h.LEN), TimestampDelta: h.TSval - h.EarliestTSval,
	}
	if h.LEN == 0 {
		u.Segments = 0 // no data segment
	}
	for _, s := range h.segs {
		if s.in.hdr.Flags == 0 && !s.noSum {
			u.Verified++
		}
	}
	if u.Segments > 1 {
		hdr.GSOType = map[gro.Kind]uint8{gro.TCPv4: 1, gro.TCPv6: 4, gro.UDPv4: 5, gro.UDPv6: 5}[h.kind]
		hdr.GSOSize = uint16(h.size)
		if m.cfg.RSCInfo {
			hdr.Flags |= 4
			hdr.CsumStart, hdr.CsumOffset = u.Segments, 0
		}
	}
	return b, hdr, u
}

// compare checks what left a coalescer against the model.
func (m *model) compare(t *testing.T, out []output) {
	t.Helper()
	if len(out) != len(m.units) {
		t.Fatalf("%d frames left, want %d: %s\n%s", len(out), len(m.units), m.groups(), describe(out))
	}
	for i, h := range m.units {
		o, first := &out[i], h.segs[0]
		if len(h.segs) > 1 {
			b, hdr, u := m.want(h)
			if o.frame >= 0 || !bytes.Equal(o.bytes, b) {
				t.Fatalf("frame %d that left, of %s (frame %d):\n got %x\nwant %x", i, m.groups(), o.frame, o.bytes, b)
			}
			if o.hdr != hdr {
				t.Fatalf("frame %d that left, of %s: packet header %+v, want %+v", i, m.groups(), o.hdr, hdr)
			}
			if o.unit != u {
				t.Fatalf("frame %d that left, of %s: Unit = %+v, want %+v", i, m.groups(), o.unit, u)
			}
			continue
		}
		if o.frame != first.index || !bytes.Equal(o.bytes, first.in.frame) {
			t.Fatalf("frame %d that left, of %s (frame %d):\n got %x\nwant %x", i, m.groups(), o.frame, o.bytes, first.in.frame)
		}
		if o.bad && !first.in.bad {
			t.Fatalf("frame %d that left, of %s, is called bad", i, m.groups())
		}
	}
}

// describe says what left: the number of a frame, or how many are in a unit.
func describe(out []output) string {
	var s strings.Builder
	for _, o := range out {
		switch {
		case o.frame >= 0 && o.bad:
			fmt.Fprintf(&s, " %d!", o.frame)
		case o.frame >= 0:
			fmt.Fprintf(&s, " %d", o.frame)
		default:
			fmt.Fprintf(&s, " [%v of %d]", o.unit.Kind, max(o.unit.Frames, 1))
		}
	}
	return s.String()
}

// check runs a batch through the coalescer and the model, compares, and
// returns what left.
func check(t *testing.T, cfg gro.Config, r *rand.Rand, in []input) (*model, []output, gro.Stats) {
	t.Helper()
	m := newModel(cfg)
	m.batch(in)
	out, stats := run(t, cfg, r, in)
	m.compare(t, out)
	want := m.stats
	for i, h := range m.units {
		// Next to another bad frame, one may be left alone and not looked at.
		if h.segs[0].planned && h.segs[0].isTCP() && !out[i].bad {
			want.Aborts--
		}
	}
	if stats != want {
		t.Fatalf("%s: Stats = %+v, want %+v", m.groups(), stats, want)
	}
	return m, out, stats
}
