package offload

import (
	"vhost-user-nvgre/offload/packet"
	"vhost-user-nvgre/offload/toeplitz"
)

// HashTypes is a set of packet kinds to hash, numbered as in virtio ("Device
// Operation", hash types). The report value of a kind is its bit number + 1.
type HashTypes uint32

// Hash types. The IP ones are for packets without ports to hash, or whose
// kind is not in the set.
const (
	HashIPv4 HashTypes = 1 << iota
	HashTCPv4
	HashUDPv4
	HashIPv6
	HashTCPv6
	HashUDPv6
	HashIPv6Ex
	HashTCPv6Ex
	HashUDPv6Ex

	AllHashTypes = HashUDPv6Ex<<1 - 1
)

// reports of the hash types.
const (
	reportNone = iota
	reportIPv4
	reportTCPv4
	reportUDPv4
	reportIPv6
	reportTCPv6
	reportUDPv6
	reportIPv6Ex
	reportTCPv6Ex
	reportUDPv6Ex
)

// Hasher computes the hash by which receive queues are chosen. It is
// immutable.
type Hasher struct {
	Key   *toeplitz.Key
	Types HashTypes
	// NVGRE.RSS says for which families the inner header of an NVGRE packet is
	// hashed.
	NVGRE Tunnel
	// Inner has every NVGRE packet hashed by its inner headers alone, as virtio
	// wants it ("Inner Header Hash"): without a hash if they have none.
	Inner bool
}

// Hash returns the hash of the frame and its report value, or 0, 0 for a
// frame of which the set has no kind.
func (h *Hasher) Hash(f *Frame) (value uint32, report uint16) {
	info := f.Info()
	if h.Inner && info.Tunnel == packet.NVGRE {
		return h.level(&info.Inner, f.Head)
	}
	if h.NVGRE.covers(h.NVGRE.RSS, info) {
		return h.nvgre(info, f.Head)
	}
	return h.level(&info.Outer, f.Head)
}

// nvgre hashes an encapsulated packet as NDIS wants it ("Supporting NVGRE in
// RSS and VMQ Receive Task Offloads"): by the inner addresses and ports where
// TCP or UDP follows the inner IP header directly and is in the set, else by
// the outer addresses.
func (h *Hasher) nvgre(info *packet.Info, b []byte) (uint32, uint16) {
	in := &info.Inner
	switch {
	case in.Net == packet.IPv4:
		if with, _ := h.ports(in, HashTCPv4, HashUDPv4); with {
			return h.ipv4(in, b)
		}
	case in.Net == packet.IPv6 && in.Plain():
		if with, _ := h.ports(in, HashTCPv6, HashUDPv6); with {
			return h.ipv6(in, b)
		}
	}
	out := &info.Outer
	switch {
	case out.Net == packet.IPv4 && h.Types&HashIPv4 != 0:
		return h.Key.IPv4(out.IPv4Header(b)), reportIPv4
	case out.Net == packet.IPv6 && h.Types&HashIPv6 != 0:
		return h.Key.IPv6(out.IPv6Header(b)), reportIPv6
	}
	return 0, reportNone
}

// level hashes one level of headers. b holds them.
func (h *Hasher) level(l *packet.Level, b []byte) (uint32, uint16) {
	switch l.Net {
	case packet.IPv4:
		return h.ipv4(l, b)
	case packet.IPv6:
		return h.ipv6(l, b)
	}
	return 0, reportNone
}

// ports reports whether ports count, and as which of the two kinds, given
// which kinds are in the set. Fragments have none, the first included, so
// that all of a packet goes one way (VNET-095).
func (h *Hasher) ports(l *packet.Level, tcp, udp HashTypes) (bool, HashTypes) {
	if l.HasPorts() {
		if l.Trans == packet.TCP && h.Types&tcp != 0 {
			return true, tcp
		}
		if l.Trans == packet.UDP && h.Types&udp != 0 {
			return true, udp
		}
	}
	return false, 0
}

func (h *Hasher) ipv4(l *packet.Level, b []byte) (uint32, uint16) {
	with, kind := h.ports(l, HashTCPv4, HashUDPv4)
	if !with {
		if h.Types&HashIPv4 == 0 {
			return 0, reportNone
		}
		return h.Key.IPv4(l.IPv4Header(b)), reportIPv4
	}
	report := uint16(reportTCPv4)
	if kind == HashUDPv4 {
		report = reportUDPv4
	}
	if l.Plain() {
		return h.Key.IPv4Ports(l.IPv4WithPorts(b)), report
	}
	return h.Key.IPv4Apart(l.IPv4Addrs(b), l.Ports(b)), report
}

func (h *Hasher) ipv6(l *packet.Level, b []byte) (uint32, uint16) {
	if l.L4 > l.L3+40 { // extension headers: the _EX kinds come first
		if v, r := h.ipv6Ex(l, b); r != reportNone {
			return v, r
		}
	}
	with, kind := h.ports(l, HashTCPv6, HashUDPv6)
	if !with {
		if h.Types&HashIPv6 == 0 {
			return 0, reportNone
		}
		return h.Key.IPv6(l.IPv6Header(b)), reportIPv6
	}
	report := uint16(reportTCPv6)
	if kind == HashUDPv6 {
		report = reportUDPv6
	}
	if l.Plain() {
		return h.Key.IPv6Ports(l.IPv6WithPorts(b)), report
	}
	a := l.IPv6Addrs(b)
	return h.Key.IPv6Apart((*[16]byte)(a[0:]), (*[16]byte)(a[16:]), l.Ports(b)), report
}

// ipv6Ex hashes by the _EX kinds, whose addresses are those of mobile IPv6
// where the packet has them.
func (h *Hasher) ipv6Ex(l *packet.Level, b []byte) (uint32, uint16) {
	with, kind := h.ports(l, HashTCPv6Ex, HashUDPv6Ex)
	src, dst := l.IPv6Ex(b)
	switch {
	case with && kind == HashTCPv6Ex:
		return h.Key.IPv6Apart(src, dst, l.Ports(b)), reportTCPv6Ex
	case with:
		return h.Key.IPv6Apart(src, dst, l.Ports(b)), reportUDPv6Ex
	case h.Types&HashIPv6Ex != 0:
		return h.Key.IPv6Apart(src, dst, toeplitz.NoPorts()), reportIPv6Ex
	}
	return 0, reportNone
}
