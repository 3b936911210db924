package toeplitz

import "encoding/binary"

// factors are the pieces of the key by which the input is multiplied.
//
// Read 8 input bytes as a polynomial with bit i of the input (i = 0..63) at
// x**i, and the key from the first of these bits on with bit m at x**(95-m).
// Bit j of the hash is the sum of the products of input bit i and key bit i+j,
// which is the coefficient of x**(95-j) of the product: the hash is bits 64..95
// of it. The key needs m = 0..94, which is one factor of 63 bits (low) and one
// of 32 (high, its product to be taken 64 places higher).
//
// Four bytes at x**32..x**63 need m = 0..62 only, with bit m at x**(63-m): one
// factor of 63 bits (half).
//
// The assembly knows the offsets.
type factors struct {
	low  [4]uint64 // input bytes 0, 8, 16 and 24 on
	high [4]uint64
	// half of input bytes 8 to 11, the ports of IPv4. It is also low of input
	// bytes 4 to 11, of which high4 is high: in a header, the source address
	// is half of 8 aligned bytes and destination and ports are the next 8.
	half8  uint64
	half32 uint64 // input bytes 32 to 35, the ports of IPv6
	half0  uint64 // input bytes 0 to 3, the source address of IPv4
	high4  uint64
}

func newFactors(key *[KeySize]byte) factors {
	half := func(at int) uint64 { return binary.BigEndian.Uint64(key[at:]) &^ 1 }
	high := func(at int) uint64 { return uint64(binary.BigEndian.Uint32(key[at:])) }
	f := factors{half0: half(0), half8: half(8), half32: half(32), high4: high(4)}
	for q := range 4 {
		f.low[q] = half(8*q + 4)
		f.high[q] = high(8 * q)
	}
	return f
}
