package vhostuser

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// inherit tells a listening socket from a connected one.
func inherit(f *os.File) (*net.UnixListener, *net.UnixConn, error) {
	defer f.Close()
	fd := int(f.Fd())
	for _, want := range []struct {
		option, value int
		text          string
	}{
		{unix.SO_DOMAIN, unix.AF_UNIX, "a Unix socket"},
		{unix.SO_TYPE, unix.SOCK_STREAM, "a stream socket"},
	} {
		v, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, want.option)
		if err != nil {
			return nil, nil, fmt.Errorf("inherited descriptor %d: %w; want %s", fd, err, want.text)
		}
		if v != want.value {
			return nil, nil, fmt.Errorf("inherited descriptor %d is not %s", fd, want.text)
		}
	}
	listening, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return nil, nil, fmt.Errorf("inherited descriptor %d: %w", fd, err)
	}
	if listening != 0 {
		l, err := net.FileListener(f)
		if err != nil {
			return nil, nil, fmt.Errorf("inherited descriptor %d: %w", fd, err)
		}
		return l.(*net.UnixListener), nil, nil
	}
	if _, err := unix.Getpeername(fd); err != nil {
		return nil, nil, fmt.Errorf("inherited descriptor %d neither listens nor is connected: %w", fd, err)
	}
	c, err := net.FileConn(f)
	if err != nil {
		return nil, nil, fmt.Errorf("inherited descriptor %d: %w", fd, err)
	}
	return nil, c.(*net.UnixConn), nil
}

// peerPID returns the process at the other end, or 0.
func peerPID(uc *net.UnixConn) (pid int32) {
	raw, err := uc.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = cred.Pid
		}
	})
	return pid
}
