//go:build !amd64 || purego

package checksum

const (
	useAVX2   = false
	useAVX512 = false

	sumMin  = 1
	copyMin = 1
)

func sumAVX2(*byte, int) uint64           { panic("not reached: useAVX2 is false") }
func sumAVX512(*byte, int) uint64         { panic("not reached: useAVX512 is false") }
func copyAVX2(_, _ *byte, _ int) uint64   { panic("not reached: useAVX2 is false") }
func copyAVX512(_, _ *byte, _ int) uint64 { panic("not reached: useAVX512 is false") }
