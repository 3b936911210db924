package gso_test

import (
	"bytes"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/offload/checksum"
	"vhost-user-nvgre/offload/gso"
	"vhost-user-nvgre/offload/internal/frametest"
	"vhost-user-nvgre/offload/packet"
)

// checkSegments checks what must hold of segments whatever the super-frame
// was: they decode to the same headers but for the fields that may differ,
// their checksums are right, and their payloads together are the payload.
func checkSegments(t *testing.T, frame []byte, p *packet.Info, req gso.Request, segments [][]byte) {
	t.Helper()
	var payload []byte
	header := int(p.HeaderLen)
	for i, seg := range segments {
		var q packet.Info
		packet.Parse(&q, seg, len(seg))
		if q.HeaderLen != p.HeaderLen || q.Tunnel != p.Tunnel || q.VSID != p.VSID || q.FlowID != p.FlowID {
			t.Fatalf("segment %d: headers %+v, of the super-frame %+v\n%x", i, q, *p, seg)
		}
		l, m := &q.Outer, &p.Outer
		if req.Inner {
			checkIP(t, i, seg, l)
			l, m = &q.Inner, &p.Inner
		}
		checkIP(t, i, seg, l)
		if !l.Whole() || l.Trans != m.Trans || int(l.End) != len(seg) {
			t.Fatalf("segment %d: %+v, of the super-frame %+v\n%x", i, *l, *m, seg)
		}
		noSum := l.Trans == packet.UDP && frame[m.L4+6]|frame[m.L4+7] == 0
		if sum := transportSum(seg, l); noSum {
			if seg[l.L4+6]|seg[l.L4+7] != 0 {
				t.Fatalf("segment %d: UDP checksum where there was none\n%x", i, seg)
			}
		} else if sum != 0xffff {
			t.Fatalf("segment %d: transport checksum wrong: sum %#04x\n%x", i, sum, seg)
		}
		if n := len(seg) - header; n > req.MSS || i < len(segments)-1 && n != req.MSS || n == 0 {
			t.Fatalf("segment %d of %d has %d bytes of payload, segment size %d", i, len(segments), n, req.MSS)
		}
		payload = append(payload, seg[header:]...)
	}
	if frame != nil && len(payload) != len(frame)-header {
		t.Fatalf("%d bytes of payload, want %d", len(payload), len(frame)-header)
	}
}

func checkIP(t *testing.T, i int, seg []byte, l *packet.Level) {
	t.Helper()
	if l.Net == packet.IPv4 && frametest.Sum(seg[l.L3:l.L4]) != 0xffff {
		t.Fatalf("segment %d: IPv4 header checksum at %d wrong\n%x", i, l.L3, seg)
	}
}

// transportSum sums the pseudo-header of RFC 793 or RFC 8200 and the packet.
func transportSum(seg []byte, l *packet.Level) uint16 {
	body := seg[l.L4:l.End]
	n := len(body)
	tail := []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n), 0, 0, 0, l.Protocol}
	if l.Net == packet.IPv4 {
		return frametest.Sum(seg[l.L3+12:l.L3+20], tail, body)
	}
	src, dst := seg[l.L3+8:l.L3+24], seg[l.L3+24:l.L3+40]
	if l.HomeAddr != 0 {
		src = seg[l.HomeAddr : l.HomeAddr+16]
	}
	if l.FinalDst != 0 {
		dst = seg[l.FinalDst : l.FinalDst+16]
	}
	return frametest.Sum(src, dst, tail, body)
}

// The payload changes while it is segmented: each segment is whole in itself,
// with checksums of the bytes that were delivered.
func TestPayloadChanges(t *testing.T) {
	const size = 60000
	guest, err := unix.Mmap(-1, 0, 1<<16, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_SHARED)
	if err != nil {
		t.Fatalf("mmap: %v", err)
	}
	defer unix.Munmap(guest)
	var quit atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for v := byte(0); !quit.Load(); v++ {
			for i := range guest {
				guest[i] = v ^ byte(i)
			}
			runtime.Gosched()
		}
	}()
	defer func() { quit.Store(true); <-done }()

	r := rand.New(rand.NewPCG(1, 2))
	for _, s := range []frametest.Spec{
		{Proto: frametest.GRE, GREFlags: 0x20, Inner: &frametest.Spec{Proto: frametest.TCP}},
		{V6: true, Proto: frametest.GRE, GREFlags: 0x20, Inner: &frametest.Spec{V6: true, Proto: frametest.UDP}},
	} {
		head := s.Build().Bytes
		length := len(head) + size
		for round := range 60 {
			var p packet.Info
			packet.Parse(&p, head, length)
			req := request(&s, 1400)
			var g gso.Segmenter
			if ref := g.Start(head, &p, req, &wide); ref != gso.Accepted {
				t.Fatal(ref)
			}
			src := checksum.NewCursor(cut(r, guest[:size], round%3))
			var got [][]byte
			for g.NextLen() > 0 {
				seg := make([]byte, g.NextLen())
				d := checksum.NewCursor(cut(r, seg, (round+1)%3))
				if !g.Next(&d, &src) {
					t.Fatal("Next failed")
				}
				got = append(got, seg)
			}
			// The UDP checksum in the template decides whether there is one.
			whole := append(append([]byte(nil), head...), make([]byte, size)...)
			checkSegments(t, whole, &p, req, got)
		}
	}
}

// FuzzSegment splits any bytes in any way. Nothing panics; what is accepted
// makes good segments that together hold the payload.
func FuzzSegment(f *testing.F) {
	for i, c := range frames() {
		if i%29 == 0 {
			spec := c.Spec
			setPayload(&spec, make([]byte, 100))
			f.Add(spec.Build().Bytes, uint16(60), uint8(i), uint8(i), uint64(i))
		}
	}
	f.Fuzz(func(t *testing.T, frame []byte, mss uint16, kind, layout uint8, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 1))
		req := gso.Request{Kind: gso.Kind(kind & 3), Inner: kind&4 != 0, MSS: int(mss)}
		lim := wide
		lim.MaxSegments = 1000
		head := min(len(frame), int(seed%600))
		var p packet.Info
		packet.Parse(&p, frame[:head], len(frame))
		got, ref := split(t, r, frame, head, req, &lim, int(layout%3))
		if ref != gso.Accepted {
			return
		}
		checkSegments(t, frame, &p, req, got)
		var payload []byte
		for _, seg := range got {
			payload = append(payload, seg[p.HeaderLen:]...)
		}
		if !bytes.Equal(payload, frame[p.HeaderLen:]) {
			t.Fatalf("the payload changed: %x, want %x", payload, frame[p.HeaderLen:])
		}
	})
}

func TestNoAllocation(t *testing.T) {
	s := frametest.Spec{Proto: frametest.GRE, GREFlags: 0x20, Inner: &frametest.Spec{Proto: frametest.TCP, Payload: make([]byte, 9000)}}
	frame := s.Build().Bytes
	var p packet.Info
	packet.Parse(&p, frame, len(frame))
	var g gso.Segmenter
	buf := make([]byte, 2000)
	room := [][]byte{buf[:50], buf[50:]}
	if n := testing.AllocsPerRun(100, func() {
		g.Start(frame, &p, request(&s, 1400), &wide)
		src := checksum.NewCursorAt(frame[g.HeaderLen():], nil)
		for g.NextLen() > 0 {
			d := checksum.NewCursor(room)
			g.Next(&d, &src)
		}
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}
