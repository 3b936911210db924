//go:build !purego

package checksum

import "vhost-user-nvgre/offload/internal/cpu"

// Bodies returns what this processor can run.
func Bodies() []Body {
	all := []Body{
		genericBody(),
		{
			Name: "avx2",
			Min:  minVector,
			Sum:  func(b []byte) Acc { return Acc(sumAVX2(b)) },
			Copy: func(dst, src []byte) Acc { return Acc(copyAVX2(&dst[0], &src[0], len(src))) },
		},
		{
			Name: "avx512",
			Min:  1,
			Sum:  func(b []byte) Acc { return Acc(sumAVX512(b)) },
			Copy: func(dst, src []byte) Acc { return Acc(copyAVX512(&dst[0], &src[0], len(src))) },
		},
	}
	return append(all[:len(cpu.Levels())], dispatchBody())
}

// SetLevel makes the public functions use the bodies of one level until
// restore is called.
func SetLevel(l cpu.Level) (restore func()) {
	a, b := useAVX2, useAVX512
	useAVX2, useAVX512 = l >= cpu.AVX2, l >= cpu.AVX512
	return func() { useAVX2, useAVX512 = a, b }
}
