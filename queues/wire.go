package queues

import (
	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/vring"
)

// Wire is where a port leads that is no guest: a tap device, a network
// interface, a capture file. It takes and gives frames through rings of its
// own, in the layout of virtio: a packet header of virtio.NetHdrSize bytes in
// front of each frame.
//
// A Wire may be a LinkSetter and a Watcher too, its rings LossyRings.
type Wire interface {
	// Pairs returns the queue pairs, at least one, always the same.
	Pairs() []WirePair
	// Features returns the offloads of the wire, always the same: csum, host_*
	// are what it hands over unfinished, guest_* what it takes unfinished.
	Features() virtio.Features
	// Close ends the wire. Its rings are in use until the port is removed.
	Close() error
}

// WirePair is a queue pair of a wire. Each ring is used by one goroutine at a
// time, but not always the same one.
type WirePair struct {
	// In holds frames that came from the wire. Nil: none do.
	In vring.Ring
	// Ready becomes readable when there are frames in In, as an edge-triggered
	// epoll sees it. It need not while In's last Arm reported true. -1: In is
	// polled.
	Ready int
	// Out gives buffers to be filled for the wire, each for one frame. Nil: it
	// takes none. A frame may be completed before the batch it came with is
	// at its end, which lets Out be small.
	Out vring.Ring
}

// LossyRing is a ring at which a wire loses frames: those it could not hand
// over, of an In, or could not send on after they were completed, of an Out.
type LossyRing interface {
	vring.Ring
	// Lost calls f for each reason for which frames were lost, with how many
	// and their bytes since the wire began. A reason is a short word fit for a
	// counter. It is called by the goroutine that uses the ring.
	Lost(f func(reason string, frames, bytes uint64))
}

// LinkSetter is a wire that does something of its own when its port's link is
// set up or down; it begins with the link up. The port takes and gives no
// frames while its link is down, whatever the wire does.
type LinkSetter interface {
	// SetLink is called by one goroutine at a time, while others use the rings.
	SetLink(up bool)
}

// Watcher is a wire that finds out by itself when it has come to its end, also
// while nothing is sent or received.
type Watcher interface {
	// Watch has gone called when that happens, at most once and by any
	// goroutine, unless Close returned before. It is called once.
	Watch(gone func(error))
}
