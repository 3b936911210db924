package checksum_test

import (
	"math/rand/v2"
	"testing"

	"vhost-user-nvgre/offload/checksum"
)

// cut splits b into random pieces: empty, of one byte, short and long.
func cut(r *rand.Rand, b []byte) [][]byte {
	var out [][]byte
	for len(b) > 0 {
		n := []int{0, 1, 1, 2, 3, 16, 17, 64, 500, 4096}[r.IntN(10)]
		n = min(n, len(b))
		out = append(out, b[:n:n])
		b = b[n:]
	}
	return append(out, nil)
}

func TestTransferPieces(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 20000 {
		n := r.IntN(300)
		if r.IntN(10) == 0 {
			n = r.IntN(9000)
		}
		src, dst := randomBytes(r, n), make([]byte, n+r.IntN(20))
		s, d := checksum.NewCursor(cut(r, src)), checksum.NewCursor(cut(r, dst))
		// In several steps; each must be right by itself.
		for at := 0; at < n; {
			step := 1 + r.IntN(n-at)
			a, got := checksum.Transfer(&d, &s, step)
			if got != step {
				t.Fatalf("Transfer of %d bytes at %d of %d moved %d", step, at, n, got)
			}
			if got, want := network(a), rfc1071(src[at:at+step]); got != want {
				t.Fatalf("Transfer of %d bytes at %d summed to %#04x, want %#04x", step, at, got, want)
			}
			at += step
		}
		if string(dst[:n]) != string(src) {
			t.Fatalf("Transfer of %d bytes did not copy them", n)
		}
		if s.Len() != 0 || d.Len() != len(dst)-n {
			t.Fatalf("after Transfer: %d bytes of source and %d of destination left, want 0 and %d", s.Len(), d.Len(), len(dst)-n)
		}
	}
}

func TestCursorEnds(t *testing.T) {
	pieces := func(n ...int) [][]byte {
		var p [][]byte
		for _, v := range n {
			p = append(p, make([]byte, v))
		}
		return p
	}
	for _, c := range []struct {
		dst, src [][]byte
		n, want  int
	}{
		{nil, nil, 1, 0},
		{pieces(5), nil, 5, 0},
		{nil, pieces(5), 5, 0},
		{pieces(5), pieces(3), 5, 3},
		{pieces(3), pieces(5), 5, 3},
		{pieces(1, 0, 1), pieces(2, 2), 4, 2},
		{pieces(0, 0, 4), pieces(1, 1, 1, 0), 4, 3},
		{pieces(9), pieces(9), 0, 0},
	} {
		total := func(p [][]byte) int { cur := checksum.NewCursor(p); return cur.Len() }
		d, s := checksum.NewCursor(c.dst), checksum.NewCursor(c.src)
		if _, got := checksum.Transfer(&d, &s, c.n); got != c.want {
			t.Errorf("Transfer(%v, %v, %d) moved %d, want %d", c.dst, c.src, c.n, got, c.want)
		}
		if got, want := d.Len(), total(c.dst)-c.want; got != want {
			t.Errorf("Transfer(%v, %v, %d) left %d of the destination, want %d", c.dst, c.src, c.n, got, want)
		}
		if got, want := s.Len(), total(c.src)-c.want; got != want {
			t.Errorf("Transfer(%v, %v, %d) left %d of the source, want %d", c.dst, c.src, c.n, got, want)
		}
		d, s = checksum.NewCursor(c.dst), checksum.NewCursor(c.src)
		if got := checksum.Move(&d, &s, c.n); got != c.want {
			t.Errorf("Move(%v, %v, %d) = %d, want %d", c.dst, c.src, c.n, got, c.want)
		}
		s = checksum.NewCursor(c.src)
		if got, want := s.Skip(100), total(c.src); got != want {
			t.Errorf("Skip(100) of %v = %d, want %d", c.src, got, want)
		}
	}
}

func TestCursorReadWrite(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	for range 2000 {
		n := r.IntN(200)
		data, mem := randomBytes(r, n), make([]byte, n)
		d := checksum.NewCursor(cut(r, mem))
		first := r.IntN(n + 1)
		if got := d.Write(data[:first]); got != first {
			t.Fatalf("Write of %d bytes = %d", first, got)
		}
		a, got := d.WriteSum(data[first:])
		if want := rfc1071(data[first:]); got != n-first || network(a) != want {
			t.Fatalf("WriteSum of %d bytes = %#04x, %d; want %#04x, %d", n-first, network(a), got, want, n-first)
		}
		back := make([]byte, n)
		s := checksum.NewCursor(cut(r, mem))
		if got := s.Read(back[:first]) + s.Read(back[first:]); got != n || string(back) != string(data) {
			t.Fatalf("Read gave %d bytes %x, want %d bytes %x", got, back, n, data)
		}
		if got := d.Write([]byte{1}); got != 0 {
			t.Fatalf("Write at the end = %d, want 0", got)
		}
		if got := s.Read(make([]byte, 1)); got != 0 {
			t.Fatalf("Read at the end = %d, want 0", got)
		}
	}
}

func FuzzTransfer(f *testing.F) {
	f.Add([]byte("0123456789abcdef0123456789abcdefXYZ"), uint64(1), 30)
	f.Add([]byte{}, uint64(2), 0)
	f.Fuzz(func(t *testing.T, src []byte, seed uint64, n int) {
		r := rand.New(rand.NewPCG(seed, 0))
		if n < 0 || n > 1<<16 {
			n = len(src)
		}
		dst := make([]byte, r.IntN(len(src)+2))
		s, d := checksum.NewCursor(cut(r, src)), checksum.NewCursor(cut(r, dst))
		a, got := checksum.Transfer(&d, &s, n)
		if want := min(n, len(src), len(dst)); got != want {
			t.Fatalf("Transfer of %d bytes from %d to %d moved %d, want %d", n, len(src), len(dst), got, want)
		}
		if string(dst[:got]) != string(src[:got]) || network(a) != rfc1071(src[:got]) {
			t.Fatalf("Transfer of %d bytes: sum %#04x, want %#04x; copied %x, want %x", got, network(a), rfc1071(src[:got]), dst[:got], src[:got])
		}
	})
}
