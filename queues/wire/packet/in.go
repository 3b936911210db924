package packet

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/queues/wire/internal/rings"
	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/vring"
)

// inSize is how many frames can be in hand: a batch of 64, while half of them
// all wait for room at their receivers.
const inSize = 128

// Slots of the ring. There are at least twice as many as frames in hand, so
// that the kernel never waits for one of those.
const (
	ringBytes = 8 << 20
	minSlots  = 2 * inSize
	maxSlots  = 4096
	blockSize = 256 << 10
)

const (
	// kernelHdr is the length of the packet header the kernel writes: all but
	// num_buffers.
	kernelHdr = 10
	// spare is what is needed before it: for num_buffers, and for a tag.
	spare = 2 + 4
	// reserve is how much more room than usual the kernel leaves.
	reserve = spare
	// frameOffset is where in a slot a frame begins: behind the slot's header,
	// its address and the kernel's alignment (Documentation/networking/
	// packet_mmap.rst).
	frameOffset = 80 + reserve + kernelHdr - 14
	// packetType is where in a slot sll_pkttype is.
	packetType = 32 + 10
	// tagSize is the length of a VLAN tag.
	tagSize = 4
)

// in is the ring of frames that come from the interface.
type in struct {
	rings.Passive
	rings.Waiting
	rings.Losses
	fd   int
	name string

	mem   []byte // shared with the kernel
	slots [][]byte
	held  []bool   // by slot: the frame in it is in somebody's hands
	segs  [][]byte // by slot: packet header and frame
	next  int      // the slot that the kernel fills next
	hands int      // slots held

	// Frames longer than a slot.
	long   [][]byte
	unused rings.Free
	inLong []int16 // by slot: in which of long its frame is, or -1

	lost uint64 // by the kernel, for lack of a slot
}

// makeRing allocates the ring for frames of the given MTU.
func (r *in) makeRing(mtu int) error {
	// Not a multiple of a power of two, see rings.BufferSize.
	slot := (frameOffset + 14 + tagSize + min(mtu, offload.MaxFrame) + 63) &^ 63
	if slot%128 == 0 {
		slot += 64
	}
	perBlock := blockSize / slot
	blocks := (min(max(ringBytes/slot, minSlots), maxSlots) + perBlock - 1) / perBlock
	n := blocks * perBlock
	req := unix.TpacketReq{Block_size: blockSize, Block_nr: uint32(blocks), Frame_size: uint32(slot), Frame_nr: uint32(n)}
	if err := unix.SetsockoptTpacketReq(r.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req); err != nil {
		return fmt.Errorf("interface %s: receive ring of %d MiB: %w", r.name, blocks*blockSize>>20, err)
	}
	mem, err := unix.Mmap(r.fd, 0, blocks*blockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("interface %s: map the receive ring: %w", r.name, err)
	}
	r.mem = mem
	r.slots, r.held, r.segs, r.inLong = make([][]byte, n), make([]bool, n), make([][]byte, n), make([]int16, n)
	for i := range r.slots {
		at := i/perBlock*blockSize + i%perBlock*slot
		r.slots[i] = mem[at : at+slot : at+slot]
	}
	r.long, r.unused = rings.Buffers(inSize), rings.NewFree(inSize)
	return nil
}

// free closes the socket and lets the ring go.
func (r *in) free() error {
	var err error
	if r.mem != nil {
		err = unix.Munmap(r.mem)
	}
	return errors.Join(err, unix.Close(r.fd))
}

// Size returns how many frames can be in hand.
func (r *in) Size() int { return inSize }

// Take hands over the frames that are there, at most limit.
func (r *in) Take(b *vring.Batch, limit int) (taken int, err error) {
	for budget := rings.InBudget; taken < limit && budget > 0; {
		id, ok := r.Next()
		if !ok {
			i := r.next
			if r.hands == inSize || r.held[i] || status(r.slots[i])&unix.TP_STATUS_USER == 0 {
				break
			}
			if r.next++; r.next == len(r.slots) {
				r.next = 0
			}
			if r.segs[i] = r.frame(i); r.segs[i] == nil {
				giveBack(r.slots[i])
				continue
			}
			r.held[i] = true
			r.hands++
			id = uint16(i)
		}
		budget -= len(r.segs[id])
		b.Append(id, r.segs[id:id+1], nil)
		taken++
	}
	return taken, nil
}

// frame returns packet header and frame of a slot, nil if there is none to
// hand over.
func (r *in) frame(i int) []byte {
	slot := r.slots[i]
	h := *header(slot)
	b, at, n := slot, int(h.Mac), int(h.Snaplen)
	r.inLong[i] = -1
	switch {
	case h.Status&unix.TP_STATUS_COPY != 0:
		k, ok := r.unused.Top()
		if !ok {
			return nil // cannot be: there are as many as frames in hand
		}
		b, at = r.long[k], spare+kernelHdr
		if n = r.read(b[spare:]) - kernelHdr; n < 0 {
			r.Count(rings.Other, 1, int(h.Len))
			return nil
		}
		if slot[packetType] == unix.PACKET_OUTGOING {
			return nil
		}
		if n > offload.MaxFrame {
			r.Count(rings.Long, 1, n)
			return nil
		}
		r.unused.Pop()
		r.inLong[i] = int16(k)
	case slot[packetType] == unix.PACKET_OUTGOING:
		return nil
	case n < int(h.Len):
		// The kernel holds as many long frames for us as it wants to.
		r.Count(rings.Memory, 1, int(h.Len))
		return nil
	}
	if at < spare+kernelHdr || at+n > len(b) {
		r.Count(rings.Other, 1, int(h.Len))
		r.letGo(i)
		return nil
	}
	if h.Status&unix.TP_STATUS_VLAN_VALID == 0 || n < 14 {
		return plain(b, at, n)
	}
	tpid := uint16(unix.ETH_P_8021Q)
	if h.Status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
		tpid = h.Vlan_tpid
	}
	return tagged(b, at, n, tpid, h.Vlan_tci)
}

// plain returns packet header and frame, the kernel having left the frame of n
// bytes at b[at:], its header right before.
func plain(b []byte, at, n int) []byte {
	start := at - rings.HdrLen
	copy(b[start:], b[at-kernelHdr:at])
	b[at-2], b[at-1] = 0, 0 // num_buffers
	return b[start : at+n]
}

// tagged is plain for a frame out of which the kernel, or the network card,
// took a VLAN tag.
func tagged(b []byte, at, n int, tpid, tci uint16) []byte {
	image := plain(b, at, n)
	start := at - rings.HdrLen - tagSize
	copy(b[start:], image[:rings.HdrLen+12])
	binary.BigEndian.PutUint16(b[at+8:], tpid)
	binary.BigEndian.PutUint16(b[at+10:], tci)
	image = b[start : at+n]
	h := virtio.DecodeNetHdr(image)
	if h.Flags&virtio.HdrNeedsCsum != 0 {
		h.CsumStart += tagSize
	}
	if h.HdrLen != 0 {
		h.HdrLen += tagSize
	}
	h.Encode(image[:rings.HdrLen])
	return image
}

// read reads a frame that was longer than a slot and returns how much there
// was of it, -1 if there was none.
func (r *in) read(b []byte) int {
	for {
		n, err := unix.Read(r.fd, b)
		switch {
		case err == nil:
			return n
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ENETDOWN):
			continue // the latter tells once that the interface was down meanwhile
		}
		return -1
	}
}

// Complete gives slots back to the kernel.
func (r *in) Complete(used []vring.Used) {
	for _, u := range used {
		i := int(u.ID)
		r.letGo(i)
		r.held[i] = false
		r.hands--
		giveBack(r.slots[i])
	}
}

// letGo gives the buffer of a long frame back.
func (r *in) letGo(i int) {
	if k := r.inLong[i]; k >= 0 {
		r.unused.Put([]vring.Used{{ID: uint16(k)}})
		r.inLong[i] = -1
	}
}

// Arm reports whether there are frames. Each that comes later is an edge to
// epoll.
func (r *in) Arm() bool {
	return r.Any() || !r.held[r.next] && status(r.slots[r.next])&unix.TP_STATUS_USER != 0
}

// Lost adds what the kernel lost (queues.LossyRing).
func (r *in) Lost(f func(reason string, frames, bytes uint64)) {
	r.Losses.Lost(f)
	// The kernel counts since it was asked last.
	if s, err := unix.GetsockoptTpacketStats(r.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
		r.lost += uint64(s.Drops)
	}
	f("full", r.lost, 0)
}
