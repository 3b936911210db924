// Package gso splits super-frames: TCP large send (NDIS LSOv2, virtio
// VIRTIO_NET_HDR_GSO_TCPV4 and _TCPV6) and UDP segmentation (NDIS USO, virtio
// VIRTIO_NET_HDR_GSO_UDP_L4), of plain packets and of packets inside NVGRE.
//
// The rules are those of NDIS ("Offloading the Segmentation of Large TCP
// Packets", "UDP Segmentation Offload (USO)", "Supporting NVGRE in Large Send
// Offload (LSO)"): all headers are replicated; lengths, IPv4 identifications,
// checksums and TCP sequence numbers are adjusted; FIN and PSH appear in the
// last segment only, CWR in the first only.
//
// The payload is read once, while it is copied to the receiver's buffer and
// summed; the header, whose checksum needs that sum, is written afterwards.
package gso

// MaxHeader is the longest header stack, from the start of the frame to the
// payload of the innermost transport, that can be replicated: NDIS's suggested
// MaxHeaderSizeSupported.
const MaxHeader = 256

// Kind is what a super-frame is to be split into.
type Kind uint8

// Kinds of segmentation. In a tunnel the family is that of the inner packet.
const (
	TCPv4 Kind = iota
	TCPv6
	UDP // of either family
)

// Request is what a sender asks for.
type Request struct {
	Kind Kind
	// Inner says that the packet in the tunnel is to be split, not the outer
	// one.
	Inner bool
	// MSS is the number of transport payload bytes in every segment but the
	// last. Room for headers is not to be subtracted from it.
	MSS int
}

// Limits is what a device advertises for one kind of segmentation.
type Limits struct {
	// MaxPayload is the most transport payload a super-frame may have (NDIS
	// MaxOffLoadSize).
	MaxPayload int
	// MinSegments is the fewest segments a super-frame may ask for (NDIS
	// MinSegmentCount); below 1 it counts as 1.
	MinSegments int
	// MaxSegments bounds the work one super-frame can cause; 0 is no bound.
	MaxSegments int
	// MaxHeader is the longest header stack; above MaxHeader it counts as
	// MaxHeader.
	MaxHeader int
	// SubMSS says that the last UDP datagram may be shorter than the MSS (NDIS
	// SubMssFinalSegmentSupported). For TCP it always may.
	SubMSS bool
}

// Refusal is the reason why a super-frame is not split. Nothing of a refused
// frame may be sent.
type Refusal uint8

// Refusals.
const (
	Accepted Refusal = iota
	// ZeroMSS: the segment size is 0.
	ZeroMSS
	// NoTunnel: the inner packet is to be split and there is none.
	NoTunnel
	// NotNVGRE: the tunnel is GRE, but not of the form of NVGRE.
	NotNVGRE
	// GREChecksum: the GRE header has a checksum or a sequence number, which
	// cannot be replicated.
	GREChecksum
	// Malformed: the headers are not whole.
	Malformed
	// WrongType: the packet is not of the kind that is asked for.
	WrongType
	// HeaderTooLong: the header stack is longer than the limit.
	HeaderTooLong
	// Fragmented: the packet is a fragment.
	Fragmented
	// AuthHeader: the packet has an authentication header, which changing a
	// byte would break.
	AuthHeader
	// TCPFlags: SYN, RST or URG is set or the urgent pointer is not 0.
	TCPFlags
	// PayloadTooLong: there is more payload than the limit.
	PayloadTooLong
	// TooFewSegments: fewer segments than the limit, or no payload.
	TooFewSegments
	// TooManySegments: more segments than the limit.
	TooManySegments
	// UnevenUDP: the last datagram would be shorter, and the limits forbid it.
	UnevenUDP
	// SegmentTooLong: a segment would not fit an IP packet.
	SegmentTooLong

	// NumRefusals is how many values there are, for counters.
	NumRefusals
)

var refusalNames = [NumRefusals]string{
	"accepted", "zero_mss", "no_tunnel", "not_nvgre", "gre_checksum", "malformed", "wrong_type", "header_too_long",
	"fragmented", "auth_header", "tcp_flags", "payload_too_long", "too_few_segments", "too_many_segments",
	"uneven_udp", "segment_too_long",
}

// String returns a short name, fit for a counter.
func (r Refusal) String() string {
	if r < NumRefusals {
		return refusalNames[r]
	}
	return "unknown"
}
