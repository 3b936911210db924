// Package eventfd wraps the descriptors by which a driver and a device wake
// each other: Linux eventfds, created here or received from a front end.
package eventfd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// FD is an owned, non-blocking, close-on-exec eventfd. Signal and Drain may be
// called by any number of goroutines; Close must come after the last of them.
type FD struct {
	fd int
}

// New creates an eventfd with count 0.
func New() (*FD, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	return &FD{fd: fd}, nil
}

// Adopt takes ownership of a descriptor that a front end sent. Anything but
// an eventfd is refused and left to the caller: a file or socket could block
// the thread that signals it. The descriptor is made non-blocking. /proc must
// be mounted, for nothing else tells an eventfd from other descriptors.
func Adopt(fd int) (*FD, error) {
	target, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return nil, fmt.Errorf("descriptor %d: %w", fd, err)
	}
	if !strings.HasPrefix(target, "anon_inode:[eventfd") {
		return nil, fmt.Errorf("descriptor is %s; want an eventfd", target)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	unix.CloseOnExec(fd)
	return &FD{fd: fd}, nil
}

// Int returns the descriptor number, for epoll. It stays owned by e.
func (e *FD) Int() int { return e.fd }

// one is the value written by Signal, in host order as eventfd(2) wants it.
var one = binary.NativeEndian.AppendUint64(nil, 1)

// Signal adds 1 to the count and so wakes the other side. A count that is
// full already is as good as signalled.
func (e *FD) Signal() error {
	for {
		_, err := unix.Write(e.fd, one)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return nil
		}
		return err
	}
}

// Drain resets the count to 0 and reports whether it was above.
func (e *FD) Drain() bool {
	var b [8]byte
	for {
		n, err := unix.Read(e.fd, b[:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return n == len(b)
	}
}

// Wait blocks for at most the given number of milliseconds (-1: without
// limit) until the count is above 0, resets it and reports whether it was.
func (e *FD) Wait(ms int) bool {
	end := time.Now().Add(time.Duration(ms) * time.Millisecond)
	for left := ms; ; {
		fds := []unix.PollFd{{Fd: int32(e.fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, left); !errors.Is(err, unix.EINTR) {
			return e.Drain()
		}
		if ms >= 0 {
			left = max(0, int((time.Until(end) + time.Millisecond - 1).Milliseconds()))
		}
	}
}

// Close gives the descriptor back. It is safe on nil. A second Close is an error
// and closes nothing: the number may be another file's by then.
func (e *FD) Close() error {
	if e == nil {
		return nil
	}
	fd := e.fd
	e.fd = noFile
	return unix.Close(fd)
}

// noFile is a number that no open file has, for the kernel to refuse. -1 would
// stand for no descriptor at all where one is optional.
const noFile = math.MaxInt32
