package offloads

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"

	"vhost-user-nvgre/offload/toeplitz/toeplitztest"
	"vhost-user-nvgre/virtio"
)

// flow is a packet of some flow; inner is what it carries in a tunnel.
type flow struct {
	v6           bool
	src, dst     []byte
	proto        byte
	sport, dport uint16
	inner        *flow
	bad          bool // its TCP or UDP checksum is wrong
	data         int  // bytes after a TCP header
	partial      bool // the TCP checksum is left to the NIC
}

func randomFlow(rnd *rand.Rand, v6 bool) flow {
	f := flow{v6: v6, proto: []byte{6, 17}[rnd.IntN(2)], sport: uint16(rnd.Uint32()), dport: uint16(rnd.Uint32())}
	f.src, f.dst = []byte{198, 18, 0, 0}, []byte{198, 19, 0, 0}
	if v6 {
		f.src, f.dst = append([]byte{0x20, 1, 0, 2}, make([]byte, 12)...), append([]byte{0x20, 1, 0, 2}, make([]byte, 12)...)
	}
	binary.BigEndian.PutUint16(f.src[len(f.src)-2:], uint16(rnd.Uint32()))
	binary.BigEndian.PutUint16(f.dst[len(f.dst)-2:], uint16(rnd.Uint32()))
	return f
}

// tunnelled returns a packet of a random flow in NVGRE.
func tunnelled(rnd *rand.Rand, outer6, inner6 bool) flow {
	inner, f := randomFlow(rnd, inner6), randomFlow(rnd, outer6)
	f.proto, f.inner = 47, &inner
	return f
}

// sum adds b to a ones' complement sum.
func sum(s uint32, b []byte) uint32 {
	for i, v := range b {
		s += uint32(v) << (8 * (1 - i%2))
	}
	for s>>16 != 0 {
		s = s&0xffff + s>>16
	}
	return s
}

// frame returns the packet as an Ethernet frame, with all checksums but one
// that is left to the NIC.
func (f *flow) frame(dst, src virtio.MAC) []byte {
	payload := append(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, f.sport), f.dport), make([]byte, 16)...)
	payload[12], payload[13] = 0x50, 0x10 // TCP: a header of 20 bytes, ACK
	at := 16
	switch {
	case f.inner != nil:
		payload = append([]byte{0x20, 0, 0x65, 0x58, 0, 0, 7, byte(f.sport)}, f.inner.frame(virtio.MAC{2, 1}, virtio.MAC{2, 2})...)
	case f.proto == 17:
		payload = payload[:8]
		binary.BigEndian.PutUint16(payload[4:], 8)
		at = 6
	default:
		payload = append(payload, make([]byte, f.data)...)
		for i := range payload[20:] {
			payload[20+i] = byte(i / 7)
		}
	}
	switch {
	case f.inner != nil:
	case f.partial:
		s := sum(sum(uint32(f.proto)+uint32(len(payload)), f.src), f.dst)
		binary.BigEndian.PutUint16(payload[at:], uint16(s))
	default:
		s := sum(sum(sum(uint32(f.proto)+uint32(len(payload)), f.src), f.dst), payload)
		if s == 0xffff {
			s = 0 // UDP knows two zeros, of which this is the one to send
		}
		if f.bad {
			s ^= 0x0100
		}
		binary.BigEndian.PutUint16(payload[at:], ^uint16(s))
	}
	b := append(append([]byte{}, dst[:]...), src[:]...)
	if f.v6 {
		b = append(b, 0x86, 0xdd, 0x60, 0, 0, 0)
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(payload))), f.proto, 64)
		b = append(append(b, f.src...), f.dst...)
	} else {
		b = append(b, 8, 0, 0x45, 0)
		b = append(binary.BigEndian.AppendUint16(b, uint16(20+len(payload))), 0, 0, 0, 0, 64, f.proto, 0, 0)
		b = append(append(b, f.src...), f.dst...)
		binary.BigEndian.PutUint16(b[24:], ^uint16(sum(0, b[14:])))
	}
	return append(b, payload...)
}

// hashing is how a device is told to hash.
type hashing struct {
	key []byte
	// ports names the kinds of packets whose ports are hashed, as ethtool calls
	// them; all have their addresses hashed.
	ports []string
	inner bool // NVGRE is on
}

// allPorts has the ports of all kinds of packets hashed.
var allPorts = []string{"tcp4", "udp4", "tcp6", "udp6"}

// of returns the hash of a packet.
func (h hashing) of(f *flow) uint32 {
	if f.inner != nil && h.inner && h.withPorts(f.inner) {
		f = f.inner
	}
	input := slices.Concat(f.src, f.dst)
	if h.withPorts(f) {
		input = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(input, f.sport), f.dport)
	}
	return toeplitztest.Hash(h.key, input)
}

func (h hashing) withPorts(f *flow) bool {
	kind := map[byte]string{6: "tcp", 17: "udp", 47: "gre"}[f.proto] + map[bool]string{false: "4", true: "6"}[f.v6]
	return slices.Contains(h.ports, kind)
}
