//go:build !purego

package checksum

import "vhost-user-nvgre/offload/internal/cpu"

// useAVX2 and useAVX512 are read by the assembly, too.
var (
	useAVX2   = cpu.HasAVX2
	useAVX512 = cpu.HasAVX512
)

// Below this length copyAVX2 does not work, below sumMin (in sum_amd64.s)
// summing with vectors does not pay.
const minVector = 16

const copyMin = minVector

// sum jumps to the body for the length and the processor. That is done in
// assembly so that Sum is inlined: a call more would cost as much as the sum
// of a header.
//
//go:noescape
func sum(b []byte) uint64

// sumAVX2 returns the unfolded sum of b, of at least minVector bytes.
//
//go:noescape
func sumAVX2(b []byte) uint64

// sumAVX512 is sumAVX2 for at least 1 byte.
//
//go:noescape
func sumAVX512(b []byte) uint64

// copyAVX2 copies n >= minVector bytes and returns their unfolded sum.
//
//go:noescape
func copyAVX2(dst, src *byte, n int) uint64

// copyAVX512 is copyAVX2 for any n >= 1.
//
//go:noescape
func copyAVX512(dst, src *byte, n int) uint64
