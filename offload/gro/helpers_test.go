package gro_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"vhost-user-nvgre/offload/gro"
	"vhost-user-nvgre/offload/internal/frametest"
	"vhost-user-nvgre/offload/packet"
	"vhost-user-nvgre/virtio"
)

// everything turns all coalescing on.
var everything = gro.Config{RSC4: true, RSC6: true, URO4: true, URO6: true}

// sumKind says in which state a frame's checksum arrives.
type sumKind uint8

const (
	full    sumKind = iota // complete, to be verified
	partial                // from a local sender
	trusted                // complete and known to be good
)

// input is a frame as it arrives.
type input struct {
	frame []byte
	hdr   virtio.NetHdr
	// bad: the transport checksum is wrong.
	bad bool
	// head is how much of it is private; 0 = 128 bytes.
	head int
}

// build returns the frame that s describes.
func build(s frametest.Spec, kind sumKind) input {
	f := s.Build()
	in := input{frame: f.Bytes}
	o := f.Levels[0]
	switch kind {
	case partial:
		offset := 16
		if s.Proto == frametest.UDP {
			offset = 6
		}
		in.hdr = virtio.NetHdr{
			Flags:     virtio.HdrNeedsCsum,
			CsumStart: uint16(o.L4), CsumOffset: uint16(offset), HdrLen: uint16(o.Payload),
		}
		binary.BigEndian.PutUint16(in.frame[o.L4+offset:], pseudoSum(in.frame, s.V6, o.L3, o.L4, o.End, s.Proto))
	case trusted:
		in.hdr.Flags = virtio.HdrDataValid
	}
	return in
}

// pseudoSum sums the pseudo-header of RFC 793, 768 or 8200.
func pseudoSum(b []byte, v6 bool, l3, l4, end int, proto uint8) uint16 {
	n := end - l4
	tail := []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n), 0, 0, 0, proto}
	if v6 {
		return frametest.Sum(b[l3+8:l3+40], tail)
	}
	return frametest.Sum(b[l3+12:l3+20], tail)
}

// flip makes the transport checksum wrong: by the last byte of the payload, or
// without payload by the checksum itself.
func (in input) flip() input {
	in.frame = append([]byte(nil), in.frame...)
	var p packet.Info
	packet.Parse(&p, in.frame, len(in.frame))
	l := &p.Outer
	if at := int(l.End) - 1; at >= int(l.Payload) {
		in.frame[at] ^= 0x40
	} else if l.Trans == packet.UDP {
		in.frame[l.L4+6] ^= 0x40
	} else {
		in.frame[l.L4+16] ^= 0x40
	}
	in.bad = true
	return in
}

// output is a frame as it leaves.
type output struct {
	// frame is the number of a frame that left alone, -1 if the coalescer
	// delivered it.
	frame int
	bad   bool
	bytes []byte
	hdr   virtio.NetHdr
	unit  gro.Unit
}

// sink collects what is committed. Its rooms are cut in pieces by r, or whole
// without it.
type sink struct {
	t      *testing.T
	c      *gro.Coalescer
	r      *rand.Rand
	out    []output
	refuse func(n int) bool

	room     []byte
	reserved bool
}

func (s *sink) Reserve(n int) ([][]byte, bool) {
	s.reserved = false
	if s.refuse != nil && s.refuse(n) {
		return nil, false
	}
	s.reserved = true
	s.room = make([]byte, n)
	for i := range s.room {
		s.room[i] = 0xaa
	}
	return cut(s.r, s.room), true
}

func (s *sink) Trim(n int) {
	if !s.reserved || n <= 0 || n > len(s.room) {
		s.t.Fatalf("Trim(%d) of a reservation of %d bytes (made: %v)", n, len(s.room), s.reserved)
	}
	s.room = s.room[:n]
}

func (s *sink) Commit(h *virtio.NetHdr) {
	if !s.reserved {
		s.t.Fatal("Commit without Reserve")
	}
	s.reserved = false
	s.out = append(s.out, output{frame: -1, bytes: s.room, hdr: *h, unit: *s.c.Unit()})
}

// cut splits b in pieces, if there is a source of randomness.
func cut(r *rand.Rand, b []byte) [][]byte {
	if r == nil {
		return [][]byte{b}
	}
	var out [][]byte
	most := []int{8, 300, 3000, 1 << 17}[r.IntN(4)]
	for len(b) > 0 {
		n := min(r.IntN(most+1), len(b))
		out = append(out, b[:n:n])
		b = b[n:]
	}
	return out
}

// run puts a batch through a coalescer and returns what leaves it.
func run(t *testing.T, cfg gro.Config, r *rand.Rand, in []input) ([]output, gro.Stats) {
	t.Helper()
	var stats gro.Stats
	c := gro.New(max(len(in), 1))
	s := &sink{t: t, c: c, r: r}
	runWith(t, c, s, &cfg, &stats, in)
	return s.out, stats
}

func runWith(t *testing.T, c *gro.Coalescer, s *sink, cfg *gro.Config, stats *gro.Stats, in []input) {
	t.Helper()
	c.Begin(cfg, stats)
	frames := make([]gro.Frame, len(in))
	for i := range in {
		frames[i] = frameOf(s.r, &in[i])
		if !c.Add(frames[i]) {
			t.Fatalf("Add of frame %d of %d = false", i, len(in))
		}
	}
	for {
		single, ok := c.Next(s)
		if !ok {
			break
		}
		o := output{frame: single.Frame, bad: single.Bad, hdr: in[single.Frame].hdr}
		o.bytes = append(o.bytes, frames[single.Frame].Head...)
		for _, p := range frames[single.Frame].Tail {
			o.bytes = append(o.bytes, p...)
		}
		s.out = append(s.out, o)
	}
	if single, ok := c.Next(s); ok {
		t.Fatalf("Next after the end = %+v", single)
	}
}

// private returns how many of a frame's first bytes are private.
func (in *input) private() int {
	head := in.head
	if head == 0 {
		head = 128
	}
	return min(head, len(in.frame))
}

// frameOf splits a frame in head and tail.
func frameOf(r *rand.Rand, in *input) gro.Frame {
	head := in.private()
	p := new(packet.Info)
	packet.Parse(p, in.frame[:head], len(in.frame))
	for p.MoreHead() && head < len(in.frame) {
		head++
		packet.Parse(p, in.frame[:head], len(in.frame))
	}
	f := gro.Frame{Head: in.frame[:head:head], Info: p, Hdr: &in.hdr}
	if head < len(in.frame) {
		f.Tail = cut(r, in.frame[head:])
	}
	return f
}

// segment is the n-th of a connection, with 100 bytes each.
func segment(n int) frametest.Spec {
	return frametest.Spec{
		Proto: frametest.TCP, SrcPort: 1000, DstPort: 2000, ID: uint16(10 + n),
		Seq: uint32(5000 + 100*n), Ack: 777, Window: 400,
		Payload: pattern(n, 100),
	}
}

// datagram is the n-th of a flow, with 100 bytes each.
func datagram(n int) frametest.Spec {
	return frametest.Spec{
		Proto: frametest.UDP, SrcPort: 1000, DstPort: 2000, ID: uint16(10 + n), Payload: pattern(n, 100),
	}
}

// pattern returns n bytes that differ by salt.
func pattern(salt, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + salt*31 + i>>8)
	}
	return b
}

// fewer returns how many rounds of n are enough under the race detector, which
// makes everything slow.
func fewer(n int) int {
	if raceEnabled {
		return max(1, n/8)
	}
	return n
}
