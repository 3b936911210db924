package vhostuser

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/vhostuser/wire"
)

const mib = 1 << 20

func TestMemTable(t *testing.T) {
	b := newFake(t)
	r := newRig(t, b)
	r.protocol(wire.ProtocolReplyAck)
	fd := memfd(t, 4*mib)
	two := []wire.MemRegion{
		{Guest: 0, Size: mib, User: userBase},
		{Guest: 1 << 32, Size: 2 * mib, User: userBase + mib, Offset: 2 * mib},
	}
	must(t, r.Do(wire.SetMemTable, wire.AppendMemTable(nil, two), fd, fd))
	b.want("Attach", "SetMemory 2")
	if got := mappings(t); got != 2 {
		t.Errorf("%d mappings, want 2", got)
	}
	// The table replaces what was there, even by the same.
	must(t, r.Do(wire.SetMemTable, wire.AppendMemTable(nil, two[:1]), fd))
	must(t, r.Do(wire.SetMemTable, append(wire.AppendMemTable(nil, two[:1]), make([]byte, 7*32)...), fd))
	b.want("SetMemory 1", "SetMemory 1")
	if got := mappings(t); got != 1 {
		t.Errorf("%d mappings, want 1", got)
	}
	if snap := r.e.Snapshot(); snap.MemoryRegions != 1 || snap.MemoryBytes != mib {
		t.Errorf("Snapshot() = %+v, want one region of 1 MiB", snap)
	}

	// A table that cannot be had changes nothing.
	for _, c := range []struct {
		name    string
		regions []wire.MemRegion
		fds     []int
	}{
		{"descriptor missing", two, []int{fd}},
		{"descriptor too many", two, []int{fd, fd, fd}},
		{"no descriptors", two, nil},
		{"overlap in guest space", []wire.MemRegion{
			{Guest: 0, Size: mib, User: userBase},
			{Guest: mib - 1, Size: mib, User: userBase + 8*mib},
		}, []int{fd, fd}},
		{"overlap in user space", []wire.MemRegion{
			{Guest: 0, Size: mib, User: userBase},
			{Guest: mib, Size: mib, User: userBase + 4096},
		}, []int{fd, fd}},
		{"the second beyond its file", []wire.MemRegion{
			{Guest: 0, Size: mib, User: userBase},
			{Guest: mib, Size: mib, User: userBase + mib, Offset: 3*mib + 1},
		}, []int{fd, fd}},
		{"size 0", []wire.MemRegion{{User: userBase}}, []int{fd}},
	} {
		before := openFDs(t)
		r.refused(wire.SetMemTable, wire.AppendMemTable(nil, c.regions), c.fds...)
		r.goesOn()
		if after := openFDs(t); after != before {
			t.Errorf("%s: %d descriptors are open, want %d", c.name, after, before)
		}
		if got := mappings(t); got != 1 {
			t.Errorf("%s: %d mappings, want 1", c.name, got)
		}
	}
	r.refused(wire.SetMemTable, append([]byte{9, 0, 0, 0}, make([]byte, 260)...))
	b.want()

	must(t, r.Do(wire.SetMemTable, wire.AppendMemTable(nil, nil)))
	b.want("SetMemory 0")
	if got := mappings(t); got != 0 {
		t.Errorf("%d mappings, want 0", got)
	}
}

// Hostile: CVE-2026-86561, c6420a3632
func TestAddMemReg(t *testing.T) {
	b := newFake(t)
	r := newRig(t, b)
	r.protocol(wire.ProtocolReplyAck)
	r.addMemory()
	b.want("Attach", "SetMemory 1")
	// QEMU 7.2 sends it once per queue pair.
	r.addMemory()
	b.want()

	pr, pw, err := os.Pipe()
	must(t, err)
	defer pr.Close()
	defer pw.Close()
	file := memfd(t, mib)
	for _, c := range []struct {
		name   string
		region wire.MemRegion
		fds    []int
	}{
		{"no descriptor", wire.MemRegion{Guest: 1 << 40, Size: mib, User: 1 << 40}, nil},
		{"pipe", wire.MemRegion{Guest: 1 << 40, Size: mib, User: 1 << 40}, []int{int(pr.Fd())}},
		{"size 0", wire.MemRegion{Guest: 1 << 40, User: 1 << 40}, []int{file}},
		{"size beyond the file", wire.MemRegion{Guest: 1 << 40, Size: mib + 1, User: 1 << 40}, []int{file}},
		{"offset beyond the file", wire.MemRegion{Guest: 1 << 40, Size: 1, User: 1 << 40, Offset: mib}, []int{file}},
		{"size of 2^63", wire.MemRegion{Guest: 0, Size: 1 << 63, User: 0}, []int{file}},
		{"size of 2^64-1", wire.MemRegion{Guest: 0, Size: 1<<64 - 1, User: 0}, []int{file}},
		{"guest address wraps", wire.MemRegion{Guest: 1<<64 - 1, Size: mib, User: 1 << 40}, []int{file}},
		{"user address wraps", wire.MemRegion{Guest: 1 << 40, Size: mib, User: 1<<64 - 1}, []int{file}},
		{"offset wraps", wire.MemRegion{Guest: 1 << 40, Size: mib, User: 1 << 40, Offset: 1<<64 - 1}, []int{file}},
		{"overlap in guest space", wire.MemRegion{Guest: guestBase + memSize - 1, Size: 1, User: 1 << 40}, []int{file}},
		{"overlap in user space", wire.MemRegion{Guest: 1 << 40, Size: 4096, User: userBase - 4095}, []int{file}},
		{"the same place, another extent", wire.MemRegion{Guest: guestBase, Size: 4096, User: userBase}, []int{file}},
	} {
		before := openFDs(t)
		r.refused(wire.AddMemReg, wire.AppendSingleRegion(nil, c.region), c.fds...)
		r.goesOn()
		if after := openFDs(t); after != before {
			t.Errorf("%s: %d descriptors are open, want %d", c.name, after, before)
		}
		if got := mappings(t); got != 1 {
			t.Errorf("%s: %d mappings, want 1", c.name, got)
		}
	}
	b.want()

	// Unaligned is fine: hugetlbfs files bring that.
	must(t, r.Do(wire.AddMemReg, wire.AppendSingleRegion(nil, wire.MemRegion{Guest: 1<<40 + 1, Size: 4095, User: 1<<40 + 1, Offset: 4097}), file))
	b.want("SetMemory 2")
}

func TestRemMemReg(t *testing.T) {
	b := newFake(t)
	r := ready(t, b)
	other := testRegion
	other.Offset = 4096 // not compared
	// A descriptor may come and is not needed.
	must(t, r.Do(wire.RemMemReg, wire.AppendSingleRegion(nil, other), memfd(t, 1)))
	b.want("SetMemory 0")
	if got := mappings(t); got != 0 {
		t.Errorf("%d mappings, want 0", got)
	}
	// QEMU 7.2 sends it once per queue pair.
	must(t, r.Do(wire.RemMemReg, wire.AppendSingleRegion(nil, testRegion)))
	r.refused(wire.RemMemReg, wire.AppendSingleRegion(nil, wire.MemRegion{}))
	b.want()
}

func TestMemSlots(t *testing.T) {
	b := newFake(t)
	r := newRig(t, b)
	r.protocol(wire.ProtocolReplyAck)
	n, err := r.U64(wire.GetMaxMemSlots, nil)
	if err != nil || n < 32 {
		t.Fatalf("GET_MAX_MEM_SLOTS = %d, %v, want at least 32", n, err)
	}
	fd := memfd(t, 4096)
	add := func(i uint64) error {
		at := i * 8192
		return r.Do(wire.AddMemReg, wire.AppendSingleRegion(nil, wire.MemRegion{Guest: at, Size: 4096, User: userBase + at}), fd)
	}
	for i := range n {
		must(t, add(i))
	}
	if err := add(n); err == nil {
		t.Errorf("region %d was accepted, want it refused", n+1)
	}
	if !r.log.has("ADD_MEM_REG", "all 509 slots are in use") {
		t.Errorf("log lacks the reason:\n%s", r.log)
	}
	must(t, add(3)) // known already
}

// TestMemoryUnderRunningRings: QEMU changes the extent of a region by removing
// and adding it. Rings in it pause meanwhile; others do not notice.
func TestMemoryUnderRunningRings(t *testing.T) {
	b := newFake(t)
	r := ready(t, b)
	other := wire.MemRegion{Guest: 1 << 40, Size: mib, User: 1 << 40}
	file, otherFile := memfd(t, memSize), memfd(t, mib)
	must(t, r.Do(wire.AddMemReg, wire.AppendSingleRegion(nil, other), otherFile))
	r.startRing(0)
	a := wire.VringAddr{Index: 1, Desc: 1 << 40, Avail: 1<<40 + 0x1000, Used: 1<<40 + 0x2000}
	must(t, r.Do(wire.SetVringNum, state(1, 256)))
	must(t, r.Do(wire.SetVringAddr, a.Append(nil)))
	must(t, r.Do(wire.SetVringKick, ringFDOf(1), newEventfd(t).Int()))
	b.take()

	must(t, r.Do(wire.RemMemReg, wire.AppendSingleRegion(nil, testRegion)))
	b.want("StopQueue 0", "SetMemory 1")
	if got := r.e.Snapshot().Rings[0]; !got.Started || got.Fault == "" {
		t.Errorf("Snapshot().Rings[0] = %+v, want it started with a fault", got)
	}
	half := testRegion
	half.Size /= 2
	must(t, r.Do(wire.AddMemReg, wire.AppendSingleRegion(nil, half), file))
	b.want("SetMemory 2", "StartQueue 0 size 256 base 0 kick true")
	if got := r.e.Snapshot().Rings[0]; got.Fault != "" {
		t.Errorf("Snapshot().Rings[0] = %+v, want no fault", got)
	}

	// A stop in between is a stop.
	must(t, r.Do(wire.RemMemReg, wire.AppendSingleRegion(nil, half)))
	_, err := r.Call(wire.GetVringBase, state(0, 0))
	must(t, err)
	must(t, r.Do(wire.AddMemReg, wire.AppendSingleRegion(nil, half), file))
	b.want("StopQueue 0", "SetMemory 1", "SetMemory 2")

	// The table in one go: rings stay where they were.
	must(t, r.Do(wire.SetVringKick, ringFDOf(0), newEventfd(t).Int()))
	b.take()
	must(t, r.Do(wire.SetMemTable, wire.AppendMemTable(nil, []wire.MemRegion{half, other}), file, otherFile))
	b.want("SetMemory 2")
}

// TestMemoryTruncated: a file that shrinks while it is mapped costs its session
// and nothing else. Nobody touches the memory until a ring starts.
//
// Hostile: CVE-2026-86561
func TestMemoryTruncated(t *testing.T) {
	b := newFake(t)
	r := newRig(t, b)
	r.protocol(wire.ProtocolReplyAck)
	fd := memfd(t, memSize)
	must(t, r.Do(wire.AddMemReg, wire.AppendSingleRegion(nil, testRegion), fd))
	b.answer(func() { b.untouched = true })
	must(t, unix.Ftruncate(fd, 0))
	// The same region again is known; as a table its file is too short now.
	must(t, r.Do(wire.AddMemReg, wire.AppendSingleRegion(nil, testRegion), fd))
	r.refused(wire.SetMemTable, wire.AppendMemTable(nil, []wire.MemRegion{testRegion}), fd)
	r.place(0, 0)
	must(t, r.Send(wire.SetVringKick, 0, ringFDOf(0), newEventfd(t).Int()))
	r.ends("SET_VRING_KICK: guest memory", "its file was truncated")
	if got := mappings(t); got != 0 {
		t.Errorf("%d mappings, want 0", got)
	}
}

// TestPanicOfBackend: faults elsewhere and panics are no business of the
// session's guard.
func TestPanicOfBackend(t *testing.T) {
	for _, want := range []any{"a fault of the backend's own", errors.New("another")} {
		b := newFake(t)
		s := newSession(nil, b, &testLog{}, func(*session) {}, &notifier{})
		b.answer(func() { b.attached = true })
		s.backend = panicking{b, want}
		func() {
			defer func() {
				if got := recover(); got != want {
					t.Errorf("recover() = %v, want %v", got, want)
				}
			}()
			_ = s.handleGuarded(&message{request: wire.ResetDevice})
		}()
	}
}

type panicking struct {
	*fakeBackend
	value any
}

func (p panicking) Reset() { panic(p.value) }
