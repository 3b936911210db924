package vhostuser

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/vhostuser/wire"
)

// maxFDs is how many descriptors one message may bring before it counts as an
// attack. The document's largest number is 8, one for each region of a table.
const maxFDs = 32

// message is one request as it came in.
type message struct {
	wire.Header
	request  wire.Request
	payload  []byte // borrowed from the connection until the next read
	fds      []int  // owned by the message until taken
	answered bool   // the reply of its own has been sent
}

// takeFD passes the ownership of the first descriptor to the caller.
func (m *message) takeFD() (fd int, ok bool) {
	if len(m.fds) == 0 {
		return -1, false
	}
	fd = m.fds[0]
	m.fds = m.fds[1:]
	return fd, true
}

// closeFDs closes the descriptors that nobody took.
func (m *message) closeFDs() {
	for _, fd := range m.fds {
		unix.Close(fd)
	}
	m.fds = nil
}

// conn reads requests from a stream socket and writes replies to it.
type conn struct {
	uc           *net.UnixConn
	writeTimeout time.Duration
	control      []byte
	payload      [wire.MaxPayload]byte
	out          []byte

	mu  sync.Mutex // guards end and the write deadline
	end time.Time  // no write may last longer; zero: there is no such time
}

func newConn(uc *net.UnixConn, writeTimeout time.Duration) *conn {
	return &conn{uc: uc, writeTimeout: writeTimeout, control: make([]byte, unix.CmsgSpace(4*maxFDs))}
}

// read returns the next request, or io.EOF when the peer is gone. No byte
// beyond the message is consumed: descriptors come with the first byte of a
// header and would be attributed to the wrong message (section "Communication").
// After an error the stream is out of step.
func (c *conn) read() (*message, error) {
	m := &message{}
	if err := c.readInto(m); err != nil {
		m.closeFDs()
		return nil, err
	}
	return m, nil
}

func (c *conn) readInto(m *message) error {
	var raw [wire.HeaderSize]byte
	for n := 0; n < len(raw); {
		// ReadMsgUnix asks for close-on-exec itself.
		k, oobn, flags, _, err := c.uc.ReadMsgUnix(raw[n:], c.control)
		if fdErr := m.collect(c.control[:oobn], flags); fdErr != nil {
			return fdErr
		}
		if err != nil {
			switch {
			case !errors.Is(err, io.EOF):
				return err
			case n > 0:
				return fmt.Errorf("connection ended %d bytes into a message header: %w", n, io.ErrUnexpectedEOF)
			}
			return io.EOF
		}
		n += k
	}
	m.Header = wire.DecodeHeader(&raw)
	m.request = wire.Request(m.Request)
	if err := m.CheckRequest(); err != nil {
		return fmt.Errorf("%s: %w", m.request, err)
	}
	if err := m.request.CheckSize(m.Size); err != nil {
		return err
	}
	m.payload = c.payload[:m.Size]
	// A plain read: the kernel discards descriptors sent along with payload.
	if n, err := io.ReadFull(c.uc, m.payload); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("%s: connection ended after %d of %d bytes of payload: %w", m.request, n, m.Size, err)
	}
	return nil
}

// collect takes over the descriptors of the control messages in oob.
func (m *message) collect(oob []byte, flags int) error {
	msgs, err := unix.ParseSocketControlMessage(oob)
	for i := range msgs {
		if fds, err := unix.ParseUnixRights(&msgs[i]); err == nil {
			m.fds = append(m.fds, fds...)
		}
	}
	switch {
	case err != nil:
		return fmt.Errorf("control message: %w", err)
	case flags&unix.MSG_CTRUNC != 0:
		return fmt.Errorf("descriptors were lost: the message has more than %d, or this process may not open more (%d came)", maxFDs, len(m.fds))
	case len(m.fds) > maxFDs:
		return fmt.Errorf("message with %d descriptors, want at most %d", len(m.fds), maxFDs)
	}
	return nil
}

// errNotSent is wrapped by the errors of a reply that did not leave. The front
// end would wait for it for ever, so they end the session.
var errNotSent = errors.New("reply not sent")

// reply sends the reply to a request. The peer has to take it within the
// write timeout.
func (c *conn) reply(request wire.Request, payload []byte) error {
	c.out = wire.Reply(uint32(request), uint32(len(payload))).Append(c.out[:0])
	c.out = append(c.out, payload...)
	if err := c.limitWrite(); err != nil {
		return fmt.Errorf("%s: %w: %w", request, errNotSent, err)
	}
	if _, err := c.uc.Write(c.out); err != nil {
		return fmt.Errorf("%s: %w: %w", request, errNotSent, err)
	}
	return nil
}

// limitWrite sets the deadline of the next write.
func (c *conn) limitWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := time.Now().Add(c.writeTimeout)
	if !c.end.IsZero() && c.end.Before(t) {
		t = c.end
	}
	return c.uc.SetWriteDeadline(t)
}

// shutdown ends the input behind what has come, and leaves as long as within
// to the reply being written, or to be written yet. Any goroutine may call it.
func (c *conn) shutdown(within time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end = time.Now().Add(within)
	_ = c.uc.SetWriteDeadline(c.end)
	_ = c.uc.CloseRead()
}
