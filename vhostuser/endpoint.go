package vhostuser

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Mode says who of the two sides listens.
type Mode int

const (
	// ModeServer listens at a path; front ends connect, one after the other.
	ModeServer Mode = iota
	// ModeClient connects to a front end that listens, again and again.
	ModeClient
)

// Options describe an Endpoint.
type Options struct {
	// Path is that of the socket. File, set instead, is one that was
	// inherited: a listening one, or one that a front end is connected to.
	// Open takes ownership of it.
	Path string
	File *os.File
	Mode Mode // with Path
	// Perm is the permission of a socket made at Path; 0 stands for 0660.
	Perm    fs.FileMode
	Backend Backend
	Log     Logger
}

// Endpoint is the place where front ends attach to a Backend.
type Endpoint struct {
	backend Backend
	log     Logger
	dial    string            // path, in client mode
	listen  *net.UnixListener // in server mode
	socket  socketFile        // what to remove at the end
	conn    *net.UnixConn     // inherited
	times   timing

	closing  sync.Once
	snapshot atomic.Pointer[Snapshot]
	state    Snapshot // the part that outlives sessions; Serve's goroutine only
}

// timing has the bounds on what a peer can make us wait for.
type timing struct {
	write      time.Duration // a reply to leave
	end        time.Duration // the last reply, once the endpoint is to end
	ack        time.Duration // an acknowledgement to come
	retry      time.Duration // between attempts at a full channel
	backoffMin time.Duration // between attempts at connecting
	backoffMax time.Duration
}

var defaultTiming = timing{
	write: 10 * time.Second, end: time.Second, ack: 5 * time.Second, retry: time.Second,
	backoffMin: 100 * time.Millisecond, backoffMax: 5 * time.Second,
}

// Open makes the endpoint: in server mode the socket exists and takes
// connections when it returns. Serve or Close must follow. A path at which
// another process listens, or that is no socket, is an error; a socket file
// that nobody listens at is replaced.
func Open(o Options) (*Endpoint, error) {
	e := &Endpoint{backend: o.Backend, log: o.Log, times: defaultTiming}
	var err error
	switch {
	case o.File != nil && o.Path != "":
		o.File.Close()
		return nil, errors.New("both a socket path and an inherited socket: want one of them")
	case o.File != nil:
		e.listen, e.conn, err = inherit(o.File)
	case o.Path == "":
		return nil, errors.New("neither a socket path nor an inherited socket")
	case o.Mode == ModeClient:
		e.dial = o.Path
		err = checkPath(o.Path)
	default:
		perm := o.Perm
		if perm == 0 {
			perm = 0o660
		}
		e.listen, e.socket, err = listenAt(o.Path, perm)
	}
	if err != nil {
		return nil, err
	}
	e.snapshot.Store(&Snapshot{})
	return e, nil
}

// Snapshot returns the state as of the last message. Any goroutine may ask.
func (e *Endpoint) Snapshot() Snapshot { return *e.snapshot.Load() }

// Close frees an endpoint that is not served, and removes its socket file.
func (e *Endpoint) Close() error {
	e.closing.Do(func() {
		if e.listen != nil {
			e.listen.Close()
			e.socket.remove()
		}
		if e.conn != nil {
			e.conn.Close()
		}
	})
	return nil
}

// Serve runs sessions until ctx is done, then ends the one in progress and
// returns nil. With an inherited connection it returns when that ends, with
// the reason unless the front end just left. It may be called once.
func (e *Endpoint) Serve(ctx context.Context) error {
	defer e.Close()
	switch {
	case e.conn != nil:
		if err := e.session(ctx, e.conn); ctx.Err() == nil && !isDisconnect(err) {
			return err
		}
		return nil
	case e.listen != nil:
		return e.accept(ctx)
	default:
		e.connect(ctx)
		return nil
	}
}

// accept serves the connections of a listening socket. One that comes while
// another is served waits in the socket's queue.
func (e *Endpoint) accept(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { e.listen.Close() })()
	backoff := e.times.backoffMin
	for {
		c, err := e.listen.AcceptUnix()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				c.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // such as too many open files
			e.log.Warnf("accept: %v; next attempt in %s", err, backoff)
			sleep(ctx, backoff)
			backoff = min(2*backoff, e.times.backoffMax)
			continue
		}
		backoff = e.times.backoffMin
		e.session(ctx, c)
	}
}

// connect serves the connections that a listening front end takes. The pause
// between attempts grows until a session has lasted for longer than it.
func (e *Endpoint) connect(ctx context.Context) {
	backoff := e.times.backoffMin
	var said string
	for ctx.Err() == nil {
		var d net.Dialer
		c, err := d.DialContext(ctx, "unix", e.dial)
		if err == nil {
			said = ""
			begin := time.Now()
			e.session(ctx, c.(*net.UnixConn))
			if time.Since(begin) > e.times.backoffMax {
				backoff = e.times.backoffMin
			}
		} else if text := err.Error(); ctx.Err() == nil && text != said {
			e.log.Infof("%v; keeps trying", err)
			said = text
		}
		sleep(ctx, backoff)
		backoff = min(2*backoff, e.times.backoffMax)
	}
}

// session serves one connection to its end and closes it.
func (e *Endpoint) session(ctx context.Context, uc *net.UnixConn) error {
	// The session finds the end of its input, and the front end that of the
	// connection once the rings have stopped: QEMU then reads from them how far
	// they got.
	c := newConn(uc, e.times.write)
	defer context.AfterFunc(ctx, func() { c.shutdown(e.times.end) })()
	defer uc.Close()
	pid := peerPID(uc)
	e.state.Sessions++
	e.state.Since, e.state.PeerPID = time.Now(), pid
	e.log.Infof("front end connected (process %d)", pid)

	n := &notifier{log: e.log, timeout: e.times.ack, retry: e.times.retry}
	s := newSession(c, e.backend, e.log, e.publish, n)
	err := s.run(ctx)

	switch {
	case ctx.Err() != nil:
		e.state.LastEnd = "shut down"
		e.log.Infof("session ended: shut down")
	case isDisconnect(err):
		e.state.LastEnd = "front end disconnected"
		e.log.Infof("front end disconnected (process %d)", pid)
	default:
		e.state.LastEnd = err.Error()
		e.log.Warnf("session ended: %v", err)
	}
	e.state.LastEndAt = time.Now()
	e.state.Since, e.state.PeerPID = time.Time{}, 0
	idle := e.state
	e.snapshot.Store(&idle)
	return err
}

// publish makes the state of a session visible to Snapshot.
func (e *Endpoint) publish(s *session) {
	snap := s.snapshot()
	snap.Since, snap.PeerPID, snap.Sessions = e.state.Since, e.state.PeerPID, e.state.Sessions
	snap.LastEnd, snap.LastEndAt = e.state.LastEnd, e.state.LastEndAt
	e.snapshot.Store(&snap)
}

// isDisconnect reports whether the peer just left: by closing its end, or by
// dying with something of ours unread.
func isDisconnect(err error) bool {
	return err == io.EOF || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
