package vhostuser

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/vhostuser/frontendtest"
	"vhost-user-nvgre/vhostuser/wire"
	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/eventfd"
)

// testLog collects what a session logs.
type testLog struct {
	mu    sync.Mutex
	lines []string // informational and worse, with their level
	debug int
}

func (l *testLog) add(level, format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, level+" "+fmt.Sprintf(format, args...))
}

func (l *testLog) Debugf(format string, args ...any) {
	_ = fmt.Sprintf(format, args...)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.debug++
}
func (l *testLog) Infof(format string, args ...any) { l.add("info", format, args...) }
func (l *testLog) Warnf(format string, args ...any) { l.add("warn", format, args...) }

// has reports whether a line contains all of the parts.
func (l *testLog) has(parts ...string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.lines, func(line string) bool {
		return !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(line, p) })
	})
}

func (l *testLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return "  " + strings.Join(l.lines, "\n  ")
}

// rig is a session under test with the front end's end of its connection.
type rig struct {
	*frontendtest.Conn
	t   testing.TB
	b   *fakeBackend
	log *testLog
	e   *Endpoint
	end chan error // what Serve returned
}

// shortTiming makes waits for a stuck peer short.
var shortTiming = timing{
	write: 200 * time.Millisecond, end: 100 * time.Millisecond, ack: 100 * time.Millisecond, retry: 20 * time.Millisecond,
	backoffMin: time.Millisecond, backoffMax: 20 * time.Millisecond,
}

// newRig starts a session over a socket pair. It ends with the test.
func newRig(t testing.TB, b *fakeBackend) *rig {
	t.Helper()
	c, file, err := frontendtest.Pair()
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{Conn: c, t: t, b: b, log: &testLog{}, end: make(chan error, 1)}
	if r.e, err = Open(Options{File: file, Backend: b, Log: r.log}); err != nil {
		t.Fatal(err)
	}
	r.e.times = shortTiming
	go func() { r.end <- r.e.Serve(t.Context()) }()
	t.Cleanup(func() {
		c.Close()
		select {
		case <-r.end:
		case <-time.After(10 * time.Second):
			t.Error("the session does not end with its connection")
		}
	})
	return r
}

// ends waits for the session's end and checks the reason and the log line.
func (r *rig) ends(parts ...string) {
	r.t.Helper()
	select {
	case err := <-r.end:
		r.end <- nil // for the cleanup
		if err == nil {
			r.t.Errorf("session ended without error, want one with %q", parts)
		} else {
			for _, p := range parts {
				if !strings.Contains(err.Error(), p) {
					r.t.Errorf("session ended with %q, want %q in it", err, p)
				}
			}
		}
	case <-time.After(10 * time.Second):
		r.t.Fatalf("session goes on, want it to end with %q", parts)
	}
	if !r.log.has(append([]string{"warn session ended"}, parts...)...) {
		r.t.Errorf("log lacks the end of the session with %q:\n%s", parts, r.log)
	}
}

// goesOn checks that the session still answers.
func (r *rig) goesOn() {
	r.t.Helper()
	if err := r.Sync(); err != nil {
		r.t.Fatalf("the session does not answer: %v\n%s", err, r.log)
	}
}

// must fails the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// protocol negotiates protocol features.
func (r *rig) protocol(p wire.ProtocolFeatures) {
	r.t.Helper()
	must(r.t, r.Send(wire.SetProtocolFeatures, 0, wire.AppendU64(nil, uint64(p))))
	r.Acks = p.Has(wire.ProtocolReplyAck)
}

// refused checks that a request is answered by a number other than 0.
func (r *rig) refused(req wire.Request, payload []byte, fds ...int) {
	r.t.Helper()
	var refusal *frontendtest.Refused
	if err := r.Acked(req, payload, fds...); !errors.As(err, &refusal) {
		r.t.Errorf("%s % x with %d descriptors: %v, want a refusal", req, payload, len(fds), err)
	}
}

// The memory of tests that send messages by hand.
const (
	guestBase = 0x100000
	userBase  = 0x7f00_0000_0000
	memSize   = 1 << 20
)

var testRegion = wire.MemRegion{Guest: guestBase, Size: memSize, User: userBase}

// addrOf places the areas of ring i, of up to 256 descriptors, in testRegion.
func addrOf(i uint32) wire.VringAddr {
	at := userBase + uint64(i)*0x4000
	return wire.VringAddr{Index: i, Desc: at, Avail: at + 0x1000, Used: at + 0x2000}
}

func state(i, num uint32) []byte { return wire.VringState{Index: i, Num: num}.Append(nil) }

func ringFDOf(i uint8) []byte { return wire.VringFD{Index: i}.Append(nil) }

func noFD(i uint8) []byte { return wire.VringFD{Index: i, NoFD: true}.Append(nil) }

// addMemory shares testRegion.
func (r *rig) addMemory() {
	r.t.Helper()
	must(r.t, r.Do(wire.AddMemReg, wire.AppendSingleRegion(nil, testRegion), memfd(r.t, memSize)))
}

// place sends everything about ring i that precedes its start.
func (r *rig) place(i, base uint32) {
	r.t.Helper()
	must(r.t, r.Do(wire.SetVringNum, state(i, 256)))
	must(r.t, r.Do(wire.SetVringBase, state(i, base)))
	must(r.t, r.Do(wire.SetVringAddr, addrOf(i).Append(nil)))
}

// startRing brings ring i into operation.
func (r *rig) startRing(i uint8) {
	r.t.Helper()
	r.place(uint32(i), 0)
	must(r.t, r.Do(wire.SetVringKick, ringFDOf(i), newEventfd(r.t).Int()))
}

// ready is a rig with acknowledgements, memory and features, and no calls
// recorded yet.
func ready(t testing.TB, b *fakeBackend) *rig {
	t.Helper()
	r := newRig(t, b)
	r.protocol(wire.ProtocolReplyAck | wire.ProtocolConfig | wire.ProtocolBackendReq)
	must(t, r.Do(wire.SetFeatures, wire.AppendU64(nil, wire.FeatureProtocol|uint64(virtio.FeatureVersion1))))
	r.addMemory()
	b.take()
	return r
}

// newEventfd returns an eventfd that lives as long as the test.
func newEventfd(t testing.TB) *eventfd.FD {
	t.Helper()
	e, err := eventfd.New()
	must(t, err)
	t.Cleanup(func() { e.Close() })
	return e
}

// memfd returns a file of the given size that lives as long as the test.
func memfd(t testing.TB, size int64) int {
	t.Helper()
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC)
	must(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	must(t, unix.Ftruncate(fd, size))
	return fd
}

// newVM returns a virtual machine that lives as long as the test.
func newVM(t testing.TB, o frontendtest.Options) *frontendtest.Frontend {
	t.Helper()
	f, err := frontendtest.New(o)
	must(t, err)
	t.Cleanup(f.Close)
	return f
}
