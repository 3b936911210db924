package queues

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/virtio/eventfd"
)

// poller waits for several descriptors at once (epoll). add, remove and wake
// may be called by any goroutine, wait by one.
//
// Registration is edge-triggered: a kick eventfd is never read, because each
// write to it raises a new edge, and its count cannot overflow in practice.
type poller struct {
	epfd int
	bell *eventfd.FD
	buf  [64]unix.EpollEvent
	self [1]unix.PollFd
}

// wakeToken is the token of the poller's own bell.
const wakeToken = -1

func newPoller() (*poller, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	bell, err := eventfd.New()
	if err != nil {
		unix.Close(epfd)
		return nil, err
	}
	p := &poller{epfd: epfd, bell: bell}
	if err := p.add(bell.Int(), wakeToken); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *poller) close() {
	p.bell.Close()
	unix.Close(p.epfd)
}

// add reports readability of fd by the token, once at once if it is readable
// already.
func (p *poller) add(fd int, token int32) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: token}
	if err := unix.EpollCtl(p.epfd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("epoll: watch descriptor: %w", err)
	}
	return nil
}

// remove ends the reports for fd; ones that wait has collected already may
// still be handed out.
func (p *poller) remove(fd int) {
	_ = unix.EpollCtl(p.epfd, unix.EPOLL_CTL_DEL, fd, nil)
}

// wake makes wait return.
func (p *poller) wake() { _ = p.bell.Signal() }

// lightSleep is how long a wait without limit keeps its place in the Go
// scheduler before it gives it up.
const lightSleep = 2 * time.Millisecond

// wait blocks for at most d (negative: without limit) and calls f with the
// token of each descriptor that became readable.
func (p *poller) wait(d time.Duration, f func(token int32)) {
	var n int
	var err error
	switch {
	case d < 0:
		if n, err = p.held(lightSleep); n == 0 && err == nil {
			n, err = unix.EpollWait(p.epfd, p.buf[:], -1)
		}
	case d > 0:
		// epoll_wait counts in milliseconds; its descriptor can be waited for
		// as any other. An interruption is as good as the time's end. What the
		// kernel adds to a thread's sleeps by default is as long as a nap.
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
		p.self[0] = unix.PollFd{Fd: int32(p.epfd), Events: unix.POLLIN}
		t := unix.NsecToTimespec(int64(d))
		_, _ = unix.Ppoll(p.self[:], &t, nil)
		fallthrough
	default:
		n, err = p.held(0)
	}
	if err != nil && !errors.Is(err, unix.EINTR) {
		// Only a closed or invalid descriptor gets here: a fault of ours.
		panic(fmt.Sprintf("epoll_wait: %v", err))
	}
	for _, ev := range p.buf[:max(n, 0)] {
		if ev.Fd == wakeToken {
			continue
		}
		f(ev.Fd)
	}
}
