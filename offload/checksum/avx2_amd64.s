//go:build !purego

#include "textflag.h"

// Both kernels add 64-bit lanes in two ways: S takes the lanes themselves,
// modulo 2**64, and H the upper halves of the lanes, exactly. The sum of the
// lower halves is then S - (H << 32), exact again as it is below 2**64 for any
// length that fits memory, so no carry is ever tracked: two additions and a
// shift for 32 bytes. The result is lower + upper halves (2**32 = 1 modulo
// 0xffff).
//
// The last n mod 16 bytes are taken from a load of the last 16 bytes, moved to
// the front of the register by a byte shuffle that zeroes the rest; so nothing
// outside [p, p+n) is touched, and the tail needs no loop. In front of it lies
// a multiple of 16 bytes, hence its parity is right.
//
// No stack is used: a fault in the middle (guest memory whose file was
// truncated) unwinds as from the caller.

// Loading 16 bytes at offset s gives a shuffle that moves bytes s..15 to the
// front and fills with zeros.
DATA slide<>+0x00(SB)/8, $0x0706050403020100
DATA slide<>+0x08(SB)/8, $0x0f0e0d0c0b0a0908
DATA slide<>+0x10(SB)/8, $0x8080808080808080
DATA slide<>+0x18(SB)/8, $0x8080808080808080
GLOBL slide<>(SB), RODATA|NOPTR, $32

// ADD(v, t, s, h): s += v; h += v >> 32. t is scratch.
#define ADD(v, t, s, h) \
	VPSRLQ $32, v, t \
	VPADDQ v, s, s   \
	VPADDQ t, h, h

// REDUCE: AX = total of S0 (Y0), S1 (Y1), H0 (Y2), H1 (Y3).
#define REDUCE \
	VPADDQ Y1, Y0, Y0        \
	VPADDQ Y3, Y2, Y2        \
	VPSLLQ $32, Y2, Y4       \
	VPSUBQ Y4, Y0, Y0        \
	VPADDQ Y2, Y0, Y0        \
	VEXTRACTI128 $1, Y0, X1  \
	VPADDQ X1, X0, X0        \
	VPUNPCKHQDQ X0, X0, X1   \
	VPADDQ X1, X0, X0        \
	VMOVQ X0, AX

// func sumAVX2(b []byte) uint64
TEXT ·sumAVX2(SB), NOSPLIT|NOFRAME, $0-32
	MOVQ b_base+0(FP), SI
	MOVQ b_len+8(FP), CX

	// The tail initialises the accumulators.
	MOVQ    CX, DX
	ANDQ    $15, DX
	LEAQ    slide<>+16(SB), R8
	SUBQ    DX, R8
	VMOVDQU -16(SI)(CX*1), X0
	VPSHUFB (R8), X0, X0
	VPSRLQ  $32, X0, X2
	VPXOR   X1, X1, X1
	VPXOR   X3, X3, X3

	SUBQ $128, CX
	JB   sum64

sum128:
	VMOVDQU (SI), Y4
	VMOVDQU 32(SI), Y5
	VMOVDQU 64(SI), Y6
	VMOVDQU 96(SI), Y7
	ADDQ    $128, SI
	ADD(Y4, Y8, Y0, Y2)
	ADD(Y5, Y9, Y1, Y3)
	ADD(Y6, Y10, Y0, Y2)
	ADD(Y7, Y11, Y1, Y3)
	SUBQ    $128, CX
	JAE     sum128

sum64:
	TESTQ $64, CX
	JZ    sum32
	VMOVDQU (SI), Y4
	VMOVDQU 32(SI), Y5
	ADDQ    $64, SI
	ADD(Y4, Y8, Y0, Y2)
	ADD(Y5, Y9, Y1, Y3)

sum32:
	TESTQ $32, CX
	JZ    sum16
	VMOVDQU (SI), Y4
	ADDQ    $32, SI
	ADD(Y4, Y8, Y0, Y2)

sum16:
	TESTQ $16, CX
	JZ    sumdone
	VMOVDQU (SI), X4
	ADD(Y4, Y8, Y1, Y3)

sumdone:
	REDUCE
	VZEROUPPER
	MOVQ AX, ret+24(FP)
	RET

// func copyAVX2(dst, src *byte, n int) uint64
//
// The last 16 bytes are read first, stored first, and summed only as far as no
// later load covers them; what a later load covers is stored again from that
// load. So every byte that remains in dst was summed from the same load that
// it was stored from, even if another processor changes src meanwhile.
TEXT ·copyAVX2(SB), NOSPLIT|NOFRAME, $0-32
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX

	MOVQ    CX, DX
	ANDQ    $15, DX
	LEAQ    slide<>+16(SB), R8
	SUBQ    DX, R8
	VMOVDQU -16(SI)(CX*1), X0
	VMOVDQU X0, -16(DI)(CX*1)
	VPSHUFB (R8), X0, X0
	VPSRLQ  $32, X0, X2
	VPXOR   X1, X1, X1
	VPXOR   X3, X3, X3

	SUBQ $128, CX
	JB   copy64

copy128:
	VMOVDQU (SI), Y4
	VMOVDQU 32(SI), Y5
	VMOVDQU 64(SI), Y6
	VMOVDQU 96(SI), Y7
	ADDQ    $128, SI
	VMOVDQU Y4, (DI)
	VMOVDQU Y5, 32(DI)
	VMOVDQU Y6, 64(DI)
	VMOVDQU Y7, 96(DI)
	ADDQ    $128, DI
	ADD(Y4, Y8, Y0, Y2)
	ADD(Y5, Y9, Y1, Y3)
	ADD(Y6, Y10, Y0, Y2)
	ADD(Y7, Y11, Y1, Y3)
	SUBQ    $128, CX
	JAE     copy128

copy64:
	TESTQ $64, CX
	JZ    copy32
	VMOVDQU (SI), Y4
	VMOVDQU 32(SI), Y5
	ADDQ    $64, SI
	VMOVDQU Y4, (DI)
	VMOVDQU Y5, 32(DI)
	ADDQ    $64, DI
	ADD(Y4, Y8, Y0, Y2)
	ADD(Y5, Y9, Y1, Y3)

copy32:
	TESTQ $32, CX
	JZ    copy16
	VMOVDQU (SI), Y4
	ADDQ    $32, SI
	VMOVDQU Y4, (DI)
	ADDQ    $32, DI
	ADD(Y4, Y8, Y0, Y2)

copy16:
	TESTQ $16, CX
	JZ    copydone
	VMOVDQU (SI), X4
	VMOVDQU X4, (DI)
	ADD(Y4, Y8, Y1, Y3)

copydone:
	REDUCE
	VZEROUPPER
	MOVQ AX, ret+24(FP)
	RET
