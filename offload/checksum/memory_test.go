//go:build linux

package checksum_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/offload/checksum"
)

var page = os.Getpagesize()

// mapPages maps anonymous memory outside the Go heap, as guest memory is.
func mapPages(t *testing.T, pages int) []byte {
	t.Helper()
	m, err := unix.Mmap(-1, 0, pages*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatalf("mmap of %d pages: %v", pages, err)
	}
	t.Cleanup(func() {
		if err := unix.Munmap(m); err != nil {
			t.Errorf("munmap: %v", err)
		}
	})
	return m
}

// guarded returns n pages with an inaccessible one on either side.
func guarded(t *testing.T, n int) []byte {
	t.Helper()
	m := mapPages(t, n+2)
	for _, g := range [][]byte{m[:page], m[(n+1)*page:]} {
		if err := unix.Mprotect(g, unix.PROT_NONE); err != nil {
			t.Fatalf("mprotect: %v", err)
		}
	}
	return m[page : (n+1)*page]
}

// Slices that end or begin at an unmapped page: one byte too many faults.
func TestGuardPages(t *testing.T) {
	src, dst := guarded(t, 1), guarded(t, 1)
	r := rand.New(rand.NewPCG(11, 12))
	copy(src, randomBytes(r, page))
	for n := 0; n <= page; n++ {
		if n > 300 && n%61 != 0 {
			continue
		}
		head, tail := src[:n], src[page-n:]
		wantHead, wantTail := rfc1071(head), rfc1071(tail)
		for _, b := range checksum.Bodies() {
			if n < b.Min {
				continue
			}
			if got := network(b.Sum(head)); got != wantHead {
				t.Fatalf("%s: Sum of %d bytes after a guard page = %#04x, want %#04x", b.Name, n, got, wantHead)
			}
			if got := network(b.Sum(tail)); got != wantTail {
				t.Fatalf("%s: Sum of %d bytes before a guard page = %#04x, want %#04x", b.Name, n, got, wantTail)
			}
			for _, d := range [][]byte{dst[:n], dst[page-n:]} {
				if got := network(b.Copy(d, head)); got != wantHead || string(d) != string(head) {
					t.Fatalf("%s: Copy of %d bytes after a guard page = %#04x, want %#04x, or bytes differ", b.Name, n, got, wantHead)
				}
				if got := network(b.Copy(d, tail)); got != wantTail || string(d) != string(tail) {
					t.Fatalf("%s: Copy of %d bytes before a guard page = %#04x, want %#04x, or bytes differ", b.Name, n, got, wantTail)
				}
			}
		}
	}
}

// mutate overwrites mem from another goroutine until stop is called.
func mutate(mem []byte) (stop func()) {
	var quit atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		r := rand.New(rand.NewPCG(13, 14))
		for !quit.Load() {
			v := byte(r.Uint32())
			for i := range mem {
				mem[i] = v + byte(i)
			}
			runtime.Gosched()
		}
	}()
	return func() { quit.Store(true); <-done }
}

// The sum is that of the bytes delivered, even if the source changes meanwhile.
func TestSourceChanges(t *testing.T) {
	src, dst := mapPages(t, 2), make([]byte, 2*page)
	stop := mutate(src)
	defer stop()
	r := rand.New(rand.NewPCG(15, 16))
	for i := range 20000 {
		for _, b := range checksum.Bodies() {
			n := max(b.Min, r.IntN(400))
			if i%16 == 0 {
				n = max(b.Min, r.IntN(2*page))
			}
			at := r.IntN(len(src) - n + 1)
			got := network(b.Copy(dst[:n], src[at:at+n]))
			if want := rfc1071(dst[:n]); got != want {
				t.Fatalf("%s: Copy of %d changing bytes summed to %#04x but delivered bytes sum to %#04x", b.Name, n, got, want)
			}
		}
		s, d := checksum.NewCursor(cut(r, src[:page])), checksum.NewCursor(cut(r, dst[:page]))
		n := r.IntN(page)
		a, _ := checksum.Transfer(&d, &s, n)
		if got, want := network(a), rfc1071(dst[:n]); got != want {
			t.Fatalf("Transfer of %d changing bytes summed to %#04x but delivered bytes sum to %#04x", n, got, want)
		}
	}
}

// A front end that truncates the file behind guest memory must cost one
// recoverable panic, in whatever body it hits.
func TestTruncatedFileIsRecoverable(t *testing.T) {
	fd, err := unix.MemfdCreate("checksum-test", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatalf("memfd_create: %v", err)
	}
	defer unix.Close(fd)
	if err := unix.Ftruncate(fd, int64(2*page)); err != nil {
		t.Fatalf("ftruncate: %v", err)
	}
	m, err := unix.Mmap(fd, 0, 2*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatalf("mmap: %v", err)
	}
	defer unix.Munmap(m)
	if err := unix.Ftruncate(fd, int64(page)); err != nil {
		t.Fatalf("ftruncate: %v", err)
	}
	faults := func(name string, f func()) {
		t.Helper()
		defer func() {
			t.Helper()
			r := recover()
			if a, ok := r.(interface{ Addr() uintptr }); !ok || a.Addr() == 0 {
				t.Errorf("%s over a truncated page: recovered %v, want a fault with an address", name, r)
			}
		}()
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
		f()
	}
	buf := make([]byte, page)
	for _, b := range checksum.Bodies() {
		for _, n := range []int{20, 100, 1000} {
			part := m[page-n/2:][:n]
			faults(fmt.Sprintf("%s: Sum of %d", b.Name, n), func() { b.Sum(part) })
			faults(fmt.Sprintf("%s: Copy of %d from", b.Name, n), func() { b.Copy(buf, part) })
			faults(fmt.Sprintf("%s: Copy of %d to", b.Name, n), func() { b.Copy(part, buf[:n]) })
		}
	}
	// Everything still works afterwards.
	want := rfc1071(buf)
	for _, b := range checksum.Bodies() {
		if got := network(b.Sum(buf)); got != want {
			t.Errorf("%s: Sum after a fault = %#04x, want %#04x", b.Name, got, want)
		}
	}
}
