package toeplitz

import "encoding/binary"

// tables holds, for each position of a byte in the input and each value, the
// hash of that byte alone.
type tables [MaxInput][256]uint32

func newTables(key *[KeySize]byte) *tables {
	t := new(tables)
	for i := range t {
		// Bit p of byte i sees the key from bit 8*i+p on.
		window := uint64(binary.BigEndian.Uint32(key[i:]))<<8 | uint64(key[i+4])
		for p := range 8 {
			at := uint32(window >> (8 - p))
			bit := 0x80 >> p
			for v := range 256 {
				if v&bit != 0 {
					t[i][v] ^= at
				}
			}
		}
	}
	return t
}

// hash returns the hash of b at offset first of the input.
func (t *tables) hash(first int, b []byte) uint32 {
	var h uint32
	for i, v := range b {
		h ^= t[first+i][v]
	}
	return h
}

func ipv4Generic(k *Key, addrs *[8]byte, ports *[4]byte) uint32 {
	return k.tables.hash(0, addrs[:]) ^ k.tables.hash(8, ports[:])
}

func ipv4HeaderGeneric(k *Key, header *[24]byte) uint32 {
	return k.tables.hash(0, header[12:])
}

func ipv6Generic(k *Key, src, dst *[16]byte, ports *[4]byte) uint32 {
	return k.tables.hash(0, src[:]) ^ k.tables.hash(16, dst[:]) ^ k.tables.hash(32, ports[:])
}

func ipv6HeaderGeneric(k *Key, header *[44]byte) uint32 {
	return k.tables.hash(0, header[8:])
}
