package adapter

import (
	"vhost-user-nvgre/offload/ndis"
	"vhost-user-nvgre/virtio"
)

// framings are those that every offload works with: plain Ethernet, and with
// tags in the frame. virtio has no word beside the frame for a tag.
const framings = ndis.FramingIEEE8023 | ndis.FramingIEEE8023PQ

// everything are the features without which an offload is not a capability.
const everything = virtio.FeatureCSUM | virtio.FeatureGuestCSUM |
	virtio.FeatureHostTSO4 | virtio.FeatureHostTSO6 | virtio.FeatureHostUSO |
	virtio.FeatureGuestTSO4 | virtio.FeatureGuestTSO6 | virtio.FeatureGuestUSO4 | virtio.FeatureGuestUSO6

// hardware returns what the adapter can do for the driver that is there: what
// the driver did not negotiate, it cannot have.
func (a *Adapter) hardware() ndis.Offload { return a.capable(a.features) }

// capable is hardware for a driver with the features f.
func (a *Adapter) capable(f virtio.Features) ndis.Offload {
	var o ndis.Offload
	has := func(bits virtio.Features) bool { return f.Has(bits) }
	if has(virtio.FeatureCSUM) {
		o.Checksum.IPv4Transmit, o.Checksum.IPv6Transmit = checksums(true), checksums(false)
	}
	if has(virtio.FeatureGuestCSUM) {
		o.Checksum.IPv4Receive, o.Checksum.IPv6Receive = checksums(true), checksums(false)
	}
	l := &a.cfg.Limits
	if has(virtio.FeatureHostTSO4) {
		o.LSOv2.IPv4 = ndis.LSOv2Family{
			Encapsulation: framings, MaxOffLoadSize: uint32(l.LSOv4.MaxPayload), MinSegmentCount: uint32(max(1, l.LSOv4.MinSegments)),
		}
	}
	if has(virtio.FeatureHostTSO6) {
		o.LSOv2.IPv6 = ndis.LSOv2Family{
			Encapsulation: framings, MaxOffLoadSize: uint32(l.LSOv6.MaxPayload), MinSegmentCount: uint32(max(1, l.LSOv6.MinSegments)),
			ExtensionHeaders: ndis.Supported, TCPOptions: ndis.Supported,
		}
	}
	if has(virtio.FeatureHostUSO) {
		o.USO.IPv4 = ndis.USOFamily{
			Encapsulation: framings, MaxOffLoadSize: uint32(l.USO.MaxPayload),
			MinSegmentCount: uint32(max(1, l.USO.MinSegments)), SubMSSFinal: l.USO.SubMSS,
		}
		o.USO.IPv6 = o.USO.IPv4
		o.USO.IPv6.ExtensionHeaders = ndis.Supported
	}
	if a.cfg.Coalescing {
		o.RSC = ndis.RSC{IPv4: has(virtio.FeatureGuestTSO4), IPv6: has(virtio.FeatureGuestTSO6)}
		o.UDPRSC = has(virtio.FeatureGuestUSO4 | virtio.FeatureGuestUSO6)
	}
	if f != 0 {
		o.GRE = a.tunnel(&o)
	}
	return o
}

// tunnel returns what looks through NVGRE, given what works outside tunnels.
func (a *Adapter) tunnel(o *ndis.Offload) ndis.EncapsulatedTaskOffload {
	outer := ndis.OuterIPv4 | ndis.OuterIPv6
	either := func(ipv4, ipv6 bool) (m ndis.Families) {
		if ipv4 {
			m |= ndis.InnerIPv4
		}
		if ipv6 {
			m |= ndis.InnerIPv6
		}
		if m != 0 {
			m |= outer
		}
		return m
	}
	g := ndis.EncapsulatedTaskOffload{
		TransmitChecksum: either(o.Checksum.IPv4Transmit.Any(), o.Checksum.IPv6Transmit.Any()),
		ReceiveChecksum:  either(o.Checksum.IPv4Receive.Any(), o.Checksum.IPv6Receive.Any()),
		LSOv2:            either(o.LSOv2.IPv4.Encapsulation != 0, o.LSOv2.IPv6.Encapsulation != 0),
		USO:              either(o.USO.IPv4.Encapsulation != 0, o.USO.IPv6.Encapsulation != 0),
		RSS:              ndis.AllFamilies,
		MaxHeaderSize:    uint32(a.cfg.Limits.LSOv4.MaxHeader),
	}
	if a.cfg.VMQueues > 0 {
		g.VMQ = ndis.AllFamilies
	}
	return g
}

// checksums returns all checksums of one direction and IP version.
func checksums(ipv4 bool) ndis.ChecksumBlock {
	return ndis.ChecksumBlock{
		Encapsulation: framings,
		IPOptions:     ndis.Supported, TCPOptions: ndis.Supported,
		TCPChecksum: ndis.Supported, UDPChecksum: ndis.Supported,
		IPChecksum: ndis.SupportOf(ipv4),
	}
}
