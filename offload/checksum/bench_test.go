package checksum_test

import (
	"fmt"
	"testing"

	"vhost-user-nvgre/offload/checksum"
)

var sink checksum.Acc

func BenchmarkSum(b *testing.B) {
	for _, body := range checksum.Bodies() {
		for _, n := range []int{20, 40, 64, 96, 128, 256, 512, 1448, 1500, 9000, 65536} {
			if n < body.Min {
				continue
			}
			buf := make([]byte, n)
			b.Run(fmt.Sprintf("%s/%d", body.Name, n), func(b *testing.B) {
				b.SetBytes(int64(n))
				b.ReportAllocs()
				for b.Loop() {
					sink += body.Sum(buf)
				}
			})
		}
	}
}

func BenchmarkIPv4Header(b *testing.B) {
	var h [20]byte
	b.ReportAllocs()
	for b.Loop() {
		sink += checksum.IPv4Header(&h)
	}
}

// Body "plain" is copy without a sum: what fusing is measured against.
func BenchmarkCopy(b *testing.B) {
	bodies := append(checksum.Bodies(), checksum.Body{
		Name: "plain",
		Copy: func(dst, src []byte) checksum.Acc { copy(dst, src); return 0 },
	})
	for _, body := range bodies {
		for _, n := range []int{16, 40, 64, 96, 128, 256, 512, 1400, 1448, 9000, 65536} {
			if n < body.Min {
				continue
			}
			src, dst := make([]byte, n), make([]byte, n)
			b.Run(fmt.Sprintf("%s/%d", body.Name, n), func(b *testing.B) {
				b.SetBytes(int64(n))
				b.ReportAllocs()
				for b.Loop() {
					sink += body.Copy(dst, src)
				}
			})
		}
	}
}

// The source is a 60,000-byte payload, the destination receive buffers behind
// headers: neither is aligned.
func BenchmarkCopyUnaligned(b *testing.B) {
	for _, body := range append(checksum.Bodies(), checksum.Body{
		Name: "plain",
		Copy: func(dst, src []byte) checksum.Acc { copy(dst, src); return 0 },
	}) {
		src, dst := make([]byte, 61000), make([]byte, 66000)
		b.Run(body.Name, func(b *testing.B) {
			b.SetBytes(42 * 1400)
			for b.Loop() {
				for i := range 42 {
					sink += body.Copy(dst[96+i*1536:][:1400], src[96+i*1400:][:1400])
				}
			}
		})
	}
}
