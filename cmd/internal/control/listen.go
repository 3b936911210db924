package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Listen makes the control socket with the given permissions and group (-1:
// that of the process), and the folder it is in. A socket that a daemon died
// and left behind is replaced; one that is served is an error that is
// unix.EADDRINUSE, and so is a file that is no socket. Closing the listener
// removes the socket.
func Listen(path string, mode fs.FileMode, gid int) (*net.UnixListener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if err := clearStale(path); err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	// The file gets the permissions its descriptor has when it is bound. They
	// are the owner's alone until the group is right.
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) { failed = unix.Fchmod(int(fd), uint32(mode&0o700)) })
		return errors.Join(err, failed)
	}}
	l, err := config.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if gid >= 0 {
		err = os.Chown(path, -1, gid)
	}
	if err == nil {
		err = os.Chmod(path, mode)
	}
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return l.(*net.UnixListener), nil
}

// clearStale removes a socket nobody listens at.
func clearStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return &fs.PathError{Op: "listen", Path: path, Err: fmt.Errorf("%w by a file that is no socket", unix.EADDRINUSE)}
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		c.Close()
		return &fs.PathError{Op: "listen", Path: path, Err: fmt.Errorf("%w by a running daemon", unix.EADDRINUSE)}
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// limitedListener refuses connections beyond a number.
type limitedListener struct {
	*net.UnixListener
	free chan struct{} // one element for each connection that may yet come
}

func limit(l *net.UnixListener, n int) *limitedListener {
	free := make(chan struct{}, n)
	for range n {
		free <- struct{}{}
	}
	return &limitedListener{l, free}
}

// refusal is what a connection too many is told. It is short enough never to
// block in the socket's buffer.
const refusal = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Type: application/json\r\n\r\n" +
	`{"error":"too many connections"}` + "\n"

// Accept returns the next connection there is room for.
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		select {
		case <-l.free:
			return &limitedConn{UnixConn: c, free: l.free}, nil
		default:
			_ = c.SetWriteDeadline(time.Now().Add(time.Second))
			_, _ = c.Write([]byte(refusal))
			c.Close()
		}
	}
}

// limitedConn makes room when it is closed.
type limitedConn struct {
	*net.UnixConn
	free chan struct{}
	once sync.Once
}

// Close closes the connection; net/http does it more than once.
func (c *limitedConn) Close() error {
	err := c.UnixConn.Close()
	c.once.Do(func() { c.free <- struct{}{} })
	return err
}
