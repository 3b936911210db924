package vhostuser

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/vhostuser/wire"
)

// notifier is the Frontend of a session. It outlives changes of the channel
// that SET_BACKEND_REQ_FD hands over, and belongs to the session but for
// ConfigChanged.
type notifier struct {
	log     Logger
	timeout time.Duration // for the acknowledgement of a message
	retry   time.Duration // how long a message waits that found no room in the socket

	mu      sync.Mutex
	allowed bool // BACKEND_REQ and CONFIG are negotiated
	acks    bool // REPLY_ACK is negotiated
	active  bool // a ring runs; a suspended device sends nothing
	pending bool // a change has not been told yet
	channel *channel
}

// ConfigChanged asks for a BACKEND_CONFIG_CHANGE_MSG as soon as the device is
// not suspended. Several changes may become one message.
func (n *notifier) ConfigChanged() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.usable() && n.allowed {
		n.pending = true
		n.wake()
	}
}

// usable reports whether there is a channel that works. The caller has mu.
func (n *notifier) usable() bool { return n.channel != nil && !n.channel.broken }

// wake makes the channel's goroutine look at the state. The caller has mu.
func (n *notifier) wake() {
	if !n.pending || !n.active || !n.usable() {
		return
	}
	select {
	case n.channel.wake <- struct{}{}:
	default:
	}
}

// negotiated takes the protocol features.
func (n *notifier) negotiated(p wire.ProtocolFeatures) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.allowed = p.Has(wire.ProtocolBackendReq | wire.ProtocolConfig)
	n.acks = p.Has(wire.ProtocolReplyAck)
}

// setActive tells whether any ring runs. After false no message leaves
// (section "Suspended device state").
func (n *notifier) setActive(on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.active = on
	n.wake()
}

// connected reports whether there is a channel that works.
func (n *notifier) connected() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.usable()
}

// connect takes over a socket as the channel, in place of an earlier one.
func (n *notifier) connect(fd int) error {
	f := os.NewFile(uintptr(fd), "backend channel")
	c, err := net.FileConn(f) // duplicates
	f.Close()
	if err != nil {
		return fmt.Errorf("descriptor is not a connected socket: %w", err)
	}
	uc, ok := c.(*net.UnixConn)
	if !ok || uc.LocalAddr().Network() != "unix" {
		c.Close()
		return fmt.Errorf("descriptor is a socket of type %s, want a Unix stream socket", c.LocalAddr().Network())
	}
	n.close()
	ch := &channel{n: n, conn: uc, wake: make(chan struct{}, 1), done: make(chan struct{})}
	n.mu.Lock()
	n.channel = ch
	n.mu.Unlock()
	go ch.run()
	return nil
}

// close ends the channel and waits for its goroutine.
func (n *notifier) close() {
	n.mu.Lock()
	ch := n.channel
	n.channel, n.pending = nil, false
	n.mu.Unlock()
	if ch != nil {
		close(ch.wake)
		ch.conn.Close() // ends a read in progress
		<-ch.done
	}
}

// channel is one socket on which we are the requester.
type channel struct {
	n    *notifier
	conn *net.UnixConn
	wake chan struct{} // one token; closed at the end
	done chan struct{} // closed when run has returned

	broken bool   // run has given up; guarded by n.mu
	owed   int    // acknowledgements asked for and not seen
	in     []byte // the part of one that has come
}

// run sends messages one after the other. With REPLY_ACK it awaits the
// acknowledgement of each, so that a front end that is slow gets few.
func (c *channel) run() {
	defer close(c.done)
	for range c.wake {
		if err := c.tell(); err != nil {
			c.n.mu.Lock()
			c.broken = true
			c.n.mu.Unlock()
			if !errors.Is(err, net.ErrClosed) {
				c.n.log.Warnf("%s: %v; no further ones on this channel", wire.BackendConfigChange, err)
			}
			return
		}
	}
}

// tell sends a pending message and takes its acknowledgement. An error means
// that the channel is unusable.
func (c *channel) tell() error {
	full, err := c.send()
	if err != nil {
		return err
	}
	if full {
		c.n.log.Warnf("%s: the front end does not read its messages", wire.BackendConfigChange)
		// Harmless if it fires after the end, for wake looks at the state.
		time.AfterFunc(c.n.retry, func() {
			c.n.mu.Lock()
			defer c.n.mu.Unlock()
			c.n.wake()
		})
		return nil
	}
	for c.owed > 0 {
		err := c.readAck()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			c.n.log.Warnf("%s: not acknowledged within %s", wire.BackendConfigChange, c.n.timeout)
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// send writes the message without blocking if one is pending and allowed, and
// reports whether the socket was full. It holds the lock, so that setActive
// and send exclude each other.
func (c *channel) send() (full bool, err error) {
	n := c.n
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.pending || !n.active || !n.allowed || n.channel != c {
		return false, nil
	}
	h := wire.Header{Request: uint32(wire.BackendConfigChange), Flags: wire.Version}
	if n.acks {
		h.Flags |= wire.FlagNeedReply
	}
	raw, err := c.conn.SyscallConn()
	if err != nil {
		return false, err
	}
	var werr error
	err = raw.Write(func(fd uintptr) bool {
		werr = unix.Sendto(int(fd), h.Append(nil), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil)
		return true
	})
	switch {
	case err != nil:
		return false, err
	case errors.Is(werr, unix.EAGAIN):
		return true, nil
	case werr != nil:
		return false, werr
	}
	n.pending = false
	if n.acks {
		c.owed++
	}
	return false, nil
}

// readAck reads one acknowledgement, or fails at the deadline and keeps what
// has come of it for the next time.
func (c *channel) readAck() error {
	const size = wire.HeaderSize + 8
	if err := c.conn.SetReadDeadline(time.Now().Add(c.n.timeout)); err != nil {
		return err
	}
	for len(c.in) < size {
		var b [size]byte
		k, err := c.conn.Read(b[:size-len(c.in)])
		if err != nil {
			return err
		}
		c.in = append(c.in, b[:k]...)
	}
	h := wire.DecodeHeader((*[wire.HeaderSize]byte)(c.in))
	if err := h.CheckReply(uint32(wire.BackendConfigChange)); err != nil {
		return err
	}
	v, err := wire.DecodeU64(c.in[wire.HeaderSize:])
	if err != nil {
		return err
	}
	if h.Size != 8 {
		return &wire.SizeError{What: "acknowledgement", Size: int(h.Size), Min: 8, Max: 8}
	}
	if v != 0 {
		c.n.log.Warnf("%s: the front end answered %d, want 0", wire.BackendConfigChange, v)
	}
	c.in = c.in[:0]
	c.owed--
	return nil
}
