package vhostuser

import (
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/vhostuser/wire"
	"vhost-user-nvgre/virtio"
)

func TestRingStartAndStop(t *testing.T) {
	b := newFake(t)
	r := ready(t, b)
	r.place(1, 7)
	b.want()
	must(t, r.Do(wire.SetVringKick, ringFDOf(1), newEventfd(t).Int()))
	b.want("StartQueue 1 size 256 base 7 kick true")

	for range 2 { // the second finds the ring stopped
		got, err := r.Call(wire.GetVringBase, state(1, 0))
		if want := state(1, 7); err != nil || string(got) != string(want) {
			t.Errorf("GET_VRING_BASE = % x, %v, want % x", got, err, want)
		}
	}
	b.want("StopQueue 1")
	if got, want := r.e.Snapshot().Rings[1], (RingSnapshot{Size: 256}); got != want {
		t.Errorf("Snapshot().Rings[1] = %+v, want %+v", got, want)
	}

	// It starts again where it is, in place or elsewhere.
	must(t, r.Do(wire.SetVringKick, noFD(1)))
	b.want("StartQueue 1 size 256 base 7 kick false")
	if !r.e.Snapshot().Rings[1].Polled {
		t.Errorf("Snapshot().Rings[1].Polled = false after SET_VRING_KICK without descriptor, want true")
	}
}

// TestRingBaseNeverStarted: the position is what the front end said.
func TestRingBaseNeverStarted(t *testing.T) {
	r := ready(t, newFake(t))
	must(t, r.Do(wire.SetVringBase, state(0, 0x1234)))
	got, err := r.Call(wire.GetVringBase, state(0, 0))
	if want := state(0, 0x1234); err != nil || string(got) != string(want) {
		t.Errorf("GET_VRING_BASE = % x, %v, want % x", got, err, want)
	}
}

// TestRingBeforeFeatures has what QEMU sends long before SET_FEATURES.
//
// Hostile: SET_VRING_ENABLE before SET_FEATURES
func TestRingBeforeFeatures(t *testing.T) {
	b := newFake(t)
	r := newRig(t, b)
	r.protocol(wire.ProtocolReplyAck)
	must(t, r.Do(wire.SetVringEnable, state(4, 1)))
	must(t, r.Do(wire.SetVringEnable, state(4, 0)))
	must(t, r.Do(wire.SetVringCall, ringFDOf(3), newEventfd(t).Int()))
	must(t, r.Do(wire.SetVringCall, noFD(3)))
	must(t, r.Do(wire.SetVringErr, ringFDOf(3), newEventfd(t).Int()))
	must(t, r.Do(wire.SetVringErr, noFD(3)))
	b.want("Attach", "SetQueueEnabled 4 true", "SetQueueEnabled 4 false", "SetQueueCall 3 true", "SetQueueCall 3 false",
		"SetQueueErr 3 true", "SetQueueErr 3 false")
}

// TestRingChangesWhileRunning: section "Ring states" lets address and
// descriptors change at any time.
//
// Hostile: 04c27cb673, CVE-2026-86565
func TestRingChangesWhileRunning(t *testing.T) {
	b := newFake(t)
	r := ready(t, b)
	r.startRing(0)
	b.take()

	must(t, r.Do(wire.SetVringAddr, addrOf(0).Append(nil)))
	b.want()
	must(t, r.Do(wire.SetVringNum, state(0, 256)))
	b.want()
	moved := addrOf(0)
	moved.Used = addrOf(1).Used
	must(t, r.Do(wire.SetVringAddr, moved.Append(nil)))
	b.want("StopQueue 0", "StartQueue 0 size 256 base 0 kick true")
	must(t, r.Do(wire.SetVringKick, ringFDOf(0), newEventfd(t).Int()))
	must(t, r.Do(wire.SetVringKick, noFD(0)))
	must(t, r.Do(wire.SetVringCall, ringFDOf(0), newEventfd(t).Int()))
	b.want("SetQueueKick 0 true", "SetQueueKick 0 false", "SetQueueCall 0 true")

	r.refused(wire.SetVringNum, state(0, 128))
	r.refused(wire.SetVringBase, state(0, 1))
	logged := moved
	logged.Flags = wire.VringLog
	r.refused(wire.SetVringAddr, logged.Append(nil))
	b.want()

	// Moved to where nothing is: it stops, and moves back into operation.
	lost := moved
	lost.Desc = 0x1000
	r.refused(wire.SetVringAddr, lost.Append(nil))
	b.want("StopQueue 0")
	if fault := r.e.Snapshot().Rings[0].Fault; !strings.Contains(fault, "0x1000") {
		t.Errorf("Snapshot().Rings[0].Fault = %q, want the address in it", fault)
	}
	must(t, r.Do(wire.SetVringAddr, moved.Append(nil)))
	b.want("StartQueue 0 size 256 base 0 kick false")
}

// TestRingStartedEarly: the kick descriptor comes before something else that a
// start needs.
func TestRingStartedEarly(t *testing.T) {
	b := newFake(t)
	r := newRig(t, b)
	r.protocol(wire.ProtocolReplyAck)
	b.answer(func() { b.refuseStart = errors.New("not today") })

	e := newEventfd(t)
	must(t, r.Do(wire.SetVringErr, ringFDOf(0), e.Int()))
	r.refused(wire.SetVringKick, ringFDOf(0), newEventfd(t).Int())
	if !r.log.has("warn SET_VRING_KICK refused: ring 0 does not start: SET_VRING_NUM has not come") {
		t.Errorf("log lacks the reason:\n%s", r.log)
	}
	if !e.Wait(5000) {
		t.Errorf("the error eventfd was not signalled")
	}
	must(t, r.Do(wire.SetVringNum, state(0, 64)))
	r.refused(wire.SetVringKick, ringFDOf(0), newEventfd(t).Int())
	if !r.log.has("SET_VRING_ADDR has not come") {
		t.Errorf("log lacks the reason:\n%s", r.log)
	}
	r.refused(wire.SetVringAddr, addrOf(0).Append(nil))
	if !r.log.has("descriptor table at 0x7f0000000000", "not within one memory region") {
		t.Errorf("log lacks the reason:\n%s", r.log)
	}
	b.take()
	r.addMemory() // all is there, but the backend does not want
	b.want("SetMemory 1", "StartQueue 0 size 64 base 0 kick true")
	if !r.log.has("warn ring 0 does not start: not today") {
		t.Errorf("log lacks the reason:\n%s", r.log)
	}
	b.answer(func() { b.refuseStart = nil })
	must(t, r.Do(wire.SetVringNum, state(0, 128)))
	b.want("StartQueue 0 size 128 base 0 kick true")
}

// TestRingMisplaced has addresses and sizes that a guest can choose: the ring
// does not start, and nothing else happens.
func TestRingMisplaced(t *testing.T) {
	for _, c := range []struct {
		name  string
		addr  func(*wire.VringAddr)
		size  uint32
		base  uint32
		fault string
	}{
		{"descriptors beyond the region", func(a *wire.VringAddr) { a.Desc = userBase + memSize - 4080 }, 256, 0, "descriptor table"},
		{"available ring before the region", func(a *wire.VringAddr) { a.Avail = userBase - 2 }, 256, 0, "available ring"},
		{"used ring at the end of the address space", func(a *wire.VringAddr) { a.Used = 1<<64 - 4 }, 256, 0, "used ring"},
		{"guest-physical address", func(a *wire.VringAddr) { a.Desc = guestBase }, 256, 0, "descriptor table"},
		{"odd descriptor table", func(a *wire.VringAddr) { a.Desc += 8 }, 256, 0, "alignment of 16"},
		{"odd available ring", func(a *wire.VringAddr) { a.Avail++ }, 256, 0, "alignment of 2"},
		{"odd used ring", func(a *wire.VringAddr) { a.Used += 2 }, 256, 0, "alignment of 4"},
		{"size that is no power of two", func(*wire.VringAddr) {}, 255, 0, "255"},
		{"base of a packed ring", func(*wire.VringAddr) {}, 256, 0x80008000, "0x80008000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newFake(t)
			r := ready(t, b)
			a := addrOf(2)
			c.addr(&a)
			must(t, r.Do(wire.SetVringNum, state(2, c.size)))
			must(t, r.Do(wire.SetVringBase, state(2, c.base)))
			must(t, r.Do(wire.SetVringAddr, a.Append(nil)))
			r.refused(wire.SetVringKick, ringFDOf(2), newEventfd(t).Int())
			if fault := r.e.Snapshot().Rings[2].Fault; !strings.Contains(fault, c.fault) {
				t.Errorf("fault %q, want %q in it", fault, c.fault)
			}
			must(t, r.Send(wire.SetVringKick, 0, ringFDOf(2), newEventfd(t).Int()))
			r.goesOn()
			got, err := r.Call(wire.GetVringBase, state(2, 0))
			if err != nil || string(got) != string(state(2, c.base)) {
				t.Errorf("GET_VRING_BASE = % x, %v, want % x", got, err, state(2, c.base))
			}
		})
	}
}

// TestRingIndex has indices that no ring has in every message that names one.
// They are refused where that can be said, and end the session where not.
//
// Hostile: CVE-2020-10723, GET_VRING_BASE of a bad index
func TestRingIndex(t *testing.T) {
	for _, index := range []uint32{5, 255, 256, 0x10000, 0x10001, 0xffffffff} {
		addr := addrOf(0)
		addr.Index = index
		for _, m := range []struct {
			request wire.Request
			payload []byte
		}{
			{wire.SetVringNum, state(index, 256)},
			{wire.SetVringBase, state(index, 0)},
			{wire.SetVringEnable, state(index, 1)},
			{wire.SetVringAddr, addr.Append(nil)},
			{wire.SetVringKick, binary.NativeEndian.AppendUint64(nil, uint64(index)|1<<63)},
			{wire.SetVringCall, binary.NativeEndian.AppendUint64(nil, uint64(index)|1<<9)},
			{wire.SetVringErr, binary.NativeEndian.AppendUint64(nil, uint64(index)|1<<40)},
		} {
			b := newFake(t)
			r := ready(t, b)
			r.refused(m.request, m.payload, eventfds(t, m.request)...)
			r.goesOn()
			b.want()
			must(t, r.Send(m.request, 0, m.payload, eventfds(t, m.request)...))
			r.ends(m.request.String())
		}
		r := ready(t, newFake(t))
		must(t, r.Send(wire.GetVringBase, wire.FlagNeedReply, state(index, 0)))
		r.ends("GET_VRING_BASE", "the device has 5 rings (2 queue pairs)")
	}
}

// eventfds returns the descriptors that a request should carry.
func eventfds(t testing.TB, r wire.Request) []int {
	var fds []int
	for range r.Shape().FDs {
		fds = append(fds, newEventfd(t).Int())
	}
	return fds
}

func TestRingBadValues(t *testing.T) {
	r := ready(t, newFake(t))
	for _, m := range []struct {
		request wire.Request
		payload []byte
	}{
		{wire.SetVringNum, state(0, 0)},
		{wire.SetVringNum, state(0, 32769)},
		{wire.SetVringNum, state(0, 0xffffffff)},
		{wire.SetVringEnable, state(0, 2)},
		{wire.SetVringAddr, wire.VringAddr{Flags: 0x80}.Append(nil)},
		{wire.SetVringKick, ringFDOf(0)}, // no descriptor, and no flag that says so
		{wire.SetVringCall, ringFDOf(0)},
		{wire.SetVringErr, ringFDOf(0)},
	} {
		r.refused(m.request, m.payload)
	}
	r.goesOn()
	must(t, r.Do(wire.SetVringNum, state(0, 32768)))
}

// TestRingDescriptorKinds: only eventfds can be signalled without fear of
// blocking or of a signal of our own.
func TestRingDescriptorKinds(t *testing.T) {
	pr, pw, err := os.Pipe()
	must(t, err)
	defer pr.Close()
	defer pw.Close()
	sock, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	must(t, err)
	defer unix.Close(sock[0])
	defer unix.Close(sock[1])

	b := newFake(t)
	r := ready(t, b)
	r.goesOn()
	before := openFDs(t)
	for name, fd := range map[string]int{
		"pipe": int(pw.Fd()), "socket": sock[0], "memfd": memfd(t, 4096), "eventpoll": epoll(t),
	} {
		for _, request := range []wire.Request{wire.SetVringKick, wire.SetVringCall, wire.SetVringErr} {
			r.refused(request, ringFDOf(0), fd)
			if !r.log.has(request.String(), "ring 0", name, "want an eventfd") {
				t.Errorf("%s with a %s: log lacks the reason:\n%s", request, name, r.log)
			}
		}
	}
	r.goesOn()
	if after := openFDs(t); after != before+2 { // memfd and epoll are ours
		t.Errorf("%d descriptors are open, want %d", after, before+2)
	}
	b.want()
}

func epoll(t testing.TB) int {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	must(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// TestRingDescriptorsReplaced: an old descriptor is closed when a new one
// comes, and at the end all are.
//
// Hostile: bc900f86aa, 6dc3f119ce
func TestRingDescriptorsReplaced(t *testing.T) {
	b := newFake(t)
	r := ready(t, b)
	kick, call, e := newEventfd(t), newEventfd(t), newEventfd(t)
	r.startRing(0)
	before := openFDs(t)
	for range 100 {
		must(t, r.Do(wire.SetVringKick, ringFDOf(0), kick.Int()))
		must(t, r.Do(wire.SetVringCall, ringFDOf(0), call.Int()))
		must(t, r.Do(wire.SetVringErr, ringFDOf(0), e.Int()))
	}
	if after, want := openFDs(t), before+2; after != want {
		t.Errorf("%d descriptors are open, want %d: call and err in addition", after, want)
	}
	_, err := r.Call(wire.GetVringBase, state(0, 0))
	must(t, err)
	r.goesOn()
	if after, want := openFDs(t), before+1; after != want {
		t.Errorf("%d descriptors are open after the stop, want %d: the kick's is closed", after, want)
	}
}

// TestRingNumRepeated: nothing grows with the number of messages.
//
// Hostile: CVE-2019-14818
func TestRingNumRepeated(t *testing.T) {
	b := newFake(t)
	r := ready(t, b)
	for i := range uint32(20000) {
		must(t, r.Send(wire.SetVringNum, 0, state(i%5, 1+i%32768)))
	}
	r.goesOn()
	b.want()
}

// TestRingFeatureBits: what was negotiated reaches the ring.
func TestRingFeatureBits(t *testing.T) {
	b := newFake(t)
	r := ready(t, b)
	f := virtio.FeatureVersion1 | virtio.FeatureEventIdx | virtio.FeatureIndirectDesc
	must(t, r.Do(wire.SetFeatures, wire.AppendU64(nil, 1<<30|uint64(f))))
	r.startRing(0) // the fake compares
	if got := r.e.Snapshot().Features; got != f {
		t.Errorf("Snapshot().Features = %s, want %s", got, f)
	}
}
