//go:build !purego

package toeplitz

import "vhost-user-nvgre/offload/internal/cpu"

// Read by the assembly.
var (
	useCLMUL   = cpu.HasAVX2
	useVPCLMUL = cpu.HasVPCLMUL
)

// The functions without a suffix jump to the body in use. That is done in
// assembly so that the methods of Key, with one call in them, are inlined: a
// call more would take a third of the time of a hash.

//go:noescape
func ipv4(k *Key, addrs *[8]byte, ports *[4]byte) uint32

//go:noescape
func ipv4Header(k *Key, header *[24]byte) uint32

//go:noescape
func ipv6(k *Key, src, dst *[16]byte, ports *[4]byte) uint32

//go:noescape
func ipv6Header(k *Key, header *[44]byte) uint32

//go:noescape
func ipv4CLMUL(k *Key, addrs *[8]byte, ports *[4]byte) uint32

//go:noescape
func ipv4HeaderCLMUL(k *Key, header *[24]byte) uint32

//go:noescape
func ipv6CLMUL(k *Key, src, dst *[16]byte, ports *[4]byte) uint32

//go:noescape
func ipv6HeaderCLMUL(k *Key, header *[44]byte) uint32

// VPCLMUL is CLMUL with 256-bit registers.
//
//go:noescape
func ipv6VPCLMUL(k *Key, src, dst *[16]byte, ports *[4]byte) uint32

//go:noescape
func ipv6HeaderVPCLMUL(k *Key, header *[44]byte) uint32
