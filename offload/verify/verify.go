// Package verify checks the checksums of a received frame: the IPv4 header
// checksums, outer and inner, and the TCP or UDP checksum, either of a frame
// in private memory or in the same pass that copies the frame to its receiver.
package verify

import (
	"encoding/binary"

	"vhost-user-nvgre/offload/checksum"
	"vhost-user-nvgre/offload/packet"
)

// State is what is known of one checksum.
type State uint8

// States of a checksum.
const (
	// NotChecked: there is no such checksum, or it cannot be checked: a
	// fragment, a malformed packet, UDP without a checksum.
	NotChecked State = iota
	Good
	Bad
)

var stateNames = [...]string{"not checked", "good", "bad"}

// String returns a short description.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return "unknown"
}

// Result is the state of the checksums of a frame. Transport is the inner TCP
// or UDP checksum where a tunnel was looked into, else that of the plain
// packet.
type Result struct {
	OuterIP, InnerIP, Transport State
}

// IP returns the state of all IPv4 header checksums together, as NDIS reports
// them: bad if one is, good if there is one and none is bad.
func (r Result) IP() State { return max(r.OuterIP, r.InnerIP) }

// AnyBad reports whether a checksum is bad.
func (r Result) AnyBad() bool { return r.OuterIP == Bad || r.InnerIP == Bad || r.Transport == Bad }

// Check verifies a frame that is contiguous and private. p is what Parse made
// of frame; with tunnel, a packet in GRE is looked into, otherwise GRE is like
// any other protocol.
func Check(p *packet.Info, frame []byte, tunnel bool) Result {
	if tunnel && p.Typical() {
		return checkTypical(p, frame)
	}
	r, l := headers(p, frame, tunnel)
	if start, end, base := region(l, frame); end != 0 {
		r.Transport = state(base + checksum.Sum(frame[start:end]))
	}
	return r
}

// Offsets in a frame that is Typical, and what its TCP checksum covers besides
// the pseudo-header's addresses, which stand in front of the TCP header.
const (
	outerIP  = 14
	innerIP  = 56
	tcpAddrs = innerIP + 12
	tcp      = innerIP + 20
	protoTCP = 6
)

func pseudoTypical(p *packet.Info) checksum.Acc {
	return checksum.Long(protoTCP<<16 + p.Inner.End - tcp)
}

// checkTypical is Check for a packet of that form. It takes half the time,
// which counts with small frames.
func checkTypical(p *packet.Info, frame []byte) Result {
	sum := checksum.Sum(frame[tcpAddrs:p.Inner.End]) + pseudoTypical(p)
	h := (*[tcp]byte)(frame)
	return Result{
		OuterIP:   verdict(checksum.IPv4HeaderGood((*[20]byte)(h[outerIP:]))),
		InnerIP:   verdict(checksum.IPv4HeaderGood((*[20]byte)(h[innerIP:]))),
		Transport: verdict(sum.Good()),
	}
}

// Deliver copies a frame to dst and verifies it on the way: what is checked is
// what dst holds afterwards. head is the private copy of the frame's first
// bytes that p was made of; tail is the rest, which may change meanwhile. It
// is false if dst or tail ends before the frame does: then what was written is
// no frame.
func Deliver(dst *checksum.Cursor, head []byte, tail *checksum.Cursor, p *packet.Info, tunnel bool) (Result, bool) {
	var (
		r          Result
		start, end int
		base       checksum.Acc
	)
	if tunnel && p.Typical() {
		h := (*[tcp]byte)(head)
		r.OuterIP = verdict(checksum.IPv4HeaderGood((*[20]byte)(h[outerIP:])))
		r.InnerIP = verdict(checksum.IPv4HeaderGood((*[20]byte)(h[innerIP:])))
		start, end, base = tcpAddrs, int(p.Inner.End), pseudoTypical(p)
	} else {
		var l *packet.Level
		r, l = headers(p, head, tunnel)
		start, end, base = region(l, head)
	}
	head = head[:min(len(head), int(p.FrameLen))]
	// How much of tail is summed, and how much only copied.
	rest := int(p.FrameLen) - len(head)
	summed := min(max(end-len(head), 0), rest)
	var sum checksum.Acc
	if dst.Has(int(p.FrameLen)) && tail.Has(rest) {
		d, t := dst.Take(int(p.FrameLen)), tail.Take(rest)
		copy(d, head)
		d = d[len(head):]
		sum = checksum.Copy(d[:summed], t[:summed])
		if rest > summed {
			copy(d[summed:], t[summed:])
		}
	} else {
		if dst.Write(head) != len(head) {
			return r, false
		}
		var n int
		if sum, n = checksum.Transfer(dst, tail, summed); n != summed {
			return r, false
		}
		if checksum.Move(dst, tail, rest-summed) != rest-summed {
			return r, false
		}
	}
	if end != 0 {
		inHead := head[start:min(end, len(head))]
		r.Transport = state(base + checksum.Sum(inHead) + sum.At(len(inHead)))
	}
	return r, true
}

func state(a checksum.Acc) State { return verdict(a.Good()) }

func verdict(good bool) State {
	if good {
		return Good
	}
	return Bad
}

// headers checks the IPv4 header checksums and returns the level whose
// transport is meant.
func headers(p *packet.Info, b []byte, tunnel bool) (Result, *packet.Level) {
	var r Result
	if p.Outer.Net == packet.IPv4 {
		r.OuterIP = header(&p.Outer, b)
	}
	if !tunnel || !p.Tunnelled() {
		return r, &p.Outer
	}
	if p.Inner.Net == packet.IPv4 {
		r.InnerIP = header(&p.Inner, b)
	}
	return r, &p.Inner
}

// header checks the header checksum of an IPv4 packet.
func header(l *packet.Level, b []byte) State {
	if l.Plain() {
		return verdict(checksum.IPv4HeaderGood(l.IPv4Header(b)))
	}
	return state(checksum.Sum(b[l.L3:l.L4]))
}

// region returns the part of the frame that the transport checksum covers and
// the sum of the pseudo-header; end is 0 if there is nothing to check.
func region(l *packet.Level, b []byte) (start, end int, base checksum.Acc) {
	if !l.HasPorts() || !l.Whole() {
		return 0, 0, 0
	}
	start, end = int(l.L4), int(l.End)
	if l.Trans == packet.UDP {
		h := (*[8]byte)(b[start:])
		// No checksum. In IPv6 there must be one, but for some tunnels (RFC
		// 6935); that is for the receiver to judge.
		if h[6]|h[7] == 0 {
			return 0, 0, 0
		}
		end = start + int(binary.BigEndian.Uint16(h[4:]))
	}
	length := uint32(end - start)
	switch {
	case l.Net == packet.IPv4:
		base = checksum.PseudoIPv4(l.IPv4Addrs(b), l.Protocol, length)
	case l.HomeAddr|l.FinalDst == 0:
		base = checksum.PseudoIPv6(l.IPv6Addrs(b), l.Protocol, length)
	default:
		src, dst := l.IPv6Home(b)
		base = checksum.PseudoIPv6Split(src, dst, l.Protocol, length)
	}
	return start, end, base
}
