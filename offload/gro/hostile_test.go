package gro_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/offload/gro"
	"vhost-user-nvgre/offload/internal/frametest"
	"vhost-user-nvgre/offload/packet"
)

// checkUnits checks what must hold of a batch whatever its frames were: each
// is delivered once, alone as it came or in a unit; units decode, have good
// checksums and can be segmented again; together they hold the payload of the
// frames in them. Unless the payload was constant it is only counted.
func checkUnits(t *testing.T, frames []gro.Frame, out []output, constant bool) {
	t.Helper()
	seen := make([]bool, len(frames))
	for _, o := range out {
		if o.frame < 0 {
			continue
		}
		if seen[o.frame] {
			t.Fatalf("frame %d left twice: %s", o.frame, describe(out))
		}
		seen[o.frame] = true
	}
	missing, payload := 0, 0
	for i, f := range frames {
		if l := &f.Info.Outer; !seen[i] {
			if !l.HasPorts() || !l.Plain() || !l.Whole() || f.Info.Tunnelled() {
				t.Fatalf("frame %d was coalesced: %+v", i, *f.Info)
			}
			missing++
			payload += int(l.End) - int(l.Payload)
		}
	}
	for i := range out {
		o := &out[i]
		if o.frame >= 0 {
			continue
		}
		u := &o.unit
		missing -= int(u.Frames)
		payload -= int(u.Payload)
		if u.Frames < 2 || len(o.bytes) != int(o.hdr.HdrLen)+int(u.Payload) || len(o.bytes) > 65535+14+4*packet.MaxTags {
			t.Fatalf("unit of %d bytes: %+v, %+v", len(o.bytes), *u, o.hdr)
		}
		if o.hdr.Flags&4 != 0 { // RSC_INFO is where the checksum's place was
			if o.hdr.CsumStart != u.Segments || o.hdr.CsumOffset != 0 || o.hdr.GSOType == 0 {
				t.Fatalf("packet header %+v of %+v", o.hdr, *u)
			}
			var p packet.Info
			packet.Parse(&p, o.bytes, len(o.bytes))
			o.hdr.Flags, o.hdr.CsumStart, o.hdr.CsumOffset = 1, p.Outer.L4, 16
			if p.Outer.Trans == packet.UDP {
				o.hdr.CsumOffset = 6
			}
		}
		finished := complete(t, o, int(o.hdr.CsumStart), int(o.hdr.CsumOffset))
		verify(t, finished)
		if constant {
			decode(t, finished)
		}
		if o.hdr.GSOType == 0 {
			continue
		}
		again, sum := resegment(t, o), 0
		for _, s := range again {
			verify(t, s)
			sum += len(s) - int(o.hdr.HdrLen)
		}
		if len(again) != int(u.Segments) || sum != int(u.Payload) {
			t.Fatalf("%d segments with %d bytes, want %d with %d", len(again), sum, u.Segments, u.Payload)
		}
	}
	if missing != 0 || payload != 0 {
		t.Fatalf("%d frames and %d bytes of payload are lost: %s", missing, payload, describe(out))
	}
}

// verify checks the checksums of a frame without options in its IP header.
func verify(t *testing.T, b []byte) {
	t.Helper()
	var p packet.Info
	packet.Parse(&p, b, len(b))
	l := &p.Outer
	if !l.Whole() || !l.Plain() || !l.HasPorts() || int(l.End) != len(b) {
		t.Fatalf("unit or segment: %+v\n%x", *l, b)
	}
	if l.Net == packet.IPv4 && frametest.Sum(b[l.L3:l.L4]) != 0xffff {
		t.Fatalf("IPv4 header checksum wrong\n%x", b)
	}
	pseudo := pseudoSum(b, l.Net == packet.IPv6, int(l.L3), int(l.L4), int(l.End), l.Protocol)
	if got := frametest.Sum(binary.BigEndian.AppendUint16(nil, pseudo), b[l.L4:l.End]); got != 0xffff {
		t.Fatalf("transport checksum wrong: sum %#04x\n%x", got, b)
	}
}

// deliver puts prepared frames through a coalescer.
func deliver(t *testing.T, c *gro.Coalescer, s *sink, cfg *gro.Config, stats *gro.Stats, frames []gro.Frame) []output {
	t.Helper()
	c.Begin(cfg, stats)
	for i := range frames {
		if !c.Add(frames[i]) {
			t.Fatalf("Add of frame %d of %d = false", i, len(frames))
		}
	}
	for {
		single, ok := c.Next(s)
		if !ok {
			return s.out
		}
		s.out = append(s.out, output{frame: single.Frame, bad: single.Bad})
	}
}

// The payload changes while it is coalesced. What is not known to be good is
// verified as it is delivered; what a local sender left open stays open. Units
// are whole whatever they hold.
func TestPayloadChanges(t *testing.T) {
	const frames, size = 48, 1448
	guest, err := unix.Mmap(-1, 0, frames*2048, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_SHARED)
	if err != nil {
		t.Fatalf("mmap: %v", err)
	}
	defer unix.Munmap(guest)
	var quit atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; !quit.Load(); n++ {
			// A word of one frame in three at a time, and back.
			for i := n % 3 * 2048; i < len(guest); i += 3 * 2048 {
				guest[i+n/3%(size-100)] ^= 0x55
				guest[i+n/3%(size-100)] ^= 0x55 * byte(n>>12&1)
			}
			if n%64 == 0 {
				runtime.Gosched()
			}
		}
	}()
	defer func() { quit.Store(true); <-done }()

	c := gro.New(frames)
	var stats gro.Stats
	for round := range fewer(300) {
		r := rand.New(rand.NewPCG(uint64(round), 3))
		kind := sumKind(round % 3)
		var list []gro.Frame
		for n := range frames {
			s := segment(0)
			s.V6 = round%2 == 0
			if round%5 == 0 {
				s = datagram(0)
			}
			s.Seq, s.Payload = uint32(n*size), pattern(n, size)
			in := build(s, kind)
			var p packet.Info
			packet.Parse(&p, in.frame[:128], len(in.frame))
			tail := guest[n*2048:][: len(in.frame)-128 : len(in.frame)-128]
			copy(tail, in.frame[128:])
			list = append(list, gro.Frame{Head: in.frame[:128:128], Tail: cut(r, tail), Info: &p, Hdr: &in.hdr})
		}
		cfg := everything
		cfg.RSCInfo = round%4 == 0
		checkUnits(t, list, deliver(t, c, &sink{t: t, c: c, r: r}, &cfg, &stats, list), false)
	}
	if stats.CoalesceEvents == 0 || stats.UROUnits == 0 || stats.Aborts == 0 {
		t.Errorf("Stats = %+v, want units and bad frames", stats)
	}
}

// splitFrames cuts what a fuzzer has made into frames: two bytes of length,
// two of what is known of the frame, then the frame.
func splitFrames(b []byte) (in []input) {
	for len(b) > 4 && len(in) < 64 {
		n, how, start := int(binary.BigEndian.Uint16(b)), b[2], b[3]
		b = b[4:]
		n = min(n, len(b))
		if n >= 14 {
			i := input{frame: bytes.Clone(b[:n]), head: 14 + int(how>>3)*17}
			i.hdr.Flags = how & 3
			if how&4 != 0 {
				i.hdr.GSOType, i.hdr.GSOSize = how%5, uint16(start)
			}
			i.hdr.CsumStart, i.hdr.CsumOffset = uint16(start), 16
			if how&8 != 0 {
				i.hdr.CsumOffset = 6
			}
			in = append(in, i)
		}
		b = b[n:]
	}
	return in
}

// FuzzCoalesce puts batches of any frames, cut in any way, through a
// coalescer whose sink gives room in any pieces and now and then none.
func FuzzCoalesce(f *testing.F) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 9))
		var b []byte
		flows := []*source{newSource(r, 1, 0.05), newSource(r, 2, 0.2)}
		for range 2 + r.IntN(12) {
			s := flows[r.IntN(2)]
			s.mss = min(s.mss, 200)
			in := s.next()
			b = binary.BigEndian.AppendUint16(b, uint16(len(in.frame)))
			b = append(b, in.hdr.Flags&3|uint8(r.IntN(32))<<3, byte(in.hdr.CsumStart))
			b = append(b, in.frame...)
		}
		f.Add(b, seed, uint8(0x1f))
	}
	c := gro.New(64)
	f.Fuzz(func(t *testing.T, b []byte, seed uint64, config uint8) {
		r := rand.New(rand.NewPCG(seed, 5))
		cfg := gro.Config{
			RSC4: config&1 != 0, RSC6: config&2 != 0, URO4: config&4 != 0, URO6: config&8 != 0, RSCInfo: config&32 != 0,
		}
		if config&64 != 0 {
			cfg.VXLANPort = 4789
		}
		in := splitFrames(b)
		var frames []gro.Frame
		for i := range in {
			frames = append(frames, frameOf(r, &in[i]))
		}
		s := &sink{t: t, c: c, r: r}
		if config&128 != 0 {
			s.refuse = func(int) bool { return r.IntN(3) == 0 }
		}
		var stats gro.Stats
		checkUnits(t, frames, deliver(t, c, s, &cfg, &stats, frames), true)
	})
}

func TestNoAllocation(t *testing.T) {
	frames, cfg := fullUnit(1, full), everything
	c, s := gro.New(len(frames)), newFlatSink()
	var stats gro.Stats
	if n := testing.AllocsPerRun(100, func() { pass(c, s, &cfg, &stats, frames) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
	if stats.CoalesceEvents == 0 {
		t.Errorf("Stats = %+v, want units", stats)
	}
}
