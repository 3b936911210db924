//go:build !purego

package cpu

import "golang.org/x/sys/cpu"

// cpuid7 returns ECX of CPUID leaf 7, subleaf 0. The processor must have the
// leaf.
func cpuid7() (ecx uint32)

func detect() features {
	x := &cpu.X86
	var f features
	// HasAVX2 includes that the operating system keeps YMM registers, the
	// AVX-512 ones that it keeps ZMM and mask registers.
	if !x.HasAVX2 || !x.HasBMI1 || !x.HasBMI2 || !x.HasMOVBE || !x.HasPCLMULQDQ {
		return f
	}
	f.level = AVX2
	// golang.org/x/sys/cpu looks for VPCLMULQDQ only beside AVX-512.
	f.vpclmul = cpuid7()&(1<<10) != 0
	if x.HasAVX512F && x.HasAVX512BW && x.HasAVX512DQ && x.HasAVX512VL && x.HasAVX512VBMI {
		f.level = AVX512
	}
	return f
}
