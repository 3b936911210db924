package loadgen

import (
	"encoding/binary"

	"vhost-user-nvgre/vhostuser/frontendtest"
	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/eventfd"
	"vhost-user-nvgre/virtio/vringtest"
)

// ring is a virtqueue whose descriptors and available entries were written
// once: an entry of the available ring names the same chain for ever. The
// device must use buffers in order, so that a chain is the driver's again when
// its entry comes round.
type ring struct {
	driver *vringtest.Driver
	kick   *eventfd.FD
	entry  []byte // of the used ring, 8 bytes each
	size   int

	event bool   // EVENT_IDX
	used  uint16 // as last seen
	avail uint16 // as last published
	kicks uint64
}

// newRing takes over a queue.
func newRing(q *frontendtest.Queue, f virtio.Features) *ring {
	d := q.Driver
	size := int(d.Config().Size)
	d.SetInterrupts(false)
	return &ring{
		driver: d, kick: q.Kick, size: size,
		entry: d.Mem.At(d.Used+4, 8*uint64(size)),
		event: f.Has(virtio.FeatureEventIdx),
		used:  d.UsedIndex(), avail: d.AvailIndex(),
	}
}

// look returns how many buffers the device has used since the last look.
func (r *ring) look() uint16 {
	u := r.driver.UsedIndex()
	n := u - r.used
	r.used = u
	return n
}

// publish makes n more buffers available and kicks the device if it asked for
// that.
func (r *ring) publish(n uint16) error {
	if n == 0 {
		return nil
	}
	r.avail += n
	// The index is stored by an exchange, which is a full barrier: what the
	// device asks for is read after it.
	r.driver.SetAvailIndex(r.avail)
	if r.event {
		if r.avail-r.driver.AvailEvent()-1 >= n {
			return nil
		}
	} else if r.driver.UsedFlags()&1 != 0 {
		return nil
	}
	r.kicks++
	return r.kick.Signal()
}

// idle reports that the device has used all there is.
func (r *ring) idle() bool { return r.used == r.avail }

// at returns the used entry of an index.
func (r *ring) at(index uint16) (id, n uint32) {
	b := r.entry[8*(int(index)&(r.size-1)):]
	return binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
}

// bytes sums the lengths of the last n used entries seen.
func (r *ring) bytes(n uint16) (sum uint64) {
	for i := r.used - n; i != r.used; i++ {
		_, l := r.at(i)
		sum += uint64(l)
	}
	return sum
}

// head returns what an entry of the available ring names.
func (r *ring) head(index uint16) uint16 {
	at := r.driver.Avail + 4 + 2*uint64(int(index)&(r.size-1))
	return binary.LittleEndian.Uint16(r.driver.Mem.At(at, 2))
}

// buffer returns the memory of a descriptor.
func (r *ring) buffer(id uint16) []byte {
	d := r.driver.Mem.At(r.driver.Desc+vringtest.DescSize*uint64(id), vringtest.DescSize)
	return r.driver.Mem.At(binary.LittleEndian.Uint64(d), uint64(binary.LittleEndian.Uint32(d[8:])))
}
