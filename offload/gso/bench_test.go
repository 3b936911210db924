package gso_test

import (
	"fmt"
	"testing"

	"vhost-user-nvgre/offload/checksum"
	"vhost-user-nvgre/offload/gso"
	"vhost-user-nvgre/offload/internal/frametest"
	"vhost-user-nvgre/offload/packet"
)

// benchmarkSplit splits super-frames with 60,000 bytes of payload into receive
// buffers of the given stride that lie one after the other. Bytes are those of
// the segments; parsing and Start are included.
func benchmarkSplit(b *testing.B, s frametest.Spec, mss int) {
	s.ID = 1
	if s.Inner != nil {
		s.Inner.ID = 1
	}
	req := request(&s, mss)
	setPayload(&s, make([]byte, 60000))
	frame := s.Build().Bytes
	head, tail := frame[:192], [][]byte{frame[192:]}
	var g gso.Segmenter
	var p packet.Info
	packet.Parse(&p, head, len(frame))
	if r := g.Start(head, &p, req, &wide); r != gso.Accepted {
		b.Fatal(r)
	}
	segments, stride := g.Segments(), (g.NextLen()+12+63)&^63
	buf := make([]byte, segments*stride)
	pieces := make([][]byte, segments)
	for i := range pieces {
		pieces[i] = buf[i*stride+12:][:stride-12] // behind the packet header
	}
	b.SetBytes(int64(60000 + segments*g.HeaderLen()))
	b.ReportAllocs()
	for b.Loop() {
		packet.Parse(&p, head, len(frame))
		if g.Start(head, &p, req, &wide) != gso.Accepted {
			b.Fatal("refused")
		}
		src := checksum.NewCursorAt(head[g.HeaderLen():], tail)
		for i := 0; g.NextLen() > 0; i++ {
			d := checksum.NewCursorAt(pieces[i], nil)
			if !g.Next(&d, &src) {
				b.Fatal("too short")
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(segments), "ns/segment")
}

func BenchmarkNVGRELargeSend(b *testing.B) {
	for _, outer6 := range []bool{false, true} {
		for _, inner6 := range []bool{false, true} {
			b.Run(fmt.Sprintf("%din%d", 4+2*b2i(inner6), 4+2*b2i(outer6)), func(b *testing.B) {
				benchmarkSplit(b, frametest.Spec{
					V6: outer6, Proto: frametest.GRE, GREFlags: 0x20, GREKey: 0x12345678,
					Inner: &frametest.Spec{V6: inner6, Proto: frametest.TCP},
				}, 1400)
			})
		}
	}
}

func BenchmarkNVGREUDP(b *testing.B) {
	benchmarkSplit(b, frametest.Spec{
		Proto: frametest.GRE, GREFlags: 0x20, Inner: &frametest.Spec{Proto: frametest.UDP},
	}, 1400)
}

func BenchmarkLargeSend(b *testing.B) {
	b.Run("v4", func(b *testing.B) { benchmarkSplit(b, frametest.Spec{Proto: frametest.TCP}, 1448) })
	b.Run("v6", func(b *testing.B) { benchmarkSplit(b, frametest.Spec{V6: true, Proto: frametest.TCP}, 1428) })
}

func b2i(v bool) int {
	if v {
		return 1
	}
	return 0
}
