package loadgen

import (
	"encoding/binary"
	"fmt"
	"time"

	"vhost-user-nvgre/vhostuser/frontendtest"
	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/vringtest"
)

// patience is how long the back end may take for what it does at once when
// it works.
const patience = 5 * time.Second

// end is the front end of one port.
type end struct {
	fe     *frontendtest.Frontend
	hdrLen int
	huge   bool
}

// attach connects to a port as a driver of one queue pair. extra is how many
// bytes of memory it takes beyond rings and receive buffers.
func attach(c *Config, dial func() (*frontendtest.Conn, error), withhold virtio.Features, extra uint64) (*end, error) {
	const spare, perSlot = 24 << 20, 1024
	size := spare + extra + 2*uint64(c.RingSize)*uint64(c.Buffer+perSlot)
	o := frontendtest.Options{
		RingSize: uint32(c.RingSize),
		Features: frontendtest.DriverFeatures &^ withhold,
		Memory:   []frontendtest.Region{{Size: (size + 1<<21 - 1) &^ (1<<21 - 1)}},
		RxLayout: []int{c.Buffer},
		MaxFrame: 256, // for the announcement; the chains to send are our own
	}
	var fe *frontendtest.Frontend
	var err error
	if c.Huge != HugeNo {
		o.Memory[0].Huge = true
		fe, err = frontendtest.New(o)
	}
	if c.Huge == HugeNo || err != nil && c.Huge == HugeAuto {
		o.Memory[0].Huge = false
		fe, err = frontendtest.New(o)
	}
	if err != nil {
		return nil, fmt.Errorf("loadgen: memory of %d MiB: %w", o.Memory[0].Size>>20, err)
	}
	e := &end{fe: fe, huge: o.Memory[0].Huge}
	conn, err := dial()
	if err == nil {
		conn.Timeout = patience
		err = fe.Handshake(conn)
	}
	if err == nil {
		err = fe.Start()
	}
	if err != nil {
		fe.Close()
		return nil, fmt.Errorf("loadgen: attaching: %w", err)
	}
	e.hdrLen = virtio.NetHdrLen(fe.Features)
	return e, nil
}

func (e *end) close() {
	if e != nil {
		e.fe.Close()
	}
}

// at returns how to connect to a socket.
func at(socket string) func() (*frontendtest.Conn, error) {
	return func() (*frontendtest.Conn, error) {
		c, err := frontendtest.Dial(socket)
		if err != nil {
			return nil, fmt.Errorf("loadgen: %w", err) // It names the socket.
		}
		return c, nil
	}
}

// announce sends a frame from the address of the end that receives, so that a
// switch learns where it is.
func (e *end) announce() error {
	b := make([]byte, 60)
	copy(b, senderMAC[:])
	copy(b[6:], receiverMAC[:])
	binary.BigEndian.PutUint16(b[12:], 0x88b5) // IEEE: local experiments
	tx := e.fe.TX[0]
	if err := tx.Send(virtio.NetHdr{}, b, patience); err != nil {
		return fmt.Errorf("loadgen: announcement: %w", err)
	}
	if err := tx.Drain(patience); err != nil {
		return fmt.Errorf("loadgen: announcement: %w", err)
	}
	return nil
}

// fragment is the most that a transmit chain has in one element behind the
// headers, as in Linux.
const fragment = 32 << 10

// elements returns the lengths of a chain's elements.
func (k kindSpec) elements(hdrLen, size int) []int {
	if !k.super {
		return []int{hdrLen + size}
	}
	list := []int{hdrLen + k.headers}
	for left := size - k.headers; left > 0; left -= fragment {
		list = append(list, min(left, fragment))
	}
	return list
}

// prepare fills the transmit ring with the frames over and over: entry i of the
// available ring is frame i modulo their number, which divides the ring's size.
func (e *end) prepare(frames []*frame, ringSize int) (*ring, error) {
	q := &e.fe.TX[0].Queue
	var heads []uint16
	for _, f := range frames {
		b := make([]byte, e.hdrLen, e.hdrLen+len(f.bytes))
		f.hdr.Encode(b)
		b = append(b, f.bytes...)
		var elems []vringtest.Elem
		for _, n := range f.spec.elements(e.hdrLen, len(f.bytes)) {
			addr := q.Driver.Mem.Alloc(uint64(n), 64)
			copy(q.Driver.Mem.At(addr, uint64(n)), b[:n])
			b = b[n:]
			elems = append(elems, vringtest.Elem{Addr: addr, Len: uint32(n)})
		}
		head, ok := q.Driver.Add(elems...)
		if !ok {
			return nil, fmt.Errorf("loadgen: %d frames do not fit a ring of %d", len(frames), ringSize)
		}
		heads = append(heads, head)
	}
	for i := len(heads); i < ringSize; i++ {
		q.Driver.PushAvail(heads[i%len(heads)])
	}
	r := newRing(q, e.fe.Features)
	return r, nil
}

// memory returns how many bytes n frames take in the sender's memory.
func (k kindSpec) memory(n, size int) uint64 {
	const rounding = 64 * 4
	return uint64(n) * uint64(size+virtio.NetHdrMaxSize+rounding)
}
