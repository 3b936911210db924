package oid

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Logger is what the server logs to; logrus loggers satisfy it.
type Logger interface {
	Debugf(format string, args ...any)
}

// errRemoved ends connections to a port that is taken away.
var errRemoved = errors.New("has been removed")

// Chooser returns the port that a connection is about, given the name that
// its client asked for, "" for none. An error is told the client.
type Chooser func(peer net.Addr, name string) (*Hub, error)

// Only returns a Chooser for a socket of one port.
func Only(h *Hub) Chooser {
	return func(_ net.Addr, name string) (*Hub, error) {
		if name != "" && name != h.name {
			return nil, fmt.Errorf("port %s cannot be reached here", printable(name))
		}
		return h, nil
	}
}

// limits bound what a client can take up; tests change them.
type limits struct {
	hello   time.Duration // to say hello
	message time.Duration // from a message's first byte to its last
	write   time.Duration // to take a message
	conns   int           // of a server
	perPeer int           // of a guest, which can otherwise keep the others out by saying nothing
	perPort int           // of a port, over all servers
	queue   int           // messages that wait for a client
}

func defaultLimits() limits {
	return limits{
		hello: 5 * time.Second, message: 10 * time.Second, write: 10 * time.Second,
		conns: 256, perPeer: 32, perPort: 16, queue: 64,
	}
}

// Serve lets clients in on l until ctx is done, and closes l and all
// connections. Any number of servers may share hubs.
func Serve(ctx context.Context, l net.Listener, choose Chooser, log Logger) error {
	return (&server{choose: choose, log: log, limits: defaultLimits()}).serve(ctx, l)
}

type server struct {
	choose Chooser
	log    Logger
	limits limits
}

func (s *server) serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var conns sync.WaitGroup
	defer conns.Wait()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	room := make(chan struct{}, s.limits.conns)
	peers := guests{conns: map[uint32]int{}}
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			cancel()
			return fmt.Errorf("OID server: %w", err)
		}
		select {
		case room <- struct{}{}:
		default:
			s.refuse(c, errors.New("too many connections"))
			continue
		}
		if !peers.enter(c, s.limits.perPeer) {
			<-room
			s.refuse(c, fmt.Errorf("this guest has %d connections already", s.limits.perPeer))
			continue
		}
		conns.Go(func() {
			defer func() { <-room }()
			defer peers.leave(c)
			s.connection(ctx, c)
		})
	}
}

// refuse tells a client why it is not served, as far as it listens.
func (s *server) refuse(c net.Conn, why error) {
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = c.Write((&refusal{why.Error()}).encode())
	c.Close()
}

// connection serves a client until it leaves or ctx is done.
func (s *server) connection(ctx context.Context, c net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	defer c.Close()

	hub, first, err := s.welcome(c)
	if err != nil {
		s.log.Debugf("OID client %s: %v", c.RemoteAddr(), err)
		s.refuse(c, err)
		return
	}
	defer hub.leave()
	out := make(chan []byte, s.limits.queue)
	out <- (&hello{version: Version, max: MaxMessage, port: hub.name}).encode()
	if first.watch {
		l := &listener{out: out}
		hub.listen(l)
		defer hub.unlisten(l)
	}
	var writer sync.WaitGroup
	defer writer.Wait()
	defer cancel() // before the wait: it ends the writer
	// Whoever waits for a request is to see it.
	defer context.AfterFunc(hub.ended, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })()
	writer.Go(func() {
		defer cancel()
		s.write(ctx, c, out)
	})
	if err := s.requests(ctx, c, hub, out); err != nil && ctx.Err() == nil {
		s.log.Debugf("OID client %s of port %s: %v", c.RemoteAddr(), hub.name, err)
		if errors.Is(err, errMessage) || errors.Is(err, errRemoved) {
			for _, last := range [][]byte{(&refusal{err.Error()}).encode(), nil} {
				select {
				case out <- last:
				case <-ctx.Done():
				}
			}
			writer.Wait() // it has a deadline
		}
	}
}

// welcome takes the client's hello and finds its port, which it enters.
func (s *server) welcome(c net.Conn) (*Hub, hello, error) {
	_ = c.SetReadDeadline(time.Now().Add(s.limits.hello))
	k, b, err := receive(c, func() {})
	if err != nil {
		return nil, hello{}, err
	}
	if k != kindHello {
		return nil, hello{}, malformed("%s, want a hello first", k)
	}
	h, err := decodeHello(b)
	if err != nil {
		return nil, h, err
	}
	if h.version != Version {
		return nil, h, fmt.Errorf("version %d of the protocol, want %d", h.version, Version)
	}
	hub, err := s.choose(c.RemoteAddr(), h.port)
	if err != nil {
		return nil, h, err
	}
	if !hub.enter(s.limits.perPort) {
		return nil, h, fmt.Errorf("port %s has %d connections already", hub.name, s.limits.perPort)
	}
	return hub, h, nil
}

// requests carries out requests, one after the other, until the client leaves.
// A client may be silent for as long as it likes, but not within a message.
func (s *server) requests(ctx context.Context, c net.Conn, hub *Hub, out chan<- []byte) error {
	for {
		_ = c.SetReadDeadline(time.Time{})
		if err := hub.gone(); err != nil {
			return err // its deadline may just have been lifted
		}
		k, b, err := receive(c, func() { _ = c.SetReadDeadline(time.Now().Add(s.limits.message)) })
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return cmp.Or(hub.gone(), err)
		}
		if k != kindRequest {
			return malformed("%s, want a request", k)
		}
		r, err := decodeRequest(b)
		if err != nil {
			return err
		}
		resp, err := hub.handle(r.Request)
		if err != nil {
			return err
		}
		select {
		case out <- (&response{r.id, resp}).encode():
		case <-ctx.Done():
			return nil
		}
	}
}

// write sends what waits for a client, in order, until ctx is done, the client
// does not take it, or nil comes.
func (s *server) write(ctx context.Context, c net.Conn, out <-chan []byte) {
	for {
		select {
		case b := <-out:
			if b == nil {
				return
			}
			_ = c.SetWriteDeadline(time.Now().Add(s.limits.write))
			if _, err := c.Write(b); err != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}
