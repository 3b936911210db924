package packet_test

import (
	"encoding/hex"
	"strings"
	"testing"

	"vhost-user-nvgre/offload/packet"
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		panic(err)
	}
	return b
}

// Frames for benchmarks, written out by hand. Payloads are added by frame.
const (
	eth4 = "020000000001 020000000002 0800"
	eth6 = "020000000001 020000000002 86dd"
	// The total length is filled in by frame.
	ip4TCP = "4500 0000 1234 4000 40 06 0000 0a000001 0a000002"
	ip4UDP = "4500 0000 1234 4000 40 11 0000 0a000001 0a000002"
	ip4GRE = "4500 0000 4321 4000 40 2f 0000 c0a80001 c0a80002"
	ip6TCP = "60000000 0000 06 40 fd000000000000000000000000000001 fd000000000000000000000000000002"
	ip6GRE = "60000000 0000 2f 40 fc000000000000000000000000000001 fc000000000000000000000000000002"
	nvgre  = "2000 6558 abcdef 42"
	tcp    = "1234 0050 00000001 00000002 5010 ffff 0000 0000"
	udp    = "1234 0035 0000 0000"
)

// fixLengths sets IP and UDP lengths of the parts, of which each is followed
// by the rest of the frame.
func frame(size int, parts ...string) []byte {
	var b []byte
	var ip4, ip6, u []int
	for _, p := range parts {
		switch p {
		case ip4TCP, ip4UDP, ip4GRE:
			ip4 = append(ip4, len(b))
		case ip6TCP, ip6GRE:
			ip6 = append(ip6, len(b))
		case udp:
			u = append(u, len(b))
		}
		b = append(b, unhex(p)...)
	}
	b = append(b, make([]byte, max(0, size-len(b)))...)
	put := func(at, n int) { b[at], b[at+1] = byte(n>>8), byte(n) }
	for _, at := range ip4 {
		put(at+2, len(b)-at)
	}
	for _, at := range ip6 {
		put(at+4, len(b)-at-40)
	}
	for _, at := range u {
		put(at+4, len(b)-at)
	}
	return b
}

func BenchmarkParse(b *testing.B) {
	for _, c := range []struct {
		name  string
		parts []string
	}{
		{"TCP4", []string{eth4, ip4TCP, tcp}},
		{"UDP4", []string{eth4, ip4UDP, udp}},
		{"TCP6", []string{eth6, ip6TCP, tcp}},
		{"NVGRE4-TCP4", []string{eth4, ip4GRE, nvgre, eth4, ip4TCP, tcp}},
		{"NVGRE4-TCP6", []string{eth4, ip4GRE, nvgre, eth6, ip6TCP, tcp}},
		{"NVGRE6-TCP4", []string{eth6, ip6GRE, nvgre, eth4, ip4TCP, tcp}},
		{"NVGRE6-TCP6", []string{eth6, ip6GRE, nvgre, eth6, ip6TCP, tcp}},
	} {
		// A batch, as the data path has it, is an operation; the results take a
		// cache line each.
		// Frames that all start at the same distance from a page would evict each
		// other from the first-level cache.
		f := frame(1496, c.parts...)
		stride := len(f) + 64
		mem := make([]byte, 64*stride)
		var frames [64][]byte
		for i := range frames {
			frames[i] = mem[i*stride:][:len(f)]
			copy(frames[i], f)
		}
		infos := new([64]packet.Info)
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				for i, f := range frames {
					packet.Parse(&infos[i], f[:192], len(f))
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/64, "ns/frame")
			if infos[0].Innermost().Verdict != packet.OK {
				b.Fatalf("verdict %v", infos[0].Innermost().Verdict)
			}
		})
	}
}
