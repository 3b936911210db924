package oid

import (
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/mdlayher/vsock"
)

// HostCID is the context id of the host as guests see it.
const HostCID = vsock.Host

// ListenVsock listens for guests at an AF_VSOCK port.
func ListenVsock(port uint32) (net.Listener, error) {
	l, err := vsock.Listen(port, nil)
	if err != nil {
		return nil, fmt.Errorf("listen at AF_VSOCK port %d: %w", port, err)
	}
	return l, nil
}

// DialVsock connects from a guest to its host.
func DialVsock(port uint32) (net.Conn, error) {
	c, err := vsock.Dial(HostCID, port, nil)
	if err != nil {
		return nil, fmt.Errorf("connect to AF_VSOCK port %d of the host: %w", port, err)
	}
	return c, nil
}

// guests counts connections by guest.
type guests struct {
	mu    sync.Mutex
	conns map[uint32]int // by context id
}

// enter and leave count a connection, if it is a guest's; enter reports false
// where there are too many.
func (g *guests) enter(c net.Conn, most int) bool {
	a, ok := c.RemoteAddr().(*vsock.Addr)
	if !ok {
		return true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.conns[a.ContextID] >= most {
		return false
	}
	g.conns[a.ContextID]++
	return true
}

func (g *guests) leave(c net.Conn) {
	a, ok := c.RemoteAddr().(*vsock.Addr)
	if !ok {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.conns[a.ContextID]--; g.conns[a.ContextID] == 0 {
		delete(g.conns, a.ContextID)
	}
}

// ByCID returns a Chooser for AF_VSOCK: the context id of the peer, which it
// cannot choose, says which port it is about. find returns nil for a context
// id that no port is for.
func ByCID(find func(cid uint32) *Hub) Chooser {
	return func(peer net.Addr, name string) (*Hub, error) {
		a, ok := peer.(*vsock.Addr)
		if !ok {
			return nil, errors.New("this is no AF_VSOCK connection")
		}
		h := find(a.ContextID)
		if h == nil {
			return nil, fmt.Errorf("no port is for context id %d", a.ContextID)
		}
		return Only(h)(peer, name)
	}
}
