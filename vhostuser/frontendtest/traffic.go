package frontendtest

import (
	"encoding/binary"
	"fmt"
	"time"

	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/vringtest"
)

// Frame is a received frame.
type Frame struct {
	Hdr  virtio.NetHdr
	Data []byte // the frame without the header; the caller's
	// Buffers is how many receive buffers it came in, which the device also
	// says in Hdr.NumBuffers.
	Buffers int
}

// RxQueue is a receive queue whose buffers are posted again as soon as they
// have been read.
type RxQueue struct {
	Queue
	layout []int
}

// Fill posts every buffer that is not posted.
func (q *RxQueue) Fill() error {
	for len(q.free) > 0 {
		i := q.free[len(q.free)-1]
		addr := q.slots[i].addr
		elems := make([]vringtest.Elem, len(q.layout))
		for k, n := range q.layout {
			elems[k] = vringtest.Elem{Addr: addr, Len: uint32(n), Write: true}
			addr += uint64(n)
		}
		if !q.add(i, elems, false) {
			break // a ring has fewer descriptors than buffers of several elements need
		}
		q.free = q.free[:len(q.free)-1]
	}
	return q.Publish()
}

// Recv returns the next frame, put together from as many buffers as its header
// says, or an ErrTimeout after d.
func (q *RxQueue) Recv(d time.Duration) (Frame, error) {
	var f Frame
	hdrLen := virtio.NetHdrLen(q.features)
	var raw []byte
	for want := 1; f.Buffers < want; f.Buffers++ {
		i, n, err := q.pop(d)
		if err != nil {
			return f, err
		}
		q.free = append(q.free, i)
		s := &q.slots[i]
		size := 0
		for _, l := range q.layout {
			size += l
		}
		if int(n) > size {
			return f, fmt.Errorf("queue %d: %d bytes used of a buffer of %d", q.Index, n, size)
		}
		raw = append(raw, s.mem.At(s.addr, uint64(n))...)
		if f.Buffers > 0 {
			continue
		}
		if int(n) < hdrLen {
			return f, fmt.Errorf("queue %d: first buffer has %d bytes, want a header of %d", q.Index, n, hdrLen)
		}
		f.Hdr = decodeRxHdr(raw[:hdrLen])
		if q.features.Has(virtio.FeatureMrgRxbuf) {
			if want = int(f.Hdr.NumBuffers); want == 0 {
				return f, fmt.Errorf("queue %d: num_buffers is 0", q.Index)
			}
		}
	}
	f.Data = raw[hdrLen:]
	return f, q.Fill()
}

// decodeRxHdr reads a header with the fields that only the device fills.
func decodeRxHdr(b []byte) virtio.NetHdr {
	h := virtio.DecodeNetHdr(b)
	if len(b) >= virtio.NetHdrSize {
		h.NumBuffers = binary.LittleEndian.Uint16(b[10:])
	}
	if len(b) >= virtio.NetHdrHashSize {
		h.HashValue = binary.LittleEndian.Uint32(b[12:])
		h.HashReport = binary.LittleEndian.Uint16(b[16:])
	}
	return h
}

// TxQueue is a transmit queue.
type TxQueue struct {
	Queue
	layout   []int
	size     int // of a buffer, bytes
	indirect bool
}

// Add makes a frame available without publishing it. It reports false when all
// buffers are with the device.
func (q *TxQueue) Add(h virtio.NetHdr, frame []byte) (bool, error) {
	hdrLen := virtio.NetHdrLen(q.features)
	total := hdrLen + len(frame)
	if total > q.size {
		return false, fmt.Errorf("frame of %d bytes, want at most %d", len(frame), q.size-hdrLen)
	}
	if len(q.free) == 0 {
		if err := q.reclaim(); err != nil || len(q.free) == 0 {
			return false, err
		}
	}
	i := q.free[len(q.free)-1]
	s := &q.slots[i]
	b := s.mem.At(s.addr, uint64(total))
	clear(b[:hdrLen])
	h.Encode(b[:hdrLen])
	copy(b[hdrLen:], frame)
	layout := q.layout
	if layout == nil {
		layout = []int{hdrLen}
	}
	elems := make([]vringtest.Elem, 0, len(layout)+1)
	at := 0
	for _, n := range layout {
		if n = min(n, total-at); n > 0 {
			elems = append(elems, vringtest.Elem{Addr: s.addr + uint64(at), Len: uint32(n)})
			at += n
		}
	}
	if at < total {
		elems = append(elems, vringtest.Elem{Addr: s.addr + uint64(at), Len: uint32(total - at)})
	}
	if !q.add(i, elems, q.indirect) {
		if err := q.reclaim(); err != nil || !q.add(i, elems, q.indirect) {
			return false, err
		}
	}
	// reclaim may have put others on top.
	for k, f := range q.free {
		if f == i {
			q.free = append(q.free[:k], q.free[k+1:]...)
			break
		}
	}
	return true, nil
}

// Send makes a frame available and publishes it, after waiting for at most d
// for a buffer.
func (q *TxQueue) Send(h virtio.NetHdr, frame []byte, d time.Duration) error {
	ok, err := q.Add(h, frame)
	if err != nil {
		return err
	}
	if !ok {
		i, _, err := q.pop(d)
		if err != nil {
			return err
		}
		q.free = append(q.free, i)
		if ok, err = q.Add(h, frame); err != nil || !ok {
			return fmt.Errorf("queue %d: no room for a frame of %d bytes: %w", q.Index, len(frame), err)
		}
	}
	return q.Publish()
}

// reclaim takes back what the device has used.
func (q *TxQueue) reclaim() error {
	for {
		id, _, ok := q.Driver.Pop()
		if !ok {
			return nil
		}
		if id >= uint32(len(q.byHead)) {
			return fmt.Errorf("queue %d: used descriptor %d, want below %d", q.Index, id, len(q.byHead))
		}
		q.free = append(q.free, q.byHead[id])
	}
}

// Drain waits for at most d until the device has used every buffer.
func (q *TxQueue) Drain(d time.Duration) error {
	for len(q.free) < len(q.slots) {
		i, _, err := q.pop(d)
		if err != nil {
			return err
		}
		q.free = append(q.free, i)
	}
	return nil
}

// CtrlQueue is the control queue, one command at a time.
type CtrlQueue struct {
	Queue
}

// ctrlData is the most bytes that a command may have after class and number.
const ctrlData = 8192

// Command sends a control command and returns the device's answer,
// VIRTIO_NET_OK (0) or VIRTIO_NET_ERR (1).
func (q *CtrlQueue) Command(class, cmd uint8, data []byte, d time.Duration) (ack uint8, err error) {
	if len(data) > ctrlData {
		return 0, fmt.Errorf("command data of %d bytes, want at most %d", len(data), ctrlData)
	}
	s := &q.slots[0]
	b := s.mem.At(s.addr, uint64(3+len(data)))
	const unanswered = 0xa5
	b[0], b[1], b[2+len(data)] = class, cmd, unanswered
	copy(b[2:], data)
	elems := []vringtest.Elem{{Addr: s.addr, Len: 2}}
	if len(data) > 0 {
		elems = append(elems, vringtest.Elem{Addr: s.addr + 2, Len: uint32(len(data))})
	}
	elems = append(elems, vringtest.Elem{Addr: s.addr + 2 + uint64(len(data)), Len: 1, Write: true})
	if !q.add(0, elems, false) {
		return 0, fmt.Errorf("control queue: %d descriptors are too few", q.Driver.Free())
	}
	if err := q.Publish(); err != nil {
		return 0, err
	}
	_, n, err := q.pop(d)
	if err != nil {
		return 0, err
	}
	if ack = b[2+len(data)]; n != 1 || ack == unanswered {
		return 0, fmt.Errorf("control command %d.%d: %d bytes used and answer 0x%x, want 1 byte", class, cmd, n, ack)
	}
	return ack, nil
}
