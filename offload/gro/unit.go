package gro

// unit is a single coalesced unit being put together: H in the flowcharts of
// "Rules for Coalescing TCP/IP Packets". It is advanced twice, by the headers
// when units are planned and again as payload arrives.
type unit struct {
	nxt, ack     uint32
	tsval, tsecr uint32
	first        uint32 // the earliest tsval
	payload      uint32
	size         uint32 // payload of the first frame: what a receiver is told of all
	frames, data uint16
	window       uint16
	flags        uint8
	ttl          uint8
	short        bool // the last segment was shorter, so no other can follow
}

// start makes s the first frame of the unit.
func (u *unit) start(s *segment) {
	*u = unit{
		nxt: s.seq + s.payload, ack: s.ack,
		tsval: s.tsval, tsecr: s.tsecr, first: s.tsval,
		payload: s.payload, size: s.payload,
		frames: 1,
		window: s.window, flags: s.flags, ttl: s.ttl,
	}
	if s.payload > 0 {
		u.data = 1
	}
}

// takes reports whether s continues the unit. limit is the most payload the
// unit may have.
func (u *unit) takes(s *segment, tcp bool, limit uint32) bool {
	if !tcp {
		return s.payload <= u.size && !u.short && u.payload+s.payload <= limit
	}
	if s.seq != u.nxt || int32(s.tsval-u.tsval) < 0 || (s.flags|u.flags)&flagCWR != 0 {
		return false
	}
	if s.payload == 0 {
		// A window update; with the same window it would be a duplicate ACK.
		return s.ack == u.ack && s.window != u.window
	}
	return u.payload > 0 && int32(s.ack-u.ack) >= 0 &&
		s.payload <= u.size && !u.short && u.payload+s.payload <= limit
}

// add appends s, which the unit takes.
func (u *unit) add(s *segment) {
	u.frames++
	if s.payload != 0 {
		u.data++
		u.short = s.payload < u.size
		u.payload += s.payload
	}
	u.nxt += s.payload
	u.ack, u.window = s.ack, s.window
	u.tsval, u.tsecr = s.tsval, s.tsecr
	u.flags |= s.flags & flagPSH
	u.ttl = min(u.ttl, s.ttl)
}
