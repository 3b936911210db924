package verify_test

import (
	"bytes"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/offload/checksum"
	"vhost-user-nvgre/offload/internal/frametest"
	"vhost-user-nvgre/offload/packet"
	"vhost-user-nvgre/offload/verify"
)

func frames(payload []byte) []frametest.Named {
	levels := frametest.Levels(payload)
	out := levels
	for i, l := range levels {
		out = append(out, frametest.Tunnels(l, i%9 == 0)...)
	}
	return out
}

// want is what a description says of the frame it makes.
func want(s *frametest.Spec, tunnel bool) verify.Result {
	ip := map[bool]verify.State{false: verify.Good, true: verify.NotChecked}
	r := verify.Result{OuterIP: ip[s.V6]}
	if s.Proto == frametest.GRE && tunnel {
		s = s.Inner
		r.InnerIP = ip[s.V6]
	}
	if s.Proto == frametest.TCP || s.Proto == frametest.UDP && !s.NoUDPSum {
		r.Transport = verify.Good
	}
	return r
}

func check(frame []byte, tunnel bool) verify.Result {
	var p packet.Info
	packet.Parse(&p, frame, len(frame))
	return verify.Check(&p, frame, tunnel)
}

// cut splits b into pieces by layout: 0 = one, 1 = long, 2 = tiny and empty.
func cut(r *rand.Rand, b []byte, layout int) [][]byte {
	if layout == 0 {
		return [][]byte{b}
	}
	var out [][]byte
	for len(b) > 0 {
		n := 1 + r.IntN(200)
		if layout == 2 {
			n = []int{0, 1, 1, 2, 3, 7, 40}[r.IntN(7)]
		}
		n = min(n, len(b))
		out = append(out, b[:n:n])
		b = b[n:]
	}
	return out
}

// deliver copies frame in pieces and returns what was written.
func deliver(t *testing.T, r *rand.Rand, frame []byte, head, layout int, tunnel bool) ([]byte, verify.Result) {
	t.Helper()
	var p packet.Info
	packet.Parse(&p, frame[:head], len(frame))
	out := make([]byte, len(frame))
	d, tail := checksum.NewCursor(cut(r, out, layout)), checksum.NewCursor(cut(r, frame[head:], layout))
	res, ok := verify.Deliver(&d, frame[:head], &tail, &p, tunnel)
	if !ok || d.Len() != 0 || tail.Len() != 0 {
		t.Fatalf("Deliver of %d bytes: %v, %d bytes of room and %d of the frame left", len(frame), ok, d.Len(), tail.Len())
	}
	return out, res
}

// Good frames in every form are found good, with and without looking into
// tunnels, contiguous and copied from pieces to pieces, and arrive unchanged.
//
// Shows: NDIS-001, NDIS-058, NDIS-060, NDIS-061, NDIS-112, NDIS-113
func TestGood(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for i, c := range frames([]byte("a payload of odd length")) {
		for _, tunnel := range []bool{false, true} {
			c.Spec.Padding = i % 3 * 5
			f := c.Spec.Build()
			w := want(&c.Spec, tunnel)
			if got := check(f.Bytes, tunnel); got != w {
				t.Fatalf("%s, tunnel %v: Check = %+v, want %+v\n%x", c.Name, tunnel, got, w, f.Bytes)
			}
			headers := f.Levels[len(f.Levels)-1].Payload
			head := headers + r.IntN(len(f.Bytes)-headers+1)
			out, got := deliver(t, r, f.Bytes, head, i%3, tunnel)
			if got != w || !bytes.Equal(out, f.Bytes) {
				t.Fatalf("%s, tunnel %v, %d bytes of head: Deliver = %+v, want %+v, or bytes differ", c.Name, tunnel, head, got, w)
			}
		}
	}
}

// slow verifies frame from the description it was built from. The structure
// must still be the described one.
func slow(s *frametest.Spec, f frametest.Frame, frame []byte, tunnel bool) verify.Result {
	st := func(sum uint16) verify.State {
		if sum == 0xffff {
			return verify.Good
		}
		return verify.Bad
	}
	w := want(s, tunnel)
	o := f.Levels[0]
	if w.OuterIP != verify.NotChecked {
		w.OuterIP = st(frametest.Sum(frame[o.L3:o.L4]))
	}
	if s.Proto == frametest.GRE && tunnel {
		s, o = s.Inner, f.Levels[1]
		if w.InnerIP != verify.NotChecked {
			w.InnerIP = st(frametest.Sum(frame[o.L3:o.L4]))
		}
	}
	if w.Transport != verify.NotChecked {
		body := frame[o.L4:o.End]
		tail := []byte{byte(len(body) >> 8), byte(len(body)), 0, s.Proto}
		if !s.V6 {
			w.Transport = st(frametest.Sum(frame[o.L3+12:o.L3+20], tail, body))
		} else {
			src, dst := frame[o.L3+8:o.L3+24], frame[o.L3+24:o.L3+40]
			if o.HomeAddr != 0 {
				src = frame[o.HomeAddr:][:16]
			}
			if o.FinalDst != 0 {
				dst = frame[o.FinalDst:][:16]
			}
			w.Transport = st(frametest.Sum(src, dst, tail, body))
		}
	}
	return w
}

// One bit is flipped, in every byte that does not say where headers are: what
// covers it is found bad and nothing else.
//
// Shows: NDIS-059
func TestBitFlips(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for i, c := range frames([]byte("some payload")) {
		if i%7 != 0 {
			continue
		}
		c.Spec.Padding = 6
		f := c.Spec.Build()
		var p packet.Info
		packet.Parse(&p, f.Bytes, len(f.Bytes))
		for at := range f.Bytes {
			b := append([]byte(nil), f.Bytes...)
			b[at] ^= 1 << r.IntN(8)
			var q packet.Info
			packet.Parse(&q, b, len(b))
			q.FlowID, q.VSID, q.Outer.TCI, q.Inner.TCI = p.FlowID, p.VSID, p.Outer.TCI, p.Inner.TCI
			if q != p {
				continue // the structure changed
			}
			udp := c.Spec.Proto == frametest.UDP || c.Spec.Inner != nil && c.Spec.Inner.Proto == frametest.UDP
			if o := f.Levels[len(f.Levels)-1]; udp && at >= o.L4+4 && at < o.L4+8 {
				continue // length, or whether there is a checksum
			}
			tunnel := r.IntN(2) == 0
			w := slow(&c.Spec, f, b, tunnel)
			if got := check(b, tunnel); got != w {
				t.Fatalf("%s, tunnel %v, byte %d flipped: Check = %+v, want %+v\n%x", c.Name, tunnel, at, got, w, b)
			}
			out, got := deliver(t, r, b, int(p.HeaderLen), at%3, tunnel)
			if got != w || !bytes.Equal(out, b) {
				t.Fatalf("%s, tunnel %v, byte %d flipped: Deliver = %+v, want %+v, or bytes differ", c.Name, tunnel, at, got, w)
			}
		}
	}
}

// Shows: NDIS-058, NDIS-059, NDIS-061
func TestIPState(t *testing.T) {
	const n, g, b = verify.NotChecked, verify.Good, verify.Bad
	for _, c := range []struct{ outer, inner, want verify.State }{
		{g, g, g}, {g, b, b}, {b, g, b}, {b, b, b}, {g, n, g}, {b, n, b}, {n, g, g}, {n, b, b}, {n, n, n},
	} {
		r := verify.Result{OuterIP: c.outer, InnerIP: c.inner}
		if got := r.IP(); got != c.want {
			t.Errorf("%+v.IP() = %v, want %v", r, got, c.want)
		}
		if got, want := r.AnyBad(), c.want == b; got != want {
			t.Errorf("%+v.AnyBad() = %v, want %v", r, got, want)
		}
	}
	if !(verify.Result{Transport: b}).AnyBad() {
		t.Error("a bad transport checksum is not AnyBad")
	}
	for s, want := range map[verify.State]string{n: "not checked", g: "good", b: "bad", 3: "unknown"} {
		if s.String() != want {
			t.Errorf("State(%d).String() = %q, want %q", s, s, want)
		}
	}
}

// What cannot be checked is not called bad, and arrives as it is.
//
// Shows: NDIS-008, NDIS-113
func TestNotChecked(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	tcp := frametest.Spec{Proto: frametest.TCP, Payload: []byte("payload")}
	udp := frametest.Spec{Proto: frametest.UDP, Payload: []byte("payload")}
	with := func(s frametest.Spec, f func(s *frametest.Spec)) frametest.Spec { f(&s); return s }
	for i, c := range []struct {
		name   string
		spec   frametest.Spec
		edit   func(b []byte)
		tunnel bool
		want   verify.Result
	}{
		{"first fragment", with(tcp, func(s *frametest.Spec) { s.Frag = 0x2000 }), nil, true, verify.Result{OuterIP: verify.Good}},
		{"later fragment", with(tcp, func(s *frametest.Spec) { s.Frag = 5 }), nil, true, verify.Result{OuterIP: verify.Good}},
		{"total length beyond the frame", tcp, func(b []byte) { b[16] = 1 }, true, verify.Result{OuterIP: verify.Bad}},
		{"data offset of 16", tcp, func(b []byte) { b[46] = 0x40 }, true, verify.Result{OuterIP: verify.Good}},
		{"UDP length beyond the packet", udp, func(b []byte) { b[38] = 1 }, true, verify.Result{OuterIP: verify.Good}},
		{"UDP without checksum", with(udp, func(s *frametest.Spec) { s.NoUDPSum = true }), nil, true, verify.Result{OuterIP: verify.Good}},
		{"UDP over IPv6 without checksum", with(udp, func(s *frametest.Spec) { s.V6, s.NoUDPSum = true, true }), nil, true, verify.Result{}},
		{"ARP", frametest.Spec{NotIP: 0x806, Payload: make([]byte, 28)}, nil, true, verify.Result{}},
		{"bad IP version", tcp, func(b []byte) { b[14] = 0x55 }, true, verify.Result{}},
		{
			"NVGRE with a bad inner checksum, not looked into",
			frametest.Spec{Proto: frametest.GRE, GREFlags: 0x20, Inner: &tcp},
			func(b []byte) { b[len(b)-1]++ },
			false,
			verify.Result{OuterIP: verify.Good},
		},
		{
			"NVGRE with a bad inner checksum, looked into",
			frametest.Spec{Proto: frametest.GRE, GREFlags: 0x20, Inner: &tcp},
			func(b []byte) { b[len(b)-1]++ },
			true,
			verify.Result{OuterIP: verify.Good, InnerIP: verify.Good, Transport: verify.Bad},
		},
		{
			"GRE with another protocol",
			frametest.Spec{Proto: frametest.GRE, GREProto: 0x880b, Payload: make([]byte, 28)},
			nil, true,
			verify.Result{OuterIP: verify.Good},
		},
		{
			"GRE of another version",
			frametest.Spec{Proto: frametest.GRE, GREFlags: 0x20, Inner: &tcp},
			func(b []byte) { b[35] = 1 }, true,
			verify.Result{OuterIP: verify.Good},
		},
		{
			"NVGRE with something other than IP",
			frametest.Spec{Proto: frametest.GRE, GREFlags: 0x20, Inner: &frametest.Spec{NotIP: 0x806, Payload: make([]byte, 28)}},
			nil, true,
			verify.Result{OuterIP: verify.Good},
		},
		{
			"inner ICMP",
			frametest.Spec{Proto: frametest.GRE, GREFlags: 0x20, Inner: &frametest.Spec{Proto: frametest.ICMP, Payload: make([]byte, 28)}},
			nil, true,
			verify.Result{OuterIP: verify.Good, InnerIP: verify.Good},
		},
	} {
		b := c.spec.Build().Bytes
		if c.edit != nil {
			c.edit(b)
		}
		if got := check(b, c.tunnel); got != c.want {
			t.Errorf("%s: Check = %+v, want %+v", c.name, got, c.want)
		}
		if out, got := deliver(t, r, b, len(b), i%3, c.tunnel); got != c.want || !bytes.Equal(out, b) {
			t.Errorf("%s: Deliver = %+v, want %+v, or bytes differ", c.name, got, c.want)
		}
	}
}

// A UDP datagram shorter than its IP packet is summed over its own length.
func TestShortUDP(t *testing.T) {
	s := frametest.Spec{Proto: frametest.UDP, Payload: []byte("payload")}
	b := s.Build().Bytes
	long := append(append([]byte(nil), b...), "behind"...)
	long[17] += 6
	long[24], long[25] = 0, 0
	sum := ^frametest.Sum(long[14:34])
	long[24], long[25] = byte(sum>>8), byte(sum)
	r := rand.New(rand.NewPCG(5, 6))
	w := verify.Result{OuterIP: verify.Good, Transport: verify.Good}
	if got := check(long, false); got != w {
		t.Errorf("Check = %+v, want %+v", got, w)
	}
	for head := 42; head <= len(long); head++ {
		if out, got := deliver(t, r, long, head, head%3, false); got != w || !bytes.Equal(out, long) {
			t.Errorf("Deliver with %d bytes of head = %+v, want %+v, or bytes differ", head, got, w)
		}
	}
}

// The verdict is on the bytes delivered, while the source changes.
func TestSourceChanges(t *testing.T) {
	guest, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_SHARED)
	if err != nil {
		t.Fatalf("mmap: %v", err)
	}
	defer unix.Munmap(guest)
	r := rand.New(rand.NewPCG(7, 8))
	// Two payloads of the same sum; a frame of a mix of both is bad.
	a := make([]byte, 1400)
	for i := range a {
		a[i] = byte(r.Uint32())
	}
	b := append(append([]byte(nil), a[700:]...), a[:700]...)
	s := frametest.Spec{Proto: frametest.GRE, GREFlags: 0x20, Inner: &frametest.Spec{Proto: frametest.TCP, Payload: a}}
	f := s.Build()
	head := f.Levels[1].Payload
	copy(guest, a)
	var quit atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !quit.Load() {
			copy(guest, b)
			copy(guest, a)
			runtime.Gosched()
		}
	}()
	defer func() { quit.Store(true); <-done }()
	var p packet.Info
	packet.Parse(&p, f.Bytes[:head], len(f.Bytes))
	for i := range 20000 {
		out := make([]byte, len(f.Bytes))
		d, tail := checksum.NewCursor(cut(r, out, i%3)), checksum.NewCursor(cut(r, guest[:1400], i%3))
		got, ok := verify.Deliver(&d, f.Bytes[:head], &tail, &p, true)
		if w := slow(&s, f, out, true); !ok || got != w {
			t.Fatalf("Deliver = %+v, %v, but the bytes delivered are %+v", got, ok, w)
		}
	}
}

func TestTooShort(t *testing.T) {
	for _, s := range []frametest.Spec{
		{Proto: frametest.TCP, Payload: make([]byte, 100), Padding: 3},
		{Proto: frametest.ICMP, Payload: make([]byte, 100), Padding: 3},
	} {
		b := s.Build().Bytes
		var p packet.Info
		packet.Parse(&p, b[:60], len(b))
		for n := range len(b) {
			d, tail := checksum.NewCursor([][]byte{make([]byte, n)}), checksum.NewCursor([][]byte{b[60:]})
			if _, ok := verify.Deliver(&d, b[:60], &tail, &p, true); ok {
				t.Errorf("Deliver of %d bytes into %d succeeded", len(b), n)
			}
			if n < 60 {
				continue
			}
			d, tail = checksum.NewCursor([][]byte{make([]byte, len(b))}), checksum.NewCursor([][]byte{b[60:n]})
			if _, ok := verify.Deliver(&d, b[:60], &tail, &p, true); ok {
				t.Errorf("Deliver of %d bytes of which %d are there succeeded", len(b), n)
			}
		}
	}
}

// FuzzVerify: nothing panics, Deliver finds what Check finds, and the frame
// arrives as it is.
func FuzzVerify(f *testing.F) {
	for i, c := range frames([]byte("payload")) {
		if i%41 == 0 {
			f.Add(c.Spec.Build().Bytes, uint64(i), i%2 == 0)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, seed uint64, tunnel bool) {
		r := rand.New(rand.NewPCG(seed, 1))
		whole := check(b, tunnel)
		var p packet.Info
		packet.Parse(&p, b, len(b))
		// With the headers at hand the result must be the same.
		head := int(p.HeaderLen) + r.IntN(len(b)-int(p.HeaderLen)+1)
		var q packet.Info
		packet.Parse(&q, b[:head], len(b))
		out, got := deliver(t, r, b, head, int(seed%3), tunnel)
		if !bytes.Equal(out, b) {
			t.Fatalf("delivered %x, want %x", out, b)
		}
		if q == p && got != whole {
			t.Fatalf("Deliver = %+v, Check = %+v\n%x", got, whole, b)
		}
	})
}

func TestNoAllocation(t *testing.T) {
	s := frametest.Spec{Proto: frametest.GRE, GREFlags: 0x20, Inner: &frametest.Spec{Proto: frametest.TCP, Payload: make([]byte, 1400)}}
	b := s.Build().Bytes
	out := make([]byte, len(b))
	room, pieces := [][]byte{out[:5], out[5:]}, [][]byte{b[128:500], b[500:]}
	var p packet.Info
	if n := testing.AllocsPerRun(100, func() {
		packet.Parse(&p, b, len(b))
		verify.Check(&p, b, true)
		d, tail := checksum.NewCursor(room), checksum.NewCursor(pieces)
		verify.Deliver(&d, b[:128], &tail, &p, true)
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}
