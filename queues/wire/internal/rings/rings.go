// Package rings holds what the rings of wires have in common. They implement
// vring.Ring without a driver at the other end: the buffers are the wire's own.
package rings

import (
	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/guestmem"
)

// HdrLen is the length of the packet header before each frame.
const HdrLen = virtio.NetHdrSize

// BufferSize is the length of a buffer that takes any frame. It is a multiple
// of a cache line but not of a page, so that the headers of frames in one
// buffer after the other do not compete for the same lines of the cache.
const BufferSize = (HdrLen + offload.MaxFrame + 63) &^ 63

// Passive has the methods of vring.Ring that concern drivers.
type Passive struct{}

// NeedNotify reports that there is nobody to notify.
func (Passive) NeedNotify() bool { return false }

// Arm reports that nothing waits that could be taken.
func (Passive) Arm() bool { return false }

// Disarm has nothing to do.
func (Passive) Disarm() {}

// Base returns 0: a wire has no position to resume from.
func (Passive) Base() uint32 { return 0 }

// Remap has nothing to do: a wire does not lie in guest memory.
func (Passive) Remap(*guestmem.Map) error { return nil }

// Buffers returns n buffers of BufferSize bytes each. Memory is used up only
// as far as it is written to.
func Buffers(n int) [][]byte {
	mem := make([]byte, n*BufferSize)
	bufs := make([][]byte, n)
	for i := range bufs {
		bufs[i] = mem[i*BufferSize : (i+1)*BufferSize : (i+1)*BufferSize]
	}
	return bufs
}
