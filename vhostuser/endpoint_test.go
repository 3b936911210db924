package vhostuser

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/vhostuser/frontendtest"
	"vhost-user-nvgre/vhostuser/wire"
)

// served is an endpoint that is served until the test or stop ends it.
type served struct {
	*Endpoint
	b    *fakeBackend
	log  *testLog
	path string
	stop func() error
}

func serve(t *testing.T, o Options) *served {
	t.Helper()
	return serveWith(t, o, shortTiming)
}

func serveWith(t *testing.T, o Options, times timing) *served {
	t.Helper()
	s := &served{b: newFake(t), log: &testLog{}, path: o.Path}
	o.Backend, o.Log = s.b, s.log
	var err error
	s.Endpoint, err = Open(o)
	must(t, err)
	s.times = times
	ctx, cancel := context.WithCancel(t.Context())
	end := make(chan error, 1)
	go func() { end <- s.Serve(ctx) }()
	var once bool
	s.stop = func() error {
		if once {
			return nil
		}
		once = true
		cancel()
		select {
		case err := <-end:
			return err
		case <-time.After(10 * time.Second):
			return errors.New("Serve does not end with its context")
		}
	}
	t.Cleanup(func() { must(t, s.stop()) })
	return s
}

// waitFor polls a condition.
func waitFor(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestServeSeveralClients(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s := serve(t, Options{Path: path})
	if snap := s.Snapshot(); snap.Connected || snap.Sessions != 0 {
		t.Errorf("Snapshot() before the first connection = %+v", snap)
	}
	for n := uint64(1); n <= 3; n++ {
		c := frontendtest.MustDial(t, path)
		must(t, c.Sync())
		snap := s.Snapshot()
		if !snap.Connected || snap.Sessions != n || snap.PeerPID != int32(os.Getpid()) || snap.Since.IsZero() {
			t.Errorf("Snapshot() in session %d = %+v", n, snap)
		}
		must(t, c.Close())
		waitFor(t, "the end of the session", func() bool { return !s.Snapshot().Connected })
		if snap := s.Snapshot(); snap.LastEnd != "front end disconnected" || snap.LastEndAt.IsZero() || snap.PeerPID != 0 || len(snap.Rings) != 0 {
			t.Errorf("Snapshot() after session %d = %+v", n, snap)
		}
		s.b.want("Attach", "Detach")
	}

	// A session that fails does not take the socket along.
	c := frontendtest.MustDial(t, path)
	must(t, c.Send(wire.GetFeatures, 0, []byte{1}))
	must(t, c.WaitEnd())
	waitFor(t, "the end of the session", func() bool { return strings.Contains(s.Snapshot().LastEnd, "payload of 1 bytes") })

	// The second of two waits until the first has gone.
	first, second := frontendtest.MustDial(t, path), frontendtest.MustDial(t, path)
	must(t, first.Sync())
	must(t, second.Send(wire.GetFeatures, 0, nil))
	second.Timeout = 50 * time.Millisecond
	if _, err := second.Recv(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the second front end got %v, want it to wait", err)
	}
	must(t, first.Close())
	second.Timeout = 10 * time.Second
	_, err := second.Reply(wire.GetFeatures)
	must(t, err)
}

// TestDisconnectWithRepliesUnread: a front end that is killed leaves a reset.
func TestDisconnectWithRepliesUnread(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s := serve(t, Options{Path: path})
	for range 20 {
		c := frontendtest.MustDial(t, path)
		for range 10 {
			must(t, c.Send(wire.GetFeatures, 0, nil))
		}
		must(t, c.Close())
	}
	waitFor(t, "the sessions", func() bool { return s.Snapshot().Sessions == 20 && !s.Snapshot().Connected })
	if s.log.has("warn") {
		t.Errorf("complaints about a front end that has left:\n%s", s.log)
	}
}

func TestShutdown(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s := serve(t, Options{Path: path})
	c := frontendtest.MustDial(t, path)
	must(t, c.Sync())
	// In the middle of a message it must end all the same.
	must(t, c.SendRaw([]byte{1, 0, 0}))
	begin := time.Now()
	must(t, s.stop())
	if d := time.Since(begin); d > time.Second {
		t.Errorf("Serve took %s to end", d)
	}
	must(t, c.WaitEnd())
	s.b.want("Attach", "Detach")
	if snap := s.Snapshot(); snap.Connected || snap.LastEnd != "shut down" {
		t.Errorf("Snapshot() = %+v, want the session shut down", snap)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Lstat(socket) = %v, want it removed", err)
	}
}

// TestShutdownOfStuck: nothing that a front end does, or does not do, holds up
// the end of the program by as long as it holds up a session.
func TestShutdownOfStuck(t *testing.T) {
	times := defaultTiming
	times.write = time.Minute
	for _, c := range []struct {
		name string
		do   func(c *frontendtest.Conn) error // until the connection ends
	}{
		{"does not read", func(c *frontendtest.Conn) (err error) {
			for err == nil {
				err = c.Send(wire.GetFeatures, 0, nil)
			}
			return err
		}},
		{"sends without end", func(c *frontendtest.Conn) (err error) {
			for err == nil {
				err = c.Send(wire.SetVringNum, 0, state(0, 256))
			}
			return err
		}},
		{"stops within a header", func(c *frontendtest.Conn) error { return c.SendRaw([]byte{1, 0, 0}) }},
		{"stops within a payload", func(c *frontendtest.Conn) error {
			return c.SendRaw(append(wire.Header{Request: uint32(wire.SetFeatures), Flags: wire.Version, Size: 8}.Append(nil), 1, 2))
		}},
		{"sends nothing", func(*frontendtest.Conn) error { return nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serveWith(t, Options{Path: filepath.Join(t.TempDir(), "s")}, times)
			conn := frontendtest.MustDial(t, s.path)
			must(t, conn.Sync())
			conn.Timeout = 30 * time.Second
			stuck := make(chan error, 1)
			go func() { stuck <- c.do(conn) }()
			// Sockets are full after far less; a machine that is slow is a bit
			// further from it, and the test no less valid.
			time.Sleep(100 * time.Millisecond)
			begin := time.Now()
			must(t, s.stop())
			if d := time.Since(begin); d > 5*time.Second {
				t.Errorf("Serve took %s to end, want %s and little more", d, times.end)
			}
			<-stuck
			if snap := s.Snapshot(); snap.Connected || snap.LastEnd != "shut down" {
				t.Errorf("Snapshot() = %+v, want the session shut down", snap)
			}
		})
	}
}

func TestSocketFile(t *testing.T) {
	open := func(path string, perm fs.FileMode) (*Endpoint, error) {
		return Open(Options{Path: path, Perm: perm, Backend: newFake(t), Log: &testLog{}})
	}
	path := filepath.Join(t.TempDir(), "s")
	for _, c := range []struct{ perm, want fs.FileMode }{{0, 0o660}, {0o600, 0o600}, {0o777, 0o777}} {
		e, err := open(path, c.perm)
		must(t, err)
		info, err := os.Lstat(path)
		must(t, err)
		if info.Mode() != fs.ModeSocket|c.want {
			t.Errorf("mode of the socket is %s, want %s", info.Mode(), fs.ModeSocket|c.want)
		}
		// In use: neither taken away nor removed.
		if _, err := open(path, 0); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("Open of a path in use = %v, want EADDRINUSE", err)
		}
		frontendtest.MustDial(t, path)
		must(t, e.Close())
		must(t, e.Close())
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Lstat(socket) after Close = %v, want it removed", err)
		}
	}

	// Left by a process that died.
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	must(t, err)
	l.SetUnlinkOnClose(false)
	must(t, l.Close())
	e, err := open(path, 0)
	must(t, err)
	frontendtest.MustDial(t, path)

	// Replaced by someone else: not ours to remove.
	must(t, os.Remove(path))
	must(t, os.WriteFile(path, []byte("keep"), 0o600))
	must(t, e.Close())
	if b, err := os.ReadFile(path); err != nil || string(b) != "keep" {
		t.Errorf("ReadFile = %q, %v, want the other's file to stay", b, err)
	}
	if _, err := open(path, 0); err == nil || !strings.Contains(err.Error(), "no socket is in the way") {
		t.Errorf("Open over a file = %v, want it refused", err)
	}

	for _, bad := range []string{
		filepath.Join(t.TempDir(), "missing", "s"),
		filepath.Join(path, "s"), // below a file
		"/" + strings.Repeat("x", 200),
	} {
		for _, mode := range []Mode{ModeServer, ModeClient} {
			if mode == ModeClient && len(bad) < 108 {
				continue
			}
			if _, err := Open(Options{Path: bad, Mode: mode, Backend: newFake(t), Log: &testLog{}}); err == nil {
				t.Errorf("Open(%q) = nil, want an error", bad)
			} else if !strings.Contains(err.Error(), bad) {
				t.Errorf("Open(%q) = %v, want the path in it", bad, err)
			}
		}
	}
}

// TestSocketFileBusy: who listens, but has no time, is not taken for dead.
func TestSocketFileBusy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(fd)
	must(t, unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
	must(t, unix.Listen(fd, 0))
	c, err := net.Dial("unix", path) // fills the queue
	must(t, err)
	defer c.Close()
	if _, err := Open(Options{Path: path, Backend: newFake(t), Log: &testLog{}}); err == nil {
		t.Error("Open of a busy path = nil, want an error")
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("Lstat(socket) = %v, want it to stay", err)
	}
}

func TestInheritedListener(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	must(t, err)
	f, err := l.File()
	must(t, err)
	defer l.Close()
	s := serve(t, Options{File: f})
	for range 2 {
		c := frontendtest.MustDial(t, path)
		must(t, c.Sync())
		must(t, c.Close())
	}
	must(t, s.stop())
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("Lstat(socket) = %v, want the file to stay: it is not ours", err)
	}
}

func TestInheritedConnection(t *testing.T) {
	c, f, err := frontendtest.Pair()
	must(t, err)
	e, err := Open(Options{File: f, Backend: newFake(t), Log: &testLog{}})
	must(t, err)
	end := make(chan error, 1)
	go func() { end <- e.Serve(t.Context()) }()
	must(t, c.Sync())
	must(t, c.Close())
	if err := <-end; err != nil {
		t.Errorf("Serve() = %v after the front end left, want nil", err)
	}

	// Closed before it is served.
	c, f, err = frontendtest.Pair()
	must(t, err)
	e, err = Open(Options{File: f, Backend: newFake(t), Log: &testLog{}})
	must(t, err)
	must(t, e.Close())
	must(t, c.WaitEnd())
	must(t, c.Close())
}

func TestInheritedRefused(t *testing.T) {
	before := openFDs(t)
	unconnected, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	must(t, err)
	dgram, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	must(t, err)
	inet, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	must(t, err)
	null, err := unix.Open("/dev/null", unix.O_RDWR, 0)
	must(t, err)
	for want, fd := range map[string]int{
		"neither listens nor is connected": unconnected, "not a stream socket": dgram, "not a Unix socket": inet,
		"want a Unix socket": null,
	} {
		_, err := Open(Options{File: os.NewFile(uintptr(fd), "inherited"), Backend: newFake(t), Log: &testLog{}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open = %v, want an error with %q", err, want)
		}
	}
	c, f, err := frontendtest.Pair()
	must(t, err)
	defer c.Close()
	for _, o := range []Options{{}, {Path: "/s", File: f}} {
		if _, err := Open(o); err == nil {
			t.Errorf("Open(%+v) = nil, want an error", o)
		}
	}
	if after := openFDs(t); after > before+1 { // the other end of the pair
		t.Errorf("%d descriptors are open, want at most %d", after, before+1)
	}
}

// TestClient: the front end listens, goes and comes back.
func TestClient(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s := serve(t, Options{Path: path, Mode: ModeClient})
	waitFor(t, "a first attempt", func() bool { return s.log.has("info", "no such file", "keeps trying") })
	for range 3 {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
		must(t, err)
		for range 2 {
			uc, err := l.AcceptUnix()
			must(t, err)
			c := frontendtest.NewConn(uc)
			must(t, c.Sync())
			must(t, c.Close())
		}
		must(t, l.Close())
	}
	s.log.mu.Lock()
	lines := len(s.log.lines)
	s.log.mu.Unlock()
	if lines > 100 {
		t.Errorf("%d lines in the log, want one per change and not per attempt", lines)
	}
	must(t, s.stop())
	if _, err := os.Lstat(path); err == nil {
		t.Errorf("the client made a socket file")
	}
}

// TestAcceptError: without a free descriptor connections wait.
func TestAcceptError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s := serve(t, Options{Path: path})
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	var old unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
	limit := old
	limit.Cur = noNewFDs
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit))
	cerr := unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	for i := 0; i < 1000 && !s.log.has("warn accept", "too many open files; next attempt in"); i++ {
		time.Sleep(time.Millisecond)
	}
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &old))
	must(t, cerr)
	if !s.log.has("warn accept", "too many open files; next attempt in") {
		t.Errorf("log lacks the reason:\n%s", s.log)
	}
	f := os.NewFile(uintptr(fd), "client")
	defer f.Close()
	uc, err := net.FileConn(f)
	must(t, err)
	c := frontendtest.NewConn(uc.(*net.UnixConn))
	must(t, c.Sync())
	must(t, c.Close())
}
