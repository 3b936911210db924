// Package toeplitz computes the Toeplitz hash of receive side scaling over
// addresses and ports as they stand in a packet.
//
// The hash of an input is the XOR, over the input's bits that are 1, of the 32
// bits of the key that start at that bit's position, the most significant bit
// of the first byte being position 0 (Microsoft, "RSS Hashing Functions";
// virtio 1.4, "Hash calculation for incoming packets"). It is linear over
// GF(2), which gives the two ways used here: a table for each input byte, and
// carry-less multiplication by pieces of the key.
package toeplitz

// KeySize is the only length of a key, in bytes.
const KeySize = 40

// MaxInput is the longest input a key of KeySize covers, in bytes: two IPv6
// addresses and two ports.
const MaxInput = 36

// DefaultKey returns the key of Microsoft's "Verifying the RSS Hash
// Calculation".
func DefaultKey() [KeySize]byte {
	return [KeySize]byte{
		0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67,
		0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb,
		0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30,
		0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
	}
}

// Key is a key prepared for hashing. It is immutable; any number of goroutines
// may share it. Hashing does not allocate.
type Key struct {
	factors factors // first: the assembly takes a Key for its factors
	tables  *tables // nil where factors are used
	key     [KeySize]byte
}

// New prepares key for the fastest body of this processor.
func New(key [KeySize]byte) *Key {
	k := &Key{key: key, factors: newFactors(&key)}
	if !useCLMUL {
		k.tables = newTables(&key)
	}
	return k
}

// Bytes returns the key.
func (k *Key) Bytes() [KeySize]byte { return k.key }

// IPv4 hashes the addresses of an IPv4 header.
func (k *Key) IPv4(header *[20]byte) uint32 {
	return ipv4(k, (*[8]byte)(header[12:]), &noPorts)
}

// IPv4Ports hashes the addresses of an IPv4 header without options and the
// ports that follow it.
func (k *Key) IPv4Ports(header *[24]byte) uint32 { return ipv4Header(k, header) }

// IPv4Apart hashes addresses, as they stand in an IPv4 header, and ports, as
// they stand in a TCP or UDP header, that are not adjacent.
func (k *Key) IPv4Apart(addrs *[8]byte, ports *[4]byte) uint32 { return ipv4(k, addrs, ports) }

// IPv6 hashes the addresses of an IPv6 header.
func (k *Key) IPv6(header *[40]byte) uint32 {
	return ipv6(k, (*[16]byte)(header[8:]), (*[16]byte)(header[24:]), &noPorts)
}

// IPv6Ports hashes the addresses of an IPv6 header without extension headers
// and the ports that follow it.
func (k *Key) IPv6Ports(header *[44]byte) uint32 { return ipv6Header(k, header) }

// IPv6Apart hashes addresses and ports that are not adjacent; the _EX hash
// types take the addresses from a home address option or a routing header.
// ports may be NoPorts.
func (k *Key) IPv6Apart(src, dst *[16]byte, ports *[4]byte) uint32 { return ipv6(k, src, dst, ports) }

// noPorts is the ports of a hash without them: zeros add nothing.
var noPorts [4]byte

// NoPorts returns the ports of a hash over addresses alone. They must not be
// written to.
func NoPorts() *[4]byte { return &noPorts }

// Hash hashes any input of up to MaxInput bytes; what is longer is cut. The
// functions above are faster.
func (k *Key) Hash(input []byte) uint32 {
	// Zeros add nothing, so that a short input can be padded.
	const addrs = 8
	var header [addrs + MaxInput]byte
	copy(header[addrs:], input)
	return k.IPv6Ports(&header)
}
