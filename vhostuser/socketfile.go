package vhostuser

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// maxPath is the longest path that a Unix socket address holds, in bytes; a
// zero byte follows.
const maxPath = len(unix.RawSockaddrUnix{}.Path) - 1

// checkPath refuses a path that no socket can have.
func checkPath(path string) error {
	if len(path) > maxPath {
		return fmt.Errorf("socket path %q has %d bytes, want at most %d", path, len(path), maxPath)
	}
	return nil
}

// socketFile is a socket in the file system that this process made.
type socketFile struct {
	path     string
	dev, ino uint64
}

// remove deletes the file, unless another one is at the path by now.
func (f socketFile) remove() {
	var st unix.Stat_t
	if f.path == "" || unix.Lstat(f.path, &st) != nil || uint64(st.Dev) != f.dev || st.Ino != f.ino {
		return
	}
	_ = os.Remove(f.path)
}

// listenAt makes a listening socket at path. Its permissions are in force
// before it takes the first connection.
func listenAt(path string, perm fs.FileMode) (*net.UnixListener, socketFile, error) {
	none := socketFile{}
	if err := checkPath(path); err != nil {
		return nil, none, err
	}
	if err := clearStale(path); err != nil {
		return nil, none, err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, none, fmt.Errorf("socket: %w", err)
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return nil, none, &fs.PathError{Op: "bind", Path: path, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return nil, none, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	made := socketFile{path: path, dev: uint64(st.Dev), ino: st.Ino}
	if err := os.Chmod(path, perm); err != nil {
		made.remove()
		return nil, none, err
	}
	if err := unix.Listen(fd, unix.SOMAXCONN); err != nil {
		made.remove()
		return nil, none, &fs.PathError{Op: "listen", Path: path, Err: err}
	}
	l, err := net.FileListener(f)
	if err != nil {
		made.remove()
		return nil, none, fmt.Errorf("listen at %s: %w", path, err)
	}
	return l.(*net.UnixListener), made, nil
}

// clearStale removes a socket file that nobody listens at.
func clearStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return &fs.PathError{Op: "listen", Path: path, Err: errors.New("a file that is no socket is in the way")}
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		c.Close()
		return &fs.PathError{Op: "listen", Path: path, Err: unix.EADDRINUSE}
	}
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return nil
	default: // EAGAIN: someone listens, and is busy; EACCES: not ours to judge
		return &fs.PathError{Op: "listen", Path: path, Err: err}
	}
}
