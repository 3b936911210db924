package packet_test

import (
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"vhost-user-nvgre/offload/packet"
)

// compareGopacket decodes b with gopacket and compares the layers it finds
// with p: their kinds, offsets and lengths. gopacket is lenient in other
// places, so that each level is compared only as far as its verdict goes.
func compareGopacket(t *testing.T, b []byte, p *packet.Info) {
	t.Helper()
	pkt := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.NoCopy)
	l, level := &p.Outer, 0
	off := 0
	fail := func(what string, layer gopacket.Layer, got, want any) {
		t.Helper()
		t.Fatalf("level %d, %s at %d: %s = %v, gopacket says %v\n%x\n%+v", level, layer.LayerType(), off, what, got, want, b, *p)
	}
	tags, seenEthernet, seenNet := 0, false, false
	found := pkt.Layers()
	if pkt.ErrorLayer() != nil {
		// The last is the error, the one before may be half decoded.
		found = found[:max(0, len(found)-2)]
	}
	for _, layer := range found {
		switch layer.(type) {
		case *layers.IPv4, *layers.IPv6:
			if seenNet {
				return // IP in IP is another transport to us
			}
			seenNet = true
		case *layers.Ethernet:
			if seenEthernet || seenNet {
				return // so is Ethernet in Ethernet
			}
			seenEthernet = true
		}
		switch v := layer.(type) {
		case *layers.Ethernet:
			if off != int(l.L2) {
				fail("L2", v, l.L2, off)
			}
		case *layers.Dot1Q:
			if tags == 0 && l.Tags() > 0 && l.VLAN() != v.VLANIdentifier {
				fail("VLAN", v, l.VLAN(), v.VLANIdentifier)
			}
			if tags++; tags > packet.MaxTags {
				return
			}
		case *layers.IPv4:
			if l.Net == packet.NoNet {
				return // we are stricter about version and length
			}
			if l.Tags() != tags {
				fail("Tags", v, l.Tags(), tags)
			}
			if l.Net != packet.IPv4 || int(l.L3) != off || l.Protocol != uint8(v.Protocol) || int(l.L4-l.L3) != 4*int(v.IHL) {
				fail("header", v, *l, v)
			}
			if l.Flags&packet.BadIPLength == 0 && int(l.End) != off+int(v.Length) {
				fail("End", v, l.End, off+int(v.Length))
			}
			frag := v.FragOffset != 0 || v.Flags&layers.IPv4MoreFragments != 0
			if (l.Flags&packet.Fragment != 0) != frag {
				fail("Flags", v, l.Flags, frag)
			}
		case *layers.IPv6:
			if l.Net == packet.NoNet {
				return
			}
			if l.Net != packet.IPv6 || int(l.L3) != off {
				fail("header", v, *l, v)
			}
			if l.Tags() != tags {
				fail("Tags", v, l.Tags(), tags)
			}
			if l.Flags&packet.BadIPLength == 0 && int(l.End) != off+40+int(v.Length) {
				fail("End", v, l.End, off+40+int(v.Length))
			}
		case *layers.IPv6HopByHop, *layers.IPv6Routing, *layers.IPv6Destination, *layers.IPv6Fragment, *layers.IPSecAH:
			if l.Verdict != packet.OK {
				return
			}
			if l.Net == packet.IPv4 {
				return // AH in IPv4 is another transport to us
			}
			if f, ok := layer.(*layers.IPv6Fragment); ok {
				if l.Flags&packet.FragmentHeader == 0 || (l.Flags&packet.FragmentLater != 0) != (f.FragmentOffset != 0) {
					fail("Flags", layer, l.Flags, f)
				}
			}
		case *layers.TCP:
			if l.Verdict != packet.OK || l.Flags&packet.BadIPLength != 0 {
				return
			}
			if l.Trans != packet.TCP || int(l.L4) != off || int(l.Payload-l.L4) != 4*int(v.DataOffset) {
				fail("TCP", v, *l, v.DataOffset)
			}
		case *layers.UDP:
			if l.Verdict != packet.OK || l.Flags&packet.BadIPLength != 0 {
				return
			}
			if l.Trans != packet.UDP || int(l.L4) != off {
				fail("UDP", v, *l, off)
			}
			return // what is in UDP is gopacket's business
		case *layers.ICMPv4:
			if l.Verdict != packet.OK || l.Net != packet.IPv4 {
				return
			}
			if l.Trans != packet.ICMP || int(l.L4) != off {
				fail("ICMP", v, *l, off)
			}
			return
		case *layers.ICMPv6:
			if l.Verdict != packet.OK || l.Net != packet.IPv6 {
				return
			}
			if l.Trans != packet.ICMPv6 || int(l.L4) != off {
				fail("ICMPv6", v, *l, off)
			}
			return
		case *layers.GRE:
			if l.Verdict != packet.OK || l.Flags&(packet.BadIPLength|packet.Fragment) != 0 {
				return
			}
			if l.Trans != packet.GRE || int(l.L4) != off || int(l.Payload-l.L4) != len(v.Contents) {
				fail("GRE", v, *l, len(v.Contents))
			}
			if level == 1 {
				return // a second tunnel
			}
			key := uint32(0)
			if v.KeyPresent {
				key = v.Key
			}
			if p.VSID<<8|uint32(p.FlowID) != key || p.GREProtocol != uint16(v.Protocol) {
				fail("key", v, p.VSID, v.Key)
			}
			nvgre := v.KeyPresent && !v.ChecksumPresent && !v.SeqPresent && v.Protocol == layers.EthernetTypeTransparentEthernetBridging
			if (p.Tunnel == packet.NVGRE) != nvgre {
				fail("Tunnel", v, p.Tunnel, nvgre)
			}
			switch v.Protocol {
			case layers.EthernetTypeTransparentEthernetBridging, layers.EthernetTypeIPv4, layers.EthernetTypeIPv6:
			default:
				return
			}
			l, level, tags, seenEthernet, seenNet = &p.Inner, 1, 0, false, false
		default:
			return
		}
		if _, ok := layer.(*layers.IPv6); ok {
			off += 40 // gopacket counts the hop-by-hop header to it
			continue
		}
		off += len(layer.LayerContents())
	}
}

// Every form of a frame is decoded by gopacket as by Parse, whole and cut.
func TestAgreesWithGopacket(t *testing.T) {
	for i, c := range frames([]byte("some payload")) {
		f := c.Spec.Build()
		p := parse(f.Bytes, len(f.Bytes))
		compareGopacket(t, f.Bytes, &p)
		if i%17 != 0 {
			continue
		}
		for n := range len(f.Bytes) {
			p := parse(f.Bytes[:n], n)
			compareGopacket(t, f.Bytes[:n], &p)
		}
	}
}

// gopacket must get as far as Parse on good frames, or comparing shows nothing.
func TestGopacketGetsThere(t *testing.T) {
	for _, c := range frames([]byte("some payload")) {
		f := c.Spec.Build()
		pkt := gopacket.NewPacket(f.Bytes, layers.LayerTypeEthernet, gopacket.NoCopy)
		if err := pkt.ErrorLayer(); err != nil {
			t.Fatalf("%s: gopacket: %v\n%x", c.Name, err.Error(), f.Bytes)
		}
		var net gopacket.NetworkLayer
		for _, layer := range pkt.Layers() {
			switch v := layer.(type) {
			case gopacket.NetworkLayer:
				net = v
			case interface {
				SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
			}:
				if err := v.SetNetworkLayerForChecksum(net); err != nil {
					t.Fatalf("%s: gopacket: %v", c.Name, err)
				}
			}
		}
		err, bad := pkt.VerifyChecksums()
		if err != nil {
			t.Fatalf("%s: gopacket: %v", c.Name, err)
		}
		// It does not know home addresses.
		if p := parse(f.Bytes, len(f.Bytes)); len(bad) > 0 && p.Innermost().HomeAddr == 0 {
			t.Fatalf("%s: gopacket finds a bad checksum: %+v\n%x", c.Name, bad, f.Bytes)
		}
	}
}
