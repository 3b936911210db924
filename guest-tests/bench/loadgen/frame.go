package loadgen

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"slices"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"vhost-user-nvgre/virtio"
)

// Kind is what a frame is.
type Kind string

// Kinds of frames, all of TCP over IPv4.
const (
	Plain      Kind = "plain"       // complete, nothing left to the device
	Super      Kind = "super"       // super-frame, to be segmented
	NVGRE      Kind = "nvgre"       // in NVGRE, complete
	NVGRECsum  Kind = "nvgre-csum"  // in NVGRE, the inner checksum left to the device
	NVGRESuper Kind = "nvgre-super" // in NVGRE, to be segmented
)

type kindSpec struct {
	nvgre, partial, super bool
	size, mss             int // defaults
	headers               int // bytes before the payload
}

// Header sizes in bytes.
const (
	plainHeaders = 14 + 20 + 20
	nvgreHeaders = 14 + 20 + 8 + plainHeaders
	tagSize      = 6 // the least payload: it tells frames apart, and none is padded
)

var kinds = map[Kind]kindSpec{
	Plain:      {size: 72, headers: plainHeaders},
	Super:      {partial: true, super: true, size: 60000, mss: 1448, headers: plainHeaders},
	NVGRE:      {nvgre: true, size: 1496, headers: nvgreHeaders},
	NVGRECsum:  {nvgre: true, partial: true, size: 1496, headers: nvgreHeaders},
	NVGRESuper: {nvgre: true, partial: true, super: true, size: 60000, mss: 1400, headers: nvgreHeaders},
}

// Kinds returns all kinds, sorted.
func Kinds() []Kind { return slices.Sorted(maps.Keys(kinds)) }

// MAC addresses of the two ends. Both are locally administered.
var (
	senderMAC   = virtio.MAC{0x02, 0x6c, 0x67, 0, 0, 1}
	receiverMAC = virtio.MAC{0x02, 0x6c, 0x67, 0, 0, 2}
)

// frame is what is sent and what may come of it.
type frame struct {
	hdr   virtio.NetHdr // as the sender writes it
	bytes []byte        // as it is sent
	final []byte        // with every checksum in place
	spec  kindSpec
}

// payload returns the TCP payload.
func (f *frame) payload() []byte { return f.bytes[f.spec.headers:] }

// newFrame makes the ith of a series of frames, which differ in sequence number
// and payload.
func newFrame(k Kind, size, mss, i int) (*frame, error) {
	f := &frame{spec: kinds[k]}
	payload := make([]byte, size-f.spec.headers)
	binary.BigEndian.PutUint32(payload, uint32(i))
	for j := tagSize; j < len(payload); j++ {
		payload[j] = byte(i*7 + j*3 + j>>8)
	}
	var err error
	if f.final, err = f.build(payload, uint32(i)<<16); err != nil {
		return nil, fmt.Errorf("loadgen: %w", err)
	}
	f.bytes = slices.Clone(f.final)
	if !f.spec.partial {
		return f, nil
	}
	tcp := f.spec.headers - 20
	f.hdr = virtio.NetHdr{Flags: virtio.HdrNeedsCsum, CsumStart: uint16(tcp), CsumOffset: 16}
	if f.spec.super {
		f.hdr.GSOType, f.hdr.GSOSize, f.hdr.HdrLen = virtio.GSOTCPv4, uint16(mss), uint16(f.spec.headers)
	}
	binary.BigEndian.PutUint16(f.bytes[tcp+16:], pseudoSum(f.bytes[tcp-20:tcp], len(f.bytes)-tcp))
	return f, nil
}

// build returns the frame complete with all checksums.
func (f *frame) build(payload []byte, seq uint32) ([]byte, error) {
	mac := func(m virtio.MAC) net.HardwareAddr { return m[:] }
	ip := func(src, dst byte, p layers.IPProtocol) *layers.IPv4 {
		return &layers.IPv4{
			Version: 4, TTL: 64, Protocol: p, Flags: layers.IPv4DontFragment,
			SrcIP: net.IPv4(192, 0, 2, src), DstIP: net.IPv4(192, 0, 2, dst),
		}
	}
	eth := func() *layers.Ethernet {
		return &layers.Ethernet{SrcMAC: mac(senderMAC), DstMAC: mac(receiverMAC), EthernetType: layers.EthernetTypeIPv4}
	}
	inner := ip(1, 2, layers.IPProtocolTCP)
	tcp := &layers.TCP{SrcPort: 40000, DstPort: 5201, Seq: seq, Ack: 1, ACK: true, Window: 512}
	if err := tcp.SetNetworkLayerForChecksum(inner); err != nil {
		return nil, err
	}
	stack := []gopacket.SerializableLayer{eth(), inner, tcp, gopacket.Payload(payload)}
	if f.spec.nvgre {
		const vsid, flowID = 0x5a11ab, 0x42
		stack = append([]gopacket.SerializableLayer{
			eth(), ip(3, 4, layers.IPProtocolGRE),
			&layers.GRE{Protocol: layers.EthernetTypeTransparentEthernetBridging, KeyPresent: true, Key: vsid<<8 | flowID},
		}, stack...)
	}
	buf := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, stack...)
	return buf.Bytes(), err
}

// pseudoSum is what a driver leaves in the checksum field: the sum over the
// pseudo header of RFC 9293 section 3.1, not complemented.
func pseudoSum(ip []byte, length int) uint16 {
	sum := uint32(6) + uint32(length)
	for i := 12; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}
