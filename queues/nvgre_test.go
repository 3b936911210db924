package queues

import (
	"encoding/binary"
	"net"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"vhost-user-nvgre/virtio"
)

// tunnel describes the outer headers of NVGRE packets.
type tunnel struct {
	dst, src virtio.MAC
	v6       bool
	from, to byte // last byte of the addresses
	vsid     uint32
	flow     byte
}

// encap returns inner, an Ethernet frame, in the tunnel. gopacket builds the
// outer headers.
func (n tunnel) encap(t testing.TB, inner []byte) []byte {
	t.Helper()
	eth := &layers.Ethernet{DstMAC: n.dst[:], SrcMAC: n.src[:], EthernetType: layers.EthernetTypeIPv4}
	var ip gopacket.SerializableLayer = &layers.IPv4{
		Version: 4, TTL: 64, Protocol: layers.IPProtocolGRE,
		SrcIP: net.IP{192, 0, 2, n.from}, DstIP: net.IP{192, 0, 2, n.to},
	}
	if n.v6 {
		eth.EthernetType = layers.EthernetTypeIPv6
		ip = &layers.IPv6{
			Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolGRE,
			SrcIP: net.IP{0xfd, 0xf0, 15: n.from}, DstIP: net.IP{0xfd, 0xf0, 15: n.to},
		}
	}
	gre := &layers.GRE{Protocol: layers.EthernetTypeTransparentEthernetBridging, KeyPresent: true, Key: n.vsid<<8 | uint32(n.flow)}
	buf := gopacket.NewSerializeBuffer()
	must(t, gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		eth, ip, gre, gopacket.Payload(inner)))
	return append([]byte{}, buf.Bytes()...)
}

// len returns the length of the outer headers.
func (n tunnel) len() int {
	if n.v6 {
		return 14 + 40 + 8
	}
	return 14 + 20 + 8
}

// carry encapsulates a packet with what its sender asks for, which then means
// the packet in the tunnel.
func (n tunnel) carry(t testing.TB, inner []byte, h virtio.NetHdr) ([]byte, virtio.NetHdr) {
	t.Helper()
	h.CsumStart += uint16(n.len())
	h.HdrLen += uint16(n.len())
	return n.encap(t, inner), h
}

// checkPacket fails the test unless b is an Ethernet frame with an IP packet
// whose length is right and whose checksums are, and returns the transport
// header with what follows. Sums are made word by word.
func checkPacket(t testing.TB, b []byte) (l4 []byte) {
	t.Helper()
	var pseudo []byte
	var proto byte
	switch kind := binary.BigEndian.Uint16(b[12:]); kind {
	case 0x0800:
		ip := b[14:]
		if got := sum(ip[:20]); got != 0xffff {
			t.Errorf("IPv4 header %x sums to %04x, want ffff", ip[:20], got)
		}
		if n := int(binary.BigEndian.Uint16(ip[2:])); n != len(ip) {
			t.Errorf("IPv4 total length %d in a packet of %d bytes", n, len(ip))
		}
		pseudo, proto, l4 = append(pseudo, ip[12:20]...), ip[9], ip[20:]
	case 0x86dd:
		ip := b[14:]
		if n := int(binary.BigEndian.Uint16(ip[4:])); n != len(ip)-40 {
			t.Errorf("IPv6 payload length %d in a packet of %d bytes", n, len(ip))
		}
		pseudo, proto, l4 = append(pseudo, ip[8:40]...), ip[6], ip[40:]
	default:
		t.Fatalf("EtherType %04x, want IP", kind)
	}
	if proto == 6 || proto == 17 {
		pseudo = append(pseudo, 0, proto)
		pseudo = binary.BigEndian.AppendUint16(pseudo, uint16(len(l4)))
		if got := sum(append(pseudo, l4...)); got != 0xffff {
			t.Errorf("protocol %d sums to %04x with its pseudo-header, want ffff", proto, got)
		}
	}
	return l4
}

// checkTunnel is checkPacket for an NVGRE packet; it returns the inner frame.
func (n tunnel) checkTunnel(t testing.TB, b []byte) (inner []byte) {
	t.Helper()
	gre := checkPacket(t, b)
	if got, want := binary.BigEndian.Uint64(gre), uint64(0x20006558)<<32|uint64(n.vsid)<<8|uint64(n.flow); got != want {
		t.Errorf("GRE header %016x, want %016x", got, want)
	}
	return gre[8:]
}
