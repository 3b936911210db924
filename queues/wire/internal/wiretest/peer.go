package wiretest

import (
	"encoding/binary"
	"net"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"vhost-user-nvgre/virtio"
)

// Peer is a guest with an IPv4 address, as far as a connection or two need it.
type Peer struct {
	*Guest
	MAC    net.HardwareAddr
	IP     net.IP
	Remote net.HardwareAddr // of the one address it talks to
	To     net.IP
}

// NewPeer has the guest find out who has the address to.
func NewPeer(g *Guest, mac net.HardwareAddr, ip, to string) *Peer {
	p := &Peer{Guest: g, MAC: mac, IP: net.ParseIP(ip).To4(), To: net.ParseIP(to).To4()}
	p.arp(layers.ARPRequest, net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, make([]byte, 6))
	for p.Remote == nil {
		p.next()
	}
	return p
}

func (p *Peer) arp(op uint16, dst net.HardwareAddr, about []byte) {
	p.Send(Packet{B: p.serialize(
		&layers.Ethernet{SrcMAC: p.MAC, DstMAC: dst, EthernetType: layers.EthernetTypeARP},
		&layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
			Operation: op, SourceHwAddress: p.MAC, SourceProtAddress: p.IP, DstHwAddress: about, DstProtAddress: p.To,
		},
	)})
}

func (p *Peer) serialize(stack ...gopacket.SerializableLayer) []byte {
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, stack...); err != nil {
		p.t.Fatal(err)
	}
	return b.Bytes()
}

// next handles the next frame and returns it if it is a TCP or UDP packet for
// the guest, with every checksum verified.
func (p *Peer) next() (Packet, gopacket.Packet) {
	p.t.Helper()
	got := p.Recv()
	d := gopacket.NewPacket(Finished(got), layers.LayerTypeEthernet, gopacket.NoCopy)
	if a, ok := d.Layer(layers.LayerTypeARP).(*layers.ARP); ok {
		switch {
		case a.Operation == layers.ARPReply && p.To.Equal(a.SourceProtAddress):
			p.Remote = a.SourceHwAddress
		case a.Operation == layers.ARPRequest && p.IP.Equal(a.DstProtAddress):
			p.arp(layers.ARPReply, a.SourceHwAddress, a.SourceHwAddress)
		}
		return got, nil
	}
	ip, ok := d.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	if !ok || !p.IP.Equal(ip.DstIP) || d.TransportLayer() == nil {
		return got, nil
	}
	switch l := d.TransportLayer().(type) {
	case *layers.TCP:
		must(p.t, l.SetNetworkLayerForChecksum(ip))
	case *layers.UDP:
		must(p.t, l.SetNetworkLayerForChecksum(ip))
	}
	if err, bad := d.VerifyChecksums(); err != nil || len(bad) > 0 {
		p.t.Fatalf("a frame with bad checksums came: %v, %+v, header %+v\n%x", err, bad, got.Hdr, got.B[:min(len(got.B), 128)])
	}
	return got, d
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Finished returns the frame with the checksum filled in that its packet
// header asks for, as section "Packet Transmission" of the specification has
// it.
func Finished(p Packet) []byte {
	b := append([]byte(nil), p.B...)
	if p.Hdr.Flags&virtio.HdrNeedsCsum != 0 {
		v := ^sum(b[p.Hdr.CsumStart:])
		if v == 0 && p.Hdr.CsumOffset == 6 {
			v = 0xffff
		}
		binary.BigEndian.PutUint16(b[int(p.Hdr.CsumStart)+int(p.Hdr.CsumOffset):], v)
	}
	return b
}

// sum is the ones' complement sum of RFC 1071, the slow way.
func sum(b []byte) uint16 {
	s := uint32(0)
	for i, v := range b {
		s += uint32(v) << (8 * uint(1-i%2))
		s = s&0xffff + s>>16
	}
	return uint16(s)
}

// unpadded takes away what gopacket fills short frames up with.
func unpadded(b []byte) []byte { return b[:14+int(binary.BigEndian.Uint16(b[16:]))] }

// partial turns a finished packet into one whose transport checksum is that of
// the pseudo header alone.
func partial(b []byte, start, offset int, proto layers.IPProtocol) {
	pseudo := append([]byte(nil), b[26:34]...)
	pseudo = append(pseudo, 0, byte(proto))
	pseudo = binary.BigEndian.AppendUint16(pseudo, uint16(len(b)-start))
	binary.BigEndian.PutUint16(b[start+offset:], sum(pseudo))
}

func (p *Peer) ip(proto layers.IPProtocol) (*layers.Ethernet, *layers.IPv4) {
	return &layers.Ethernet{SrcMAC: p.MAC, DstMAC: p.Remote, EthernetType: layers.EthernetTypeIPv4},
		&layers.IPv4{Version: 4, TTL: 64, Protocol: proto, SrcIP: p.IP, DstIP: p.To, Flags: layers.IPv4DontFragment}
}

// Datagrams sends b to a UDP port, as one super-frame of datagrams of size
// bytes.
func (p *Peer) Datagrams(port int, b []byte, size int) {
	eth, ip := p.ip(layers.IPProtocolUDP)
	udp := &layers.UDP{SrcPort: 4000, DstPort: layers.UDPPort(port)}
	must(p.t, udp.SetNetworkLayerForChecksum(ip))
	f := unpadded(p.serialize(eth, ip, udp, gopacket.Payload(b)))
	partial(f, 34, 6, layers.IPProtocolUDP)
	p.Send(Packet{virtio.NetHdr{
		Flags: virtio.HdrNeedsCsum, GSOType: virtio.GSOUDPL4, HdrLen: 42, GSOSize: uint16(size), CsumStart: 34, CsumOffset: 6,
	}, f})
}

// Conn is a TCP connection of a Peer. It is for a network that loses nothing.
type Conn struct {
	p         *Peer
	from, to  layers.TCPPort
	seq, ack  uint32
	acked     uint32 // by the other side
	Got       []byte
	Largest   Packet // the longest frame that came
	Datagrams int    // frames with data that came
}

// Dial connects to a port.
func (p *Peer) Dial(port int) *Conn {
	p.t.Helper()
	c := &Conn{p: p, from: 4000, to: layers.TCPPort(port), seq: 1000}
	c.send(&layers.TCP{SYN: true, Options: []layers.TCPOption{
		{OptionType: layers.TCPOptionKindMSS, OptionData: []byte{1460 >> 8, 1460 & 0xff}},
		{OptionType: layers.TCPOptionKindNop},
		{OptionType: layers.TCPOptionKindWindowScale, OptionData: []byte{8}},
	}}, nil, 0)
	c.seq++
	for c.acked != c.seq {
		c.pump()
	}
	return c
}

// send sends a segment; with mss it is a super-frame.
func (c *Conn) send(tcp *layers.TCP, b []byte, mss int) {
	tcp.SrcPort, tcp.DstPort, tcp.Seq, tcp.Ack, tcp.Window = c.from, c.to, c.seq, c.ack, 0xffff
	tcp.ACK = c.ack != 0
	eth, ip := c.p.ip(layers.IPProtocolTCP)
	must(c.p.t, tcp.SetNetworkLayerForChecksum(ip))
	f := unpadded(c.p.serialize(eth, ip, tcp, gopacket.Payload(b)))
	partial(f, 34, 16, layers.IPProtocolTCP)
	h := virtio.NetHdr{Flags: virtio.HdrNeedsCsum, CsumStart: 34, CsumOffset: 16}
	if mss > 0 {
		h.GSOType, h.GSOSize, h.HdrLen = virtio.GSOTCPv4, uint16(mss), uint16(len(f)-len(b))
	}
	out := Packet{h, f}
	if !c.p.features.Has(virtio.FeatureCSUM) {
		out = Packet{B: Finished(out)}
	}
	c.p.Send(out)
}

// Write sends b as one super-frame and waits until it is acknowledged.
func (c *Conn) Write(b []byte, mss int) {
	c.p.t.Helper()
	c.send(&layers.TCP{PSH: true}, b, mss)
	for c.seq += uint32(len(b)); c.acked != c.seq; {
		c.pump()
	}
}

// Read receives until there are n bytes in Got.
func (c *Conn) Read(n int) {
	c.p.t.Helper()
	for len(c.Got) < n {
		c.pump()
	}
}

// pump handles one frame.
func (c *Conn) pump() {
	c.p.t.Helper()
	got, d := c.p.next()
	if d == nil {
		return
	}
	tcp, ok := d.TransportLayer().(*layers.TCP)
	if !ok || tcp.DstPort != c.from {
		return
	}
	if tcp.RST {
		c.p.t.Fatal("the connection was reset")
	}
	c.acked = tcp.Ack
	switch {
	case tcp.SYN:
		c.ack = tcp.Seq + 1
	case len(tcp.Payload) == 0 || tcp.Seq != c.ack:
		return
	default:
		c.Got = append(c.Got, tcp.Payload...)
		c.ack += uint32(len(tcp.Payload))
		c.Datagrams++
		if len(got.B) > len(c.Largest.B) {
			c.Largest = got
		}
	}
	c.send(&layers.TCP{}, nil, 0)
}
