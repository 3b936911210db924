package virtio

import (
	"fmt"
	"math/bits"
	"strings"
)

// Features is a set of virtio feature bits 0 to 63. vhost-user carries no
// higher ones.
type Features uint64

// Feature bits of a network device (section "Feature bits") and the generic
// ones a software device can offer ("Reserved Feature Bits").
const (
	FeatureCSUM             Features = 1 << 0  // driver may send partial checksums
	FeatureGuestCSUM        Features = 1 << 1  // driver takes partial checksums
	FeatureCtrlGuestOffload Features = 1 << 2  // receive offloads can be switched at run time
	FeatureMTU              Features = 1 << 3  // mtu field is valid
	FeatureMAC              Features = 1 << 5  // mac field is valid
	FeatureGuestTSO4        Features = 1 << 7  // driver takes TCPv4 super-frames
	FeatureGuestTSO6        Features = 1 << 8  // driver takes TCPv6 super-frames
	FeatureGuestECN         Features = 1 << 9  // ... with ECN
	FeatureGuestUFO         Features = 1 << 10 // driver takes UDP fragmentation offload
	FeatureHostTSO4         Features = 1 << 11 // driver may send TCPv4 super-frames
	FeatureHostTSO6         Features = 1 << 12 // driver may send TCPv6 super-frames
	FeatureHostECN          Features = 1 << 13 // ... with ECN
	FeatureHostUFO          Features = 1 << 14 // driver may send UDP fragmentation offload
	FeatureMrgRxbuf         Features = 1 << 15 // a received packet may span buffers
	FeatureStatus           Features = 1 << 16 // status field is valid
	FeatureCtrlVQ           Features = 1 << 17 // control queue exists
	FeatureCtrlRX           Features = 1 << 18 // receive modes and MAC table
	FeatureCtrlVLAN         Features = 1 << 19 // VLAN filter
	FeatureCtrlRXExtra      Features = 1 << 20 // more receive modes
	FeatureGuestAnnounce    Features = 1 << 21 // driver announces itself when asked
	FeatureMQ               Features = 1 << 22 // several queue pairs, automatic steering
	FeatureCtrlMACAddr      Features = 1 << 23 // MAC address set over the control queue
	FeatureAnyLayout        Features = 1 << 27 // legacy: no assumption on framing
	FeatureIndirectDesc     Features = 1 << 28 // indirect descriptors
	FeatureEventIdx         Features = 1 << 29 // used_event and avail_event
	FeatureVersion1         Features = 1 << 32 // not a legacy device
	FeatureAccessPlatform   Features = 1 << 33 // addresses are IOVAs
	FeatureRingPacked       Features = 1 << 34 // packed virtqueues
	FeatureInOrder          Features = 1 << 35 // buffers are used in order
	FeatureRingReset        Features = 1 << 40 // a single queue can be reset
	FeatureDeviceStats      Features = 1 << 50 // statistics over the control queue
	FeatureHashTunnel       Features = 1 << 51 // hash over inner headers
	FeatureVQNotfCoal       Features = 1 << 52 // notification coalescing per queue
	FeatureNotfCoal         Features = 1 << 53 // notification coalescing
	FeatureGuestUSO4        Features = 1 << 54 // driver takes UDPv4 super-frames
	FeatureGuestUSO6        Features = 1 << 55 // driver takes UDPv6 super-frames
	FeatureHostUSO          Features = 1 << 56 // driver may send UDP super-frames
	FeatureHashReport       Features = 1 << 57 // hash value and type in the packet header
	FeatureGuestHdrLen      Features = 1 << 59 // driver sets hdr_len exactly
	FeatureRSS              Features = 1 << 60 // receive-side scaling
	FeatureRSCExt           Features = 1 << 61 // coalesced segment counts in the packet header
	FeatureStandby          Features = 1 << 62 // primary/standby pair
	FeatureSpeedDuplex      Features = 1 << 63 // speed and duplex fields are valid
)

// feature describes one bit: its name as the specification spells it without
// the VIRTIO_(NET_)F_ prefix, in lower case, and what it depends on.
type feature struct {
	bit  Features
	name string
	// all must be present, and of any at least one unless any is empty.
	all, any Features
}

// features follows section "Feature bit requirements". A dependent stands
// after everything it depends on, so that one pass over the table suffices.
var features = []feature{
	{bit: FeatureCSUM, name: "csum"},
	{bit: FeatureGuestCSUM, name: "guest_csum"},
	{bit: FeatureMTU, name: "mtu"},
	{bit: FeatureMAC, name: "mac"},
	{bit: FeatureGuestTSO4, name: "guest_tso4", all: FeatureGuestCSUM},
	{bit: FeatureGuestTSO6, name: "guest_tso6", all: FeatureGuestCSUM},
	{bit: FeatureGuestECN, name: "guest_ecn", any: FeatureGuestTSO4 | FeatureGuestTSO6},
	{bit: FeatureGuestUFO, name: "guest_ufo", all: FeatureGuestCSUM},
	{bit: FeatureHostTSO4, name: "host_tso4", all: FeatureCSUM},
	{bit: FeatureHostTSO6, name: "host_tso6", all: FeatureCSUM},
	{bit: FeatureHostECN, name: "host_ecn", any: FeatureHostTSO4 | FeatureHostTSO6},
	{bit: FeatureHostUFO, name: "host_ufo", all: FeatureCSUM},
	{bit: FeatureMrgRxbuf, name: "mrg_rxbuf"},
	{bit: FeatureStatus, name: "status"},
	{bit: FeatureCtrlVQ, name: "ctrl_vq"},
	{bit: FeatureCtrlGuestOffload, name: "ctrl_guest_offloads", all: FeatureCtrlVQ},
	{bit: FeatureCtrlRX, name: "ctrl_rx", all: FeatureCtrlVQ},
	{bit: FeatureCtrlVLAN, name: "ctrl_vlan", all: FeatureCtrlVQ},
	{bit: FeatureCtrlRXExtra, name: "ctrl_rx_extra", all: FeatureCtrlVQ},
	{bit: FeatureGuestAnnounce, name: "guest_announce", all: FeatureCtrlVQ},
	{bit: FeatureMQ, name: "mq", all: FeatureCtrlVQ},
	{bit: FeatureCtrlMACAddr, name: "ctrl_mac_addr", all: FeatureCtrlVQ},
	{bit: FeatureAnyLayout, name: "any_layout"},
	{bit: FeatureIndirectDesc, name: "indirect_desc"},
	{bit: FeatureEventIdx, name: "event_idx"},
	{bit: FeatureVersion1, name: "version_1"},
	{bit: FeatureAccessPlatform, name: "access_platform"},
	{bit: FeatureRingPacked, name: "ring_packed"},
	{bit: FeatureInOrder, name: "in_order"},
	{bit: FeatureRingReset, name: "ring_reset"},
	{bit: FeatureDeviceStats, name: "device_stats", all: FeatureCtrlVQ},
	{bit: FeatureVQNotfCoal, name: "vq_notf_coal", all: FeatureCtrlVQ},
	{bit: FeatureNotfCoal, name: "notf_coal", all: FeatureCtrlVQ},
	{bit: FeatureGuestUSO4, name: "guest_uso4", all: FeatureGuestCSUM},
	{bit: FeatureGuestUSO6, name: "guest_uso6", all: FeatureGuestCSUM},
	{bit: FeatureHostUSO, name: "host_uso", all: FeatureCSUM},
	{bit: FeatureHashReport, name: "hash_report", all: FeatureCtrlVQ},
	{bit: FeatureGuestHdrLen, name: "guest_hdrlen"},
	{bit: FeatureRSS, name: "rss", all: FeatureCtrlVQ},
	{bit: FeatureHashTunnel, name: "hash_tunnel", all: FeatureCtrlVQ, any: FeatureRSS | FeatureHashReport},
	{bit: FeatureRSCExt, name: "rsc_ext", any: FeatureHostTSO4 | FeatureHostTSO6},
	{bit: FeatureStandby, name: "standby"},
	{bit: FeatureSpeedDuplex, name: "speed_duplex"},
}

// Has reports whether every bit of want is set.
func (f Features) Has(want Features) bool { return f&want == want }

// Strip returns f without the bits whose prerequisites are missing. A device
// offers only such a set (VNET-001).
func (f Features) Strip() Features {
	for _, d := range features {
		if f.Has(d.bit) && !d.satisfiedBy(f) {
			f &^= d.bit
		}
	}
	return f
}

func (d *feature) satisfiedBy(f Features) bool {
	return f.Has(d.all) && (d.any == 0 || f&d.any != 0)
}

// CheckAck returns an error that names the first fault when acked is not a
// subset of offered, or lacks the prerequisite of one of its bits (VNET-002).
// When the front end keeps the control queue to itself it does not pass on
// the acknowledgement of CTRL_VQ; bits that depend on nothing else are then
// accepted without it.
func (f Features) CheckAck(acked Features) error {
	if extra := acked &^ f; extra != 0 {
		return fmt.Errorf("features %s acknowledged but not offered", extra)
	}
	for _, d := range features {
		if acked.Has(d.bit) && !d.satisfiedBy(acked|FeatureCtrlVQ) {
			return fmt.Errorf("feature %s acknowledged without %s", d.name, d.missing(acked))
		}
	}
	return nil
}

func (d *feature) missing(f Features) string {
	if m := d.all &^ (f | FeatureCtrlVQ); m != 0 {
		return m.String()
	}
	return "one of " + d.any.String()
}

// Names returns the names of the set bits in ascending bit order; a bit this
// package has no name for appears as "bitN".
func (f Features) Names() []string {
	names := make([]string, 0, bits.OnesCount64(uint64(f)))
	for rest := f; rest != 0; rest &= rest - 1 {
		names = append(names, bitName(rest&-rest))
	}
	return names
}

func bitName(bit Features) string {
	for _, d := range features {
		if d.bit == bit {
			return d.name
		}
	}
	return fmt.Sprintf("bit%d", bits.TrailingZeros64(uint64(bit)))
}

// String returns the names joined by commas.
func (f Features) String() string { return strings.Join(f.Names(), ",") }

// ParseFeature returns the bit with the given name.
func ParseFeature(name string) (Features, error) {
	for _, d := range features {
		if d.name == name {
			return d.bit, nil
		}
	}
	return 0, fmt.Errorf("unknown feature %q: want a name as the virtio specification has it in lower case, such as mrg_rxbuf", name)
}
