//go:build !purego

#include "textflag.h"

// A plain load is an acquire on amd64; the call keeps the compiler from
// moving or repeating it.
//
// func load16(p *uint16) uint16
TEXT ·load16(SB), NOSPLIT, $0-10
	MOVQ p+0(FP), AX
	MOVWLZX (AX), AX
	MOVW AX, ret+8(FP)
	RET

// XCHG with memory is locked implicitly: a store and a full fence in one.
//
// func storeFence16(p *uint16, v uint16)
TEXT ·storeFence16(SB), NOSPLIT, $0-10
	MOVQ p+0(FP), AX
	MOVW v+8(FP), BX
	XCHGW BX, (AX)
	RET

// func storeFence32(p *uint32, v uint32)
TEXT ·storeFence32(SB), NOSPLIT, $0-12
	MOVQ p+0(FP), AX
	MOVL v+8(FP), BX
	XCHGL BX, (AX)
	RET
