package eventfd_test

import (
	"encoding/binary"
	"errors"
	"math"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/virtio/eventfd"
)

func newFD(t testing.TB) *eventfd.FD {
	t.Helper()
	e, err := eventfd.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// count reads the count as the other side would.
func count(t testing.TB, e *eventfd.FD) uint64 {
	t.Helper()
	var b [8]byte
	if _, err := unix.Read(e.Int(), b[:]); err != nil {
		if err == unix.EAGAIN {
			return 0
		}
		t.Fatal(err)
	}
	return binary.NativeEndian.Uint64(b[:])
}

func add(t testing.TB, e *eventfd.FD, n uint64) {
	t.Helper()
	if _, err := unix.Write(e.Int(), binary.NativeEndian.AppendUint64(nil, n)); err != nil {
		t.Fatal(err)
	}
}

func TestSignalAndDrain(t *testing.T) {
	e := newFD(t)
	if e.Drain() {
		t.Error("Drain of a new eventfd = true")
	}
	for _, n := range []uint64{1, 2, 1000} {
		for range n {
			if err := e.Signal(); err != nil {
				t.Fatal(err)
			}
		}
		if got := count(t, e); got != n {
			t.Errorf("count %d after %d signals", got, n)
		}
		add(t, e, n)
		if !e.Drain() || e.Drain() || count(t, e) != 0 {
			t.Errorf("Drain did not reset a count of %d at once", n)
		}
	}
}

// A count that is full does not block.
func TestSignalWhenFull(t *testing.T) {
	e := newFD(t)
	add(t, e, math.MaxUint64-1)
	done := make(chan error)
	go func() { done <- e.Signal() }()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("Signal of a full eventfd = %v, want nil", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Signal of a full eventfd blocks")
	}
	if got := count(t, e); got != math.MaxUint64-1 {
		t.Errorf("count %d, want it unchanged", got)
	}
}

// A front end's blocking, inheritable eventfd becomes neither.
func TestAdopt(t *testing.T) {
	fd, err := unix.Eventfd(3, 0)
	if err != nil {
		t.Fatal(err)
	}
	e, err := eventfd.Adopt(fd)
	if err != nil {
		t.Fatal(err)
	}
	if e.Int() != fd {
		t.Errorf("Int = %d, want %d", e.Int(), fd)
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK == 0 {
		t.Errorf("status flags 0x%x, %v; want O_NONBLOCK", flags, err)
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("descriptor flags 0x%x, %v; want FD_CLOEXEC", flags, err)
	}
	if !e.Drain() || e.Drain() {
		t.Error("Drain did not find the count of 3, or left some")
	}
	if err := e.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); !errors.Is(err, unix.EBADF) {
		t.Errorf("descriptor after Close: %v, want EBADF", err)
	}

	// The number belongs to whoever opens a file next.
	if err := unix.Dup3(int(os.Stderr.Fd()), fd, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := e.Close(); err == nil {
		t.Error("second Close: no error")
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
		t.Errorf("second Close closed another file's descriptor: %v", err)
	}
}

// Everything that is no eventfd is refused and stays open.
func TestAdoptRefuses(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "anon_inode:[eventfd")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	timer, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	memory, err := unix.MemfdCreate("[eventfd]", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	open := []int{pipe[0], pipe[1], pair[0], pair[1], epoll, timer, memory}
	defer func() {
		for _, fd := range open {
			unix.Close(fd)
		}
	}()
	for _, fd := range append(open, int(file.Fd())) {
		before, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		if err != nil {
			t.Fatal(err)
		}
		if e, err := eventfd.Adopt(fd); err == nil || !strings.Contains(err.Error(), "want an eventfd") {
			t.Errorf("Adopt(%d) = %v, %v; want a refusal", fd, e, err)
		}
		if after, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || after != before {
			t.Errorf("descriptor %d after a refusal: flags 0x%x, %v; want 0x%x as before", fd, after, err, before)
		}
	}
	for _, fd := range []int{-1, 1 << 30} {
		if e, err := eventfd.Adopt(fd); err == nil {
			t.Errorf("Adopt(%d) = %v, want an error", fd, e)
		}
	}
}

func TestWait(t *testing.T) {
	e := newFD(t)
	if e.Wait(0) {
		t.Error("Wait(0) of a new eventfd = true")
	}
	start := time.Now()
	if e.Wait(30) || time.Since(start) < 30*time.Millisecond {
		t.Errorf("Wait(30) of a new eventfd returned after %v", time.Since(start))
	}
	if err := e.Signal(); err != nil {
		t.Fatal(err)
	}
	if !e.Wait(0) || e.Wait(0) {
		t.Error("Wait(0) did not find the signal, or left it")
	}
	for _, ms := range []int{-1, 60_000} {
		go func() {
			time.Sleep(10 * time.Millisecond)
			e.Signal()
		}()
		if !e.Wait(ms) {
			t.Errorf("Wait(%d) = false after a signal", ms)
		}
	}
}

// Unix signals, of which the Go runtime uses some itself, neither end the
// waiting nor draw it out.
func TestWaitInterrupted(t *testing.T) {
	e := newFD(t)
	thread := make(chan int)
	waited := make(chan time.Duration)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		thread <- unix.Gettid()
		start := time.Now()
		if e.Wait(200) {
			t.Error("Wait = true without a signal")
		}
		waited <- time.Since(start)
	}()
	tid := <-thread
	for {
		select {
		case d := <-waited:
			if d < 200*time.Millisecond || d > 10*time.Second {
				t.Errorf("Wait(200) took %v", d)
			}
			return
		case <-time.After(2 * time.Millisecond):
			if err := unix.Tgkill(unix.Getpid(), tid, unix.SIGURG); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Many goroutines signal at once; the sum is what they added.
func TestConcurrentSignals(t *testing.T) {
	e := newFD(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				if err := e.Signal(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := count(t, e); got != 4000 {
		t.Errorf("count %d after 4000 signals", got)
	}
}

func TestClosed(t *testing.T) {
	var none *eventfd.FD
	if err := none.Close(); err != nil {
		t.Errorf("Close of nil = %v", err)
	}
	e, err := eventfd.New()
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if e.Signal() == nil || e.Drain() {
		t.Error("a closed eventfd can be used")
	}
}

func TestNewWithoutDescriptors(t *testing.T) {
	var had unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &had); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &had)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: had.Max}); err != nil {
		t.Fatal(err)
	}
	if e, err := eventfd.New(); err == nil || !strings.HasPrefix(err.Error(), "eventfd: ") {
		t.Errorf("New = %v, %v; want an error", e, err)
	}
}

func BenchmarkSignalDrain(b *testing.B) {
	e := newFD(b)
	b.ReportAllocs()
	for range b.N {
		e.Signal()
		e.Drain()
	}
}
