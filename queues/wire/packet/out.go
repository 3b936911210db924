package packet

import (
	"fmt"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/queues/wire/internal/rings"
	"vhost-user-nvgre/virtio/vring"
)

// out is the ring of frames that go to the interface.
type out struct {
	rings.Out
	rings.Losses
	batch sendBatch
	fd    int
	name  string
}

func newOut(fd int, name string) *out { return &out{Out: rings.NewOut(), fd: fd, name: name} }

// Complete sends frames.
func (r *out) Complete(used []vring.Used) {
	for rest := used; len(rest) > 0; {
		n := min(len(rest), rings.OutSize)
		r.send(rest[:n])
		rest = rest[n:]
	}
	r.Recycle(used)
}

func (r *out) send(used []vring.Used) {
	for i, u := range used {
		b := r.Filled(u)
		r.batch.set(i, b[:kernelHdr], b[rings.HdrLen:])
	}
	for sent := 0; sent < len(used); {
		n, err := r.batch.send(r.fd, sent, len(used))
		switch err {
		case 0:
			sent += n
			continue
		case unix.EINTR:
			continue
		case unix.ENXIO:
			r.Err = fmt.Errorf("interface %s is gone: %w", r.name, err)
		}
		// The first one of them is what it does not want.
		r.Count(rings.ReasonOf(err), 1, len(r.Filled(used[sent]))-rings.HdrLen)
		sent++
	}
}
