package gro_test

import (
	"slices"
	"testing"

	"vhost-user-nvgre/offload/gro"
	"vhost-user-nvgre/offload/internal/frametest"
	"vhost-user-nvgre/virtio"
)

// Shows: VNET-065, VNET-066, VNET-069, VNET-070
func TestPacketHeader(t *testing.T) {
	rsc := everything
	rsc.RSCInfo = true
	const needs, rscInfo = virtio.HdrNeedsCsum, virtio.HdrNeedsCsum | virtio.HdrRSCInfo
	for _, c := range []struct {
		name string
		cfg  gro.Config
		in   []input
		want virtio.NetHdr
	}{
		{"TCP", everything, []input{tcp(0), tcp(1), tcp(2)}, virtio.NetHdr{Flags: needs, GSOType: 1, GSOSize: 100, HdrLen: 54, CsumStart: 34, CsumOffset: 16}},
		{"TCP, RSC_EXT", rsc, []input{tcp(0), tcp(1), tcp(2)}, virtio.NetHdr{Flags: rscInfo, GSOType: 1, GSOSize: 100, HdrLen: 54, CsumStart: 3}},
		{"TCP over IPv6", everything, []input{tcp(0, v6), tcp(1, v6)}, virtio.NetHdr{Flags: needs, GSOType: 4, GSOSize: 100, HdrLen: 74, CsumStart: 54, CsumOffset: 16}},
		{"TCP over IPv6, RSC_EXT", rsc, []input{tcp(0, v6), tcp(1, v6)}, virtio.NetHdr{Flags: rscInfo, GSOType: 4, GSOSize: 100, HdrLen: 74, CsumStart: 2}},
		{"timestamps and tags", everything, []input{tcp(0, stamps(1, 1), tags(7, 8)), tcp(1, stamps(1, 1), tags(7, 8))}, virtio.NetHdr{Flags: needs, GSOType: 1, GSOSize: 100, HdrLen: 74, CsumStart: 42, CsumOffset: 16}},
		{"UDP", everything, []input{udp(0), udp(1)}, virtio.NetHdr{Flags: needs, GSOType: 5, GSOSize: 100, HdrLen: 42, CsumStart: 34, CsumOffset: 6}},
		{"UDP over IPv6, RSC_EXT", rsc, []input{udp(0, v6), udp(1, v6)}, virtio.NetHdr{Flags: rscInfo, GSOType: 5, GSOSize: 100, HdrLen: 62, CsumStart: 2}},
		// No super-frames, and so no coalescing counts.
		{"window update, RSC_EXT", rsc, []input{tcp(0), pure(1, window(1))}, virtio.NetHdr{Flags: needs, HdrLen: 54, CsumStart: 34, CsumOffset: 16}},
	} {
		_, out, _ := check(t, c.cfg, nil, c.in)
		if len(out) != 1 || out[0].hdr != c.want {
			t.Errorf("%s: packet header %+v of %d, want %+v of one", c.name, out[0].hdr, len(out), c.want)
		}
	}
}

// The hash of the first frame is that of the unit.
func TestHash(t *testing.T) {
	var in []input
	for n := range 3 {
		i := tcp(n)
		i.hdr.HashValue, i.hdr.HashReport = 0xabcd0000, 2
		in = append(in, i)
	}
	_, out, _ := check(t, everything, nil, in)
	if h := out[0].hdr; h.HashValue != 0xabcd0000 || h.HashReport != 2 {
		t.Errorf("hash %#x, report %d, want 0xabcd0000, 2", h.HashValue, h.HashReport)
	}
}

// Frames in all states of their checksum go together.
func TestChecksumStates(t *testing.T) {
	mix := func(n int, kind sumKind, e ...edit) input { return edited(segment(n), kind, e) }
	mixUDP := func(n int, kind sumKind, e ...edit) input { return edited(datagram(n), kind, e) }
	elsewhere := mix(1, partial)
	elsewhere.hdr.CsumStart = 30
	field := mix(1, partial)
	field.hdr.CsumOffset = 14
	// What the sender vouches for is not verified.
	vouched := mix(1, trusted).flip()
	vouched.bad = false
	local := mix(2, partial).flip()
	local.bad = false
	examples(t, everything, []example{
		{"mixed", []input{mix(0, full), mix(1, partial), mix(2, trusted), mix(3, full)}, "0+1+2+3", 0},
		{"mixed, IPv6", []input{mix(0, partial, v6), mix(1, full, v6), mix(2, trusted, v6)}, "0+1+2", 0},
		{"mixed UDP", []input{mixUDP(0, full), mixUDP(1, partial), mixUDP(2, trusted)}, "0+1+2", 0},
		{"partial UDP with none", []input{mixUDP(0, full, noSum), mixUDP(1, partial)}, "0 1", 0},
		{"partial over something else", []input{mix(0, full), elsewhere, mix(2, full), mix(3, full)}, "0 1 2+3", 0},
		{"partial in another field", []input{mix(0, full), field, mix(2, full), mix(3, full)}, "0 1 2+3", 0},
		{"vouched for", []input{mix(0, trusted), vouched, local, mix(3, trusted)}, "0+1+2+3", 0},
	})
}

// A super-frame stays as it is and in its place.
func TestSuperFrames(t *testing.T) {
	examples(t, everything, []example{
		{"between segments", []input{tcp(0), tcp(1), super(tcp(2)), tcp(3), tcp(4)}, "0+1 2 3+4", 0},
		{"alone", []input{super(tcp(0)), super(tcp(1))}, "0 1", 0},
	})
	// With the length of its IP packet left open.
	open := super(tcp(2))
	open.frame[16], open.frame[17] = 0, 0
	_, stats := run(t, everything, nil, []input{tcp(0), tcp(1), open, tcp(3), tcp(4)})
	if stats.CoalesceEvents != 2 || stats.Aborts != 0 {
		t.Errorf("around a super-frame without length: Stats = %+v, want two units", stats)
	}
}

// Padding behind short packets is dropped from units and kept otherwise.
func TestPadding(t *testing.T) {
	long := tcp(1, pad(3))
	long.head = 130
	examples(t, everything, []example{
		{"short", []input{tcp(0, size(2), pad(4)), tcp(0, size(2), seqOf(5002), pad(4)), tcp(0, size(1), seqOf(5004), pad(5))}, "0+1+2", 0},
		{"window update", []input{tcp(0), pure(1, window(1), pad(6))}, "0+1", 0},
		// It could not be told from payload before that is read.
		{"not private", []input{tcp(0), long, tcp(2), tcp(3)}, "0 1 2+3", 0},
	})
	long.head = len(long.frame)
	examples(t, everything, []example{{"private", []input{tcp(0), long, tcp(2), tcp(3)}, "0+1+2+3", 0}})
}

// Where there is no room for a unit it is made smaller, and where there is no
// room for two frames they leave alone, in order (exception 1).
//
// Shows: NDIS-173
func TestNoRoom(t *testing.T) {
	var stats gro.Stats
	c := gro.New(8)
	in := []input{tcp(0), tcp(0, port(9)), tcp(1), tcp(1, port(9)), tcp(2), tcp(3), tcp(4), udp(0), udp(1)}
	leave := func(refuse func(n int) bool, in []input, want string, aborts, events uint64) {
		t.Helper()
		stats = gro.Stats{}
		s := &sink{t: t, c: c, refuse: refuse}
		runWith(t, c, s, &everything, &stats, in)
		if got := describe(s.out); got != want || stats.Aborts != aborts || stats.CoalesceEvents+stats.UROUnits != events {
			t.Errorf("%s left, %d aborts, %d units; want %s, %d, %d", got, stats.Aborts, stats.CoalesceEvents+stats.UROUnits, want, aborts, events)
		}
	}
	c = gro.New(len(in))
	leave(func(n int) bool { return n > 300 }, in, " [TCPv4 of 2] [TCPv4 of 2] 6 [TCPv4 of 2] [UDPv4 of 2]", 2, 4)
	leave(func(n int) bool { return n > 200 }, in, " 0 2 4 5 6 1 3 7 8", 2, 0)
	// Room runs out, and comes back.
	calls := 0
	leave(func(int) bool { calls++; return calls > 2 && calls < 5 }, in[:7], " [TCPv4 of 5] [TCPv4 of 2]", 0, 2)
	calls = 0
	leave(func(int) bool { calls++; return calls == 1 }, in[:7], " [TCPv4 of 3] [TCPv4 of 2] [TCPv4 of 2]", 1, 3)
	// There is none when a frame was bad before.
	calls = 0
	leave(func(int) bool { calls++; return calls > 1 }, []input{tcp(0), tcp(1).flip(), tcp(2), tcp(3)}, " 0 1! 2 3", 2, 0)
}

// What Rest returns is what was not delivered.
func TestRest(t *testing.T) {
	in := []input{tcp(0), tcp(0, port(9)), tcp(1), tcp(2).flip(), tcp(1, port(9)), udp(0), tcp(3)}
	for n := range 6 {
		var stats gro.Stats
		c := gro.New(len(in))
		c.Begin(&everything, &stats)
		for i := range in {
			c.Add(frameOf(nil, &in[i]))
		}
		s := &sink{t: t, c: c}
		var got []int
		for range n {
			if single, ok := c.Next(s); ok {
				got = append(got, single.Frame)
			}
		}
		done := len(got)
		for i, ok := c.Rest(); ok; i, ok = c.Rest() {
			got = append(got, i)
		}
		want := [][]int{{0, 2, 3, 6, 1, 4, 5}, {3, 6, 1, 4, 5}, {3, 6, 1, 4, 5}, {3, 6, 5}}[min(n, 3)]
		if !slices.Equal(got, want) {
			t.Errorf("after %d frames alone: %v, then by Rest %v; want %v", n, got[:done], got[done:], want)
		}
	}
}

// A sink that gives less than it was asked for loses nothing but the unit.
func TestShortRoom(t *testing.T) {
	in := []input{tcp(0), tcp(1), tcp(2)}
	var stats gro.Stats
	c := gro.New(3)
	c.Begin(&everything, &stats)
	for i := range in {
		c.Add(frameOf(nil, &in[i]))
	}
	left := 0
	for n := 0; ; n++ {
		if n > 3 {
			t.Fatal("Next does not end")
		}
		if _, ok := c.Next(&shortSink{}); !ok {
			break
		}
		left++
	}
	if left == 0 {
		t.Error("no frame was returned")
	}
}

type shortSink struct{ room [160]byte }

func (s *shortSink) Reserve(int) ([][]byte, bool) { return [][]byte{s.room[:]}, true }
func (s *shortSink) Trim(int)                     {}
func (s *shortSink) Commit(*virtio.NetHdr)        {}

// Batches may be abandoned at any point, and be larger than the coalescer.
func TestBegin(t *testing.T) {
	c := gro.New(4)
	var stats gro.Stats
	in := []input{tcp(0), tcp(1).flip(), tcp(2), tcp(3)}
	for n := range 6 {
		c.Begin(&everything, &stats)
		for i := range in {
			if !c.Add(frameOf(nil, &in[i])) {
				t.Fatalf("Add of frame %d = false", i)
			}
		}
		if c.Add(frameOf(nil, &in[0])) {
			t.Fatal("Add of a fifth frame to a coalescer for four = true")
		}
		s := &sink{t: t, c: c}
		for range n {
			if _, ok := c.Next(s); !ok {
				break
			}
		}
	}
	var after gro.Stats
	s := &sink{t: t, c: c}
	runWith(t, c, s, &everything, &after, in)
	if len(s.out) != 3 || after.CoalesceEvents != 1 || after.Aborts != 1 {
		t.Errorf("after abandoned batches: Stats = %+v\n%s", after, describe(s.out))
	}
	for _, n := range []int{0, -1, gro.MaxFrames + 1} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("New(%d) does not panic", n)
				}
			}()
			gro.New(n)
		}()
	}
}

func TestKindString(t *testing.T) {
	for k, want := range map[gro.Kind]string{
		gro.NoKind: "none", gro.TCPv4: "TCPv4", gro.TCPv6: "TCPv6", gro.UDPv4: "UDPv4", gro.UDPv6: "UDPv6", 9: "unknown",
	} {
		if got := k.String(); got != want {
			t.Errorf("Kind(%d).String() = %q, want %q", k, got, want)
		}
	}
}

// Many flows at once are told apart.
func TestManyFlows(t *testing.T) {
	for _, v := range []bool{false, true} {
		var in []input
		for round := range 4 {
			for n := range 250 {
				s := segment(round)
				s.V6 = v
				s.SrcPort = uint16(n)
				if n%2 == 0 {
					s.Src = address(v, byte(n))
				}
				if n%5 == 0 {
					s.Proto = frametest.UDP
				}
				in = append(in, build(s, full))
			}
		}
		_, out, _ := check(t, everything, nil, in)
		if len(out) != 250 {
			t.Errorf("IPv6 %v: %d frames left, want 250", v, len(out))
		}
	}
}
