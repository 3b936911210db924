package vhostuser

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/vhostuser/wire"
)

// TestWrongSize has every request with sizes next to those it may have. The
// session ends with a line that names request, size and what was expected.
//
// Hostile: 966f89d998
func TestWrongSize(t *testing.T) {
	for request := wire.Request(1); request < wire.NumRequests; request++ {
		s := request.Shape()
		sizes := []uint32{s.Max + 1}
		if s.Min > 0 {
			sizes = append(sizes, s.Min-1, 0)
		}
		for _, size := range sizes {
			if size > wire.MaxPayload {
				continue
			}
			want := fmt.Sprintf("want %d", s.Min)
			if s.Max != s.Min {
				want += fmt.Sprintf(" to %d", s.Max)
			}
			r := newRig(t, newFake(t))
			must(t, r.Send(request, wire.FlagNeedReply, make([]byte, size)))
			r.ends(request.String(), fmt.Sprintf("payload of %d bytes", size), want)
		}
	}
}

// TestBadHeader ends the session: nothing after such a header can be trusted.
//
// Hostile: unsolicited reply desync, 966f89d998
func TestBadHeader(t *testing.T) {
	header := func(request, flags, size uint32) []byte {
		return wire.Header{Request: request, Flags: flags, Size: size}.Append(nil)
	}
	for _, c := range []struct {
		name  string
		bytes []byte
		parts []string
	}{
		{"reply nobody asked for", append(header(1, 5, 8), make([]byte, 8)...), []string{"GET_FEATURES", "got a reply that nobody asked for"}},
		{"version 0", header(1, 0, 0), []string{"version 0, want 1"}},
		{"version 2", header(1, 2, 0), []string{"version 2, want 1"}},
		{"unknown flag", header(1, 1|1<<31, 0), []string{"unknown bits 0x80000000"}},
		{"payload of 4 GiB", header(5, 1, 0xffffffff), []string{"SET_MEM_TABLE", "4294967295 bytes, want at most 4096"}},
		{"unknown request with too much", header(99, 1, 4097), []string{"request 99", "4097 bytes"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, newFake(t))
			before := openFDs(t)
			must(t, r.SendRaw(c.bytes, newEventfd(t).Int()))
			r.ends(c.parts...)
			// The test's own eventfd came, the session's socket went.
			if after := openFDs(t); after > before {
				t.Errorf("%d descriptors are open, want at most %d", after, before)
			}
		})
	}
}

// TestTruncated: the connection ends at every place within a message.
//
// Hostile: 966f89d998
func TestTruncated(t *testing.T) {
	msg := append(wire.Header{Request: uint32(wire.SetVringNum), Flags: 1, Size: 8}.Append(nil), state(0, 256)...)
	for n := 1; n < len(msg); n++ {
		r := newRig(t, newFake(t))
		must(t, r.SendRaw(msg[:n], newEventfd(t).Int()))
		must(t, r.CloseWrite())
		if n < wire.HeaderSize {
			r.ends(fmt.Sprintf("ended %d bytes into a message header", n))
		} else {
			r.ends(fmt.Sprintf("SET_VRING_NUM: connection ended after %d of 8 bytes", n-wire.HeaderSize))
		}
	}
}

// TestFragmented: a message may come in any pieces, its descriptors with the
// first byte.
func TestFragmented(t *testing.T) {
	b := newFake(t)
	r := ready(t, b)
	msg := append(wire.Header{Request: uint32(wire.SetVringCall), Flags: 1, Size: 8}.Append(nil), ringFDOf(3)...)
	must(t, r.SendRaw(msg[:1], newEventfd(t).Int()))
	for i := 1; i < len(msg); i++ {
		must(t, r.SendRaw(msg[i:i+1]))
	}
	r.goesOn()
	b.want("SetQueueCall 3 true")

	// Several messages at once stay several, each with its descriptors.
	two := append(bytes.Clone(msg), msg...)
	must(t, r.SendRaw(two, newEventfd(t).Int()))
	r.ends("SET_VRING_CALL: ring 3: no descriptor came")
	b.want("SetQueueCall 3 true", "Detach")
}

// TestSurplusDescriptors sends more descriptors than each message may carry.
// They are closed; where they make the message ambiguous the session ends.
//
// Hostile: CVE-2019-14818, af74f7db38, bc900f86aa
func TestSurplusDescriptors(t *testing.T) {
	for _, n := range []int{1, 2, 8, 9, 32} {
		var fds []int
		for range n {
			fds = append(fds, newEventfd(t).Int())
		}
		for request := wire.Request(1); request < wire.NumRequests; request++ {
			s := request.Shape()
			if n <= s.FDs {
				continue
			}
			r := newRig(t, newFake(t))
			r.goesOn()
			before := openFDs(t)
			must(t, r.Send(request, 0, make([]byte, s.Min), fds...))
			if s.FDs > 0 {
				r.ends(fmt.Sprintf("%s: %d descriptors, want at most %d", request, n, s.FDs))
			} else {
				must(t, r.CloseWrite())
				must(t, r.WaitEnd())
				<-r.end
				r.end <- nil
				if !r.log.has("warn", fmt.Sprintf("%s: closed %d descriptors", request, n)) {
					t.Errorf("%s with %d descriptors: log lacks that they were closed:\n%s", request, n, r.log)
				}
			}
			if after := openFDs(t); after != before-1 { // the session's socket
				t.Fatalf("%s with %d descriptors: %d are open afterwards, want %d", request, n, after, before-1)
			}
		}
	}
}

// TestLostDescriptors sends more descriptors than any message may bring, so
// that the kernel drops some: nobody knows which, and the session ends.
//
// Hostile: 218daf1664
func TestLostDescriptors(t *testing.T) {
	var fds []int
	for range 253 {
		fds = append(fds, newEventfd(t).Int())
	}
	for _, n := range []int{33, 253} {
		r := newRig(t, newFake(t))
		r.goesOn()
		before := openFDs(t)
		must(t, r.Send(wire.GetFeatures, 0, nil, fds[:n]...))
		r.ends("descriptors were lost", "more than 32", "(32 came)")
		if after := openFDs(t); after != before-1 {
			t.Errorf("%d descriptors are open after a message with %d, want %d", after, n, before-1)
		}
	}

	// Spread over the bytes of a header they add up.
	r := newRig(t, newFake(t))
	msg := wire.Header{Request: 1, Flags: 1}.Append(nil)
	must(t, r.SendRaw(msg[:1], fds[:20]...))
	must(t, r.SendRaw(msg[1:2], fds[:20]...))
	r.ends("40 descriptors, want at most 32")
}

// TestDescriptorsWithPayload: descriptors anywhere but at the beginning of a
// message are not wanted, and gone.
func TestDescriptorsWithPayload(t *testing.T) {
	r := ready(t, newFake(t))
	r.goesOn()
	e := newEventfd(t)
	before := openFDs(t)
	msg := append(wire.Header{Request: uint32(wire.SetVringNum), Flags: 1, Size: 8}.Append(nil), state(0, 256)...)
	must(t, r.SendRaw(msg[:14]))
	must(t, r.SendRaw(msg[14:], e.Int(), e.Int()))
	r.goesOn()
	if after := openFDs(t); after != before {
		t.Errorf("%d descriptors are open, want %d", after, before)
	}
}

// TestDeafPeer: a front end that sends requests and reads no reply costs one
// write timeout.
func TestDeafPeer(t *testing.T) {
	r := newRig(t, newFake(t))
	r.Timeout = time.Second
	begin := time.Now()
	for {
		if err := r.Send(wire.GetConfig, 0, wire.Config{Bytes: make([]byte, 256)}.Append(nil)); err != nil {
			break
		}
	}
	r.ends("GET_CONFIG: reply not sent", "timeout")
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("the session ended after %s, want it after the write timeout of %s", d, shortTiming.write)
	}
}

// TestComplaintsAreBounded: a front end cannot fill the log.
func TestComplaintsAreBounded(t *testing.T) {
	r := ready(t, newFake(t))
	for range 10 * maxComplaints {
		must(t, r.Send(wire.SendRARP, 0, make([]byte, 8)))
	}
	r.goesOn()
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	if got, want := len(r.log.lines), maxComplaints+2; got != want {
		t.Errorf("%d lines in the log, want %d", got, want)
	}
}

// TestRepeatedRequests: nothing is kept for a request that is repeated.
//
// Hostile: CVE-2020-10726, CVE-2019-14818
func TestRepeatedRequests(t *testing.T) {
	r := ready(t, newFake(t))
	fd := memfd(t, memSize)
	r.goesOn()
	before, mapped := openFDs(t), mappings(t)
	for range 1000 {
		_, err := r.Call(wire.GetInflightFD, make([]byte, 24))
		must(t, err)
		must(t, r.Do(wire.AddMemReg, wire.AppendSingleRegion(nil, testRegion), fd))
		must(t, r.Do(wire.SetMemTable, wire.AppendMemTable(nil, []wire.MemRegion{testRegion}), fd))
		must(t, r.Do(wire.SetOwner, nil))
	}
	if after := openFDs(t); after != before {
		t.Errorf("%d descriptors are open, want %d", after, before)
	}
	if got := mappings(t); got != mapped {
		t.Errorf("%d mappings, want %d", got, mapped)
	}
}

// TestTooManyOpenFiles: descriptors that this process may not have are as good
// as lost, and the session after that is well.
//
// Hostile: 218daf1664
func TestTooManyOpenFiles(t *testing.T) {
	r := newRig(t, newFake(t))
	r.goesOn()
	e := newEventfd(t)
	var old unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
	limit := old
	limit.Cur = noNewFDs
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit))
	err := r.Send(wire.SetVringCall, 0, ringFDOf(0), e.Int())
	if err == nil {
		err = r.WaitEnd()
	}
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &old))
	must(t, err)
	r.ends("descriptors were lost")
}

// noNewFDs is a limit below which every descriptor is in use.
const noNewFDs = 3
