// Package gro coalesces received packets: TCP segments of a connection into
// one large segment (NDIS RSC, receive segment coalescing) and UDP datagrams
// of a flow into one large datagram (NDIS URO, UDP receive offload), within
// one batch and for one receive queue. Packets in a tunnel are never
// coalesced.
//
// The rules are those of NDIS ("Overview of Receive Segment Coalescing" and
// the pages below it, "UDP Receive Segment Coalescing Offload"). What comes
// out is a super-frame as virtio describes it, so a unit is closed earlier
// than NDIS asks for where a packet header could not express it:
//
//   - All segments but the last have the same length. Linux accepts other TCP
//     super-frames, but the one gso_size could not say where the segments
//     began: a receiver that forwards would send segments that nobody sent,
//     and one that computes the number of segments from the length and
//     gso_size, as Windows drivers do, would be wrong. Linux's own software
//     coalescing has the same rule.
//   - A TCP segment with CWR stays alone: in a super-frame the flag is meant
//     for the first segment only.
//   - An IP packet has at most 65535 bytes, for which IPv6 would have room
//     behind its header: receive buffers are made for that (VIRTIO 1.4,
//     "Setting Up Receive Buffers").
//
// A frame's headers are private and are looked at first, for the whole batch:
// that says what belongs together. The payload, which others may change, is
// read once for a unit, when it is copied to its place in the receiver's
// buffers. Where its checksum is not known to be good it is verified in the
// same pass, and counts as part of the unit only after that; if it is bad, the
// unit ends before it and the frame is delivered alone.
package gro

import (
	"vhost-user-nvgre/offload/packet"
	"vhost-user-nvgre/virtio"
)

// Config says what is coalesced: what is operational and what the receiver's
// driver negotiated, both.
type Config struct {
	RSC4, RSC6 bool // TCP over IPv4, IPv6; needs VIRTIO_NET_F_GUEST_TSO4, TSO6
	URO4, URO6 bool // UDP over IPv4, IPv6; needs VIRTIO_NET_F_GUEST_USO4, USO6
	// RSCInfo says that VIRTIO_NET_F_RSC_EXT was negotiated: the packet header
	// of a super-frame then counts segments (VNET-069).
	RSCInfo bool
	// VXLANPort is the UDP destination port whose datagrams are tunnels that
	// are offloaded as such, 0 if none; they are not coalesced (NDIS digest,
	// G29).
	VXLANPort uint16
}

// Any reports whether anything is coalesced.
func (c *Config) Any() bool { return c.RSC4 || c.RSC6 || c.URO4 || c.URO6 }

// Frame is an Ethernet frame to be delivered.
type Frame struct {
	// Head is a private copy of the frame's first bytes that holds all headers
	// that Info tells of; Tail is the rest, in memory that may change at any
	// time. Together they are Info.FrameLen bytes.
	Head []byte
	Tail [][]byte
	Info *packet.Info
	// Hdr is what is known of the frame. With HdrNeedsCsum its checksum is
	// partial and its sender is local, with HdrDataValid somebody trusted found
	// it good; otherwise it is verified before it becomes part of a unit. A
	// frame with a segmentation type stays as it is.
	//
	// HashValue and HashReport of a unit are those of its first frame.
	Hdr *virtio.NetHdr
}

// Sink is where units go, as offload.Sink, with the addition that a
// reservation can be made smaller. Its memory is written and never read.
type Sink interface {
	// Reserve returns room for a frame of n bytes, in pieces of any length. It
	// reports false when there is none. The pieces live until the next call;
	// room not committed by then is as if never reserved.
	Reserve(n int) ([][]byte, bool)
	// Trim cuts the reservation to its first n bytes, which stay where they
	// are.
	Trim(n int)
	// Commit hands over the frame stored in the room reserved last. The header
	// is not kept.
	Commit(h *virtio.NetHdr)
}

// Kind is what a unit consists of.
type Kind uint8

// Kinds of units.
const (
	NoKind Kind = iota
	TCPv4
	TCPv6
	UDPv4
	UDPv6

	numKinds
)

func (k Kind) tcp() bool { return k == TCPv4 || k == TCPv6 }

var kindNames = [numKinds]string{"none", "TCPv4", "TCPv6", "UDPv4", "UDPv6"}

// String returns a short name.
func (k Kind) String() string {
	if k < numKinds {
		return kindNames[k]
	}
	return "unknown"
}

// Unit is what NDIS reports of a coalesced packet (NDIS_RSC_NBL_INFO and
// NDIS_NBL_MEDIA_SPECIFIC_INFORMATION for URO): a "single coalesced unit". Its
// checksums are known to be good, those of IP and of the transport; what the
// field of the transport checksum holds is the sum of the pseudo-header. The
// zero value stands for a frame that was not coalesced.
type Unit struct {
	Kind Kind
	// Frames is how many frames went into the unit, window updates included.
	Frames uint16
	// Segments is how many of them carry payload: CoalescedSegCount of RSC,
	// SegCount of URO.
	Segments uint16
	// SegSize is the payload bytes of every segment but the last, in the last
	// as many or fewer: SegSize of URO, gso_size of virtio. 0 if there is no
	// payload.
	SegSize uint16
	// DupAcks is DupAckCount. It is always 0: duplicate ACKs are not coalesced,
	// as an adapter that did so would have RSC turned off.
	DupAcks uint16
	// Payload is the length of the unit's TCP or UDP payload.
	Payload uint32
	// Verified is how many of the frames had their transport checksum verified
	// on the way; those of the others were known to be good before, or there
	// is none.
	Verified uint16
	// TimestampDelta is RscTcpTimestampDelta: how much later the latest TCP
	// timestamp is than the earliest, in the sender's units.
	TimestampDelta uint32
}

// Stats counts. The first four are the statistics that NDIS defines for RSC
// (NDIS_RSC_STATISTICS_INFO).
type Stats struct {
	// CoalescedPkts is the frames that went into units, CoalescedOctets their
	// TCP payload bytes.
	CoalescedPkts, CoalescedOctets uint64
	// CoalesceEvents is the units with payload.
	CoalesceEvents uint64
	// Aborts is the exceptions other than that a unit would have become too
	// long. A bad TCP checksum is noticed, and counted, only where frames were
	// to be merged.
	Aborts uint64

	// UROUnits is the UDP units, URODatagrams the frames that went into them
	// and UROOctets their UDP payload bytes.
	UROUnits, URODatagrams, UROOctets uint64
}

// Add adds o to s.
func (s *Stats) Add(o *Stats) {
	s.CoalescedPkts += o.CoalescedPkts
	s.CoalescedOctets += o.CoalescedOctets
	s.CoalesceEvents += o.CoalesceEvents
	s.Aborts += o.Aborts
	s.UROUnits += o.UROUnits
	s.URODatagrams += o.URODatagrams
	s.UROOctets += o.UROOctets
}

// count adds a unit that was delivered.
func (s *Stats) count(u *Unit) {
	if !u.Kind.tcp() {
		s.UROUnits++
		s.URODatagrams += uint64(u.Frames)
		s.UROOctets += uint64(u.Payload)
		return
	}
	s.CoalescedPkts += uint64(u.Frames)
	s.CoalescedOctets += uint64(u.Payload)
	if u.Segments > 0 {
		s.CoalesceEvents++
	}
}
