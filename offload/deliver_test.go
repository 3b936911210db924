package offload_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/offload/internal/frametest"
	"vhost-user-nvgre/offload/verify"
	"vhost-user-nvgre/virtio"
)

// inspectResult says which checksums of a frame are good; one that there is
// not counts as good.
type inspectResult struct{ outer, inner, transport bool }

// inspect checks the frame of s with RFC 1071 written out.
func inspect(b []byte, s *frametest.Spec) inspectResult {
	levels := s.Build().Levels
	good := func(spec *frametest.Spec, at frametest.Offsets) bool {
		return spec.V6 || frametest.Sum(b[at.L3:at.L4]) == 0xffff
	}
	r := inspectResult{outer: good(s, levels[0]), inner: true}
	last := levels[len(levels)-1]
	if s.Inner != nil {
		r.inner = good(s.Inner, last)
	}
	// The built frame is right, and the pseudo-header is the same.
	right := s.Build().Bytes
	r.transport = frametest.Sum(b[last.L4:]) == frametest.Sum(right[last.L4:])
	return r
}

// receivers are what drivers negotiate.
var receivers = []virtio.Features{
	0,
	virtio.FeatureGuestCSUM,
	virtio.FeatureGuestCSUM | virtio.FeatureGuestTSO4,
	virtio.FeatureGuestCSUM | virtio.FeatureGuestTSO6 | virtio.FeatureGuestECN,
	virtio.FeatureGuestCSUM | virtio.FeatureGuestUSO4,
	virtio.FeatureGuestCSUM | virtio.FeatureGuestUSO6,
	rxAll &^ virtio.FeatureGuestECN,
	rxAll,
}

// takesWhole says whether a receiver takes the super-frame of s.
func takesWhole(f virtio.Features, s *frametest.Spec, ecn bool) bool {
	want := virtio.FeatureGuestCSUM
	switch {
	case s.Proto == frametest.TCP && s.V6:
		want |= virtio.FeatureGuestTSO6
	case s.Proto == frametest.TCP:
		want |= virtio.FeatureGuestTSO4
	case s.Proto == frametest.UDP && s.V6:
		want |= virtio.FeatureGuestUSO6
	case s.Proto == frametest.UDP:
		want |= virtio.FeatureGuestUSO4
	default:
		return false // in a tunnel
	}
	if ecn {
		want |= virtio.FeatureGuestECN
	}
	return f.Has(want)
}

// Families x tags x options x tunnels x payload sizes x segment sizes x layouts
// of sender and receiver x receivers: who takes the super-frame gets it as it
// was, and everyone else the segments that its description makes.
//
// Shows: VNET-046, VNET-063, VNET-064, VNET-065, VNET-066, VNET-068, VNET-070
// Shows: NDIS-002, NDIS-003, NDIS-010, NDIS-017, NDIS-018, NDIS-024, NDIS-137, NDIS-138
// Hostile: CVE-2026-100236, CVE-2026-43057
func TestSuperFrames(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	sizes := []struct{ payload, mss int }{{1, 1}, {10, 3}, {1400, 1400}, {3001, 1400}, {9000, 8960}, {20000, 1447}}
	var (
		w     offload.Worker
		f     offload.Frame
		count int
	)
	for i, c := range frames() {
		st := stateWith(true)
		if i%4 < 2 {
			st.NVGRE.TxChecksum = 0 // segments have checksums all the same
		}
		tx := offload.SenderOf(txAll, st)
		for j, size := range sizes {
			if (i+j)%3 != 0 && size.payload > 10 {
				continue
			}
			s := withPayload(c.Spec, randomBytes(r, size.payload))
			b, h := super(r, &s, size.mss)
			ecn := target(&s).Proto == frametest.TCP && i%2 == 0
			if ecn {
				h.GSOType |= virtio.GSOECN
			}
			spoilIPv4(r, &s, b)
			sent := bytes.Clone(b)
			features := receivers[(i+j)%len(receivers)]
			rx := offload.ReceiverOf(features, stateWith(true))
			what := fmt.Sprintf("%s, %d bytes by %d, receiver %s", c.Name, size.payload, size.mss, features)
			got := sink{t: t, r: r, layout: (i + 2*j) % 3, limit: -1}
			if v := transfer(&w, &f, cut(r, image(h, b), (i+j)%3), &tx, &rx, &got); v != offload.OK {
				t.Fatalf("%s: %v", what, v)
			}
			if !bytes.Equal(b, sent) {
				t.Fatalf("%s: the sender's memory was written", what)
			}
			if takesWhole(features, &s, ecn) {
				want := h
				levels := s.Build().Levels
				want.HdrLen = uint16(levels[len(levels)-1].Payload)
				if len(got.frames) != 1 || !bytes.Equal(got.frames[0].b, sent) || got.frames[0].hdr != want {
					t.Fatalf("%s: %d frames, header %+v; want it whole with %+v", what, len(got.frames), got.frames[0].hdr, want)
				}
				continue
			}
			hdr := virtio.NetHdr{}
			if features.Has(virtio.FeatureGuestCSUM) {
				hdr.Flags = virtio.HdrDataValid
			}
			want := s.Segments(size.mss)
			if len(got.frames) != len(want) {
				t.Fatalf("%s: %d segments, want %d", what, len(got.frames), len(want))
			}
			header, payload, mss := f.Split()
			for k, seg := range want {
				if n := header + min(mss, payload-k*mss); n != len(seg) {
					t.Fatalf("%s: Split() = %d, %d, %d, so segment %d has %d bytes; want %d", what, header, payload, mss, k, n, len(seg))
				}
			}
			for k, seg := range got.frames {
				if !bytes.Equal(seg.b, want[k]) {
					t.Fatalf("%s: segment %d\n got %x\nwant %x", what, k, seg.b, want[k])
				}
				if seg.hdr != hdr {
					t.Fatalf("%s: segment %d has the header %+v, want %+v", what, k, seg.hdr, hdr)
				}
				if k == 0 || k == len(want)-1 {
					decode(t, what, seg.b)
				}
				count++
			}
			if n, want := f.Longest(&rx), len(got.frames[0].b); n != want {
				t.Errorf("%s: Longest = %d, want %d", what, n, want)
			}
		}
	}
	t.Logf("%d segments", count)
}

// decode has gopacket look at a frame.
func decode(t *testing.T, what string, b []byte) {
	t.Helper()
	home := bytes.Contains(b[:min(len(b), 200)], frametest.ExtHome.Body[:8])
	if _, err := frametest.Decode(b, home); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// A partial checksum goes on to who takes it, with the field as it was, and is
// finished for everyone else; in a tunnel, where NVGRE is on, with the IPv4
// headers of both levels.
//
// Shows: VNET-042, VNET-063, VNET-066, NDIS-002, NDIS-017, NDIS-018, NDIS-053, NDIS-055, NDIS-110
func TestPartialChecksums(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var (
		w offload.Worker
		f offload.Frame
	)
	for i, c := range frames() {
		if target(&c.Spec).NoUDPSum {
			continue // there is none to finish
		}
		for j, size := range []int{0, 1, 100, 1400} {
			nvgre := (i+j)%2 == 0
			st := stateWith(nvgre)
			tx := offload.SenderOf(txAll, st)
			features := receivers[(i+j)%len(receivers)]
			rx := offload.ReceiverOf(features, st)
			s := withPayload(c.Spec, randomBytes(r, size))
			b, h := partial(&s)
			tunnelled := s.Proto == frametest.GRE
			if tunnelled && nvgre {
				spoilIPv4(r, &s, b)
			}
			sent := bytes.Clone(b)
			what := fmt.Sprintf("%s, %d bytes, NVGRE %t, receiver %s", c.Name, size, nvgre, features)
			// As when flooded: every receiver finds the frame as it was sent.
			for range 2 {
				got := sink{t: t, r: r, layout: (i + 2*j) % 3, limit: -1}
				if v := transfer(&w, &f, cut(r, image(h, b), (i+j)%3), &tx, &rx, &got); v != offload.OK {
					t.Fatalf("%s: %v", what, v)
				}
				again := got
				again.frames = nil
				if v := deliver(&w, &f, &rx, &again); v != offload.OK {
					t.Fatalf("%s, second receiver: %v", what, v)
				}
				for _, frames := range [][]delivered{got.frames, again.frames} {
					if len(frames) != 1 {
						t.Fatalf("%s: %d frames", what, len(frames))
					}
					want, hdr := s.Build().Bytes, virtio.NetHdr{}
					if features.Has(virtio.FeatureGuestCSUM) {
						hdr.Flags = virtio.HdrDataValid
						if !tunnelled || !nvgre {
							want, hdr = sent, h
							hdr.HdrLen = h.CsumStart + h.CsumOffset + 2
						}
					}
					if !bytes.Equal(frames[0].b, want) || frames[0].hdr != hdr {
						t.Fatalf("%s: header %+v, want %+v; frame\n got %x\nwant %x", what, frames[0].hdr, hdr, frames[0].b, want)
					}
				}
			}
			if !bytes.Equal(b, sent) {
				t.Fatalf("%s: the sender's memory was written", what)
			}
		}
	}
}

// every says that all plain checksums are validated.
var every = offload.Validation{IPv4: true, TCPv4: true, UDPv4: true, TCPv6: true, UDPv6: true}

// Frames without anything to do arrive byte by byte as they were, whatever is
// wrong with them; the driver is told that checksums are good only if all that
// there are were looked at and are.
//
// Shows: VNET-041, VNET-063, VNET-067, NDIS-001, NDIS-008, NDIS-010, NDIS-057, NDIS-060, NDIS-112, NDIS-113, NDIS-116
func TestValidation(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	var (
		w offload.Worker
		f offload.Frame
	)
	tx := offload.SenderOf(0, stateWith(false))
	var all []frametest.Named
	for i, l := range frametest.Levels(randomBytes(r, 300)) {
		all = append(all, l)
		all = append(all, frametest.Tunnels(l, i%9 == 0)...)
	}
	for i, c := range all {
		s := &c.Spec
		for _, damage := range []string{"", "outer", "inner", "transport"} {
			b := s.Build()
			levels := b.Levels
			last, in := levels[len(levels)-1], target(s)
			if s.Proto == frametest.GRE && s.Inner == nil {
				in = s
			}
			switch damage {
			case "outer":
				if s.V6 {
					continue
				}
				b.Bytes[levels[0].L3+10] ^= 1
			case "inner":
				if s.Inner == nil || s.Inner.V6 {
					continue
				}
				b.Bytes[last.L3+10] ^= 1
			case "transport":
				b.Bytes[len(b.Bytes)-1] ^= 1
			}
			for mode := range 3 {
				st := stateWith(mode == 2)
				if mode > 0 {
					st.Receive = every
				}
				for _, features := range []virtio.Features{0, rxAll} {
					rx := offload.ReceiverOf(features, st)
					what := fmt.Sprintf("%s (%d), damage to %q, mode %d, receiver %s", c.Name, i, damage, mode, features)
					got := sink{t: t, r: r, layout: i % 3, limit: -1}
					if v := transfer(&w, &f, cut(r, image(virtio.NetHdr{}, b.Bytes), (i+mode)%3), &tx, &rx, &got); v != offload.OK {
						t.Fatalf("%s: %v", what, v)
					}
					if len(got.frames) != 1 || !bytes.Equal(got.frames[0].b, b.Bytes) {
						t.Fatalf("%s: the frame arrived changed", what)
					}
					nvgre := s.Proto == frametest.GRE && s.GREFlags == 0x20 && s.Inner != nil && !s.Inner.Bare
					// The packet that is looked at, if any.
					seen := s
					looked := features != 0 && mode > 0 && s.Proto != frametest.GRE
					if nvgre && features != 0 && mode == 2 && headerLen(b, in) <= 256 {
						seen, looked = in, true
					}
					sums := seen.Proto == frametest.TCP || seen.Proto == frametest.UDP && !seen.NoUDPSum
					want := uint8(0)
					if looked && sums && damage == "" {
						want = virtio.HdrDataValid
					}
					if got.frames[0].hdr != (virtio.NetHdr{Flags: want}) {
						t.Fatalf("%s: header %+v, want flags %d", what, got.frames[0].hdr, want)
					}
					if !looked || !sums {
						continue
					}
					result := verify.Result{Transport: verify.Good}
					if damage == "transport" {
						result.Transport = verify.Bad
					}
					if len(got.sums) != 1 || got.sums[0].Transport != result.Transport {
						t.Fatalf("%s: reported %+v, want transport %v", what, got.sums, result.Transport)
					}
					if bad := got.sums[0].OuterIP == verify.Bad; bad != (damage == "outer") {
						t.Fatalf("%s: reported %+v", what, got.sums)
					}
					if bad := got.sums[0].InnerIP == verify.Bad; bad != (damage == "inner") {
						t.Fatalf("%s: reported %+v", what, got.sums)
					}
				}
			}
		}
	}
}

// headerLen is the length of the headers up to the payload of the packet
// meant.
func headerLen(f frametest.Frame, in *frametest.Spec) int {
	last := f.Levels[len(f.Levels)-1]
	if in.Proto == frametest.TCP || in.Proto == frametest.UDP {
		return last.Payload
	}
	return last.L4
}

// A sink without room: what was delivered stays, and the verdict says so.
//
// Shows: VNET-062
func TestNoRoom(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	st := stateWith(true)
	st.Receive = every
	tx, rx := offload.SenderOf(txAll, st), offload.ReceiverOf(virtio.FeatureGuestCSUM, st)
	plain := offload.ReceiverOf(0, st)
	s := frametest.Spec{Proto: frametest.TCP, Payload: randomBytes(r, 3000)}
	var (
		w offload.Worker
		f offload.Frame
	)
	for limit := range 4 {
		b, h := super(r, &s, 1000)
		got := sink{t: t, r: r, limit: limit}
		want := offload.NoRoom
		if limit == 3 {
			want = offload.OK
		}
		if v := transfer(&w, &f, [][]byte{image(h, b)}, &tx, &rx, &got); v != want || len(got.frames) != limit {
			t.Errorf("room for %d of 3 segments: %v, %d delivered; want %v", limit, v, len(got.frames), want)
		}
	}
	b, h := partial(&s)
	got := sink{t: t, r: r}
	if v := transfer(&w, &f, [][]byte{image(h, b)}, &tx, &plain, &got); v != offload.NoRoom || len(got.frames) != 0 {
		t.Errorf("no room for a partial checksum: %v, %d delivered", v, len(got.frames))
	}
	got = sink{t: t, r: r}
	if v := transfer(&w, &f, [][]byte{image(virtio.NetHdr{}, b)}, &tx, &rx, &got); v != offload.NoRoom || len(got.sums) != 0 {
		t.Errorf("no room for a frame to validate: %v, %d reported", v, len(got.sums))
	}
	// A room that is shorter than was asked for is none.
	short := &shortSink{sink: sink{t: t, r: r, limit: -1}}
	for what, h := range map[string]virtio.NetHdr{"plain": {}, "partial": h} {
		if v := f.Load([][]byte{image(h, b)}, virtio.NetHdrSize); v != offload.OK {
			t.Fatal(v)
		}
		if v := w.Admit(&f, &tx); v != offload.OK {
			t.Fatal(v)
		}
		to := &rx
		if what == "partial" {
			to = &plain
		}
		if v := w.Deliver(&f, to, short); v == offload.OK || len(short.frames) != 0 {
			t.Errorf("%s into too short a room: %v, %d delivered", what, v, len(short.frames))
		}
	}
}

// shortSink gives less room than was asked for.
type shortSink struct{ sink }

func (s *shortSink) Reserve(n int) ([][]byte, bool) {
	room, ok := s.sink.Reserve(n - 1)
	return room, ok
}

// Nothing is allocated for a frame.
func TestNoAllocation(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	st := stateWith(true)
	st.Receive = every
	tx := offload.SenderOf(txAll, st)
	inner := frametest.Spec{Proto: frametest.TCP, Payload: randomBytes(r, 9000)}
	s := frametest.Spec{Proto: frametest.GRE, GREFlags: 0x20, Inner: &inner}
	b, h := super(r, &s, 1400)
	pb, ph := partial(&s)
	hasher := offload.Hasher{Key: testKey, Types: everyType, NVGRE: st.NVGRE}
	for _, features := range receivers {
		rx := offload.ReceiverOf(features, st)
		var (
			w    offload.Worker
			f    offload.Frame
			room = &flatSink{b: make([]byte, 20000)}
		)
		images := [][]byte{image(h, b), image(ph, pb), image(virtio.NetHdr{}, pb)}
		segs := make([][]byte, 0, 1)
		if n := testing.AllocsPerRun(50, func() {
			for _, image := range images {
				f.Load(append(segs, image), virtio.NetHdrSize)
				w.Admit(&f, &tx)
				hasher.Hash(&f)
				if !f.Whole(&rx) {
					w.Deliver(&f, &rx, room)
				}
			}
		}); n != 0 {
			t.Errorf("receiver %s: %v allocations a round, want 0", features, n)
		}
	}
}

// flatSink takes every frame into the same memory.
type flatSink struct {
	b    []byte
	room [1][]byte
}

func (s *flatSink) Reserve(n int) ([][]byte, bool) {
	s.room[0] = s.b[:n]
	return s.room[:], true
}
func (s *flatSink) Commit(*virtio.NetHdr)   {}
func (s *flatSink) Validated(verify.Result) {}
