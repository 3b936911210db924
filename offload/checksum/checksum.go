// Package checksum computes the Internet checksum (RFC 1071) alone and fused
// with copying, over contiguous bytes and over scattered pieces, and updates
// it (RFC 1624).
//
// Sums are kept in memory order: the 16-bit words of the data are read little
// endian whatever the processor, because the one's complement sum is the same
// in either byte order but for a final swap (RFC 1071 section 2 (B)), and that
// swap cancels when the checksum is stored the same way. Numbers that are not
// read from memory, such as a length in a pseudo-header, enter by Word and
// Long; checksums leave by Put.
//
// All functions may be called concurrently; none allocates, and none reads or
// writes outside the slices given.
package checksum

import (
	"encoding/binary"
	"math/bits"
)

// Acc is an unfolded one's complement sum in memory order: its value modulo
// 0xffff counts. Adding two is plain +. Sums of together less than 2 GiB never
// overflow; fold in between when summing more.
type Acc uint64

// Word returns the sum of v stored as a big-endian 16-bit word.
func Word(v uint16) Acc { return Acc(bits.ReverseBytes16(v)) }

// Long returns the sum of v stored as a big-endian 32-bit word.
func Long(v uint32) Acc { return Acc(bits.ReverseBytes32(v)) }

// Fold returns the sum as one 16-bit word in memory order. It is 0 only if
// every word summed was 0; otherwise a sum of 0 appears as 0xffff.
func (a Acc) Fold() uint16 {
	// Adding a number to itself with the halves exchanged leaves the end-around
	// sum of the halves in the upper one.
	s := uint64(a) + bits.RotateLeft64(uint64(a), 32)
	w := uint32(s >> 32)
	w += bits.RotateLeft32(w, 16)
	return uint16(w >> 16)
}

// Swap returns what a counts for when its data begins at an odd offset of the
// whole.
func (a Acc) Swap() Acc { return Acc(bits.ReverseBytes16(a.Fold())) }

// At returns what a counts for when its data begins at the given offset of the
// whole: a itself or a.Swap().
func (a Acc) At(offset int) Acc {
	if offset&1 != 0 {
		return a.Swap()
	}
	return a
}

// Good reports whether a, summed over data with its checksum in place and the
// pseudo-header if it has one, shows the checksum to be right.
func (a Acc) Good() bool { return a%0xffff == 0 && a != 0 }

// Put stores the checksum, the complement of the sum, in b[0:2].
func (a Acc) Put(b []byte) { binary.LittleEndian.PutUint16(b, ^a.Fold()) }

// PutUDP is Put by UDP's rule: a checksum of 0 is stored as 0xffff, as 0 says
// that there is none (RFC 768, RFC 8200 section 8.1).
func (a Acc) PutUDP(b []byte) { binary.LittleEndian.PutUint16(b, a.udp()) }

func (a Acc) udp() uint16 {
	v := ^a.Fold()
	if v == 0 {
		v = 0xffff
	}
	return v
}

// Value returns the checksum, the complement of the sum, as a number: its
// first byte in memory is the more significant one.
func (a Acc) Value() uint16 { return bits.ReverseBytes16(^a.Fold()) }

// IPv4Header returns the sum of an IPv4 header without options.
func IPv4Header(h *[20]byte) Acc {
	le := binary.LittleEndian
	return Acc(uint64(le.Uint32(h[0:])) + uint64(le.Uint32(h[4:])) + uint64(le.Uint32(h[8:])) +
		uint64(le.Uint32(h[12:])) + uint64(le.Uint32(h[16:])))
}

// IPv4HeaderGood reports whether the checksum of an IPv4 header without options
// is right.
func IPv4HeaderGood(h *[20]byte) bool {
	le := binary.LittleEndian
	s, c := bits.Add64(le.Uint64(h[0:]), le.Uint64(h[8:]), 0)
	s, c = bits.Add64(s, uint64(le.Uint32(h[16:])), c)
	// If the second addition carried, s is small.
	return Acc(s + c).Good()
}

// PseudoIPv4 returns the sum of the pseudo-header of RFC 793 and RFC 768 for
// the source and destination address as they stand in the IPv4 header. length
// is that of the TCP or UDP header and payload; a caller that wants to add it
// later gives 0 and adds Long(length).
func PseudoIPv4(addrs *[8]byte, protocol uint8, length uint32) Acc {
	le := binary.LittleEndian
	return Acc(uint64(le.Uint32(addrs[0:]))+uint64(le.Uint32(addrs[4:]))) +
		Acc(protocol)<<8 + Long(length)
}

// PseudoIPv6 returns the sum of the pseudo-header of RFC 8200 section 8.1 for
// the source and destination address as they stand in the IPv6 header; length
// as for PseudoIPv4.
func PseudoIPv6(addrs *[32]byte, protocol uint8, length uint32) Acc {
	le := binary.LittleEndian
	s, c := bits.Add64(le.Uint64(addrs[0:]), le.Uint64(addrs[8:]), 0)
	s, c = bits.Add64(s, le.Uint64(addrs[16:]), c)
	s, c = bits.Add64(s, le.Uint64(addrs[24:]), c)
	return Acc(halves(s)+c) + Acc(protocol)<<8 + Long(length)
}

// PseudoIPv6Split is PseudoIPv6 for addresses that are apart, as a home
// address option or a routing header makes them.
func PseudoIPv6Split(src, dst *[16]byte, protocol uint8, length uint32) Acc {
	le := binary.LittleEndian
	s, c := bits.Add64(le.Uint64(src[0:]), le.Uint64(src[8:]), 0)
	s, c = bits.Add64(s, le.Uint64(dst[0:]), c)
	s, c = bits.Add64(s, le.Uint64(dst[8:]), c)
	return Acc(halves(s)+c) + Acc(protocol)<<8 + Long(length)
}

// Update returns the checksum hc of data in which a 16-bit word changed from
// old to new: equation 3 of RFC 1624. All three are in the same byte order,
// either one.
func Update(hc, old, new uint16) uint16 {
	return Update32(hc, uint32(old), uint32(new))
}

// Update32 is Update for two neighbouring words at once.
func Update32(hc uint16, old, new uint32) uint16 {
	a := Acc(^hc) + Acc(^old) + Acc(new)
	return ^a.Fold()
}
