package queues

import "vhost-user-nvgre/offload"

// Traffic is what went over a port in one direction since it was made.
type Traffic struct {
	// By what kind of address they were sent to.
	Unicast, Multicast, Broadcast Frames
	// Errors counts frames that had something wrong with them, Discards those
	// that were lost although nothing was (RFC 2863). Frames that a filter did
	// not take, or that met a link that is down, are in neither.
	Errors, Discards uint64
}

// Frames counts frames and their bytes, without packet headers.
type Frames struct{ Packets, Bytes uint64 }

func (f *Frames) add(packets, bytes uint64) {
	f.Packets += packets
	f.Bytes += bytes
}

// splitOf returns what a frame becomes on a cable beyond one frame: for a
// super-frame the segments after the first, whose headers are the bytes that are
// new.
func splitOf(f *offload.Frame) (packets, bytes uint64) {
	if !f.IsSuper() {
		return 0, 0
	}
	header, payload, size := f.Split()
	n := uint64((payload - 1) / size)
	return n, n * uint64(header)
}

// sub takes away what is in other.
func (f *Frames) sub(other Frames) {
	f.Packets -= other.Packets
	f.Bytes -= other.Bytes
}

// groups are the frames of a queue to more than one station; they are among
// all frames too.
type groups struct{ multicast, broadcast Frames }

var broadcastMAC = [6]byte{255, 255, 255, 255, 255, 255}

// add counts frames to a group address.
func (g *groups) add(dst [6]byte, packets, bytes uint64) {
	if dst == broadcastMAC {
		g.broadcast.add(packets, bytes)
	} else {
		g.multicast.add(packets, bytes)
	}
}

// toGroup reports whether dst is an address of more than one station.
func toGroup(dst [6]byte) bool { return dst[0]&1 != 0 }

// Received returns what the port has delivered to its driver, and Sent what it
// has taken from it. A super-frame that the driver sent counts as its segments,
// be they cut here, by the receiver's driver, or never.
func (p *Port) Received() (t Traffic) {
	for _, q := range p.rx {
		t.count(&q.virtqueue)
	}
	return t
}

// Sent is described at Received.
func (p *Port) Sent() (t Traffic) {
	for _, q := range p.tx {
		t.count(&q.virtqueue)
	}
	return t
}

// count adds the counters of a queue.
func (t *Traffic) count(v *virtqueue) {
	v.mu.Lock()
	defer v.mu.Unlock()
	c := &v.count
	t.Unicast.add(c.packets+c.splits.Packets, c.bytes+c.splits.Bytes)
	for _, g := range []Frames{c.groups.multicast, c.groups.broadcast} {
		t.Unicast.sub(g)
	}
	t.Multicast.add(c.groups.multicast.Packets, c.groups.multicast.Bytes)
	t.Broadcast.add(c.groups.broadcast.Packets, c.groups.broadcast.Bytes)
	for why, n := range c.drops {
		switch why := dropReason(why); {
		case why == dropRxFilter || why == dropRxLinkDown:
			// It did not come to the port.
		case why == dropTxSourceMAC || why == dropRxMTU || why >= dropFrame:
			t.Errors += n
		default:
			t.Discards += n
		}
	}
}
