package gro_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"vhost-user-nvgre/offload/gro"
	"vhost-user-nvgre/offload/internal/frametest"
	"vhost-user-nvgre/virtio"
)

type spec = frametest.Spec

// edit changes a description.
type edit func(s *spec)

func seqOf(v uint32) edit    { return func(s *spec) { s.Seq = v } }
func ack(v uint32) edit      { return func(s *spec) { s.Ack = v } }
func window(v uint16) edit   { return func(s *spec) { s.Window = v } }
func flags(v uint16) edit    { return func(s *spec) { s.TCPFlags = v } }
func ttl(v uint8) edit       { return func(s *spec) { s.TTL = v } }
func tos(v uint8) edit       { return func(s *spec) { s.TOS = v } }
func frag(v uint16) edit     { return func(s *spec) { s.Frag = v } }
func options(v ...byte) edit { return func(s *spec) { s.Options = v } }
func tcpOpts(v ...byte) edit { return func(s *spec) { s.TCPOptions = v } }
func tags(v ...uint16) edit  { return func(s *spec) { s.Tags = tagsOf(v) } }
func port(v uint16) edit     { return func(s *spec) { s.DstPort = v } }
func size(n int) edit        { return func(s *spec) { s.Payload = pattern(n, n) } }
func noSum(s *spec)          { s.NoUDPSum = true }
func v6(s *spec)             { s.V6 = true }
func urgentPointer(s *spec)  { s.Urgent = 5 }
func pad(n int) edit         { return func(s *spec) { s.Padding = n } }
func src(last byte) edit     { return func(s *spec) { s.Src = address(s.V6, last) } }
func stamps(val, ecr uint32) edit {
	o := append(binary.BigEndian.AppendUint32([]byte{1, 1, 8, 10}, val), 0, 0, 0, 0)
	binary.BigEndian.PutUint32(o[8:], ecr)
	return tcpOpts(o...)
}

func ext(e ...frametest.Extension) edit {
	return func(s *spec) { s.V6, s.Ext = true, e }
}

func tagsOf(tci []uint16) (out []frametest.Tag) {
	for _, v := range tci {
		out = append(out, frametest.Tag{Type: 0x8100, TCI: v})
	}
	return out
}

func address(v6 bool, last byte) []byte {
	if v6 {
		return []byte{0x20, 1, 0xd, 0xb8, 15: last}
	}
	return []byte{192, 0, 2, last}
}

// tcp returns segment number n, datagram number n by udp, each edited.
func tcp(n int, edits ...edit) input { return edited(segment(n), full, edits) }
func udp(n int, edits ...edit) input { return edited(datagram(n), full, edits) }

// pure returns an ACK without payload, in sequence behind segment n-1.
func pure(n int, edits ...edit) input {
	return tcp(n, append([]edit{func(s *spec) { s.Payload = nil }}, edits...)...)
}

func edited(s spec, kind sumKind, edits []edit) input {
	for _, e := range edits {
		e(&s)
	}
	return build(s, kind)
}

// super marks a frame as one to be segmented.
func super(in input) input {
	in.hdr.Flags, in.hdr.GSOType, in.hdr.GSOSize = virtio.HdrNeedsCsum, virtio.GSOTCPv4, 50
	in.hdr.CsumStart, in.hdr.CsumOffset = 34, 16
	return in
}

// example is a batch and what becomes of it: units in order, each the numbers
// of its frames, "!" behind bad ones.
type example struct {
	name string
	in   []input
	want string
	// aborts is what the batch adds to Stats.Aborts.
	aborts uint64
}

// examples checks batches with the model and against what is written down, in
// both families where the frames are not of one in particular.
func examples(t *testing.T, cfg gro.Config, list []example) {
	t.Helper()
	for _, e := range list {
		t.Run(e.name, func(t *testing.T) {
			for seed := range uint64(5) {
				var r *rand.Rand
				if seed > 0 {
					r = rand.New(rand.NewPCG(seed, 1))
				}
				m, _, stats := check(t, cfg, r, e.in)
				if got := m.groups(); got != e.want {
					t.Fatalf("units %s, want %s", got, e.want)
				}
				if stats.Aborts != e.aborts {
					t.Fatalf("%s: Aborts = %d, want %d", e.want, stats.Aborts, e.aborts)
				}
			}
		})
	}
}

// Shows: NDIS-156
func TestFlagsStayAlone(t *testing.T) {
	var list []example
	for name, f := range map[string]uint16{
		"FIN": 0x11, "SYN": 0x12, "RST": 0x14, "URG": 0x30, "AE": 0x110, "FIN PSH": 0x19, "no ACK": 0x08, "SYN only": 0x02,
	} {
		list = append(list,
			example{name + " between", []input{tcp(0), tcp(1), tcp(2, flags(f)), tcp(3), tcp(4)}, "0+1 2 3+4", 1},
			example{name + " first", []input{tcp(0, flags(f)), tcp(1), tcp(2)}, "0 1+2", 1},
			example{name + " last, IPv6", []input{tcp(0, v6), tcp(1, v6), tcp(2, v6, flags(f))}, "0+1 2", 1},
		)
	}
	list = append(list, example{"urgent pointer", []input{tcp(0), tcp(1), tcp(2, urgentPointer), tcp(3)}, "0+1 2 3", 1})
	examples(t, everything, list)
}

// Shows: NDIS-157
func TestOptionsStayAlone(t *testing.T) {
	sack := tcpOpts(1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 9)
	mss := tcpOpts(2, 4, 5, 0xb4)
	twice := tcpOpts(8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2)
	late := tcpOpts(8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1)
	nops := tcpOpts(1, 1, 1, 1)
	end := tcpOpts(0, 0, 0, 0)
	unknown := tcpOpts(254, 4, 1, 1)
	overrun := tcpOpts(8, 11, 0, 0)
	examples(t, everything, []example{
		{"SACK", []input{tcp(0), tcp(1), tcp(2, sack), tcp(3), tcp(4)}, "0+1 2 3+4", 1},
		{"all SACK", []input{tcp(0, sack), tcp(1, sack), tcp(2, sack)}, "0 1 2", 3},
		{"MSS", []input{tcp(0, mss), tcp(1)}, "0 1", 1},
		{"unknown", []input{tcp(0, unknown), tcp(1, unknown)}, "0 1", 2},
		{"timestamps twice", []input{tcp(0, twice), tcp(1, twice)}, "0 1", 2},
		{"too long an option", []input{tcp(0, overrun), tcp(1, overrun)}, "0 1", 2},
		{"timestamps in another place", []input{tcp(0, late), tcp(1, late)}, "0+1", 0},
		{"timestamps in different places", []input{tcp(0, late), tcp(1, stamps(1, 2))}, "0 1", 0},
		{"timestamps in one only", []input{tcp(0), tcp(1, stamps(1, 2)), tcp(2)}, "0 1 2", 0},
		{"padding only", []input{tcp(0, nops), tcp(1, nops), tcp(2, end), tcp(3, end)}, "0+1+2+3", 0},
	})
}

// Shows: NDIS-158
func TestIPOptionsStayAlone(t *testing.T) {
	opt := options(1, 1, 1, 0)
	hbh := ext(frametest.ExtHopByHop)
	home := ext(frametest.ExtHome)
	other := func(n int, e ...edit) input { return tcp(n, append(e, port(99))...) }
	examples(t, everything, []example{
		{"IPv4 options", []input{tcp(0), tcp(1), tcp(2, opt), tcp(3), tcp(4)}, "0+1 2 3+4", 1},
		{"all with IPv4 options", []input{tcp(0, opt), tcp(1, opt)}, "0 1", 2},
		{"other flows go on", []input{tcp(0), other(0), tcp(1, opt), other(1), tcp(2)}, "0 1+3 2 4", 1},
		{"IPv6 extension header", []input{tcp(0, v6), tcp(1, v6), tcp(2, hbh), tcp(3, v6), tcp(4, v6)}, "0+1 2 3+4", 1},
		{"first fragment", []input{tcp(0), tcp(1), tcp(2, frag(0x2000)), tcp(3), tcp(4)}, "0+1 2 3+4", 1},
		{"later fragment", []input{tcp(0), tcp(1), tcp(2, frag(0x0010)), tcp(3), tcp(4)}, "0+1 2 3+4", 1},
		{"IPv6 fragment", []input{tcp(0, v6), tcp(1, v6), tcp(2, ext(frametest.ExtLater)), tcp(3, v6), tcp(4, v6)}, "0+1 2 3+4", 1},
		// Whose it is cannot be told, so nothing may overtake it.
		{"fragment among others", []input{tcp(0), other(0), tcp(1, frag(0x0010)), other(1), tcp(2)}, "0 1 2 3 4", 1},
		{"home address among others", []input{tcp(0, v6), other(0, v6), tcp(1, home), other(1, v6), other(2, v6)}, "0 1 2 3+4", 1},
		{"UDP fragment", []input{udp(0), udp(1), udp(2, frag(0x2000)), udp(3), udp(4)}, "0+1 2 3+4", 0},
		{"UDP with IPv4 options", []input{udp(0), udp(1), udp(2, opt), udp(3), udp(4)}, "0+1 2 3+4", 0},
	})
}

// badIP makes the IPv4 header checksum wrong.
func badIP(in input) input {
	in.frame[24] ^= 1
	return in
}

// Shows: NDIS-159
func TestBadChecksumsStayAlone(t *testing.T) {
	local := func(n int, e ...edit) input { return edited(segment(n), partial, e) }
	badLocal := func(n int) input {
		in := local(n)
		in.frame[50] ^= 1
		return in
	}
	examples(t, everything, []example{
		{"in the middle", []input{tcp(0), tcp(1), tcp(2).flip(), tcp(3), tcp(4)}, "0+1 2! 3+4", 1},
		{"first", []input{tcp(0).flip(), tcp(1), tcp(2)}, "0! 1+2", 1},
		{"second", []input{tcp(0), tcp(1).flip(), tcp(2), tcp(3)}, "0 1! 2+3", 1},
		{"last", []input{tcp(0), tcp(1), tcp(2).flip()}, "0+1 2!", 1},
		{"every other", []input{tcp(0), tcp(1).flip(), tcp(2), tcp(3).flip(), tcp(4)}, "0 1! 2 3! 4", 2},
		{"all", []input{tcp(0).flip(), tcp(1).flip(), tcp(2).flip()}, "0! 1! 2!", 2},
		{"long", []input{tcp(0, size(1000)), tcp(1, size(1000), seqOf(6000)), tcp(2, size(1000), seqOf(7000)).flip()}, "0+1 2!", 1},
		{"of a window update", []input{tcp(0), tcp(1), pure(2, window(9)).flip(), tcp(2), tcp(3)}, "0+1 2! 3+4", 1},
		{"before a window update", []input{tcp(0), tcp(1).flip(), pure(2, window(9)), tcp(2), tcp(3)}, "0 1! 2 3+4", 1},
		{"IPv6", []input{tcp(0, v6), tcp(1, v6), tcp(2, v6).flip(), tcp(3, v6), tcp(4, v6)}, "0+1 2! 3+4", 1},
		{"IPv4 header", []input{tcp(0), tcp(1), badIP(tcp(2)), tcp(3), tcp(4)}, "0+1 2 3+4", 1},
		{"IPv4 header of a local frame", []input{local(0), local(1), badIP(local(2)), local(3), local(4)}, "0+1 2 3+4", 1},
		{"pseudo-header of a local frame", []input{local(0), local(1), badLocal(2), local(3), local(4)}, "0+1 2 3+4", 1},
		{"before padding", []input{tcp(0, size(20), pad(5)), tcp(1, size(20), seqOf(5020), pad(7)).flip(), tcp(2, size(20), seqOf(5040))}, "0 1! 2", 1},
		{"more padding than payload behind", []input{tcp(0, size(1), pad(50)), tcp(1, size(1), seqOf(5001)).flip()}, "0 1!", 1},
	})
}

// Shows: NDIS-160
func TestECNChange(t *testing.T) {
	const ece, cwr = 0x50, 0x90
	examples(t, everything, []example{
		{"congestion experienced", []input{tcp(0, tos(2)), tcp(1, tos(2)), tcp(2, tos(3)), tcp(3, tos(3))}, "0+1 2+3", 1},
		{"and back", []input{tcp(0, tos(2)), tcp(1, tos(3)), tcp(2, tos(2)), tcp(3, tos(2))}, "0 1 2+3", 2},
		{"traffic class", []input{tcp(0, v6, tos(1)), tcp(1, v6, tos(1)), tcp(2, v6, tos(3)), tcp(3, v6, tos(3))}, "0+1 2+3", 1},
		{"ECE", []input{tcp(0), tcp(1), tcp(2, flags(ece)), tcp(3, flags(ece)), tcp(4)}, "0+1 2+3 4", 2},
		{"CWR", []input{tcp(0), tcp(1), tcp(2, flags(cwr)), tcp(3), tcp(4)}, "0+1 2 3+4", 2},
		{"CWR twice", []input{tcp(0, flags(cwr)), tcp(1, flags(cwr)), tcp(2)}, "0 1 2", 1},
		{"of an ACK", []input{tcp(0, tos(2)), tcp(1, tos(2)), pure(2, window(9), tos(3)), tcp(2, tos(3))}, "0+1 2 3", 1},
		{"with a gap", []input{tcp(0, tos(2)), tcp(2, tos(3)), tcp(3, tos(3))}, "0 1+2", 1},
	})
}

// longSegments returns segments of n bytes each from the number first on.
func longSegments(first, count, n int, edits ...edit) (out []input) {
	for i := range count {
		out = append(out, tcp(i, append([]edit{size(n), seqOf(uint32(n * (first + i)))}, edits...)...))
	}
	return out
}

// Shows: NDIS-161
func TestOverflow(t *testing.T) {
	const room4, room6 = 65535 - 40, 65535 - 60
	examples(t, everything, []example{
		// 4 x 20000 does not fit, and the fourth starts anew.
		{"IPv4", longSegments(0, 5, 20000), "0+1+2 3+4", 0},
		{"IPv4, to the byte", append(longSegments(0, 3, 20000), tcp(3, size(room4-60000), seqOf(60000)), tcp(4)), "0+1+2+3 4", 0},
		{"IPv4, a byte more", append(longSegments(0, 3, 20000), tcp(3, size(room4-60000+1), seqOf(60000))), "0+1+2 3", 0},
		{"IPv6, to the byte", append(longSegments(0, 3, 20000, v6), tcp(3, v6, size(room6-60000), seqOf(60000))), "0+1+2+3", 0},
		{"IPv6, a byte more", append(longSegments(0, 3, 20000, v6), tcp(3, v6, size(room6-60000+1), seqOf(60000))), "0+1+2 3", 0},
		{"window update behind", append(longSegments(0, 3, 20000), tcp(3, size(room4-60000), seqOf(60000)), pure(0, seqOf(room4), window(3))), "0+1+2+3+4", 0},
		{"one as long as can be", []input{tcp(0, size(room4), seqOf(0)), tcp(1, size(1), seqOf(room4)), pure(2, seqOf(room4+1), window(1))}, "0 1+2", 0},
	})
}

// Shows: NDIS-162
func TestSequence(t *testing.T) {
	examples(t, everything, []example{
		{"in order", []input{tcp(0), tcp(1), tcp(2)}, "0+1+2", 0},
		{"gap", []input{tcp(0), tcp(1), tcp(3), tcp(4)}, "0+1 2+3", 0},
		{"again", []input{tcp(0), tcp(1), tcp(1), tcp(2)}, "0+1 2+3", 0},
		{"overlap", []input{tcp(0), tcp(1, seqOf(5099)), tcp(2, seqOf(5199))}, "0 1+2", 0},
		{"backwards", []input{tcp(2), tcp(1), tcp(0)}, "0 1 2", 0},
		{"wrap", []input{tcp(0, seqOf(0xffffff9c)), tcp(1, seqOf(0)), tcp(2, seqOf(100))}, "0+1+2", 0},
		{"wrap within", []input{tcp(0, seqOf(0xffffffff)), tcp(1, seqOf(99))}, "0+1", 0},
		{"one alone", []input{tcp(0)}, "0", 0},
		{"IPv6", []input{tcp(0, v6), tcp(1, v6), tcp(3, v6)}, "0+1 2", 0},
	})
}

// Shows: NDIS-163
func TestPiggybackedACK(t *testing.T) {
	examples(t, everything, []example{
		{"higher", []input{tcp(0, ack(100)), tcp(1, ack(200)), tcp(2, ack(300))}, "0+1+2", 0},
		{"higher, wrapping", []input{tcp(0, ack(0xfffffff0)), tcp(1, ack(5))}, "0+1", 0},
		{"lower", []input{tcp(0, ack(200)), tcp(1, ack(100)), tcp(2, ack(100))}, "0 1+2", 0}, // G26
		{"other window", []input{tcp(0, window(1)), tcp(1, window(2)), tcp(2, window(1))}, "0+1+2", 0},
	})
	m, out, _ := check(t, everything, nil, []input{tcp(0, ack(100), window(5)), tcp(1, ack(300), window(6))})
	if got := binary.BigEndian.Uint32(out[0].bytes[42:]); got != 300 {
		t.Errorf("%s: ACK of the unit = %d, want 300", m.groups(), got)
	}
	if got := binary.BigEndian.Uint16(out[0].bytes[48:]); got != 6 {
		t.Errorf("%s: window of the unit = %d, want 6", m.groups(), got)
	}
}

// Shows: NDIS-164, NDIS-165
func TestPureACKs(t *testing.T) {
	examples(t, everything, []example{
		{"duplicates", []input{pure(0), pure(0), pure(0)}, "0 1 2", 0},
		{"duplicate behind data", []input{tcp(0), pure(1), tcp(1)}, "0 1 2", 0},
		{"cumulative", []input{pure(0, ack(1)), pure(0, ack(2)), pure(0, ack(3))}, "0 1 2", 0},
		{"cumulative behind data", []input{tcp(0), tcp(1), pure(2, ack(999)), tcp(2), tcp(3)}, "0+1 2 3+4", 0},
		{"cumulative with another window", []input{tcp(0), pure(1, ack(999), window(1))}, "0 1", 0},
		{"older ACK with another window", []input{tcp(0), pure(1, ack(1), window(1))}, "0 1", 0},
		{"data behind an ACK", []input{pure(0), tcp(0), tcp(1)}, "0 1+2", 0},
		{"before the data", []input{tcp(1), pure(1, window(1)), tcp(2)}, "0 1 2", 0},
	})
}

// Shows: NDIS-166, NDIS-172
func TestWindowUpdate(t *testing.T) {
	examples(t, everything, []example{
		{"behind data", []input{tcp(0), tcp(1), pure(2, window(500))}, "0+1+2", 0},
		{"between data", []input{tcp(0), pure(1, window(500)), tcp(1), tcp(2)}, "0+1+2+3", 0},
		{"smaller", []input{tcp(0), pure(1, window(1))}, "0+1", 0},
		{"twice the same", []input{tcp(0), pure(1, window(5)), pure(1, window(5)), pure(1, window(6))}, "0+1 2+3", 0},
		{"of an ACK", []input{pure(0), pure(0, window(9)), pure(0, window(10))}, "0+1+2", 0},
		{"behind a short segment", []input{tcp(0), tcp(1, size(50)), pure(0, seqOf(5150), window(1)), tcp(0, seqOf(5150))}, "0+1+2 3", 0},
	})
	for _, c := range []struct {
		name           string
		in             []input
		frames, count  uint16
		gso            uint8
		window         uint16
		pkts, octs, ev uint64
	}{
		{"two segments and an update", []input{tcp(0), tcp(1), pure(2, window(500))}, 3, 2, virtio.GSOTCPv4, 500, 3, 200, 1},
		{"one segment and an update", []input{tcp(0), pure(1, window(600))}, 2, 1, virtio.GSONone, 600, 2, 100, 1},
		{"an ACK and an update", []input{pure(0), pure(0, window(700))}, 2, 0, virtio.GSONone, 700, 2, 0, 0},
	} {
		_, out, stats := check(t, everything, nil, c.in)
		u := out[0].unit
		if len(out) != 1 || u.Frames != c.frames || u.Segments != c.count || u.DupAcks != 0 || out[0].hdr.GSOType != c.gso {
			t.Errorf("%s: %d frames, Unit = %+v, gso_type %d; want one of %d frames with %d segments, %d", c.name, len(out), u, out[0].hdr.GSOType, c.frames, c.count, c.gso)
		}
		if got := binary.BigEndian.Uint16(out[0].bytes[48:]); got != c.window {
			t.Errorf("%s: window %d, want %d", c.name, got, c.window)
		}
		if stats.CoalescedPkts != c.pkts || stats.CoalescedOctets != c.octs || stats.CoalesceEvents != c.ev {
			t.Errorf("%s: Stats = %+v, want %d packets, %d octets, %d events", c.name, stats, c.pkts, c.octs, c.ev)
		}
	}
	// A frame that was not coalesced counts 0.
	_, out, stats := check(t, everything, nil, []input{tcp(0), tcp(5)})
	if len(out) != 2 || out[0].unit.Segments != 0 || stats != (gro.Stats{}) {
		t.Errorf("two frames with a gap: Unit = %+v, Stats = %+v, want zero", out[0].unit, stats)
	}
}

// Shows: NDIS-167
func TestPSH(t *testing.T) {
	const psh = 0x18
	for i, want := range []uint8{0x10, 0x18, 0x18, 0x18, 0x18} {
		in := []input{tcp(0), tcp(1), tcp(2), pure(3, window(1))}
		if i > 0 {
			n := i - 1
			s := segment(n)
			s.TCPFlags = psh
			if n == 3 {
				s.Payload, s.Window = nil, 1
			}
			in[n] = build(s, full)
		}
		m, out, _ := check(t, everything, nil, in)
		if len(out) != 1 || out[0].bytes[47] != want {
			t.Errorf("PSH in frame %d of %s: flags %#02x, want %#02x", i-1, m.groups(), out[0].bytes[47], want)
		}
	}
}

// Shows: NDIS-168
func TestTimestamps(t *testing.T) {
	examples(t, everything, []example{
		{"the same", []input{tcp(0, stamps(7, 1)), tcp(1, stamps(7, 1))}, "0+1", 0},
		{"later", []input{tcp(0, stamps(7, 1)), tcp(1, stamps(8, 2)), tcp(2, stamps(1000, 3))}, "0+1+2", 0},
		{"earlier", []input{tcp(0, stamps(7, 1)), tcp(1, stamps(6, 2)), tcp(2, stamps(6, 2))}, "0 1+2", 0},
		{"later, wrapping", []input{tcp(0, stamps(0xfffffffe, 1)), tcp(1, stamps(3, 2))}, "0+1", 0},
		{"earlier, wrapping", []input{tcp(0, stamps(3, 1)), tcp(1, stamps(0xfffffffe, 2))}, "0 1", 0},
		{"half way round", []input{tcp(0, stamps(0, 1)), tcp(1, stamps(1<<31-1, 2)), tcp(2, stamps(0xffffffff, 2)), tcp(3, stamps(0x7ffffffe, 2))}, "0+1 2+3", 0},
		{"earlier echo", []input{tcp(0, stamps(3, 9)), tcp(1, stamps(3, 8))}, "0+1", 0},
		{"window update", []input{tcp(0, stamps(3, 9)), pure(1, window(1), stamps(5, 9)), tcp(1, stamps(4, 9))}, "0+1 2", 0},
	})
	for _, o := range []struct {
		name  string
		at    int
		stamp func(val, ecr uint32) edit
	}{
		{"usual place", 24, stamps},
		{"another place", 22, func(val, ecr uint32) edit {
			b := binary.BigEndian.AppendUint32([]byte{8, 10}, val)
			return tcpOpts(append(binary.BigEndian.AppendUint32(b, ecr), 1, 1)...)
		}},
	} {
		_, out, _ := check(t, everything, nil, []input{tcp(0, o.stamp(0xfffffff0, 50)), tcp(1, o.stamp(0xfffffff5, 60)), tcp(2, o.stamp(20, 55))})
		h := out[0].bytes[34:]
		if val, ecr := binary.BigEndian.Uint32(h[o.at:]), binary.BigEndian.Uint32(h[o.at+4:]); val != 20 || ecr != 55 {
			t.Errorf("%s: unit has TSval %d, TSecr %d, want those of the last segment, 20 and 55", o.name, val, ecr)
		}
		if d := out[0].unit.TimestampDelta; d != 36 {
			t.Errorf("%s: TimestampDelta = %d, want 36", o.name, d)
		}
	}
}

// What a unit's IP header holds, and that its checksums are good once the
// partial one is finished, is checked of every unit by the model and by
// TestReverse; here by a few numbers.
//
// Shows: NDIS-169, NDIS-170
func TestIPHeader(t *testing.T) {
	_, out, _ := check(t, everything, nil, []input{tcp(0, ttl(60)), tcp(1, ttl(58)), tcp(2, ttl(61))})
	b := out[0].bytes
	if id, l, life := binary.BigEndian.Uint16(b[18:]), binary.BigEndian.Uint16(b[16:]), b[22]; id != 10 || l != 340 || life != 58 {
		t.Errorf("IPv4: id %d, length %d, TTL %d, want 10, 340, 58", id, l, life)
	}
	if frametest.Sum(b[14:34]) != 0xffff {
		t.Errorf("IPv4: header checksum wrong\n%x", b[14:34])
	}
	_, out, _ = check(t, everything, nil, []input{tcp(0, v6, ttl(60)), tcp(1, v6, ttl(58)), tcp(2, v6, ttl(61))})
	b = out[0].bytes
	if l, life := binary.BigEndian.Uint16(b[18:]), b[21]; l != 320 || life != 58 {
		t.Errorf("IPv6: length %d, hop limit %d, want 320, 58", l, life)
	}
	flow := func(n int, label byte) input {
		in := tcp(n, v6)
		in.frame[17] = label
		return in
	}
	examples(t, everything, []example{
		{"DSCP", []input{tcp(0), tcp(1), tcp(2, tos(4)), tcp(3, tos(4))}, "0+1 2+3", 0},
		{"traffic class", []input{tcp(0, v6), tcp(1, v6), tcp(2, v6, tos(0x80)), tcp(3, v6, tos(0x80)), tcp(4, v6, tos(0x04))}, "0+1 2+3 4", 0},
		{"flow label", []input{flow(0, 1), flow(1, 1), flow(2, 2), flow(3, 2)}, "0+1 2+3", 0},
		{"DF", []input{tcp(0, frag(0x4000)), tcp(1, frag(0x4000)), tcp(2), tcp(3)}, "0+1 2+3", 0},
		{"source", []input{tcp(0), tcp(1, src(9)), tcp(1), tcp(2, src(9))}, "0+2 1+3", 0},
		{"port", []input{tcp(0), tcp(1, port(9)), tcp(1), tcp(2, port(9))}, "0+2 1+3", 0},
		{"family", []input{tcp(0), tcp(0, v6), tcp(1, v6), tcp(1)}, "0+3 1+2", 0},
		{"tag", []input{tcp(0, tags(5)), tcp(1, tags(5)), tcp(2, tags(6)), tcp(3), tcp(4, tags(5, 5))}, "0+1 2 3 4", 0},
		{"two tags", []input{tcp(0, tags(5, 6)), tcp(1, tags(5, 6)), tcp(2, tags(5, 7))}, "0+1 2", 0},
	})
	mac := tcp(1)
	mac.frame[11]++
	examples(t, everything, []example{{"source MAC", []input{tcp(0), mac, tcp(2)}, "0 1 2", 0}})
}

// Nothing is held beyond the batch: check runs Next to its end after every
// batch, and a batch of one frame comes out as it went in. With it goes that
// nothing has to be flushed when coalescing is turned off.
//
// Shows: NDIS-154, NDIS-171, NDIS-178
func TestNothingHeld(t *testing.T) {
	c := gro.New(4)
	var stats gro.Stats
	s := &sink{t: t, c: c}
	for n := range 10 {
		s.out = nil
		runWith(t, c, s, &everything, &stats, []input{tcp(n), udp(n)})
		if len(s.out) != 2 || s.out[0].frame != 0 || s.out[1].frame != 1 {
			t.Fatalf("batch %d: %s", n, describe(s.out))
		}
	}
	if stats != (gro.Stats{}) {
		t.Errorf("Stats = %+v, want zero", stats)
	}
}

// Shows: NDIS-153
func TestSwitchedOff(t *testing.T) {
	in := []input{
		tcp(0), tcp(0, v6), udp(0), udp(0, v6),
		tcp(1), tcp(1, v6), udp(1), udp(1, v6),
		tcp(2, flags(0x11)), tcp(2, v6, flags(0x11)),
	}
	for _, c := range []struct {
		cfg    gro.Config
		want   string
		aborts uint64
	}{
		{gro.Config{}, "0 1 2 3 4 5 6 7 8 9", 0},
		{gro.Config{RSC4: true}, "0+4 1 2 3 5 6 7 8 9", 1},
		{gro.Config{RSC6: true}, "0 1+5 2 3 4 6 7 8 9", 1},
		{gro.Config{URO4: true}, "0 1 2+6 3 4 5 7 8 9", 0},
		{gro.Config{URO6: true}, "0 1 2 3+7 4 5 6 8 9", 0},
		{everything, "0+4 1+5 2+6 3+7 8 9", 2},
	} {
		examples(t, c.cfg, []example{{"", in, c.want, c.aborts}})
		if got, want := c.cfg.Any(), c.cfg != (gro.Config{}); got != want {
			t.Errorf("%+v.Any() = %v, want %v", c.cfg, got, want)
		}
	}
}

// Shows: NDIS-173
func TestStatistics(t *testing.T) {
	short := tcp(2, size(40))
	other := func(n int, e ...edit) input { return tcp(n, append(e, port(77))...) }
	_, _, stats := check(t, everything, nil, []input{
		tcp(0), tcp(1), short, // 3 packets, 240 octets
		other(0), other(1), // 2 packets, 200 octets
		tcp(0, flags(0x11)),                     // abort
		other(2, tos(1)),                        // abort, and a unit of its own
		tcp(0, src(5)), tcp(0, src(6), port(3)), // alone
		udp(0), udp(1), udp(2),
	})
	want := gro.Stats{
		CoalescedPkts: 5, CoalescedOctets: 440, CoalesceEvents: 2, Aborts: 2,
		UROUnits: 1, URODatagrams: 3, UROOctets: 300,
	}
	if stats != want {
		t.Errorf("Stats = %+v, want %+v", stats, want)
	}
	stats.Add(&want)
	if stats != (gro.Stats{10, 880, 4, 4, 2, 6, 600}) {
		t.Errorf("Add: %+v", stats)
	}
}

// Shows: NDIS-174
func TestEncapsulated(t *testing.T) {
	tunnel := func(n int, flags uint8, bare bool) input {
		inner := segment(n)
		inner.Bare = bare
		return build(spec{Proto: frametest.GRE, GREFlags: flags, GREKey: 0x1234500, Inner: &inner}, full)
	}
	udpInner := datagram(0)
	examples(t, everything, []example{
		{"NVGRE", []input{tunnel(0, 0x20, false), tunnel(1, 0x20, false)}, "0 1", 0},
		{"GRE", []input{tunnel(0, 0, true), tunnel(1, 0, true)}, "0 1", 0},
		{"between segments", []input{tcp(0), tunnel(0, 0x20, false), tcp(1)}, "0+2 1", 0},
		{"UDP in NVGRE", []input{
			build(spec{Proto: frametest.GRE, GREFlags: 0x20, Inner: &udpInner}, full),
			build(spec{Proto: frametest.GRE, GREFlags: 0x20, Inner: &udpInner}, full),
		}, "0 1", 0},
	})
	cfg := everything
	cfg.VXLANPort = 4789
	vxlan := func(n int) input { return udp(n, port(4789)) }
	examples(t, cfg, []example{{"VXLAN", []input{vxlan(0), udp(0), vxlan(1), udp(1)}, "0 1+3 2", 0}})
	examples(t, everything, []example{{"no VXLAN", []input{vxlan(0), udp(0), vxlan(1), udp(1)}, "0+2 1+3", 0}})
	examples(t, cfg, []example{{"TCP to the same port", []input{tcp(0, port(4789)), tcp(1, port(4789))}, "0+1", 0}})
}

// Shows: NDIS-175
func TestURO(t *testing.T) {
	withSource := func(n int) input {
		in := udp(n)
		in.frame[11]++
		return in
	}
	label := func(n int, v byte) input {
		in := udp(n, v6)
		in.frame[17] = v
		return in
	}
	behind := func(n int) input { // an IP packet longer than its datagram
		in := udp(n)
		in.frame = append(in.frame, 1, 2, 3, 4)
		in.frame[17] += 4
		in.frame[24], in.frame[25] = 0, 0
		binary.BigEndian.PutUint16(in.frame[24:], ^frametest.Sum(in.frame[14:34]))
		return in
	}
	six := []edit{v6}
	examples(t, everything, []example{
		{"equal", []input{udp(0), udp(1), udp(2)}, "0+1+2", 0},
		{"IPv6", []input{udp(0, six...), udp(1, six...), udp(2, six...)}, "0+1+2", 0},
		{"shorter last", []input{udp(0), udp(1), udp(2, size(99)), udp(3), udp(4)}, "0+1+2 3+4", 0},
		{"two shorter", []input{udp(0), udp(2, size(50)), udp(3, size(50)), udp(4, size(50))}, "0+1 2+3", 0},
		{"longer", []input{udp(0), udp(1), udp(2, size(101)), udp(3, size(101))}, "0+1 2+3", 0},
		{"empty", []input{udp(0), udp(1), udp(2, size(0)), udp(3), udp(4)}, "0+1 2 3+4", 0},
		{"TTL", []input{udp(0), udp(1), udp(2, ttl(9)), udp(3, ttl(9))}, "0+1 2+3", 0},
		{"hop limit", []input{udp(0, v6), udp(1, v6), udp(2, v6, ttl(9)), udp(3, v6, ttl(9))}, "0+1 2+3", 0},
		{"DF", []input{udp(0), udp(1), udp(2, frag(0x4000)), udp(3, frag(0x4000))}, "0+1 2+3", 0},
		{"ToS", []input{udp(0), udp(1), udp(2, tos(4)), udp(3, tos(4))}, "0+1 2+3", 0},
		{"ECN", []input{udp(0), udp(1), udp(2, tos(1)), udp(3, tos(1))}, "0+1 2+3", 0},
		{"ECN, IPv6", []input{udp(0, v6), udp(1, v6), udp(2, v6, tos(1)), udp(3, v6, tos(1))}, "0+1 2+3", 0},
		{"flow label", []input{label(0, 1), label(1, 1), label(2, 2), label(3, 2)}, "0+1 2+3", 0},
		{"source MAC", []input{udp(0), udp(1), withSource(2), withSource(3)}, "0+1 2+3", 0},
		{"tag", []input{udp(0, tags(1)), udp(1, tags(1)), udp(2, tags(2)), udp(3, tags(2))}, "0+1 2+3", 0},
		{"source port, interleaved", []input{udp(0), udp(0, port(7)), udp(1), udp(1, port(7))}, "0+2 1+3", 0},
		{"IP options", []input{udp(0), udp(1, options(1, 1, 1, 1)), udp(2)}, "0 1 2", 0},
		{"extension header", []input{udp(0, v6), udp(1, ext(frametest.ExtHopByHop)), udp(2, v6)}, "0 1 2", 0},
		{"packet longer than the datagram", []input{udp(0), behind(1), udp(2), udp(3)}, "0 1 2+3", 0},
		{"without checksum", []input{udp(0, noSum), udp(1, noSum), udp(2)}, "0+1 2", 0},
		{"without checksum, IPv6", []input{udp(0, v6), udp(1, v6, noSum), udp(2, v6, noSum)}, "0 1 2", 0},
		{"overflow", []input{
			udp(0, size(20000)), udp(1, size(20000)), udp(2, size(20000)), udp(3, size(20000)), udp(4, size(20000)),
		}, "0+1+2 3+4", 0},
		{"65535 bytes", []input{udp(0, size(20000)), udp(1, size(20000)), udp(2, size(20000)), udp(3, size(5507))}, "0+1+2+3", 0},
		{"65536 bytes", []input{udp(0, size(20000)), udp(1, size(20000)), udp(2, size(20000)), udp(3, size(5508))}, "0+1+2 3", 0},
	})
}

// What NDIS wants zeroed has to hold something for virtio: the checksum of the
// IPv4 header is right, and that of the UDP header partial. Both are reported
// as good by HdrNeedsCsum (VNET-066); zeroing is for the driver that turns the
// packet header into what NDIS knows.
//
// Shows: NDIS-176
func TestUROHeader(t *testing.T) {
	_, out, _ := check(t, everything, nil, []input{udp(0), udp(1), udp(2, size(30))})
	o := out[0]
	if l, u := binary.BigEndian.Uint16(o.bytes[16:]), binary.BigEndian.Uint16(o.bytes[38:]); l != 258 || u != 238 {
		t.Errorf("TotalLength %d, UDP length %d, want 258, 238", l, u)
	}
	if o.unit.Segments != 3 || o.unit.SegSize != 100 {
		t.Errorf("SegCount %d, SegSize %d, want 3, 100", o.unit.Segments, o.unit.SegSize)
	}
	want := virtio.NetHdr{Flags: virtio.HdrNeedsCsum, GSOType: virtio.GSOUDPL4, GSOSize: 100, HdrLen: 42, CsumStart: 34, CsumOffset: 6}
	if o.hdr != want {
		t.Errorf("packet header %+v, want %+v", o.hdr, want)
	}
	if frametest.Sum(o.bytes[14:34]) != 0xffff {
		t.Errorf("IPv4 header checksum wrong\n%x", o.bytes)
	}
}

// Shows: NDIS-177
func TestUROBarrier(t *testing.T) {
	other := func(n int) input { return udp(n, port(7)) }
	examples(t, everything, []example{
		{"in the middle", []input{udp(0), udp(1), udp(2).flip(), udp(3), udp(4)}, "0+1 2! 3+4", 0},
		{"first", []input{udp(0).flip(), udp(1), udp(2)}, "0! 1+2", 0},
		{"short", []input{udp(0), udp(1, size(50)).flip(), udp(2), udp(3)}, "0 1! 2+3", 0},
		// Number 2 was to be the short end of a unit that began with number 1.
		{"long", []input{udp(0), udp(1, size(500)).flip(), udp(2), udp(3)}, "0 1! 2 3", 0},
		{"IPv4 header", []input{udp(0), udp(1), badIP(udp(2)), udp(3), udp(4)}, "0+1 2 3+4", 0},
		{"of one flow only", []input{udp(0), other(0), udp(1).flip(), other(1), udp(2), udp(3)}, "0 2! 4+5 1+3", 0},
	})
}
