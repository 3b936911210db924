package tap

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/queues/wire/internal/rings"
	"vhost-user-nvgre/virtio/vring"
)

// inSize is how many frames a queue can have in hand: a batch of 64, while half
// of them all wait for room at their receivers.
const inSize = 128

// in is the ring of frames that come from the device.
type in struct {
	rings.Passive
	rings.Waiting
	fd     int
	device string

	bufs [][]byte
	segs [][]byte // by buffer: the part that is filled
	free rings.Free
	// dry says that the kernel had no more at the last look.
	dry bool
}

func newIn(fd int, device string) *in {
	return &in{fd: fd, device: device, bufs: rings.Buffers(inSize), segs: make([][]byte, inSize), free: rings.NewFree(inSize)}
}

func (r *in) Size() int { return inSize }

// Take reads frames until there are no more, or limit of them. An error is
// that of a device that is gone.
func (r *in) Take(b *vring.Batch, limit int) (taken int, err error) {
	for budget := rings.InBudget; taken < limit && budget > 0; taken++ {
		i, ok := r.Next()
		if !ok {
			if i, ok = r.free.Top(); !ok {
				break
			}
			n, err := r.read(r.bufs[i])
			if err != nil || n == 0 {
				return taken, err
			}
			r.free.Pop()
			r.segs[i] = r.bufs[i][:n]
		}
		budget -= len(r.segs[i])
		b.Append(i, r.segs[i:i+1], nil)
	}
	return taken, nil
}

// read reads one frame and returns its length, 0 when there is none.
func (r *in) read(buf []byte) (int, error) {
	for {
		n, err := unix.Read(r.fd, buf)
		switch {
		case err == nil && n > 0:
			r.dry = false
			return n, nil
		case err == nil, errors.Is(err, unix.EAGAIN):
			r.dry = true
			return 0, nil
		case errors.Is(err, unix.EINTR):
			continue
		}
		return 0, gone(r.device, err)
	}
}

// gone is the error for a device that does not take part any more.
func gone(device string, err error) error {
	return fmt.Errorf("tap device %s is gone: %w", device, err)
}

// Complete makes buffers free.
func (r *in) Complete(used []vring.Used) { r.free.Put(used) }

// Arm reports whether there may be more. Once the kernel has had none, each
// further frame is an edge to epoll.
func (r *in) Arm() bool { return !r.dry || r.Any() }
