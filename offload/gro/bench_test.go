package gro_test

import (
	"fmt"
	"testing"

	"vhost-user-nvgre/offload/gro"
	"vhost-user-nvgre/offload/packet"
	"vhost-user-nvgre/virtio"
)

// flatSink is room in one piece, given again and again.
type flatSink struct{ room [1][]byte }

func newFlatSink() *flatSink { return &flatSink{[1][]byte{make([]byte, 1<<16+100)}} }

func (s *flatSink) Reserve(int) ([][]byte, bool) { return s.room[:], true }
func (s *flatSink) Trim(int)                     {}
func (s *flatSink) Commit(*virtio.NetHdr)        {}

// fullUnit returns segments of 1,448 bytes, as many as fit in a unit, taken
// in turn from the given number of connections.
func fullUnit(flows int, kind sumKind) (frames []gro.Frame) {
	for n := range 45 {
		s := segment(0)
		s.SrcPort, s.Seq, s.Payload = uint16(n%flows), uint32(n/flows*1448), pattern(n, 1448)
		stamps(5, 6)(&s)
		in := build(s, kind)
		var p packet.Info
		packet.Parse(&p, in.frame[:128], len(in.frame))
		frames = append(frames, gro.Frame{Head: in.frame[:128], Tail: [][]byte{in.frame[128:]}, Info: &p, Hdr: &in.hdr})
	}
	return frames
}

// pass puts frames through a coalescer and returns how many were left alone.
func pass(c *gro.Coalescer, s gro.Sink, cfg *gro.Config, stats *gro.Stats, frames []gro.Frame) (alone int) {
	c.Begin(cfg, stats)
	for i := range frames {
		c.Add(frames[i])
	}
	for {
		if _, ok := c.Next(s); !ok {
			return alone
		}
		alone++
	}
}

// BenchmarkCoalesce copies segments of 1,448 bytes into units. The cost beside
// the copy is that of the checksums, where they are not partial.
func BenchmarkCoalesce(b *testing.B) {
	for _, flows := range []int{1, 8} {
		for kind, name := range map[sumKind]string{partial: "partial", full: "verified"} {
			b.Run(fmt.Sprintf("flows=%d/%s", flows, name), func(b *testing.B) {
				frames, cfg := fullUnit(flows, kind), everything
				c, s := gro.New(64), newFlatSink()
				var stats gro.Stats
				b.SetBytes(45 * 1514)
				b.ReportAllocs()
				for b.Loop() {
					if alone := pass(c, s, &cfg, &stats, frames); alone != 0 {
						b.Fatalf("%d frames left alone", alone)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/45, "ns/packet")
			})
		}
	}
}

// BenchmarkNothing looks at segments none of which can be coalesced: what
// turning it on costs where it does not help. They are not copied.
func BenchmarkNothing(b *testing.B) {
	frames, cfg := fullUnit(45, partial), everything
	c, s := gro.New(64), newFlatSink()
	var stats gro.Stats
	b.ReportAllocs()
	for b.Loop() {
		if alone := pass(c, s, &cfg, &stats, frames); alone != 45 {
			b.Fatalf("%d frames left alone, want 45", alone)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/45, "ns/packet")
}
