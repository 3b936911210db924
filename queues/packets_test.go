package queues

import (
	"encoding/binary"
	"net"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"vhost-user-nvgre/virtio"
)

// flow describes packets of one TCP or UDP connection. gopacket builds them,
// which shares no code with what is tested.
type flow struct {
	dst, src     virtio.MAC
	vlan         uint16 // 0: no tag
	v6, udp      bool
	from, to     byte // last byte of the addresses
	sport, dport uint16
	seq          uint32
	id           uint16
	fin, psh     bool
	cwr, syn     bool
	fragment     uint16 // IPv4 flags and offset
	noUDPSum     bool
	options      []layers.TCPOption
}

func (f *flow) addrs() (src, dst net.IP) {
	if f.v6 {
		return net.IP{0x20, 1, 0xd, 0xb8, 15: f.from}, net.IP{0x20, 1, 0xd, 0xb8, 15: f.to}
	}
	return net.IP{10, 1, 2, f.from}, net.IP{10, 1, 2, f.to}
}

// packet returns a packet that is complete in every respect.
func (f flow) packet(t testing.TB, payload []byte) []byte {
	t.Helper()
	src, dst := f.addrs()
	kind, proto := layers.EthernetTypeIPv4, layers.IPProtocolTCP
	if f.v6 {
		kind = layers.EthernetTypeIPv6
	}
	if f.udp {
		proto = layers.IPProtocolUDP
	}
	eth := &layers.Ethernet{DstMAC: f.dst[:], SrcMAC: f.src[:], EthernetType: kind}
	stack := []gopacket.SerializableLayer{eth}
	if f.vlan != 0 {
		eth.EthernetType = layers.EthernetTypeDot1Q
		stack = append(stack, &layers.Dot1Q{VLANIdentifier: f.vlan, Type: kind})
	}
	var network gopacket.NetworkLayer
	if f.v6 {
		ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: proto, SrcIP: src, DstIP: dst}
		network, stack = ip, append(stack, ip)
	} else {
		ip := &layers.IPv4{
			Version: 4, TTL: 64, Id: f.id, Protocol: proto, SrcIP: src, DstIP: dst,
			Flags: layers.IPv4Flag(f.fragment >> 13), FragOffset: f.fragment & 0x1fff,
		}
		network, stack = ip, append(stack, ip)
	}
	if f.udp {
		l4 := &layers.UDP{SrcPort: layers.UDPPort(f.sport), DstPort: layers.UDPPort(f.dport)}
		must(t, l4.SetNetworkLayerForChecksum(network))
		stack = append(stack, l4)
	} else {
		l4 := &layers.TCP{
			SrcPort: layers.TCPPort(f.sport), DstPort: layers.TCPPort(f.dport), Seq: f.seq, Ack: 77, Window: 1000,
			ACK: true, FIN: f.fin, PSH: f.psh, CWR: f.cwr, SYN: f.syn, Options: f.options,
		}
		must(t, l4.SetNetworkLayerForChecksum(network))
		stack = append(stack, l4)
	}
	buf := gopacket.NewSerializeBuffer()
	must(t, gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		append(stack, gopacket.Payload(payload))...))
	b := append([]byte{}, buf.Bytes()...)
	if f.udp && f.noUDPSum {
		at := f.l4() + 6
		b[at], b[at+1] = 0, 0
	}
	return b
}

// l4 returns the offset of the transport header.
func (f *flow) l4() int {
	at := 14 + 20
	if f.v6 {
		at += 20
	}
	if f.vlan != 0 {
		at += 4
	}
	return at
}

// csumOffset returns where in the transport header the checksum is.
func (f *flow) csumOffset() int {
	if f.udp {
		return 6
	}
	return 16
}

// partial returns the packet as a sender leaves it that has the device finish
// the checksum: the field holds the sum of the pseudo-header.
func (f flow) partial(t testing.TB, payload []byte) ([]byte, virtio.NetHdr) {
	t.Helper()
	b := f.packet(t, payload)
	at := f.l4()
	src, dst := f.addrs()
	pseudo := append(append([]byte{}, src...), dst...)
	proto := byte(6)
	if f.udp {
		proto = 17
	}
	pseudo = append(pseudo, 0, proto)
	pseudo = binary.BigEndian.AppendUint16(pseudo, uint16(len(b)-at))
	binary.BigEndian.PutUint16(b[at+f.csumOffset():], sum(pseudo))
	return b, virtio.NetHdr{Flags: virtio.HdrNeedsCsum, CsumStart: uint16(at), CsumOffset: uint16(f.csumOffset())}
}

// super returns a super-frame that asks for segments of mss bytes.
func (f flow) super(t testing.TB, payload []byte, mss int) ([]byte, virtio.NetHdr) {
	t.Helper()
	b, h := f.partial(t, payload)
	h.GSOSize = uint16(mss)
	switch {
	case f.udp:
		h.GSOType = virtio.GSOUDPL4
	case f.v6:
		h.GSOType = virtio.GSOTCPv6
	default:
		h.GSOType = virtio.GSOTCPv4
	}
	h.HdrLen = uint16(len(b) - len(payload))
	return b, h
}

// sum is the one's complement sum of big-endian words (RFC 1071), word by word.
func sum(b []byte) uint16 {
	var s uint32
	for i, v := range b {
		if i%2 == 0 {
			s += uint32(v) << 8
		} else {
			s += uint32(v)
		}
		s = s&0xffff + s>>16
	}
	return uint16(s)
}

// decodeTCP has gopacket decode a TCP packet and verify every length and
// checksum in it.
func decodeTCP(t testing.TB, frame []byte) *layers.TCP {
	t.Helper()
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.NoCopy)
	if err := p.ErrorLayer(); err != nil {
		t.Fatalf("gopacket: %v\n%x", err.Error(), frame)
	}
	if p.Metadata().Truncated {
		t.Fatalf("gopacket finds the frame truncated\n%x", frame)
	}
	tcp, ok := p.TransportLayer().(*layers.TCP)
	if !ok {
		t.Fatalf("gopacket finds no TCP\n%x", frame)
	}
	must(t, tcp.SetNetworkLayerForChecksum(p.NetworkLayer()))
	if err, bad := p.VerifyChecksums(); err != nil || len(bad) > 0 {
		t.Fatalf("gopacket finds bad checksums: %+v, %v\n%x", bad, err, frame)
	}
	return tcp
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// bytesOf returns n bytes that look random and depend on seed.
func bytesOf(n int, seed uint64) []byte {
	b := make([]byte, n)
	x := seed*0x9e3779b97f4a7c15 + 1
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
	return b
}
