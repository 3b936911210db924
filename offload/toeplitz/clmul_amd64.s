//go:build !purego

#include "textflag.h"

// The arithmetic is described at type factors. Bit i of the input belongs at
// x**i, but the input's first bit is the most significant one of its first
// byte: bytes loaded little endian have the right order, the bits within each
// are reversed first, by two table look-ups of 4 bits.
//
// The hash is in bits 64..95 of the sum of the products by low and half and in
// bits 0..31 of the sum of those by high.

DATA low4<>+0x00(SB)/8, $0x0f0f0f0f0f0f0f0f
DATA low4<>+0x08(SB)/8, $0x0f0f0f0f0f0f0f0f
DATA low4<>+0x10(SB)/8, $0x0f0f0f0f0f0f0f0f
DATA low4<>+0x18(SB)/8, $0x0f0f0f0f0f0f0f0f
GLOBL low4<>(SB), RODATA|NOPTR, $32

// low4 without its first 4 bytes.
DATA low4of12<>+0x00(SB)/8, $0x0f0f0f0f00000000
DATA low4of12<>+0x08(SB)/8, $0x0f0f0f0f0f0f0f0f
GLOBL low4of12<>(SB), RODATA|NOPTR, $16

// The reversal of 0..15 in the low half of a byte, for the high half of an
// input byte, and in the high half for the low one.
DATA revhi<>+0x00(SB)/8, $0x0e060a020c040800
DATA revhi<>+0x08(SB)/8, $0x0f070b030d050901
DATA revhi<>+0x10(SB)/8, $0x0e060a020c040800
DATA revhi<>+0x18(SB)/8, $0x0f070b030d050901
GLOBL revhi<>(SB), RODATA|NOPTR, $32

DATA revlo<>+0x00(SB)/8, $0xe060a020c0408000
DATA revlo<>+0x08(SB)/8, $0xf070b030d0509010
DATA revlo<>+0x10(SB)/8, $0xe060a020c0408000
DATA revlo<>+0x18(SB)/8, $0xf070b030d0509010
GLOBL revlo<>(SB), RODATA|NOPTR, $32

// REVERSE(x, t, mask, hi, lo): reverses the bits in each byte of x.
#define REVERSE(x, t, mask, hi, lo) \
	VPSRLQ  $4, x, t   \
	VPAND   mask, x, x \
	VPAND   mask, t, t \
	VPSHUFB x, lo, x   \
	VPSHUFB t, hi, t   \
	VPXOR   t, x, x

// Offsets in factors.
#define LOW 0
#define HIGH 32
#define HALF8 64
#define HALF32 72
#define HALF0 80
#define HIGH4 88

// Each of the next four has the frame of the body it jumps to.

// func ipv4(k *Key, addrs *[8]byte, ports *[4]byte) uint32
TEXT ·ipv4(SB), NOSPLIT|NOFRAME, $0-28
	CMPB ·useCLMUL(SB), $0
	JEQ  generic
	JMP  ·ipv4CLMUL(SB)

generic:
	JMP ·ipv4Generic(SB)

// func ipv4Header(k *Key, header *[24]byte) uint32
TEXT ·ipv4Header(SB), NOSPLIT|NOFRAME, $0-20
	CMPB ·useCLMUL(SB), $0
	JEQ  generic
	JMP  ·ipv4HeaderCLMUL(SB)

generic:
	JMP ·ipv4HeaderGeneric(SB)

// func ipv6(k *Key, src, dst *[16]byte, ports *[4]byte) uint32
TEXT ·ipv6(SB), NOSPLIT|NOFRAME, $0-36
	CMPB ·useVPCLMUL(SB), $0
	JEQ  narrow
	JMP  ·ipv6VPCLMUL(SB)

narrow:
	CMPB ·useCLMUL(SB), $0
	JEQ  generic
	JMP  ·ipv6CLMUL(SB)

generic:
	JMP ·ipv6Generic(SB)

// func ipv6Header(k *Key, header *[44]byte) uint32
TEXT ·ipv6Header(SB), NOSPLIT|NOFRAME, $0-20
	CMPB ·useVPCLMUL(SB), $0
	JEQ  narrow
	JMP  ·ipv6HeaderVPCLMUL(SB)

narrow:
	CMPB ·useCLMUL(SB), $0
	JEQ  generic
	JMP  ·ipv6HeaderCLMUL(SB)

generic:
	JMP ·ipv6HeaderGeneric(SB)

// func ipv4CLMUL(k *Key, addrs *[8]byte, ports *[4]byte) uint32
TEXT ·ipv4CLMUL(SB), NOSPLIT|NOFRAME, $0-28
	MOVQ       k+0(FP), AX
	MOVQ       addrs+8(FP), BX
	MOVQ       ports+16(FP), CX
	VMOVQ      (BX), X0
	VPINSRD    $3, (CX), X0, X0
	VMOVDQU    low4<>(SB), X5
	VMOVDQU    revhi<>(SB), X6
	VMOVDQU    revlo<>(SB), X7
	REVERSE(X0, X1, X5, X6, X7)
	VPCLMULQDQ $0x00, LOW(AX), X0, X1
	VPCLMULQDQ $0x00, HIGH(AX), X0, X2
	VPCLMULQDQ $0x01, HALF8(AX), X0, X3
	VPXOR      X3, X1, X1
	VPSRLDQ    $8, X1, X1
	VPXOR      X2, X1, X1
	VMOVD      X1, AX
	MOVL       AX, ret+24(FP)
	RET

// func ipv4HeaderCLMUL(k *Key, header *[24]byte) uint32
//
// The 16 bytes loaded begin with TTL, protocol and checksum, which the mask
// removes.
TEXT ·ipv4HeaderCLMUL(SB), NOSPLIT|NOFRAME, $0-20
	MOVQ       k+0(FP), AX
	MOVQ       header+8(FP), BX
	VMOVDQU    8(BX), X0
	VMOVDQU    low4of12<>(SB), X5
	VMOVDQU    revhi<>(SB), X6
	VMOVDQU    revlo<>(SB), X7
	REVERSE(X0, X1, X5, X6, X7)
	VPCLMULQDQ $0x00, HALF0(AX), X0, X1
	VPCLMULQDQ $0x01, HALF8(AX), X0, X2
	VPCLMULQDQ $0x11, HALF0(AX), X0, X3 // the upper half is HIGH4
	VPXOR      X2, X1, X1
	VPSRLDQ    $8, X1, X1
	VPXOR      X3, X1, X1
	VMOVD      X1, AX
	MOVL       AX, ret+16(FP)
	RET

// PRODUCTS6: X3 and X12 = sums of the products of X0 (source), X1
// (destination) and the upper half of the low 8 bytes of X2 (ports), by low
// and half and by high.
#define PRODUCTS6 \
	VMOVDQU    LOW(AX), X8          \
	VMOVDQU    HIGH(AX), X9         \
	VMOVDQU    (LOW+16)(AX), X10    \
	VMOVDQU    (HIGH+16)(AX), X11   \
	VPCLMULQDQ $0x00, X8, X0, X3    \
	VPCLMULQDQ $0x11, X8, X0, X4    \
	VPCLMULQDQ $0x00, X9, X0, X12   \
	VPCLMULQDQ $0x11, X9, X0, X13   \
	VPXOR      X4, X3, X3           \
	VPXOR      X13, X12, X12        \
	VPCLMULQDQ $0x00, X10, X1, X4   \
	VPCLMULQDQ $0x11, X10, X1, X13  \
	VPXOR      X4, X3, X3           \
	VPXOR      X13, X3, X3          \
	VPCLMULQDQ $0x00, X11, X1, X4   \
	VPCLMULQDQ $0x11, X11, X1, X13  \
	VPXOR      X4, X12, X12         \
	VPXOR      X13, X12, X12        \
	VMOVQ      HALF32(AX), X4       \
	VPCLMULQDQ $0x00, X4, X2, X4    \
	VPXOR      X4, X3, X3           \
	VPSRLDQ    $8, X3, X3           \
	VPXOR      X12, X3, X3

// func ipv6CLMUL(k *Key, src, dst *[16]byte, ports *[4]byte) uint32
TEXT ·ipv6CLMUL(SB), NOSPLIT|NOFRAME, $0-36
	MOVQ    k+0(FP), AX
	MOVQ    src+8(FP), BX
	MOVQ    dst+16(FP), CX
	MOVQ    ports+24(FP), DX
	VMOVDQU (BX), X0
	VMOVDQU (CX), X1
	VMOVD   (DX), X2
	VPSLLQ  $32, X2, X2
	VMOVDQU low4<>(SB), X5
	VMOVDQU revhi<>(SB), X6
	VMOVDQU revlo<>(SB), X7
	REVERSE(X0, X8, X5, X6, X7)
	REVERSE(X1, X9, X5, X6, X7)
	REVERSE(X2, X10, X5, X6, X7)
	PRODUCTS6
	VMOVD   X3, AX
	MOVL    AX, ret+32(FP)
	RET

// func ipv6HeaderCLMUL(k *Key, header *[44]byte) uint32
TEXT ·ipv6HeaderCLMUL(SB), NOSPLIT|NOFRAME, $0-20
	MOVQ    k+0(FP), AX
	MOVQ    header+8(FP), BX
	VMOVDQU 8(BX), X0
	VMOVDQU 24(BX), X1
	VMOVQ   36(BX), X2
	VMOVDQU low4<>(SB), X5
	VMOVDQU revhi<>(SB), X6
	VMOVDQU revlo<>(SB), X7
	VMOVDQU low4of12<>(SB), X8
	REVERSE(X0, X9, X5, X6, X7)
	REVERSE(X1, X10, X5, X6, X7)
	REVERSE(X2, X11, X8, X6, X7)
	PRODUCTS6
	VMOVD   X3, AX
	MOVL    AX, ret+16(FP)
	RET

// PRODUCTS6V is PRODUCTS6 with source and destination together in Y0; the
// result is in X10.
#define PRODUCTS6V \
	VMOVDQU      LOW(AX), Y8          \
	VMOVDQU      HIGH(AX), Y9         \
	VMOVQ        HALF32(AX), X4       \
	VPCLMULQDQ   $0x00, Y8, Y0, Y10   \
	VPCLMULQDQ   $0x11, Y8, Y0, Y11   \
	VPCLMULQDQ   $0x00, Y9, Y0, Y12   \
	VPCLMULQDQ   $0x11, Y9, Y0, Y13   \
	VPCLMULQDQ   $0x00, X4, X2, X4    \
	VPXOR        Y11, Y10, Y10        \
	VPXOR        Y13, Y12, Y12        \
	VPXOR        Y4, Y10, Y10         \
	VPSRLDQ      $8, Y10, Y10         \
	VPXOR        Y12, Y10, Y10        \
	VEXTRACTI128 $1, Y10, X11         \
	VPXOR        X11, X10, X10

// func ipv6VPCLMUL(k *Key, src, dst *[16]byte, ports *[4]byte) uint32
TEXT ·ipv6VPCLMUL(SB), NOSPLIT|NOFRAME, $0-36
	MOVQ        k+0(FP), AX
	MOVQ        src+8(FP), BX
	MOVQ        dst+16(FP), CX
	MOVQ        ports+24(FP), DX
	VMOVDQU     (BX), X0
	VINSERTI128 $1, (CX), Y0, Y0
	VMOVD       (DX), X2
	VPSLLQ      $32, X2, X2
	VMOVDQU     low4<>(SB), Y5
	VMOVDQU     revhi<>(SB), Y6
	VMOVDQU     revlo<>(SB), Y7
	REVERSE(Y0, Y8, Y5, Y6, Y7)
	REVERSE(X2, X9, X5, X6, X7)
	PRODUCTS6V
	VMOVD       X10, AX
	MOVL        AX, ret+32(FP)
	VZEROUPPER
	RET

// func ipv6HeaderVPCLMUL(k *Key, header *[44]byte) uint32
TEXT ·ipv6HeaderVPCLMUL(SB), NOSPLIT|NOFRAME, $0-20
	MOVQ    k+0(FP), AX
	MOVQ    header+8(FP), BX
	VMOVDQU 8(BX), Y0
	VMOVQ   36(BX), X2
	VMOVDQU low4<>(SB), Y5
	VMOVDQU revhi<>(SB), Y6
	VMOVDQU revlo<>(SB), Y7
	VMOVDQU low4of12<>(SB), X3
	REVERSE(Y0, Y8, Y5, Y6, Y7)
	REVERSE(X2, X9, X3, X6, X7)
	PRODUCTS6V
	VMOVD   X10, AX
	MOVL    AX, ret+16(FP)
	VZEROUPPER
	RET
