package rings

import "vhost-user-nvgre/virtio/vring"

// OutSize is how many buffers an Out has. They are given back one batch of
// this size after the other, so there is nothing to gain from many, and few
// stay in the cache.
const OutSize = 16

// Out is the part of an outgoing ring that hands out buffers. Whoever embeds
// it has a method Complete that ends with Recycle.
type Out struct {
	Passive
	// Err, once set, is what Take returns.
	Err error

	bufs        [][]byte
	taken, done uint32 // buffers taken and given back so far
}

// NewOut returns an Out.
func NewOut() Out { return Out{bufs: Buffers(OutSize)} }

// Size returns the number of buffers.
func (o *Out) Size() int { return len(o.bufs) }

// Take hands out buffers that are free.
func (o *Out) Take(b *vring.Batch, limit int) (int, error) {
	if o.Err != nil {
		return 0, o.Err
	}
	n := min(limit, len(o.bufs)-int(o.taken-o.done))
	for range n {
		i := o.taken % uint32(len(o.bufs))
		b.Append(uint16(i), nil, o.bufs[i:i+1])
		o.taken++
	}
	return n, nil
}

// Untake takes the buffers handed out last back.
func (o *Out) Untake(chains []vring.Chain) { o.taken -= uint32(len(chains)) }

// Filled returns what was stored in a buffer: packet header and frame.
func (o *Out) Filled(u vring.Used) []byte { return o.bufs[u.ID][:u.Len] }

// Recycle makes buffers free again. They come back in the order in which they
// were handed out.
func (o *Out) Recycle(used []vring.Used) { o.done += uint32(len(used)) }
