package toeplitz

// Body is one implementation; tests call each directly.
type Body struct {
	Name       string
	IPv4       func(k *Key, addrs *[8]byte, ports *[4]byte) uint32
	IPv4Header func(k *Key, header *[24]byte) uint32
	IPv6       func(k *Key, src, dst *[16]byte, ports *[4]byte) uint32
	IPv6Header func(k *Key, header *[44]byte) uint32
}

// NewAll is New with what every body needs.
func NewAll(key [KeySize]byte) *Key {
	k := New(key)
	k.tables = newTables(&key)
	return k
}

func portableBodies() []Body {
	return []Body{
		{"generic", ipv4Generic, ipv4HeaderGeneric, ipv6Generic, ipv6HeaderGeneric},
		// What users call.
		{"dispatch", (*Key).IPv4Apart, (*Key).IPv4Ports, (*Key).IPv6Apart, (*Key).IPv6Ports},
	}
}
