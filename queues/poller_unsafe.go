package queues

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// held is epoll_wait for a time too short to tell the Go scheduler of. An
// ordinary system call has the runtime look every 20 us whether the thread's
// place could be given to another, which costs more than the wait itself: a
// busy shard's process had twice as many context switches. The price is that
// stopping the world has to interrupt the wait, which it does by a signal.
func (p *poller) held(d time.Duration) (int, error) {
	n, _, errno := unix.RawSyscall6(
		unix.SYS_EPOLL_PWAIT, uintptr(p.epfd), uintptr(unsafe.Pointer(&p.buf[0])), uintptr(len(p.buf)),
		uintptr(d.Milliseconds()), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
