//go:build !purego

package checksum

import "vhost-user-nvgre/offload/internal/cpu"

var (
	useAVX2   = cpu.HasAVX2
	useAVX512 = cpu.HasAVX512
)

// Below these lengths the call costs more than the vectors save (measured;
// the kernels themselves need minVector bytes).
const (
	minVector = 16
	sumMin    = 32
	copyMin   = minVector
)

// sumAVX2 returns the unfolded sum of the n bytes at p, n >= minVector.
//
//go:noescape
func sumAVX2(p *byte, n int) uint64

// copyAVX2 copies n >= minVector bytes and returns their unfolded sum.
//
//go:noescape
func copyAVX2(dst, src *byte, n int) uint64

// sumAVX512 is sumAVX2 for any n >= 1.
//
//go:noescape
func sumAVX512(p *byte, n int) uint64

// copyAVX512 is copyAVX2 for any n >= 1.
//
//go:noescape
func copyAVX512(dst, src *byte, n int) uint64
