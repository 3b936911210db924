//go:build !amd64 || purego

package checksum

const (
	useAVX2   = false
	useAVX512 = false

	copyMin = 1
)

func sum(b []byte) uint64 { return sumGeneric(b) }

func copyAVX2(_, _ *byte, _ int) uint64   { panic("not reached: useAVX2 is false") }
func copyAVX512(_, _ *byte, _ int) uint64 { panic("not reached: useAVX512 is false") }
