package rings

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Reason says why a frame was lost.
type Reason uint8

// Reasons.
const (
	Busy     Reason = iota // the kernel holds as many of our frames as it wants to
	Memory                 // the kernel had no memory, or no room in the device's queue
	Header                 // the kernel did not like the packet header
	Long                   // longer than the interface, or this program, takes
	Down                   // the interface is down
	Other                  // any other error
	Cut                    // only the beginning of the frame was captured
	LinkType               // not an Ethernet frame
	Behind                 // the file took frames more slowly than they came
	reasons
)

var reasonNames = [reasons]string{
	Busy: "busy", Memory: "memory", Header: "header", Long: "long", Down: "down", Other: "other",
	Cut: "cut", LinkType: "link_type", Behind: "behind",
}

// String returns a word fit for a counter.
func (r Reason) String() string { return reasonNames[r] }

// ReasonOf returns why the kernel did not take a frame.
func ReasonOf(err error) Reason {
	errno, _ := errors.AsType[unix.Errno](err)
	switch errno {
	case unix.EAGAIN:
		return Busy
	case unix.ENOBUFS, unix.ENOMEM:
		return Memory
	case unix.EINVAL:
		return Header
	case unix.EMSGSIZE:
		return Long
	case unix.ENETDOWN, unix.EIO:
		return Down
	}
	return Other
}

// Losses counts lost frames. It implements the method of queues.LossyRing.
type Losses struct {
	lost [reasons]struct{ frames, bytes uint64 }
}

// Count counts frames with the given number of bytes in all.
func (l *Losses) Count(why Reason, frames, bytes int) {
	l.lost[why].frames += uint64(frames)
	l.lost[why].bytes += uint64(bytes)
}

// Lost calls f for each reason.
func (l *Losses) Lost(f func(reason string, frames, bytes uint64)) {
	for i, n := range l.lost {
		f(Reason(i).String(), n.frames, n.bytes)
	}
}
