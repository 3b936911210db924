package adapter

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Keywords are the standardised INF keywords that were set, by name. One that
// is absent has its default.
type Keywords map[string]uint32

// Names of keywords.
const (
	keyIPv4      = "*IPChecksumOffloadIPv4"
	keyTCPv4     = "*TCPChecksumOffloadIPv4"
	keyTCPv6     = "*TCPChecksumOffloadIPv6"
	keyUDPv4     = "*UDPChecksumOffloadIPv4"
	keyUDPv6     = "*UDPChecksumOffloadIPv6"
	keyTCPUDPv4  = "*TCPUDPChecksumOffloadIPv4"
	keyTCPUDPv6  = "*TCPUDPChecksumOffloadIPv6"
	keyLSOv1     = "*LsoV1IPv4"
	keyLSOv4     = "*LsoV2IPv4"
	keyLSOv6     = "*LsoV2IPv6"
	keyUSOv4     = "*UsoIPv4"
	keyUSOv6     = "*UsoIPv6"
	keyRSCv4     = "*RscIPv4"
	keyRSCv6     = "*RscIPv6"
	keyURO       = "*UdpRsc"
	keyTunnel    = "*EncapsulatedPacketTaskOffload"
	keyNVGRE     = "*EncapsulatedPacketTaskOffloadNvgre"
	keyVXLAN     = "*EncapsulatedPacketTaskOffloadVxlan"
	keyVXLANPort = "*VxlanUDPPortNumber"
	keyVMQ       = "*VMQ"
	keyVMQVLAN   = "*VMQVlanFiltering"
	keyRSS       = "*RSS"
	keyPrefer    = "*RssOrVmqPreference"
)

// keyword says which values a keyword takes.
type keyword struct {
	initial, least, most uint32
}

var (
	direction = keyword{3, 0, 3} // 1 transmit, 2 receive
	onOff     = keyword{1, 0, 1}
)

var keywords = map[string]keyword{
	keyIPv4: direction, keyTCPv4: direction, keyTCPv6: direction, keyUDPv4: direction, keyUDPv6: direction,
	keyTCPUDPv4: direction, keyTCPUDPv6: direction,
	keyLSOv1: onOff, keyLSOv4: onOff, keyLSOv6: onOff, keyUSOv4: onOff, keyUSOv6: onOff,
	keyRSCv4: onOff, keyRSCv6: onOff, keyURO: onOff,
	keyTunnel: onOff, keyNVGRE: onOff, keyVXLAN: onOff, keyVXLANPort: {4789, 1, 65535},
	keyVMQ: onOff, keyVMQVLAN: onOff, keyRSS: onOff, keyPrefer: {0, 0, 1},
}

// get returns the value of a keyword, or its default.
func (k Keywords) get(name string) uint32 {
	if v, ok := k[name]; ok {
		return v
	}
	return keywords[name].initial
}

// first returns the value of the first keyword that is set, or the default of
// the last.
func (k Keywords) first(names ...string) uint32 {
	for _, n := range names {
		if v, ok := k[n]; ok {
			return v
		}
	}
	return k.get(names[len(names)-1])
}

// Check returns an error that names the first keyword, in the order of names,
// that there is not or whose value is out of range.
func (k Keywords) Check() error {
	for _, name := range slices.Sorted(maps.Keys(k)) {
		w, ok := keywords[name]
		if !ok {
			return fmt.Errorf("there is no keyword %q; there are %s", name, strings.Join(slices.Sorted(maps.Keys(keywords)), ", "))
		}
		if v := k[name]; v < w.least || v > w.most {
			return fmt.Errorf("keyword %s: %d is out of range, want %d to %d", name, v, w.least, w.most)
		}
	}
	return nil
}

// configuredBy returns what the keywords enable, and where there is none of
// large send and UDP segmentation what an administrator does. Coalescing waits
// for an OID.
func (k Keywords) configuredBy(s *Start) configured {
	tx := func(names ...string) bool { return k.first(names...)&1 != 0 }
	rx := func(names ...string) bool { return k.first(names...)&2 != 0 }
	return configured{
		ipv4: pair{tx(keyIPv4), rx(keyIPv4)},
		tcp:  [2]pair{{tx(keyTCPv4, keyTCPUDPv4), rx(keyTCPv4, keyTCPUDPv4)}, {tx(keyTCPv6, keyTCPUDPv6), rx(keyTCPv6, keyTCPUDPv6)}},
		udp:  [2]pair{{tx(keyUDPv4, keyTCPUDPv4), rx(keyUDPv4, keyTCPUDPv4)}, {tx(keyUDPv6, keyTCPUDPv6), rx(keyUDPv6, keyTCPUDPv6)}},
		lso:  [2]bool{k.or(keyLSOv4, !s.NoLSO), k.or(keyLSOv6, !s.NoLSO)},
		uso:  [2]bool{k.or(keyUSOv4, !s.NoUSO), k.or(keyUSOv6, !s.NoUSO)},

		tunnel: k.tunnel(),
	}
}

// or returns the value of a keyword that is on or off, or the one given if it
// is not set.
func (k Keywords) or(name string, value bool) bool {
	if v, ok := k[name]; ok {
		return v != 0
	}
	return value
}

// tunnel reports whether NVGRE is enabled. The keyword of NVGRE alone narrows
// the one of all tunnels.
func (k Keywords) tunnel() bool { return k.get(keyTunnel) != 0 && k.get(keyNVGRE) != 0 }

// vmq reports whether receive filters are in use, rss whether receive side
// scaling is. They exclude each other.
func (k Keywords) vmq() bool { return k.get(keyPrefer) == 1 && k.get(keyVMQ) != 0 }
func (k Keywords) rss() bool { return k.get(keyPrefer) == 0 && k.get(keyRSS) != 0 }
