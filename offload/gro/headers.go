package gro

import (
	"encoding/binary"

	"vhost-user-nvgre/offload/checksum"
	"vhost-user-nvgre/offload/packet"
	"vhost-user-nvgre/virtio"
)

// Offsets in headers.
const (
	ethType = 12
	ethSize = 14

	ipv4Size     = 20
	ipv4Length   = 2
	ipv4TTL      = 8
	ipv4Checksum = 10
	ipv6Size     = 40
	ipv6Length   = 4
	ipv6HopLimit = 7

	tcpSize     = 20
	tcpSeq      = 4
	tcpAck      = 8
	tcpFlags    = 13
	tcpWindow   = 14
	tcpChecksum = 16
	tcpUrgent   = 18

	udpSize     = 8
	udpLength   = 4
	udpChecksum = 6
)

// TCP flags.
const (
	flagPSH = 0x08
	flagACK = 0x10
	flagECE = 0x40
	flagCWR = 0x80
)

// protocols of packet.Level.
const (
	protoTCP = 6
	protoUDP = 17
)

// maxDatagram is the longest IP packet that a unit may become.
const maxDatagram = 65535

// segment is what of a frame's headers counts for the units it may be in. Of
// a datagram only payload, next and check are used.
type segment struct {
	seq, ack     uint32
	tsval, tsecr uint32
	payload      uint32
	window       uint16
	next         uint16 // frame that follows in the same unit, 0 if none
	flags        uint8
	ttl          uint8
	stamp        uint8 // offset of the timestamps from the TCP header, 0 without
	check        bool  // the checksum is still to be verified
}

// fixed is what must be equal in all frames of a unit, besides the tags and
// what a flow is known by.
type fixed struct {
	eth0, eth1 uint64 // Ethernet header, two bytes twice
	// ip is of IPv4 version, header length, DSCP and the flags, of IPv6
	// version, DSCP and flow label; of datagrams also the ECN field and the
	// TTL or hop limit.
	ip     uint64
	l3     uint16
	header uint16 // length of the header stack
	stamp  uint8
	noSum  bool // UDP without checksum
}

// class is what a frame is to its flow.
type class uint8

const (
	// mergeable frames may become part of a unit.
	mergeable class = iota
	// exceptional are those of exceptions 2 to 6 ("Exception Conditions that
	// Terminate Coalescing").
	exceptional
	// apart is what stays alone for another reason.
	apart
)

// Words as they are in memory, read little endian.
const (
	// Two NOPs and the timestamp option, as RFC 7323 appendix A has it.
	stampOption = 0x0a080101
	// Of the first 8 bytes of an IPv4 header: version, header length, DSCP,
	// and the word of flags and fragment offset.
	fixedIPv4 = 0xffff00000000fcff
	ecnIPv4   = 0x0000000000000300
	// Of the first 4 bytes of an IPv6 header: version, DSCP, flow label.
	fixedIPv6 = 0xffffcfff
	ecnIPv6   = 0x00003000
)

// read takes in a TCP or UDP frame, whose ports the level has. ecn is the
// fields of exception 8. With a class other than mergeable, nothing was
// returned.
func (s *segment) read(f *Frame, kind Kind, fix *fixed, ecn *uint16) class {
	l := &f.Info.Outer
	// Padding can be told from payload only if it is private: the rest is
	// copied as payload.
	if !l.Whole() || f.Hdr.GSOType&^virtio.GSOECN != virtio.GSONone || l.End != f.Info.FrameLen && len(f.Head) != int(f.Info.FrameLen) {
		return apart
	}
	if !l.Plain() {
		return exceptional
	}
	le := binary.LittleEndian
	h := f.Head
	var ip uint64
	if l.Net == packet.IPv4 {
		v4 := l.IPv4Header(h)
		if !checksum.IPv4HeaderGood(v4) {
			return exceptional
		}
		ip = le.Uint64(v4[:])
		*ecn = uint16(ip & ecnIPv4)
		fix.ip = ip & fixedIPv4
		s.ttl = v4[ipv4TTL]
	} else {
		v6 := l.IPv6Header(h)
		ip = uint64(le.Uint32(v6[:]))
		*ecn = uint16(ip & ecnIPv6)
		fix.ip = ip & fixedIPv6
		s.ttl = v6[ipv6HopLimit]
	}
	s.payload = l.End - uint32(l.Payload)
	fix.eth0, fix.eth1 = le.Uint64(h), le.Uint64(h[ethSize-8:])
	fix.l3, fix.header = l.L3, l.Payload
	if kind.tcp() {
		return s.readTCP(f, fix, ecn)
	}
	// All of the IP header's first bytes count, and the TTL.
	fix.ip |= uint64(*ecn) | uint64(s.ttl)<<32
	return s.readUDP(f, fix)
}

func (s *segment) readTCP(f *Frame, fix *fixed, ecn *uint16) class {
	le, be := binary.LittleEndian, binary.BigEndian
	l := &f.Info.Outer
	t := (*[tcpSize]byte)(f.Head[l.L4:])
	flags := t[tcpFlags]
	// AccECN's flag is among those below the data offset. Without ACK there is
	// no acknowledgement to compare.
	if flags&^(flagPSH|flagECE|flagCWR) != flagACK || t[12]&0x0f != 0 || le.Uint16(t[tcpUrgent:]) != 0 {
		return exceptional
	}
	s.stamp, s.tsval, s.tsecr = 0, 0, 0
	if o := f.Head[l.L4+tcpSize : l.Payload]; len(o) != 0 {
		if len(o) == 12 && le.Uint32(o) == stampOption {
			s.stamp = tcpSize + 4
		} else if !s.options(o) {
			return exceptional
		}
		if s.stamp != 0 {
			o = o[s.stamp-tcpSize:]
			s.tsval, s.tsecr = be.Uint32(o), be.Uint32(o[4:])
		}
	}
	fix.stamp, fix.noSum = s.stamp, false
	*ecn |= uint16(flags & (flagECE | flagCWR))
	s.seq, s.ack = be.Uint32(t[tcpSeq:]), be.Uint32(t[tcpAck:])
	s.flags, s.window = flags, be.Uint16(t[tcpWindow:])
	return s.sum(f, tcpChecksum)
}

// options looks through TCP options other than the usual. It is false if there
// is one that is neither padding nor the timestamps.
func (s *segment) options(o []byte) bool {
	for i := 0; i < len(o); {
		switch {
		case o[i] == 0: // end of the list
			return true
		case o[i] == 1: // no operation
			i++
		case o[i] == 8 && len(o)-i >= 10 && o[i+1] == 10 && s.stamp == 0:
			s.stamp = uint8(tcpSize + i + 2)
			i += 10
		default:
			return false
		}
	}
	return true
}

func (s *segment) readUDP(f *Frame, fix *fixed) class {
	l := &f.Info.Outer
	u := (*[udpSize]byte)(f.Head[l.L4:])
	// What is behind the datagram in its packet would become payload.
	if uint32(binary.BigEndian.Uint16(u[udpLength:])) != l.End-uint32(l.L4) || s.payload == 0 {
		return apart
	}
	fix.stamp = 0
	fix.noSum = f.Hdr.Flags&virtio.HdrNeedsCsum == 0 && u[udpChecksum]|u[udpChecksum+1] == 0
	if fix.noSum {
		// With IPv6 the receiver has to discard it, unless it knows of a
		// tunnel (RFC 6935): not to be hidden in a unit.
		if l.Net == packet.IPv6 {
			return apart
		}
		s.check = false
		return mergeable
	}
	return s.sum(f, udpChecksum)
}

// sum finds out what is known of the transport checksum.
func (s *segment) sum(f *Frame, offset uint16) class {
	s.check = f.Hdr.Flags&virtio.HdrDataValid == 0
	if f.Hdr.Flags&virtio.HdrNeedsCsum == 0 {
		return mergeable
	}
	l := &f.Info.Outer
	at := l.L4
	if f.Hdr.CsumStart != at || f.Hdr.CsumOffset != offset {
		return apart
	}
	// A wrong sum of the pseudo-header makes a wrong checksum, which a unit
	// would put right.
	if !same(pseudo(l, f.Head, l.End-uint32(at)), binary.LittleEndian.Uint16(f.Head[at+offset:])) {
		return exceptional
	}
	s.check = false
	return mergeable
}

// same reports whether a folds to the word w, in which 0 and 0xffff are the
// same.
func same(a checksum.Acc, w uint16) bool { return (a+checksum.Acc(^w))%0xffff == 0 }
