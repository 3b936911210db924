//go:build !purego

#include "textflag.h"

// The algorithm is that of avx2_amd64.s on registers twice as wide. Byte masks
// take the place of the overlapping tail: lanes whose mask bit is clear are
// neither loaded nor stored and cannot fault.

// ADD(v, t, s, h): s += v; h += v >> 32. t is scratch.
#define ADD(v, t, s, h) \
	VPSRLQ $32, v, t \
	VPADDQ v, s, s   \
	VPADDQ t, h, h

// REDUCE: AX = total of S0 (Z0), S1 (Z1), H0 (Z2), H1 (Z3).
#define REDUCE \
	VPADDQ Z1, Z0, Z0          \
	VPADDQ Z3, Z2, Z2          \
	VPSLLQ $32, Z2, Z4         \
	VPSUBQ Z4, Z0, Z0          \
	VPADDQ Z2, Z0, Z0          \
	VEXTRACTI64X4 $1, Z0, Y1   \
	VPADDQ Y1, Y0, Y0          \
	VEXTRACTI128 $1, Y0, X1    \
	VPADDQ X1, X0, X0          \
	VPUNPCKHQDQ X0, X0, X1     \
	VPADDQ X1, X0, X0          \
	VMOVQ X0, AX

// TAILMASK: K1 = the low (CX mod 64) bits.
#define TAILMASK \
	MOVQ $-1, DX    \
	ANDQ $63, CX    \
	BZHIQ CX, DX, DX \
	KMOVQ DX, K1

// func sumAVX512(b []byte) uint64
TEXT ·sumAVX512(SB), NOSPLIT|NOFRAME, $0-32
	MOVQ b_base+0(FP), SI
	MOVQ b_len+8(FP), CX

	VPXORQ Z0, Z0, Z0
	VPXORQ Z1, Z1, Z1
	VPXORQ Z2, Z2, Z2
	VPXORQ Z3, Z3, Z3

	SUBQ $256, CX
	JB   sum128

sum256:
	VMOVDQU64 (SI), Z4
	VMOVDQU64 64(SI), Z5
	VMOVDQU64 128(SI), Z6
	VMOVDQU64 192(SI), Z7
	ADDQ      $256, SI
	ADD(Z4, Z8, Z0, Z2)
	ADD(Z5, Z9, Z1, Z3)
	ADD(Z6, Z10, Z0, Z2)
	ADD(Z7, Z11, Z1, Z3)
	SUBQ      $256, CX
	JAE       sum256

sum128:
	TESTQ $128, CX
	JZ    sum64
	VMOVDQU64 (SI), Z4
	VMOVDQU64 64(SI), Z5
	ADDQ      $128, SI
	ADD(Z4, Z8, Z0, Z2)
	ADD(Z5, Z9, Z1, Z3)

sum64:
	TESTQ $64, CX
	JZ    sumtail
	VMOVDQU64 (SI), Z4
	ADDQ      $64, SI
	ADD(Z4, Z8, Z0, Z2)

sumtail:
	TESTQ $63, CX
	JZ    sumdone
	TAILMASK
	VMOVDQU8.Z (SI), K1, Z4
	ADD(Z4, Z8, Z1, Z3)

sumdone:
	REDUCE
	VZEROUPPER
	MOVQ AX, ret+24(FP)
	RET

// func copyAVX512(dst, src *byte, n int) uint64
TEXT ·copyAVX512(SB), NOSPLIT|NOFRAME, $0-32
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX

	VPXORQ Z0, Z0, Z0
	VPXORQ Z1, Z1, Z1
	VPXORQ Z2, Z2, Z2
	VPXORQ Z3, Z3, Z3

	SUBQ $256, CX
	JB   copy128

copy256:
	VMOVDQU64 (SI), Z4
	VMOVDQU64 64(SI), Z5
	VMOVDQU64 128(SI), Z6
	VMOVDQU64 192(SI), Z7
	ADDQ      $256, SI
	VMOVDQU64 Z4, (DI)
	VMOVDQU64 Z5, 64(DI)
	VMOVDQU64 Z6, 128(DI)
	VMOVDQU64 Z7, 192(DI)
	ADDQ      $256, DI
	ADD(Z4, Z8, Z0, Z2)
	ADD(Z5, Z9, Z1, Z3)
	ADD(Z6, Z10, Z0, Z2)
	ADD(Z7, Z11, Z1, Z3)
	SUBQ      $256, CX
	JAE       copy256

copy128:
	TESTQ $128, CX
	JZ    copy64
	VMOVDQU64 (SI), Z4
	VMOVDQU64 64(SI), Z5
	ADDQ      $128, SI
	VMOVDQU64 Z4, (DI)
	VMOVDQU64 Z5, 64(DI)
	ADDQ      $128, DI
	ADD(Z4, Z8, Z0, Z2)
	ADD(Z5, Z9, Z1, Z3)

copy64:
	TESTQ $64, CX
	JZ    copytail
	VMOVDQU64 (SI), Z4
	ADDQ      $64, SI
	VMOVDQU64 Z4, (DI)
	ADDQ      $64, DI
	ADD(Z4, Z8, Z0, Z2)

copytail:
	TESTQ $63, CX
	JZ    copydone
	TAILMASK
	VMOVDQU8.Z (SI), K1, Z4
	VMOVDQU8   Z4, K1, (DI)
	ADD(Z4, Z8, Z1, Z3)

copydone:
	REDUCE
	VZEROUPPER
	MOVQ AX, ret+24(FP)
	RET
