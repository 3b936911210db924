package loadgen

import (
	"encoding/binary"
	"errors"
	"fmt"

	"vhost-user-nvgre/virtio"
)

// errWrong is wrapped by the errors of a verification.
var errWrong = errors.New("delivered frames are wrong")

// blank is what receive buffers are filled with before a round: no frame is
// made of it.
const blank = 0xa5

// prove sends one flight of frames into blanked buffers and compares all that
// comes with what has to come. Nothing may be in flight.
func (l *load) prove() error {
	f := l.flow
	if f.rx == nil {
		return nil
	}
	for i := range f.rx.size {
		b := f.rx.buffer(f.rx.head(uint16(i)))
		for j := range b {
			b[j] = blank
		}
	}
	before := f.count
	txAt, rxAt := f.tx.avail, f.rx.used
	if err := f.send(); err != nil {
		return err
	}
	if err := f.drain(); err != nil {
		return err
	}
	n := f.count.sub(before)
	if n.lost > 0 {
		return fmt.Errorf("loadgen: %w: %d of %d did not come, %d receive buffers were used",
			errWrong, n.lost, n.taken, n.buffers)
	}
	for i := range n.taken {
		index := txAt + uint16(i)
		if err := ordered(f.tx, index); err != nil {
			return fmt.Errorf("loadgen: %w: transmit ring: %w", errWrong, err)
		}
		want := l.frames[int(index)%len(l.frames)]
		var got []delivery
		for range l.check.frames(want) {
			d, used, err := l.take(rxAt)
			if err != nil {
				return fmt.Errorf("loadgen: %w: frame %d of %d: %w", errWrong, i, n.taken, err)
			}
			rxAt += used
			got = append(got, d)
		}
		if err := l.check.check(want, got); err != nil {
			return fmt.Errorf("loadgen: %w: frame %d of %d: %w", errWrong, i, n.taken, err)
		}
	}
	if rest := f.rx.used - rxAt; rest != 0 {
		return fmt.Errorf("loadgen: %w: %d receive buffers used too many", errWrong, rest)
	}
	return nil
}

// ordered checks that the device used the buffer that was to be next.
func ordered(r *ring, index uint16) error {
	if id, _ := r.at(index); id != uint32(r.head(index)) {
		return fmt.Errorf("used entry %d has buffer %d, want %d: out of order", index, id, r.head(index))
	}
	return nil
}

// take returns the delivery that begins at a used entry of the receiver, and
// how many entries it has.
func (l *load) take(index uint16) (d delivery, used uint16, err error) {
	r := l.flow.rx
	var raw []byte
	for want := uint16(1); used < want; used++ {
		if index+used == r.used {
			return d, 0, fmt.Errorf("%d receive buffers, the packet header says %d", used, want)
		}
		if err := ordered(r, index+used); err != nil {
			return d, 0, err
		}
		id, n := r.at(index + used)
		b := r.buffer(uint16(id))
		if int(n) > len(b) {
			return d, 0, fmt.Errorf("%d bytes used of a buffer of %d", n, len(b))
		}
		raw = append(raw, b[:n]...)
		if used > 0 {
			continue
		}
		if len(raw) < l.hdrLen {
			return d, 0, fmt.Errorf("%d bytes, shorter than the packet header", len(raw))
		}
		d.hdr.Decode(raw)
		if l.mergeable {
			if want = binary.LittleEndian.Uint16(raw[virtio.NetHdrSize-2:]); want == 0 {
				return d, 0, errors.New("packet header with num_buffers 0")
			}
		}
	}
	d.bytes = raw[l.hdrLen:]
	return d, used, nil
}
