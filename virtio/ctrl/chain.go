package ctrl

import (
	"errors"
	"fmt"
)

// MaxData bounds the command-specific data that is accepted. The longest
// commands are MAC tables; this holds more than ten thousand addresses.
const MaxData = 64 << 10

// Values of the ack byte.
const (
	ackOK  = 0
	ackErr = 1
)

// ErrFraming is wrapped by errors of Chain.Read that leave no way to answer:
// the driver has broken the ring (VNET-181).
var ErrFraming = errors.New("control buffer of wrong layout")

// Chain reads a command from a buffer chain of the control queue and writes
// the answer into it. Its storage is reused from one chain to the next. It
// belongs to one goroutine.
type Chain struct {
	Class, Cmd uint8
	// Data is a private copy of the command-specific data, which the driver
	// can no longer change. It lives until the next Read.
	Data []byte

	buf      []byte
	writable [][]byte
	room     int // bytes in writable
}

// Read takes the command out of the elements that the driver filled, however
// they are split (VNET-182), and keeps writable for Reply. An error that wraps
// ErrFraming is fatal for the ring; after any other one, Reply(false, nil)
// tells the driver.
func (c *Chain) Read(readable, writable [][]byte) error {
	*c = Chain{buf: c.buf[:0], writable: writable}
	for _, w := range writable {
		c.room += len(w)
	}
	if c.room == 0 {
		return fmt.Errorf("%w: no room for the ack byte", ErrFraming)
	}
	n := 0
	for _, r := range readable {
		n += len(r)
	}
	if n < 2 {
		return fmt.Errorf("%w: %d readable bytes, want at least 2 for class and command", ErrFraming, n)
	}
	for _, r := range readable {
		c.buf = append(c.buf, r[:min(len(r), 2+MaxData-len(c.buf))]...)
	}
	c.Class, c.Cmd, c.Data = c.buf[0], c.buf[1], c.buf[2:]
	if n > 2+MaxData {
		c.Data = nil
		return fmt.Errorf("%s: %d bytes of data, want at most %d", Name(c.Class, c.Cmd), n-2, MaxData)
	}
	return nil
}

// Reply writes the answer and returns the number of bytes written from the
// start of the writable part, the length to put into the used ring.
//
// Where a command has a result, the specification describes the acknowledgement
// in two ways. Statistics stand after it, and as much of them is written as
// fits (VNET-173). The parameters of NOTF_COAL_VQ_GET are part of the command
// and stand before it, whether it succeeds or not; a buffer too small for them
// makes the command fail. With an error no result is written.
func (c *Chain) Reply(ok bool, result []byte) (written uint32) {
	if class, cmd := (QueueCoalGet{}).Code(); c.Class == class && c.Cmd == cmd {
		params := make([]byte, 8, 9)
		if ok = ok && len(result) == len(params) && c.room > len(params); ok {
			copy(params, result)
		}
		return c.write(append(params[:min(len(params), c.room-1)], ack(ok)))
	}
	if !ok {
		result = nil
	}
	return c.write(append([]byte{ack(ok)}, result...))
}

func ack(ok bool) uint8 {
	if ok {
		return ackOK
	}
	return ackErr
}

// write stores as much of b as fits.
func (c *Chain) write(b []byte) (written uint32) {
	for _, w := range c.writable {
		n := copy(w, b)
		written += uint32(n)
		b = b[n:]
	}
	return written
}
