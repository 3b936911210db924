//go:build armbe || arm64be || m68k || mips || mips64 || mips64p32 || ppc || ppc64 || s390 || s390x || shbe || sparc || sparc64

package vring

// Rings are little-endian and are read in place. This keeps the package from
// being built where that would go wrong.
var _ int = "virtqueues need a little-endian processor"
