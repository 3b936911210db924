package frontendtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"time"

	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/eventfd"
	"vhost-user-nvgre/virtio/vringtest"
)

// tableEntries is the size of the indirect table that each transmit buffer
// has.
const tableEntries = 16

// ErrTimeout is wrapped by the errors of a wait for the device that was in
// vain.
var ErrTimeout = errors.New("nothing from the device in time")

// Queue is one virtqueue with its driver. It belongs to one goroutine at a
// time.
type Queue struct {
	Index  int
	Driver *vringtest.Driver // replaced when the device is reset
	Kick   *eventfd.FD
	Call   *eventfd.FD
	Err    *eventfd.FD

	ram      *RAM
	features virtio.Features
	base     uint32 // to resume from
	polled   bool
	slots    []slot
	free     []uint16 // indices of slots
	byHead   []uint16 // head descriptor -> slot
}

// slot is a buffer and the elements it is made of.
type slot struct {
	mem   *vringtest.Memory
	addr  uint64
	table uint64 // room for an indirect table, or 0
	elems []vringtest.Elem
}

func newQueue(ram *RAM, index int) (*Queue, error) {
	q := &Queue{Index: index, ram: ram}
	for _, e := range []**eventfd.FD{&q.Kick, &q.Call, &q.Err} {
		var err error
		if *e, err = eventfd.New(); err != nil {
			q.close()
			return nil, err
		}
	}
	return q, nil
}

func (q *Queue) close() {
	q.Kick.Close()
	q.Call.Close()
	q.Err.Close()
}

// layOut gives the queue an empty ring. Buffers that it had are free again.
func (q *Queue) layOut(size uint32, f virtio.Features) {
	q.features, q.base = f, 0
	q.Driver = vringtest.NewDriver(q.ram.region(q.Index), size, f)
	q.byHead = make([]uint16, size)
	q.free = q.free[:0]
	for i := range q.slots {
		q.free = append(q.free, uint16(len(q.slots)-1-i))
	}
}

// makeSlots gives the queue n buffers of the given size in bytes.
func (q *Queue) makeSlots(n, size int, tables bool) {
	for i := range n {
		s := slot{mem: q.ram.region(q.Index + i)}
		s.addr = s.mem.Alloc(uint64(size), 64)
		if tables {
			s.table = s.mem.Alloc(16*tableEntries, 16)
		}
		q.slots = append(q.slots, s)
	}
}

// add makes a slot available with the given elements, without publishing it.
func (q *Queue) add(i uint16, elems []vringtest.Elem, indirect bool) bool {
	s := &q.slots[i]
	var head uint16
	var ok bool
	if indirect && len(elems) <= tableEntries && s.table != 0 {
		s.writeTable(elems)
		n := uint32(16 * len(elems))
		if head, ok = q.Driver.Add(vringtest.Elem{Addr: s.table, Len: n}); ok {
			q.Driver.SetDesc(head, s.table, n, vringtest.Indirect, 0)
		}
	} else {
		head, ok = q.Driver.Add(elems...)
	}
	if ok {
		q.byHead[head] = i
		s.elems = elems
	}
	return ok
}

func (s *slot) writeTable(elems []vringtest.Elem) {
	b := s.mem.At(s.table, uint64(16*len(elems)))
	for i, e := range elems {
		var flags uint16
		if e.Write {
			flags = vringtest.Write
		}
		if i+1 < len(elems) {
			flags |= vringtest.Next
		}
		d := b[16*i:]
		binary.LittleEndian.PutUint64(d, e.Addr)
		binary.LittleEndian.PutUint32(d[8:], e.Len)
		binary.LittleEndian.PutUint16(d[12:], flags)
		binary.LittleEndian.PutUint16(d[14:], uint16(i+1))
	}
}

// Publish makes everything added visible to the device and kicks it if it
// wants that.
func (q *Queue) Publish() error {
	q.Driver.Publish()
	if q.Driver.NeedKick() {
		return q.Kick.Signal()
	}
	return nil
}

// pop returns the next used slot and the bytes written into it; it waits for
// at most d.
func (q *Queue) pop(d time.Duration) (i uint16, n uint32, err error) {
	deadline := time.Now().Add(d)
	armed := false
	for {
		if id, n, ok := q.Driver.Pop(); ok {
			if id >= uint32(len(q.byHead)) {
				return 0, 0, fmt.Errorf("queue %d: used descriptor %d, want below %d", q.Index, id, len(q.byHead))
			}
			return q.byHead[id], n, nil
		}
		left := time.Until(deadline)
		switch {
		case left <= 0:
			return 0, 0, fmt.Errorf("queue %d, %s: %w", q.Index, d, ErrTimeout)
		case q.polled:
			runtime.Gosched()
		case !armed:
			// Look once more: what came before is not signalled.
			q.Driver.SetInterrupts(true)
			armed = true
		default:
			q.Call.Wait(int(left/time.Millisecond) + 1)
			armed = false
		}
	}
}
