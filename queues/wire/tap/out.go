package tap

import (
	"errors"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/queues/wire/internal/rings"
	"vhost-user-nvgre/virtio/vring"
)

// out is the ring of frames that go to the device.
type out struct {
	rings.Out
	rings.Losses
	fd     int
	device string
}

// Complete writes frames to the device. The host's network stack has handled
// most of them when it returns.
func (r *out) Complete(used []vring.Used) {
	for _, u := range used {
		r.write(r.Filled(u))
	}
	r.Recycle(used)
}

func (r *out) write(b []byte) {
	for {
		_, err := unix.Write(r.fd, b)
		switch {
		case err == nil:
			return
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EBADFD):
			r.Err = gone(r.device, err)
		}
		r.Count(rings.ReasonOf(err), 1, len(b)-rings.HdrLen)
		return
	}
}
