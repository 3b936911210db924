package frontendtest

import (
	"net"
	"os"
	"sync"

	"vhost-user-nvgre/vhostuser/wire"
)

// channel receives the back end's own messages and acknowledges them.
type channel struct {
	conn *net.UnixConn
	done chan struct{}

	mu  sync.Mutex
	ack uint64
	got chan wire.BackendRequest
}

// newChannel returns a channel and the end of it that the back end gets. It
// reads nothing if mute.
func newChannel(mute bool, got chan wire.BackendRequest) (*channel, *os.File, error) {
	uc, theirs, err := socketpair()
	if err != nil {
		return nil, nil, err
	}
	c := &channel{conn: uc, done: make(chan struct{}), got: got}
	if mute {
		close(c.done)
	} else {
		go c.run()
	}
	return c, theirs, nil
}

func (c *channel) run() {
	defer close(c.done)
	for {
		m, err := recv(c.conn)
		if err != nil {
			return
		}
		m.CloseFDs()
		if m.NeedReply() {
			c.mu.Lock()
			b := wire.AppendU64(wire.Reply(m.Request, 8).Append(nil), c.ack)
			c.mu.Unlock()
			if _, err := c.conn.Write(b); err != nil {
				return
			}
		}
		select {
		case c.got <- wire.BackendRequest(m.Request):
		default: // nobody cares for so many
		}
	}
}

func (c *channel) close() {
	c.conn.Close()
	<-c.done
}
