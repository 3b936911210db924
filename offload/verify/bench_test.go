package verify_test

import (
	"fmt"
	"testing"

	"vhost-user-nvgre/offload/checksum"
	"vhost-user-nvgre/offload/internal/frametest"
	"vhost-user-nvgre/offload/packet"
	"vhost-user-nvgre/offload/verify"
)

// nvgre returns an NVGRE frame of the given size, IPv4 and TCP.
func nvgre(size int) []byte {
	s := frametest.Spec{
		Proto: frametest.GRE, GREFlags: 0x20, GREKey: 0x12345678,
		Inner: &frametest.Spec{Proto: frametest.TCP, Payload: make([]byte, size-96)},
	}
	return s.Build().Bytes
}

// batch returns 16 copies of frame, in memory that does not make them evict
// each other from the first-level cache.
func batch(frame []byte) [][]byte {
	stride := len(frame) + 64
	mem := make([]byte, 16*stride)
	frames := make([][]byte, 16)
	for i := range frames {
		frames[i] = mem[i*stride:][:len(frame)]
		copy(frames[i], frame)
	}
	return frames
}

// BenchmarkVerify parses and verifies hot, contiguous NVGRE frames: outer IP,
// inner IP and inner TCP. An operation is a batch of 64.
func BenchmarkVerify(b *testing.B) {
	for _, size := range []int{160, 512, 1496} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			frames := batch(nvgre(size))
			var p packet.Info
			b.SetBytes(64 * int64(size))
			b.ReportAllocs()
			for b.Loop() {
				for i := range 64 {
					f := frames[i&15]
					packet.Parse(&p, f, len(f))
					if verify.Check(&p, f, true).Transport != verify.Good {
						b.Fatal("bad")
					}
				}
			}
			perFrame(b)
		})
	}
}

// BenchmarkDeliver is BenchmarkVerify with the frame copied to a receiver.
func BenchmarkDeliver(b *testing.B) {
	for _, size := range []int{160, 512, 1496} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			frames := batch(nvgre(size))
			out := make([]byte, size)
			var p packet.Info
			b.SetBytes(64 * int64(size))
			b.ReportAllocs()
			for b.Loop() {
				for i := range 64 {
					f := frames[i&15]
					packet.Parse(&p, f[:128], len(f))
					d, tail := checksum.NewCursorAt(out, nil), checksum.NewCursorAt(f[128:], nil)
					if r, ok := verify.Deliver(&d, f[:128], &tail, &p, true); !ok || r.Transport != verify.Good {
						b.Fatal("bad")
					}
				}
			}
			perFrame(b)
		})
	}
}

func perFrame(b *testing.B) {
	ns := float64(b.Elapsed().Nanoseconds()) / float64(b.N) / 64
	b.ReportMetric(ns, "ns/frame")
	b.ReportMetric(1000/ns, "Mframes/s")
}
