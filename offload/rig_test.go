package offload_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/offload/gso"
	"vhost-user-nvgre/offload/internal/frametest"
	"vhost-user-nvgre/offload/verify"
	"vhost-user-nvgre/virtio"
)

// Everything that a sender and a receiver can negotiate here.
const (
	txAll = virtio.FeatureCSUM | virtio.FeatureHostTSO4 | virtio.FeatureHostTSO6 | virtio.FeatureHostECN | virtio.FeatureHostUSO
	rxAll = virtio.FeatureGuestCSUM | virtio.FeatureGuestTSO4 | virtio.FeatureGuestTSO6 | virtio.FeatureGuestECN |
		virtio.FeatureGuestUSO4 | virtio.FeatureGuestUSO6
)

// stateWith is the default state with NVGRE turned on or off.
func stateWith(nvgre bool) *offload.State {
	st := offload.DefaultState()
	if nvgre {
		st.NVGRE = offload.AllNVGRE()
	}
	return &st
}

// delivered is a frame as a receiver finds it.
type delivered struct {
	hdr virtio.NetHdr
	b   []byte
}

// sink takes frames into pieces of memory like those of a receive queue, with
// canaries behind.
type sink struct {
	t      testing.TB
	r      *rand.Rand
	layout int // of the room, as for cut
	limit  int // frames that fit, -1: any number

	room   []byte
	frames []delivered
	sums   []verify.Result
}

func (s *sink) Reserve(n int) ([][]byte, bool) {
	if len(s.frames) == s.limit {
		return nil, false
	}
	s.room = bytes.Repeat([]byte{0xdd}, n+8)
	return cut(s.r, s.room[:n:n], s.layout), true
}

func (s *sink) Commit(h *virtio.NetHdr) {
	n := len(s.room) - 8
	if !bytes.Equal(s.room[n:], bytes.Repeat([]byte{0xdd}, 8)) {
		s.t.Errorf("bytes behind a frame of %d were written", n)
	}
	s.frames = append(s.frames, delivered{*h, s.room[:n]})
}

func (s *sink) Validated(r verify.Result) { s.sums = append(s.sums, r) }

// cut splits b into pieces by layout: 0 = one, 1 = long, 2 = tiny and empty.
func cut(r *rand.Rand, b []byte, layout int) [][]byte {
	if layout == 0 {
		return [][]byte{b}
	}
	var out [][]byte
	for len(b) > 0 {
		n := 1 + r.IntN(2000)
		if layout == 2 {
			n = []int{0, 1, 1, 2, 3, 7, 40, 100}[r.IntN(8)]
		}
		n = min(n, len(b))
		out = append(out, b[:n:n])
		b = b[n:]
	}
	return out
}

// image is a header of 12 bytes and a frame, as a driver lays them out.
func image(h virtio.NetHdr, frame []byte) []byte {
	b := make([]byte, virtio.NetHdrSize)
	h.Encode(b)
	return append(b, frame...)
}

// transfer takes a frame from a sender to a sink as a shard does.
func transfer(w *offload.Worker, f *offload.Frame, segs [][]byte, tx *offload.Sender, rx *offload.Receiver, s *sink) offload.Verdict {
	if v := f.Load(segs, virtio.NetHdrSize); v != offload.OK {
		return v
	}
	if v := w.Admit(f, tx); v != offload.OK {
		return v
	}
	return deliver(w, f, rx, s)
}

// deliver is the second half of transfer.
func deliver(w *offload.Worker, f *offload.Frame, rx *offload.Receiver, s *sink) offload.Verdict {
	if !f.Whole(rx) {
		return w.Deliver(f, rx, s)
	}
	s.frames = append(s.frames, delivered{f.Hdr, bytesOf(f)})
	return offload.OK
}

// bytesOf returns the frame.
func bytesOf(f *offload.Frame) []byte {
	b := append([]byte(nil), f.Head...)
	for _, t := range f.Tail {
		b = append(b, t...)
	}
	return b
}

// randomBytes returns n bytes.
func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// target returns the packet of s whose checksum and payload are meant.
func target(s *frametest.Spec) *frametest.Spec {
	if s.Proto == frametest.GRE {
		return s.Inner
	}
	return s
}

// withPayload returns s with another payload.
func withPayload(s frametest.Spec, payload []byte) frametest.Spec {
	if s.Proto == frametest.GRE {
		inner := *s.Inner
		inner.Payload = payload
		s.Inner = &inner
		return s
	}
	s.Payload = payload
	return s
}

// frames returns TCP and UDP packets of every form that may be segmented, plain
// and in NVGRE.
func frames() []frametest.Named {
	var out []frametest.Named
	add := func(n frametest.Named) {
		f := n.Spec.Build()
		if f.Levels[len(f.Levels)-1].Payload <= gso.MaxHeader {
			out = append(out, n)
		}
	}
	for i, l := range frametest.Levels(nil) {
		if l.Spec.Proto != frametest.TCP && l.Spec.Proto != frametest.UDP || len(l.Spec.Ext) > 0 && l.Spec.Ext[0].Type == frametest.AH {
			continue
		}
		add(l)
		for _, t := range frametest.Tunnels(l, i%3 == 0) {
			if t.Spec.GREFlags == 0x20 && !t.Spec.Inner.Bare {
				add(t)
			}
		}
	}
	return out
}

// field returns where the checksum field of the packet meant is, and from where
// it counts.
func field(s *frametest.Spec, f frametest.Frame) (start, offset int) {
	start, offset = f.Levels[len(f.Levels)-1].L4, 16
	if target(s).Proto == frametest.UDP {
		offset = 6
	}
	return start, offset
}

// partial returns the frame of s as a driver hands it over that leaves the
// checksum to the device: the field holds the sum of the pseudo-header.
func partial(s *frametest.Spec) ([]byte, virtio.NetHdr) {
	f := s.Build()
	start, offset := field(s, f)
	at := f.Bytes[start+offset:]
	whole := [2]byte{^at[0], ^at[1]}
	clear(at[:2])
	rest := ^frametest.Sum(f.Bytes[start:])
	binary.BigEndian.PutUint16(at, frametest.Sum(whole[:], []byte{byte(rest >> 8), byte(rest)}))
	return f.Bytes, virtio.NetHdr{Flags: virtio.HdrNeedsCsum, CsumStart: uint16(start), CsumOffset: uint16(offset)}
}

// super returns the frame of s as a super-frame, its fields as drivers leave
// them that need not set them.
func super(r *rand.Rand, s *frametest.Spec, mss int) ([]byte, virtio.NetHdr) {
	b, h := partial(s)
	h.GSOSize, h.HdrLen = uint16(mss), uint16(r.Uint32())
	switch t := target(s); {
	case t.Proto == frametest.UDP:
		h.GSOType = virtio.GSOUDPL4
		if t.NoUDPSum {
			at := int(h.CsumStart + h.CsumOffset)
			clear(b[at : at+2])
		}
	case t.V6:
		h.GSOType = virtio.GSOTCPv6
	default:
		h.GSOType = virtio.GSOTCPv4
	}
	return b, h
}

// spoilIPv4 sets the IPv4 header checksums of a frame to anything.
func spoilIPv4(r *rand.Rand, s *frametest.Spec, b []byte) {
	levels := s.Build().Levels
	for i, l := range levels {
		if v6 := i == 0 && s.V6 || i == 1 && s.Inner.V6; !v6 {
			b[l.L3+10], b[l.L3+11] = byte(r.Uint32()), byte(r.Uint32())
		}
	}
}
