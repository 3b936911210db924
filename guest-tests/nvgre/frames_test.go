package nvgre

import (
	"encoding/binary"
	"fmt"
	"net"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"vhost-user-nvgre/guest-tests/rawframe"
	"vhost-user-nvgre/virtio"
)

// vsid and flowID are those of every tunnel.
const (
	vsid   = 0xabcdef
	flowID = 0x42
)

// packet describes an NVGRE packet.
type packet struct {
	outer6, inner6 bool
	udp            bool
	vlan           uint16 // of a tag in the inner Ethernet header, 0 for none
	payload        []byte
	src, dst       net.HardwareAddr // outer
}

func (p packet) String() string {
	family := func(six bool) string {
		if six {
			return "IPv6"
		}
		return "IPv4"
	}
	transport := "TCP"
	if p.udp {
		transport = "UDP"
	}
	return fmt.Sprintf("%s over %s over %s", transport, family(p.inner6), family(p.outer6))
}

// families are all mixes of them.
func families() (list []packet) {
	for _, outer := range []bool{false, true} {
		for _, inner := range []bool{false, true} {
			list = append(list, packet{outer6: outer, inner6: inner})
		}
	}
	return list
}

// network returns an IP layer, and the same as what checksums are computed for.
func network(six bool, subnet byte, protocol layers.IPProtocol) (gopacket.SerializableLayer, gopacket.NetworkLayer) {
	if six {
		ip := &layers.IPv6{
			Version: 6, HopLimit: 64, NextHeader: protocol,
			SrcIP: net.ParseIP(fmt.Sprintf("fd00:%x::1", subnet)), DstIP: net.ParseIP(fmt.Sprintf("fd00:%x::2", subnet)),
		}
		return ip, ip
	}
	ip := &layers.IPv4{
		Version: 4, TTL: 64, Protocol: protocol, Id: 0x1000, Flags: layers.IPv4DontFragment,
		SrcIP: net.IPv4(10, subnet, 0, 1), DstIP: net.IPv4(10, subnet, 0, 2),
	}
	return ip, ip
}

func etherType(six bool) layers.EthernetType {
	if six {
		return layers.EthernetTypeIPv6
	}
	return layers.EthernetTypeIPv4
}

// build returns the packet with all checksums filled in, and where its inner
// transport header begins.
func (p packet) build(t *testing.T) (b []byte, transportAt int) {
	t.Helper()
	outer, _ := network(p.outer6, 90, layers.IPProtocolGRE)
	protocol := layers.IPProtocolTCP
	if p.udp {
		protocol = layers.IPProtocolUDP
	}
	inner, sums := network(p.inner6, 91, protocol)
	var transport gopacket.SerializableLayer
	var err error
	if p.udp {
		l := &layers.UDP{SrcPort: 40_000, DstPort: 40_001}
		transport, err = l, l.SetNetworkLayerForChecksum(sums)
	} else {
		l := &layers.TCP{SrcPort: 40_000, DstPort: 40_001, Seq: 1000, Ack: 1, ACK: true, PSH: true, FIN: true, Window: 1000}
		transport, err = l, l.SetNetworkLayerForChecksum(sums)
	}
	if err != nil {
		t.Fatal(err)
	}
	list := []gopacket.SerializableLayer{
		&layers.Ethernet{SrcMAC: p.src, DstMAC: p.dst, EthernetType: etherType(p.outer6)},
		outer,
		&layers.GRE{KeyPresent: true, Key: vsid<<8 | flowID, Protocol: layers.EthernetTypeTransparentEthernetBridging},
	}
	eth := &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, EthernetType: etherType(p.inner6)}
	list = append(list, eth)
	tag := 0
	if p.vlan != 0 {
		tag = 4
		eth.EthernetType = layers.EthernetTypeDot1Q
		list = append(list, &layers.Dot1Q{VLANIdentifier: p.vlan, Type: etherType(p.inner6)})
	}
	list = append(list, inner, transport, gopacket.Payload(p.payload))
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, list...); err != nil {
		t.Fatal(err)
	}
	length := func(six bool) int {
		if six {
			return 40
		}
		return 20
	}
	return buf.Bytes(), 14 + length(p.outer6) + 8 + 14 + tag + length(p.inner6)
}

// whole returns the packet as one that is finished.
func (p packet) whole(t *testing.T) rawframe.Frame {
	t.Helper()
	b, _ := p.build(t)
	return rawframe.Frame{Data: b}
}

// partial returns the packet with the inner checksum left to the NIC.
func (p packet) partial(t *testing.T) rawframe.Frame {
	t.Helper()
	b, at := p.build(t)
	f := rawframe.Frame{Data: b, Hdr: virtio.NetHdr{Flags: virtio.HdrNeedsCsum, CsumStart: uint16(at), CsumOffset: 16}}
	if p.udp {
		f.Hdr.CsumOffset = 6
	}
	p.pseudo(b, at, int(f.Hdr.CsumOffset))
	return f
}

// large returns the packet as a TCP super-frame.
func (p packet) large(t *testing.T, mss int) rawframe.Frame {
	t.Helper()
	f := p.partial(t)
	f.Hdr.GSOType = virtio.GSOTCPv4
	if p.inner6 {
		f.Hdr.GSOType = virtio.GSOTCPv6
	}
	f.Hdr.GSOSize, f.Hdr.HdrLen = uint16(mss), f.Hdr.CsumStart+20
	return f
}

// pseudo stores the sum of the inner pseudo header where the checksum goes.
func (p packet) pseudo(b []byte, at, offset int) {
	protocol, addresses, header := uint32(6), b[at-8:at], 20
	if p.udp {
		protocol, header = 17, 8
	}
	if p.inner6 {
		addresses = b[at-32 : at]
	}
	s := protocol + uint32(header+len(p.payload)) // short frames are padded
	for i := 0; i < len(addresses); i += 2 {
		s += uint32(binary.BigEndian.Uint16(addresses[i:]))
	}
	for s>>16 != 0 {
		s = s&0xffff + s>>16
	}
	binary.BigEndian.PutUint16(b[at+offset:], uint16(s))
}

// pattern returns n bytes that compress well and repeat nowhere soon.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i / 7)
	}
	return b
}

// tunnelled returns those of the frames that are NVGRE packets of ours.
func tunnelled(list []rawframe.Frame) (out []rawframe.Frame) {
	for _, f := range list {
		if gre := decode(f).Layer(layers.LayerTypeGRE); gre != nil {
			out = append(out, f)
		}
	}
	return out
}

func decode(f rawframe.Frame) gopacket.Packet {
	return gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.DecodeOptions{NoCopy: true})
}
