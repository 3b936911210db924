//go:build !amd64 || purego

package toeplitz

const useCLMUL = false

func ipv4(k *Key, addrs *[8]byte, ports *[4]byte) uint32 { return ipv4Generic(k, addrs, ports) }

func ipv4Header(k *Key, header *[24]byte) uint32 { return ipv4HeaderGeneric(k, header) }

func ipv6(k *Key, src, dst *[16]byte, ports *[4]byte) uint32 {
	return ipv6Generic(k, src, dst, ports)
}

func ipv6Header(k *Key, header *[44]byte) uint32 { return ipv6HeaderGeneric(k, header) }
