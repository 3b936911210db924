package queues

import (
	"bytes"
	"testing"

	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/vringtest"
)

var broadcast = virtio.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// TestForward sends frames of many sizes in many pieces and wants them whole.
func TestForward(t *testing.T) {
	e := newEngine(t, 2)
	a, b := plug(t, e, 1, nicOptions{}), plug(t, e, 2, nicOptions{})
	for _, size := range []int{14, 15, 59, 60, 72, 127, 128, 129, 511, 512, 513, 1514, 2036, 2037, 9014, 65549} {
		for _, pieces := range [][]int{nil, {12}, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, {5, 40, 90}} {
			want := frame(b.mac, a.mac, size)
			a.send(0, virtio.NetHdr{}, want, pieces...)
			got := b.recv(0)
			if !bytes.Equal(got.b, want) {
				t.Fatalf("frame of %d bytes in pieces %v: got %d bytes, different", size, pieces, len(got.b))
			}
			if n := (size + 12 + 2047) / 2048; got.buffers != n {
				t.Errorf("frame of %d bytes: num_buffers = %d, want %d", size, got.buffers, n)
			}
			b.repost(0)
		}
	}
	a.silent(0)
}

// TestLearn wants unknown and group addresses flooded and known ones not.
func TestLearn(t *testing.T) {
	e := newEngine(t, 1)
	a, b, c := plug(t, e, 1, nicOptions{}), plug(t, e, 2, nicOptions{}), plug(t, e, 3, nicOptions{})
	step := func(from *nic, dst virtio.MAC, to ...*nic) {
		t.Helper()
		f := frame(dst, from.mac, 60)
		from.send(0, virtio.NetHdr{}, f)
		for _, n := range to {
			if got := n.recv(0); !bytes.Equal(got.b, f) {
				t.Errorf("port %s got %x, want %x", n.port.Name(), got.b, f)
			}
		}
	}
	step(a, broadcast, b, c)
	step(a, b.mac, b, c) // not learned yet
	step(b, a.mac, a)
	step(a, b.mac, b)
	step(c, virtio.MAC{0x33, 0x33, 0, 0, 0, 1}, a, b)
	// The sender's own address is behind the port it came from.
	a.send(0, virtio.NetHdr{}, frame(a.mac, a.mac, 60))
	a.drops(dropTxNoPort, 1)
	// b's address moves to c.
	c.send(0, virtio.NetHdr{}, frame(a.mac, b.mac, 60))
	a.recv(0)
	step(a, b.mac, c)
	for _, n := range []*nic{a, b, c} {
		n.silent(0)
	}
}

// TestHostileTransmit sends what cannot be a frame.
func TestHostileTransmit(t *testing.T) {
	e := newEngine(t, 1)
	a, b := plug(t, e, 1, nicOptions{}), plug(t, e, 2, nicOptions{})
	raw := func(n int) {
		addr := a.mem.Alloc(uint64(n), 1)
		a.tx(0).Add(vringtest.Elem{Addr: addr, Len: uint32(n)})
		a.tx(0).Publish()
		a.tx(0).kick.Signal()
	}
	raw(1)
	raw(12)
	raw(25)
	a.drops(dropOf(offload.TooShort), 3)
	raw(70_000)
	a.drops(dropOf(offload.TooLong), 1)
	a.send(0, virtio.NetHdr{}, frame(b.mac, broadcast, 60))
	a.drops(dropTxSourceMAC, 1)
	a.send(0, virtio.NetHdr{}, frame(b.mac, a.mac, 60))
	b.recv(0)
}
