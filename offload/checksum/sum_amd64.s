//go:build !purego

#include "textflag.h"

// The least length for which vectors are faster (measured).
#define sumMin 32

// func sum(b []byte) uint64
//
// The frame is that of the bodies it jumps to.
TEXT ·sum(SB), NOSPLIT|NOFRAME, $0-32
	CMPQ b_len+8(FP), $sumMin
	JLT  generic
	CMPB ·useAVX512(SB), $0
	JNE  avx512
	CMPB ·useAVX2(SB), $0
	JEQ  generic
	JMP  ·sumAVX2(SB)

avx512:
	JMP ·sumAVX512(SB)

generic:
	JMP ·sumGeneric(SB)
