package rawframe

import "golang.org/x/sys/unix"

// insn is an instruction of BPF (Documentation/bpf/standardization/
// instruction-set.rst of the kernel).
type insn struct {
	op   uint8
	regs uint8 // destination in the lower half, source in the upper
	off  int16
	imm  int32
}

// Offsets in struct __sk_buff (linux/bpf.h).
const (
	ctxLen          = 0
	ctxPacketType   = 4
	ctxQueueMapping = 12 // receive queue + 1
	ctxHash         = 68
)

// Instructions: 64-bit unless they say otherwise.
const (
	opLoad32   = unix.BPF_LDX | unix.BPF_MEM | unix.BPF_W
	opStore32  = unix.BPF_STX | unix.BPF_MEM | unix.BPF_W
	opPacket32 = unix.BPF_LD | unix.BPF_IND | unix.BPF_W // of the frame that r6 is about, in host order to r0
	opLoadImm  = unix.BPF_LD | unix.BPF_IMM | unix.BPF_DW
	opMove     = unix.BPF_ALU64 | unix.BPF_MOV | unix.BPF_X
	opMoveImm  = unix.BPF_ALU64 | unix.BPF_MOV | unix.BPF_K
	opAddImm   = unix.BPF_ALU64 | unix.BPF_ADD | unix.BPF_K
	opAndImm   = unix.BPF_ALU64 | unix.BPF_AND | unix.BPF_K
	opShiftImm = unix.BPF_ALU64 | unix.BPF_RSH | unix.BPF_K
	opIfEqual  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	opIfNot    = unix.BPF_JMP | unix.BPF_JNE | unix.BPF_K
	opCall     = unix.BPF_JMP | unix.BPF_CALL
	opExit     = unix.BPF_JMP | unix.BPF_EXIT
)

// helperLookup is bpf_map_lookup_elem (linux/bpf.h).
const helperLookup = 1

// noteArrival is a socket filter that notes marked frames in a table, an array
// of arrivalSize bytes each, and lets none through to the socket.
func noteArrival(table int) []insn {
	r := func(dst, src uint8) uint8 { return dst | src<<4 }
	p := []insn{
		{op: opMove, regs: r(6, 1)},
		{op: opLoad32, regs: r(0, 6), off: ctxPacketType},
		{op: opIfEqual, regs: r(0, 0), imm: unix.PACKET_OUTGOING},
		{op: opLoad32, regs: r(7, 6), off: ctxLen},
		{op: opAddImm, regs: r(7, 0), imm: -4},
		{op: opPacket32, regs: r(0, 7)}, // ends the program where there are no 4 bytes
		{op: opMove, regs: r(1, 0)},
		{op: opShiftImm, regs: r(1, 0), imm: 16},
		{op: opIfNot, regs: r(1, 0), imm: markMagic},
		{op: opAndImm, regs: r(0, 0), imm: 0xffff},
		{op: opStore32, regs: r(10, 0), off: -4},
		{op: opLoadImm, regs: r(1, unix.BPF_PSEUDO_MAP_FD), imm: int32(table)},
		{}, // its upper half
		{op: opMove, regs: r(2, 10)},
		{op: opAddImm, regs: r(2, 0), imm: -4},
		{op: opCall, imm: helperLookup},
		{op: opIfEqual, regs: r(0, 0)}, // beyond the table
		{op: opLoad32, regs: r(1, 6), off: ctxHash},
		{op: opStore32, regs: r(0, 1)},
		{op: opLoad32, regs: r(1, 6), off: ctxQueueMapping},
		{op: opStore32, regs: r(0, 1), off: 4},
		{op: opLoad32, regs: r(1, 0), off: 8},
		{op: opAddImm, regs: r(1, 0), imm: 1},
		{op: opStore32, regs: r(0, 1), off: 8},
		{op: opMoveImm},
		{op: opExit},
	}
	for i := range p {
		if p[i].op == opIfEqual || p[i].op == opIfNot {
			p[i].off = int16(len(p) - 2 - (i + 1)) // to the end
		}
	}
	return p
}
