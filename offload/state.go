package offload

import (
	"fmt"
	"strings"

	"vhost-user-nvgre/offload/gso"
	"vhost-user-nvgre/offload/packet"
)

// Families says for which IP families an offload of encapsulated packets
// holds, as NDIS numbers them (NDIS_ENCAPSULATED_PACKET_TASK_OFFLOAD). A packet
// is covered if both its inner and its outer family are named.
type Families uint8

// Families. NDIS calls the inner IP header the transport header and the outer
// one the tunnel header.
const (
	InnerIPv4 Families = 1 << iota
	OuterIPv4
	InnerIPv6
	OuterIPv6

	AllFamilies = InnerIPv4 | OuterIPv4 | InnerIPv6 | OuterIPv6
)

// outerFamily and innerFamily are indexed by packet.Net.
var (
	outerFamily = [...]Families{packet.IPv4: OuterIPv4, packet.IPv6: OuterIPv6}
	innerFamily = [...]Families{packet.IPv4: InnerIPv4, packet.IPv6: InnerIPv6}
)

// Cover reports whether p is an NVGRE packet of which both families are named.
// A packet whose inner frame holds no IP is covered by its outer family.
func (m Families) Cover(p *packet.Info) bool {
	if p.Tunnel != packet.NVGRE {
		return false
	}
	want := outerFamily[p.Outer.Net] | innerFamily[p.Inner.Net]
	return want != 0 && m&want == want
}

// State is what of an adapter's offloads is operational. It is a plain value,
// compiled from the adapter's settings whenever they change; the data path
// keeps what it needs of it in a Sender, a Receiver and a Hasher.
type State struct {
	// LSOv4, LSOv6 and USO say that super-frames are taken, within Limits.
	LSOv4, LSOv6 bool
	USOv4, USOv6 bool
	Limits       Limits
	Receive      Validation
	// RSCv4, RSCv6 and URO say that received segments are coalesced.
	RSCv4, RSCv6 bool
	URO          bool
	NVGRE        Tunnel
}

// Limits are the bounds of super-frames by kind.
type Limits struct {
	LSOv4, LSOv6, USO gso.Limits
}

// Validation says which checksums of plain packets are validated on receive
// and reported to the driver.
type Validation struct {
	IPv4         bool // header checksum
	TCPv4, UDPv4 bool
	TCPv6, UDPv6 bool
}

// Tunnel says which offloads see through NVGRE.
type Tunnel struct {
	TxChecksum, RxChecksum Families
	LSO, USO               Families
	RSS, VMQ               Families
	// MaxHeader bounds the headers up to the inner transport payload of a
	// packet that is offloaded, in bytes.
	MaxHeader int
}

// covers reports whether an offload that sees through NVGRE for the given
// families applies to a packet.
func (t *Tunnel) covers(m Families, p *packet.Info) bool {
	return m != 0 && int(p.HeaderLen) <= t.MaxHeader && m.Cover(p)
}

// Check returns an error that names the first value no device can have.
func (st *State) Check() error {
	t := &st.NVGRE
	if extra := (t.TxChecksum | t.RxChecksum | t.LSO | t.USO | t.RSS | t.VMQ) &^ AllFamilies; extra != 0 {
		return fmt.Errorf("families 0x%x of NVGRE offloads: want a subset of 0x%x", uint8(extra), uint8(AllFamilies))
	}
	if t.MaxHeader < 0 || t.MaxHeader > gso.MaxHeader {
		return fmt.Errorf("NVGRE headers of %d bytes at most: want 0 to %d", t.MaxHeader, gso.MaxHeader)
	}
	for _, l := range []struct {
		name    string
		on      bool
		maximum int
	}{
		{"LSOv4", st.LSOv4, st.Limits.LSOv4.MaxPayload},
		{"LSOv6", st.LSOv6, st.Limits.LSOv6.MaxPayload},
		{"USO", st.USOv4 || st.USOv6, st.Limits.USO.MaxPayload},
	} {
		if l.on && l.maximum <= 0 {
			return fmt.Errorf("%s with super-frames of %d bytes of payload at most: want a limit above 0", l.name, l.maximum)
		}
	}
	return nil
}

// Names returns the names of what is operational, in a fixed order. An offload
// of NVGRE packets that is not there for all families has its families after
// it: "nvgre_lso:inner_ipv4+outer_ipv4".
func (st *State) Names() []string {
	var names []string
	for _, o := range []struct {
		on   bool
		name string
	}{
		{st.LSOv4, "lso_ipv4"},
		{st.LSOv6, "lso_ipv6"},
		{st.USOv4, "uso_ipv4"},
		{st.USOv6, "uso_ipv6"},
		{st.Receive.IPv4, "rx_checksum_ipv4"},
		{st.Receive.TCPv4, "rx_checksum_tcp_ipv4"},
		{st.Receive.UDPv4, "rx_checksum_udp_ipv4"},
		{st.Receive.TCPv6, "rx_checksum_tcp_ipv6"},
		{st.Receive.UDPv6, "rx_checksum_udp_ipv6"},
		{st.RSCv4, "rsc_ipv4"},
		{st.RSCv6, "rsc_ipv6"},
		{st.URO, "uro"},
	} {
		if o.on {
			names = append(names, o.name)
		}
	}
	for _, o := range []struct {
		families Families
		name     string
	}{
		{st.NVGRE.TxChecksum, "nvgre_tx_checksum"},
		{st.NVGRE.RxChecksum, "nvgre_rx_checksum"},
		{st.NVGRE.LSO, "nvgre_lso"},
		{st.NVGRE.USO, "nvgre_uso"},
		{st.NVGRE.RSS, "nvgre_rss"},
		{st.NVGRE.VMQ, "nvgre_vmq"},
	} {
		switch o.families & AllFamilies {
		case 0:
		case AllFamilies:
			names = append(names, o.name)
		default:
			names = append(names, o.name+":"+o.families.String())
		}
	}
	return names
}

// String returns the names of the families joined by plus signs.
func (m Families) String() string {
	var names []string
	for i, name := range []string{"inner_ipv4", "outer_ipv4", "inner_ipv6", "outer_ipv6"} {
		if m&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, "+")
}

// DefaultLimits are what is offered to senders. Linux makes super-frames of a
// single segment. The number of segments is bounded because a small frame
// could otherwise cause tens of thousands; even the smallest segments that TCP
// uses stay below.
func DefaultLimits() Limits {
	l := gso.Limits{
		MaxPayload:  65535,
		MinSegments: 1,
		MaxSegments: 2048,
		MaxHeader:   gso.MaxHeader,
		SubMSS:      true,
	}
	return Limits{LSOv4: l, LSOv6: l, USO: l}
}

// DefaultState is that of a port of which only virtio features were
// negotiated: super-frames are taken, nothing is validated or coalesced, and
// tunnels are not looked into.
func DefaultState() State {
	return State{LSOv4: true, LSOv6: true, USOv4: true, USOv6: true, Limits: DefaultLimits()}
}

// AllNVGRE are the NVGRE offloads of every family.
func AllNVGRE() Tunnel {
	return Tunnel{
		TxChecksum: AllFamilies, RxChecksum: AllFamilies,
		LSO: AllFamilies, USO: AllFamilies,
		RSS: AllFamilies, VMQ: AllFamilies,
		MaxHeader: gso.MaxHeader,
	}
}
