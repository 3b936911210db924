package frontendtest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/vhostuser/wire"
)

// maxFDs is the most descriptors that Linux passes in one message.
const maxFDs = 253

// Message is a message as it came from the back end. The receiver owns FDs.
type Message struct {
	wire.Header
	Payload []byte
	FDs     []int
}

// CloseFDs closes the descriptors of the message.
func (m Message) CloseFDs() {
	for _, fd := range m.FDs {
		unix.Close(fd)
	}
}

// Refused is a request that the back end acknowledged with a number other
// than 0.
type Refused struct {
	Request wire.Request
	Value   uint64
}

func (e *Refused) Error() string {
	return fmt.Sprintf("%s: the back end answered %d, want 0", e.Request, e.Value)
}

// Conn is the front end's end of a connection. It sends what it is told to,
// legal or not. One goroutine at a time may use it; Close may be called by
// any.
type Conn struct {
	uc *net.UnixConn
	// Timeout bounds every send and every wait for a reply.
	Timeout time.Duration
	// Acks: REPLY_ACK is negotiated, so Do may ask for acknowledgements.
	Acks bool
}

// NewConn makes a Conn of a connected socket, which it owns from then on.
func NewConn(uc *net.UnixConn) *Conn { return &Conn{uc: uc, Timeout: 10 * time.Second} }

// Dial connects to a back end that listens at path.
func Dial(path string) (*Conn, error) {
	c, err := net.Dial("unix", path)
	if err != nil {
		return nil, err
	}
	return NewConn(c.(*net.UnixConn)), nil
}

// Pair returns both ends of a connection: the front end's, and the back end's
// as the descriptor it could have inherited.
func Pair() (*Conn, *os.File, error) {
	uc, f, err := socketpair()
	if err != nil {
		return nil, nil, err
	}
	return NewConn(uc), f, nil
}

// socketpair makes two connected stream sockets.
func socketpair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	defer ours.Close()
	c, err := net.FileConn(ours) // duplicates
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return c.(*net.UnixConn), theirs, nil
}

// Close ends the connection.
func (c *Conn) Close() error { return c.uc.Close() }

// CloseWrite ends our direction of the connection; replies still come.
func (c *Conn) CloseWrite() error { return c.uc.CloseWrite() }

// SendRaw sends any bytes in one system call, with descriptors, which the
// caller keeps.
func (c *Conn) SendRaw(b []byte, fds ...int) error {
	if err := c.uc.SetWriteDeadline(time.Now().Add(c.Timeout)); err != nil {
		return err
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	n, _, err := c.uc.WriteMsgUnix(b, oob, nil)
	if err == nil && n < len(b) {
		_, err = c.uc.Write(b[n:])
	}
	return err
}

// Send sends a request with the given bits besides the version in its flags.
func (c *Conn) Send(r wire.Request, flags uint32, payload []byte, fds ...int) error {
	h := wire.Header{Request: uint32(r), Flags: wire.Version | flags, Size: uint32(len(payload))}
	if err := c.SendRaw(append(h.Append(nil), payload...), fds...); err != nil {
		return fmt.Errorf("%s: %w", r, err)
	}
	return nil
}

// Recv receives one message.
func (c *Conn) Recv() (Message, error) {
	if err := c.uc.SetReadDeadline(time.Now().Add(c.Timeout)); err != nil {
		return Message{}, err
	}
	return recv(c.uc)
}

func recv(uc *net.UnixConn) (m Message, err error) {
	var raw [wire.HeaderSize]byte
	oob := make([]byte, unix.CmsgSpace(4*maxFDs))
	for n := 0; n < len(raw); {
		k, oobn, _, _, err := uc.ReadMsgUnix(raw[n:], oob)
		if err != nil {
			if n == 0 && errors.Is(err, io.EOF) {
				return m, io.EOF
			}
			return m, fmt.Errorf("after %d bytes of a header: %w", n, err)
		}
		n += k
		msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil {
			return m, err
		}
		for i := range msgs {
			if fds, err := unix.ParseUnixRights(&msgs[i]); err == nil {
				m.FDs = append(m.FDs, fds...)
			}
		}
	}
	m.Header = wire.DecodeHeader(&raw)
	if m.Size > wire.MaxPayload {
		m.CloseFDs()
		return Message{}, fmt.Errorf("message with %d bytes of payload, want at most %d", m.Size, wire.MaxPayload)
	}
	m.Payload = make([]byte, m.Size)
	if _, err := io.ReadFull(uc, m.Payload); err != nil {
		m.CloseFDs()
		return Message{}, err
	}
	return m, nil
}

// Reply receives the reply to r. It is as strict as QEMU: flags are version
// and reply, nothing else.
func (c *Conn) Reply(r wire.Request) (Message, error) {
	m, err := c.Recv()
	if err != nil {
		return m, fmt.Errorf("reply to %s: %w", r, err)
	}
	if m.Request != uint32(r) || m.Flags != wire.Version|wire.FlagReply {
		m.CloseFDs()
		return Message{}, fmt.Errorf("reply to %s: request %s and flags 0x%x, want flags 0x5", r, wire.Request(m.Request), m.Flags)
	}
	return m, nil
}

// Call sends a request that has a reply of its own and returns that reply's
// payload. Descriptors in the reply are closed.
func (c *Conn) Call(r wire.Request, payload []byte, fds ...int) ([]byte, error) {
	if err := c.Send(r, 0, payload, fds...); err != nil {
		return nil, err
	}
	m, err := c.Reply(r)
	m.CloseFDs()
	return m.Payload, err
}

// U64 is Call for a reply of one number.
func (c *Conn) U64(r wire.Request, payload []byte, fds ...int) (uint64, error) {
	b, err := c.Call(r, payload, fds...)
	if err != nil {
		return 0, err
	}
	if len(b) != 8 {
		return 0, fmt.Errorf("reply to %s: %d bytes, want 8", r, len(b))
	}
	return wire.DecodeU64(b)
}

// Acked sends a request that is to be acknowledged and waits for that. A
// number other than 0 is a *Refused.
func (c *Conn) Acked(r wire.Request, payload []byte, fds ...int) error {
	if err := c.Send(r, wire.FlagNeedReply, payload, fds...); err != nil {
		return err
	}
	m, err := c.Reply(r)
	if err != nil {
		return err
	}
	m.CloseFDs()
	v, err := wire.DecodeU64(m.Payload)
	switch {
	case err != nil:
		return fmt.Errorf("acknowledgement of %s: %w", r, err)
	case v != 0:
		return &Refused{Request: r, Value: v}
	}
	return nil
}

// Do sends a request without a reply of its own, acknowledged if that was
// negotiated.
func (c *Conn) Do(r wire.Request, payload []byte, fds ...int) error {
	if c.Acks {
		return c.Acked(r, payload, fds...)
	}
	return c.Send(r, 0, payload, fds...)
}

// Sync waits until the back end has worked off everything sent so far.
func (c *Conn) Sync() error {
	_, err := c.U64(wire.GetFeatures, nil)
	return err
}

// WaitEnd waits until the back end closes the connection. Messages that come
// before are dropped.
func (c *Conn) WaitEnd() error {
	for {
		m, err := c.Recv()
		m.CloseFDs()
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("the back end keeps the connection open: %w", err)
		default: // EOF, or a reset when it had not read everything
			return nil
		}
	}
}
