// Package packet finds the headers of an Ethernet frame in one pass: Ethernet
// with VLAN tags, IPv4 and IPv6, TCP, UDP and ICMP, and the same once more
// inside a GRE tunnel, of which NVGRE (RFC 7637) is the form this project is
// about.
//
// What is parsed is a private copy of the first bytes of the frame; every
// length that a header states is checked against the frame, and a frame that
// is malformed at any depth gets a verdict that says how far it is good. There
// are no errors to allocate, and nothing a frame contains can make it panic.
package packet

// Limits of what is parsed.
const (
	// MaxTags is how many VLAN tags an Ethernet header may carry.
	MaxTags = 4
	// MaxExtensions is how many IPv6 extension headers a packet may carry.
	MaxExtensions = 16
)

// Net is the kind of a network header.
type Net uint8

// Kinds of network headers.
const (
	NoNet Net = iota
	IPv4
	IPv6
)

// Transport is the kind of header that follows the network header.
type Transport uint8

// Kinds of transport headers.
const (
	// NoTransport: there is none in this packet (a fragment other than the
	// first, IPv6 "no next header"), or parsing did not get there.
	NoTransport Transport = iota
	TCP
	UDP
	ICMP   // in IPv4
	ICMPv6 // in IPv6
	GRE
	// OtherTransport is any other protocol; Level.Protocol names it.
	OtherTransport
)

// Verdict says how far a level is good.
type Verdict uint8

// Verdicts.
const (
	// Absent: there is no such level. Only of Info.Inner: the packet is no
	// GRE packet, or not one that can be entered (a fragment, or malformed).
	Absent Verdict = iota
	// OK: every header was found whole. Stated lengths may be wrong
	// nevertheless, see BadIPLength and BadUDPLength.
	OK
	// NotIP: good to the end of the Ethernet header (in a tunnel without
	// Ethernet: of the GRE header), behind which there is no IP.
	NotIP
	// MoreHead: the bytes given end within a header while the frame goes on.
	// Parse again with more of them.
	MoreHead
	// Truncated: the frame, or the IP packet by its stated length, ends within
	// a header.
	Truncated
	// TooManyTags: more than MaxTags VLAN tags.
	TooManyTags
	// BadVersion: the version in the IP header is not that of the EtherType.
	BadVersion
	// BadIPHeader: the header length of an IPv4 header is less than 20.
	BadIPHeader
	// BadExtension: an option in an IPv6 extension header overruns it, or
	// there are more than MaxExtensions headers.
	BadExtension
	// BadTCPHeader: the data offset of a TCP header is less than 20 bytes.
	BadTCPHeader
	// BadGRE: GRE of another version than 0, or with bits that RFC 2784
	// section 2.3 tells to discard.
	BadGRE
)

var verdictNames = [...]string{
	"absent", "ok", "not IP", "more head needed", "truncated", "too many tags", "bad IP version",
	"bad IPv4 header length", "bad IPv6 extension header", "bad TCP data offset", "bad GRE header",
}

// String returns a short description.
func (v Verdict) String() string {
	if int(v) < len(verdictNames) {
		return verdictNames[v]
	}
	return "unknown verdict"
}

// Flags are facts about a level.
type Flags uint16

// Flags of a level.
const (
	// FragmentFirst: offset 0 and more fragments follow.
	FragmentFirst Flags = 1 << iota
	// FragmentLater: offset not 0; there is no transport header.
	FragmentLater
	// BadIPLength: the length in the IP header is less than the header's or
	// more than there is; Level.End is then the end of what there is. A
	// super-frame may have it.
	BadIPLength
	// BadUDPLength: the length in the UDP header is less than 8 or more than
	// the IP packet holds.
	BadUDPLength
	// FragmentHeader: IPv6 with a fragment header, even one that says that the
	// packet is whole (RFC 6946).
	FragmentHeader
	// Authenticated: IPv6 with an authentication header, so that no byte may
	// be changed.
	Authenticated
	// RoutingType2: Level.FinalDst comes from a routing header of type 2
	// (mobile IPv6).
	RoutingType2
	// NoEthernet: an IP packet directly in GRE.
	NoEthernet

	// Fragment is set in every fragment of a packet of several.
	Fragment = FragmentFirst | FragmentLater

	// The number of VLAN tags takes the upper bits.
	tagShift       = 12
	oneTag   Flags = 1 << tagShift
)

// Level is an Ethernet frame and the IP packet in it. Offsets are in bytes
// from the start of the (outer) frame. A field that parsing did not reach is 0.
type Level struct {
	End      uint32 // behind the IP packet; what follows is padding
	Protocol uint8  // IP protocol of what is at L4
	Trans    Transport
	Net      Net
	Verdict  Verdict
	L2       uint16 // Ethernet header
	L3       uint16 // IP header
	L4       uint16 // behind the IP header and its options or extension headers
	Payload  uint16 // behind the transport header and its options; 0 if that is not whole
	TCI      uint16 // tag control information of the first tag: priority, DEI, VLAN id
	HomeAddr uint16 // IPv6 home address option: the address in it, 0 if none
	FinalDst uint16 // IPv6 routing header still in use: the final destination, 0 if none
	Flags    Flags
}

// Tags returns the number of VLAN tags.
func (l *Level) Tags() int { return int(l.Flags >> tagShift) }

// Tunnel is what kind of GRE packet a frame is.
type Tunnel uint8

// Kinds of tunnels.
const (
	NoTunnel Tunnel = iota
	// OtherGRE is GRE of RFC 2784 and RFC 2890 that is not NVGRE.
	OtherGRE
	// NVGRE is GRE with key, without checksum and sequence number, whose
	// protocol is transparent Ethernet bridging (RFC 7637 section 3.2).
	NVGRE
)

// Bits of Info.GREFlags.
const (
	GREChecksum = 0x80
	GREKey      = 0x20
	GRESequence = 0x10
)

// Protocol numbers in GRE headers.
const (
	ProtocolEthernet = 0x6558
	ProtocolIPv4     = 0x0800
	ProtocolIPv6     = 0x86dd
)

// Info is what Parse finds. It is 64 bytes, so that those of a batch take a
// cache line each.
type Info struct {
	Outer, Inner Level
	FrameLen     uint32 // as given to Parse
	VSID         uint32 // virtual subnet id: the upper 24 bits of a GRE key
	GREProtocol  uint16 // protocol of what is in the tunnel
	// HeaderLen is the number of bytes from the start of the frame to the
	// innermost transport payload, or as far as parsing got.
	HeaderLen uint16
	FlowID    uint8 // the lower 8 bits of a GRE key; no part of the tunnel's identity
	GREFlags  uint8
	Tunnel    Tunnel
	typical   bool
}
