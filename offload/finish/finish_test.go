package finish_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/offload/checksum"
	"vhost-user-nvgre/offload/finish"
	"vhost-user-nvgre/offload/internal/frametest"
	"vhost-user-nvgre/offload/packet"
)

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

// deliver runs Deliver over frame with the first head bytes private.
func deliver(t *testing.T, r *rand.Rand, frame []byte, head, layout int, c finish.Partial) []byte {
	t.Helper()
	return work(t, r, frame, head, layout, finish.Work{Transport: true, Partial: c})
}

func work(t *testing.T, r *rand.Rand, frame []byte, head, layout int, w finish.Work) []byte {
	t.Helper()
	var p packet.Info
	packet.Parse(&p, frame[:head], len(frame))
	out := bytes.Repeat([]byte{0xdd}, len(frame)+4)
	private := append([]byte(nil), frame[:head]...)
	d, tail := checksum.NewCursor(cut(r, out, layout)), checksum.NewCursor(cut(r, frame[head:], layout))
	if !finish.Deliver(&d, private, &tail, &p, w) {
		t.Fatalf("Deliver of %d bytes, head %d, %+v failed", len(frame), head, w)
	}
	if d.Len() != 4 || tail.Len() != 0 || !bytes.Equal(out[len(frame):], []byte{0xdd, 0xdd, 0xdd, 0xdd}) {
		t.Fatalf("Deliver of %d bytes, head %d, %+v: %d bytes of room left, want 4, %d of the frame", len(frame), head, w, d.Len(), tail.Len())
	}
	return out[:len(frame)]
}

// pseudo returns the sum a sender puts in the checksum field: that of the
// pseudo-header, length included, not complemented.
func pseudo(s *frametest.Spec, f frametest.Frame, o frametest.Offsets) uint16 {
	n := o.End - o.L4
	tail := []byte{byte(n >> 8), byte(n), 0, s.Proto}
	b := f.Bytes
	if !s.V6 {
		return frametest.Sum(b[o.L3+12:o.L3+20], tail)
	}
	src, dst := b[o.L3+8:o.L3+24], b[o.L3+24:o.L3+40]
	if o.HomeAddr != 0 {
		src = b[o.HomeAddr:][:16]
	}
	if o.FinalDst != 0 {
		dst = b[o.FinalDst:][:16]
	}
	return frametest.Sum(src, dst, tail)
}

// Frames in every form, partial as a sender leaves them: with IPv4 header
// checksums of any value and the pseudo-header's sum in the transport checksum
// field, come out as they were built, however much of them is private.
//
// Shows: NDIS-004, NDIS-053, NDIS-055, NDIS-109, NDIS-110, VNET-042
func TestMatrix(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	levels := frametest.Levels([]byte("a payload of odd length"))
	all := levels
	for i, l := range levels {
		all = append(all, frametest.Tunnels(l, i%9 == 0)...)
	}
	n := 0
	for i, c := range all {
		f := c.Spec.Build()
		want := append([]byte(nil), f.Bytes...)
		for j, o := range f.Levels {
			s := &c.Spec
			if j == 1 {
				s = s.Inner
			}
			if !s.V6 {
				f.Bytes[o.L3+10], f.Bytes[o.L3+11] = byte(r.Uint32()), byte(r.Uint32())
			}
		}
		s, o := &c.Spec, f.Levels[0]
		if s.Inner != nil {
			s, o = s.Inner, f.Levels[1]
		}
		part := finish.Partial{Start: o.L4}
		switch {
		case s.Proto == frametest.TCP:
			part.Offset = 16
		case s.Proto == frametest.UDP && !s.NoUDPSum:
			part.Offset = 6
		}
		if part.Offset != 0 {
			v := pseudo(s, f, o)
			f.Bytes[o.L4+part.Offset], f.Bytes[o.L4+part.Offset+1] = byte(v>>8), byte(v)
		}
		w := finish.Work{Transport: part.Offset != 0, Partial: part, IPv4: true, Tunnel: true}
		for _, head := range []int{o.Payload, o.Payload + 1, len(want)} {
			for layout := range 3 {
				if got := work(t, r, f.Bytes, head, layout, w); !bytes.Equal(got, want) {
					t.Fatalf("%s, head %d, layout %d: Deliver\n got %x\nwant %x", c.Name, head, layout, got, want)
				}
				n++
			}
		}
		if !w.Transport {
			continue
		}
		// The IPv4 headers are right already; head may end anywhere.
		for j, o := range f.Levels {
			s := &c.Spec
			if j == 1 {
				s = s.Inner
			}
			if !s.V6 {
				copy(f.Bytes[o.L3+10:], want[o.L3+10:][:2])
			}
		}
		for _, head := range []int{0, o.L4 - 1, o.L4, o.L4 + 1, o.L4 + part.Offset, o.L4 + part.Offset + 1, o.L4 + part.Offset + 2, o.Payload, o.Payload + 3, len(want)} {
			if got := deliver(t, r, f.Bytes, head, (i+head)%3, part); !bytes.Equal(got, want) {
				t.Fatalf("%s, head %d: Deliver\n got %x\nwant %x", c.Name, head, got, want)
			}
			n++
		}
	}
	t.Logf("%d frames", n)
}

// Only what is asked for is done.
//
// Shows: NDIS-107, NDIS-108
func TestAsAsked(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	s := frametest.Spec{Proto: frametest.GRE, GREFlags: 0x20, Inner: &frametest.Spec{Proto: frametest.TCP, Payload: []byte("payload")}}
	f := s.Build()
	good := append([]byte(nil), f.Bytes...)
	f.Bytes[24]++
	f.Bytes[66]++
	v := pseudo(s.Inner, f, f.Levels[1])
	f.Bytes[92], f.Bytes[93] = byte(v>>8), byte(v)
	for i := range 8 {
		w := finish.Work{IPv4: i&1 != 0, Tunnel: i&2 != 0, Transport: i&4 != 0, Partial: finish.Partial{Start: 76, Offset: 16}}
		want := append([]byte(nil), f.Bytes...)
		if w.IPv4 {
			copy(want[24:26], good[24:])
		}
		if w.IPv4 && w.Tunnel {
			copy(want[66:68], good[66:])
		}
		if w.Transport {
			copy(want[92:94], good[92:])
		}
		for layout := range 3 {
			if got := work(t, r, f.Bytes, 96, layout, w); !bytes.Equal(got, want) {
				t.Errorf("Deliver with %+v, layout %d\n got %x\nwant %x", w, layout, got, want)
			}
		}
	}
}

// A checksum that covers an IPv4 header is of the header as completed.
func TestCoversHeader(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	s := frametest.Spec{Proto: frametest.TCP, Payload: []byte("payload")}
	f := s.Build()
	want := append([]byte(nil), f.Bytes...)
	f.Bytes[24]++
	sum := ^frametest.Sum(want[14:])
	want[50], want[51] = byte(sum>>8), byte(sum)
	w := finish.Work{IPv4: true, Transport: true, Partial: finish.Partial{Start: 14, Offset: 36}}
	for layout := range 3 {
		if got := work(t, r, f.Bytes, 54, layout, w); !bytes.Equal(got, want) {
			t.Errorf("Deliver with %+v\n got %x\nwant %x", w, got, want)
		}
	}
}

// A computed 0 becomes 0xffff in a UDP header, and stays in any other.
//
// Shows: VNET-042
func TestZero(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, c := range []struct {
		offset int
		want   []byte
	}{{6, []byte{0xff, 0xff}}, {16, []byte{0, 0}}} {
		b := make([]byte, 60)
		b[20], b[21] = 0xff, 0xff // all that is summed
		for head := range b {
			got := deliver(t, r, b, head, head%3, finish.Partial{Start: 20, Offset: c.offset})
			if !bytes.Equal(got[20+c.offset:][:2], c.want) {
				t.Errorf("checksum at offset %d, head %d: %x, want %x", c.offset, head, got[20+c.offset:][:2], c.want)
			}
		}
	}
}

// Every start and offset, within the frame and beyond.
//
// Shows: VNET-043
func TestAnywhere(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, size := range []int{1, 2, 3, 14, 60} {
		frame := make([]byte, size)
		for i := range frame {
			frame[i] = byte(r.Uint32())
		}
		for start := -1; start <= size+1; start++ {
			for offset := -1; offset <= size+1; offset++ {
				c := finish.Partial{Start: start, Offset: offset}
				valid := start >= 0 && offset >= 0 && start+offset <= size-2
				if c.Valid(size) != valid {
					t.Fatalf("%+v.Valid(%d) = %v, want %v", c, size, c.Valid(size), valid)
				}
				head := r.IntN(size + 1)
				if !valid {
					d, tail := checksum.NewCursor([][]byte{make([]byte, size)}), checksum.NewCursor([][]byte{frame[head:]})
					p := packet.Info{FrameLen: uint32(size)}
					if finish.Deliver(&d, frame[:head], &tail, &p, finish.Work{Transport: true, Partial: c}) || d.Len() != size {
						t.Fatalf("Deliver of %d bytes with %+v went ahead", size, c)
					}
					continue
				}
				want := append([]byte(nil), frame...)
				v := ^frametest.Sum(want[start:])
				if v == 0 && offset == 6 {
					v = 0xffff
				}
				want[start+offset], want[start+offset+1] = byte(v>>8), byte(v)
				if got := deliver(t, r, frame, head, (start+offset)%3, c); !bytes.Equal(got, want) {
					t.Fatalf("Deliver of %x, head %d, %+v\n got %x\nwant %x", frame, head, c, got, want)
				}
			}
		}
	}
	if (finish.Partial{Start: 65535, Offset: 65535}).Valid(1500) {
		t.Error("the largest start and offset are valid for 1,500 bytes")
	}
}

func TestTooShort(t *testing.T) {
	frame := make([]byte, 100)
	p := packet.Info{FrameLen: 100}
	for i, c := range []finish.Partial{{34, 16}, {60, 6}, {80, 16}, {}} {
		w := finish.Work{Transport: i < 3, Partial: c}
		for n := range frame {
			d, tail := checksum.NewCursor([][]byte{make([]byte, n)}), checksum.NewCursor([][]byte{frame[54:]})
			if finish.Deliver(&d, frame[:54], &tail, &p, w) {
				t.Errorf("%+v: Deliver of %d bytes into %d succeeded", w, len(frame), n)
			}
			if n < 54 {
				continue
			}
			d, tail = checksum.NewCursor([][]byte{make([]byte, len(frame))}), checksum.NewCursor([][]byte{frame[54:n]})
			if finish.Deliver(&d, frame[:54], &tail, &p, w) {
				t.Errorf("%+v: Deliver of %d bytes of which %d are there succeeded", w, len(frame), n)
			}
		}
	}
}

// The checksum is right for the bytes delivered, while the source changes.
func TestSourceChanges(t *testing.T) {
	guest, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_SHARED)
	if err != nil {
		t.Fatalf("mmap: %v", err)
	}
	defer unix.Munmap(guest)
	var quit atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for v := byte(0); !quit.Load(); v++ {
			for i := range guest {
				guest[i] = v ^ byte(i)
			}
			runtime.Gosched()
		}
	}()
	defer func() { quit.Store(true); <-done }()
	r := rand.New(rand.NewPCG(7, 8))
	for i := range 20000 {
		head := make([]byte, 54+i%100)
		size := len(head) + r.IntN(1400)
		out := make([]byte, size)
		c := finish.Partial{Start: 34, Offset: 16}
		if i%2 == 0 && size > 220 {
			c = finish.Partial{Start: 100 + r.IntN(100), Offset: 6}
		}
		d, tail := checksum.NewCursor(cut(r, out, i%3)), checksum.NewCursor(cut(r, guest[:size-len(head)], i%3))
		if !finish.Deliver(&d, head, &tail, &packet.Info{FrameLen: uint32(size)}, finish.Work{Transport: true, Partial: c}) {
			t.Fatal("Deliver failed")
		}
		// The seed is part of the source, so that the sum over everything but
		// the field, plus the seed, must complement what the field holds. With
		// the field in the private head the seed is 0 here.
		if c.Start == 34 && frametest.Sum(out[34:]) != 0xffff {
			t.Fatalf("the bytes delivered sum to %#04x", frametest.Sum(out[34:]))
		}
	}
}

func FuzzDeliver(f *testing.F) {
	f.Add(make([]byte, 60), 34, 16, 54, uint64(1))
	f.Add(make([]byte, 60), 34, 6, 3, uint64(2))
	f.Fuzz(func(t *testing.T, frame []byte, start, offset, head int, seed uint64) {
		c := finish.Partial{Start: start, Offset: offset}
		if !c.Valid(len(frame)) || head < 0 || head > len(frame) {
			return
		}
		r := rand.New(rand.NewPCG(seed, 0))
		want := append([]byte(nil), frame...)
		v := ^frametest.Sum(want[start:])
		if v == 0 && offset == 6 {
			v = 0xffff
		}
		want[start+offset], want[start+offset+1] = byte(v>>8), byte(v)
		if got := deliver(t, r, frame, head, int(seed%3), c); !bytes.Equal(got, want) {
			t.Fatalf("Deliver of %x, head %d, %+v\n got %x\nwant %x", frame, head, c, got, want)
		}
	})
}

// BenchmarkDeliver completes NVGRE frames with a partial inner TCP checksum
// and both IPv4 header checksums. An operation is a batch of 64.
func BenchmarkDeliver(b *testing.B) {
	for _, size := range []int{160, 1496} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := frametest.Spec{Proto: frametest.GRE, GREFlags: 0x20, Inner: &frametest.Spec{Proto: frametest.TCP, Payload: make([]byte, size-96)}}
			frame := s.Build().Bytes
			stride := size + 64
			mem, out := make([]byte, 16*stride), make([]byte, size)
			for i := range 16 {
				copy(mem[i*stride:], frame)
			}
			var p packet.Info
			w := finish.Work{Transport: true, Partial: finish.Partial{Start: 76, Offset: 16}, IPv4: true, Tunnel: true}
			b.SetBytes(64 * int64(size))
			b.ReportAllocs()
			for b.Loop() {
				for i := range 64 {
					f := mem[i&15*stride:][:size]
					packet.Parse(&p, f[:128], size)
					d, tail := checksum.NewCursorAt(out, nil), checksum.NewCursorAt(f[128:], nil)
					if !finish.Deliver(&d, f[:128], &tail, &p, w) {
						b.Fatal("failed")
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/64, "ns/frame")
		})
	}
}

func TestNoAllocation(t *testing.T) {
	frame, out := make([]byte, 1500), make([]byte, 1500)
	room, pieces := [][]byte{out[:5], out[5:]}, [][]byte{frame[128:500], frame[500:]}
	p := packet.Info{FrameLen: 1500}
	if n := testing.AllocsPerRun(100, func() {
		for _, c := range []finish.Partial{{34, 16}, {600, 6}} {
			d, tail := checksum.NewCursor(room), checksum.NewCursor(pieces)
			finish.Deliver(&d, frame[:128], &tail, &p, finish.Work{Transport: true, Partial: c})
		}
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}
