package vhostuser

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"vhost-user-nvgre/vhostuser/frontendtest"
	"vhost-user-nvgre/vhostuser/wire"
	"vhost-user-nvgre/virtio"
)

// openFDs counts the descriptors of this process.
func openFDs(t testing.TB) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(d)
}

// mappings counts the memory mappings of memfds in this process.
func mappings(t testing.TB) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/maps")
	must(t, err)
	return bytes.Count(b, []byte("/memfd:"))
}

// TestNoLeaks: after 10,000 front ends that got everything going and died,
// descriptors, mappings and goroutines are as many as before.
//
// Hostile: CVE-2019-14818, bc900f86aa
func TestNoLeaks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s := serve(t, Options{Path: path})
	fd := memfd(t, memSize)
	kick, call, e := newEventfd(t), newEventfd(t), newEventfd(t)
	ours, theirs, err := frontendtest.Pair()
	must(t, err)
	defer ours.Close()
	defer theirs.Close()
	life := func() {
		c, err := frontendtest.Dial(path)
		must(t, err)
		defer c.Close()
		for _, m := range []struct {
			request wire.Request
			payload []byte
			fds     []int
		}{
			{wire.SetProtocolFeatures, wire.AppendU64(nil, uint64(withChannel)), nil},
			{wire.SetBackendReqFD, nil, []int{int(theirs.Fd())}},
			{wire.SetFeatures, wire.AppendU64(nil, wire.FeatureProtocol|uint64(virtio.FeatureVersion1)), nil},
			{wire.AddMemReg, wire.AppendSingleRegion(nil, testRegion), []int{fd}},
			{wire.SetVringNum, state(0, 256), nil},
			{wire.SetVringAddr, addrOf(0).Append(nil), nil},
			{wire.SetVringCall, ringFDOf(0), []int{call.Int()}},
			{wire.SetVringErr, ringFDOf(0), []int{e.Int()}},
			{wire.SetVringKick, ringFDOf(0), []int{kick.Int()}},
			{wire.SetVringEnable, state(0, 1), nil},
			{wire.SetOwner, nil, []int{fd, fd}}, // not wanted
		} {
			must(t, c.Send(m.request, 0, m.payload, m.fds...))
		}
		must(t, c.Sync())
	}
	idle := func() bool { return !s.Snapshot().Connected }
	life()
	waitFor(t, "the end of the session", idle)
	runtime.GC() // finalizers of connections
	fds, maps, goroutines := openFDs(t), mappings(t), runtime.NumGoroutine()
	for range 10_000 {
		life()
		s.b.take()
	}
	waitFor(t, "the end of the session", idle)
	if got := openFDs(t); got > fds {
		t.Errorf("%d descriptors are open, want %d as after the first session", got, fds)
	}
	if got := mappings(t); got > maps {
		t.Errorf("%d mappings, want %d", got, maps)
	}
	if got := runtime.NumGoroutine(); got > goroutines+2 {
		t.Errorf("%d goroutines, want about %d", got, goroutines)
	}
	if got := s.Snapshot().Sessions; got != 10_001 {
		t.Errorf("%d sessions, want 10001", got)
	}
}
