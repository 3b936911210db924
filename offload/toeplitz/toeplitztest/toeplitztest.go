// Package toeplitztest has the Toeplitz hash by its definition, slow and
// obvious, for tests of everything that hashes.
package toeplitztest

import (
	"encoding/binary"
	"slices"
)

// Hash is the pseudo code of Microsoft's "RSS Hashing Functions": for each
// input bit, from the most significant one of the first byte on, XOR the
// leftmost 32 bits of the key if the bit is set, then shift the key left by
// one. A key has at least 4 bytes; zeros follow it.
func Hash(key, input []byte) uint32 {
	var result uint32
	key = slices.Clone(key)
	for _, v := range input {
		for bit := 7; bit >= 0; bit-- {
			if v>>bit&1 != 0 {
				result ^= binary.BigEndian.Uint32(key)
			}
			for i := range key {
				key[i] <<= 1
				if i+1 < len(key) {
					key[i] |= key[i+1] >> 7
				}
			}
		}
	}
	return result
}
