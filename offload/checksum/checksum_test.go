package checksum_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"vhost-user-nvgre/offload/checksum"
	"vhost-user-nvgre/offload/internal/cpu"
)

// rfc1071 is the definition, section 1 and 4.1 of the RFC: 16-bit words in
// network order, end-around carry after each.
func rfc1071(parts ...[]byte) uint16 {
	var all []byte
	for _, p := range parts {
		all = append(all, p...)
	}
	if len(all)%2 != 0 {
		all = append(all, 0)
	}
	var sum uint32
	for i := 0; i < len(all); i += 2 {
		sum += uint32(all[i])<<8 | uint32(all[i+1])
		if sum > 0xffff {
			sum -= 0xffff
		}
	}
	return uint16(sum)
}

// network returns the folded sum as a number in network order.
func network(a checksum.Acc) uint16 { return ^a.Value() }

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestRFC1071Example(t *testing.T) {
	b := []byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}
	if got := network(checksum.Sum(b)); got != 0xddf2 {
		t.Errorf("Sum(%x) = %#04x, want 0xddf2 (section 3)", b, got)
	}
	// The same bytes in the odd grouping of section 2 (B).
	got := network(checksum.Sum(b[:3]) + checksum.Sum(b[3:]).At(3))
	if got != 0xddf2 {
		t.Errorf("Sum in two parts of 3 and 5 bytes = %#04x, want 0xddf2", got)
	}
}

func TestEveryLength(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	random := randomBytes(r, 9100)
	ones := make([]byte, 9100)
	for i := range ones {
		ones[i] = 0xff
	}
	zeros := make([]byte, 9100)
	for _, data := range [][]byte{random, ones, zeros} {
		for n := 0; n <= 9001; n++ {
			if n > 600 && n%7 != 0 {
				continue
			}
			src := data[n%37:][:n]
			want := rfc1071(src)
			for _, body := range checksum.Bodies() {
				if n < body.Min {
					continue
				}
				if got := network(body.Sum(src)); got != want {
					t.Fatalf("%s: Sum of %d bytes starting %#x = %#04x, want %#04x", body.Name, n, data[0], got, want)
				}
				dst := make([]byte, n+64)
				got := network(body.Copy(dst[32:32+n], src))
				if got != want {
					t.Fatalf("%s: Copy of %d bytes starting %#x = %#04x, want %#04x", body.Name, n, data[0], got, want)
				}
				if string(dst[32:32+n]) != string(src) {
					t.Fatalf("%s: Copy of %d bytes did not copy them", body.Name, n)
				}
				for i, v := range dst {
					if (i < 32 || i >= 32+n) && v != 0 {
						t.Fatalf("%s: Copy of %d bytes wrote at offset %d", body.Name, n, i-32)
					}
				}
			}
		}
	}
}

// The choice of a body is made by length and level.
func TestDispatch(t *testing.T) {
	r := rand.New(rand.NewPCG(17, 18))
	for _, level := range cpu.Levels() {
		restore := checksum.SetLevel(level)
		for n := range 200 {
			src := randomBytes(r, n)
			if got, want := network(checksum.Sum(src)), rfc1071(src); got != want {
				t.Errorf("level %v: Sum of %d bytes = %#04x, want %#04x", level, n, got, want)
			}
			dst := make([]byte, n)
			if got, want := network(checksum.Copy(dst, src)), rfc1071(src); got != want || string(dst) != string(src) {
				t.Errorf("level %v: Copy of %d bytes = %#04x, want %#04x, or bytes differ", level, n, got, want)
			}
		}
		restore()
	}
}

// The accumulators must hold the largest sums there can be.
func TestMegabytesOfOnes(t *testing.T) {
	b := make([]byte, 4<<20)
	for i := range b {
		b[i] = 0xff
	}
	for _, body := range checksum.Bodies() {
		var a checksum.Acc
		for range 64 {
			a += body.Sum(b)
		}
		if got := network(a); got != 0xffff {
			t.Errorf("%s: 256 MiB of 0xff sum to %#04x, want 0xffff", body.Name, got)
		}
	}
}

func TestFold(t *testing.T) {
	for _, c := range []struct {
		a    checksum.Acc
		want uint16
	}{
		{0, 0},
		{0xffff, 0xffff},
		{0x10000, 1},
		{0xffffffff, 0xffff},
		{0x1_0000_0000, 1},
		{0xffff_ffff_ffff_ffff, 0xffff},
		{0xffff_ffff_ffff_fffe, 0xfffe},
		{0x1234_5678_9abc_def0, 0xe259}, // 1234+5678+9abc+def0 = 1e258; +1
	} {
		if got := c.a.Fold(); got != c.want {
			t.Errorf("Acc(%#x).Fold() = %#04x, want %#04x", uint64(c.a), got, c.want)
		}
	}
}

func TestPut(t *testing.T) {
	var b [2]byte
	checksum.Word(0xddf2).Put(b[:])
	if b != [2]byte{0x22, 0x0d} {
		t.Errorf("Put stored %x, want 220d (RFC 1071 section 3)", b)
	}
	checksum.Word(0xffff).Put(b[:])
	if b != [2]byte{0, 0} {
		t.Errorf("Put of a sum of ffff stored %x, want 0000", b)
	}
	checksum.Word(0xffff).PutUDP(b[:])
	if b != [2]byte{0xff, 0xff} {
		t.Errorf("PutUDP of a sum of ffff stored %x, want ffff", b)
	}
	checksum.Word(0xfffe).PutUDP(b[:])
	if b != [2]byte{0x00, 0x01} {
		t.Errorf("PutUDP of a sum of fffe stored %x, want 0001", b)
	}
	for _, c := range []struct {
		a    checksum.Acc
		want bool
	}{{0, false}, {0xffff, true}, {0x1fffe, true}, {1, false}, {0xfffe, false}} {
		if got := c.a.Good(); got != c.want {
			t.Errorf("Acc(%#x).Good() = %v, want %v", uint64(c.a), got, c.want)
		}
	}
}

func TestUpdate(t *testing.T) {
	// RFC 1624 section 4: the example that equation 2 gets wrong.
	if got := checksum.Update(0xdd2f, 0x5555, 0x3285); got != 0 {
		t.Errorf("Update(0xdd2f, 0x5555, 0x3285) = %#04x, want 0", got)
	}
	r := rand.New(rand.NewPCG(3, 4))
	for range 100000 {
		b := randomBytes(r, 20)
		hc := ^rfc1071(b)
		at := 2 * r.IntN(9)
		old, old32 := binary.BigEndian.Uint16(b[at:]), binary.BigEndian.Uint32(b[at:])
		new32 := r.Uint32() & []uint32{0xffffffff, 0, 0xffff0000}[r.IntN(3)]
		new16 := uint16(new32 >> 16)
		b2 := append([]byte(nil), b...)
		binary.BigEndian.PutUint16(b2[at:], new16)
		if got, want := checksum.Update(hc, old, new16), ^rfc1071(b2); got != want {
			t.Fatalf("Update(%#04x, %#04x, %#04x) = %#04x, want %#04x", hc, old, new16, got, want)
		}
		binary.BigEndian.PutUint32(b2[at:], new32)
		if got, want := checksum.Update32(hc, old32, new32), ^rfc1071(b2); got != want {
			t.Fatalf("Update32(%#04x, %#08x, %#08x) = %#04x, want %#04x", hc, old32, new32, got, want)
		}
	}
}

func TestPseudo(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 1000 {
		a4, a6 := [8]byte(randomBytes(r, 8)), [32]byte(randomBytes(r, 32))
		proto, n := byte(r.Uint32()), r.Uint32N(65536)
		be := binary.BigEndian.AppendUint32(nil, n)
		want4 := rfc1071(a4[:], []byte{0, proto}, be[2:])
		if got := network(checksum.PseudoIPv4(&a4, proto, n)); got != want4 {
			t.Fatalf("PseudoIPv4(%x, %d, %d) = %#04x, want %#04x", a4, proto, n, got, want4)
		}
		want6 := rfc1071(a6[:], be, []byte{0, 0, 0, proto})
		if got := network(checksum.PseudoIPv6(&a6, proto, n)); got != want6 {
			t.Fatalf("PseudoIPv6(%x, %d, %d) = %#04x, want %#04x", a6, proto, n, got, want6)
		}
		src, dst := [16]byte(a6[:16]), [16]byte(a6[16:])
		if got := network(checksum.PseudoIPv6Split(&src, &dst, proto, 0) + checksum.Long(n)); got != want6 {
			t.Fatalf("PseudoIPv6Split(%x, %d, 0) + Long(%d) = %#04x, want %#04x", a6, proto, n, got, want6)
		}
		h := [20]byte(randomBytes(r, 20))
		if got, want := network(checksum.IPv4Header(&h)), rfc1071(h[:]); got != want {
			t.Fatalf("IPv4Header(%x) = %#04x, want %#04x", h, got, want)
		}
		if checksum.IPv4HeaderGood(&h) {
			t.Fatalf("IPv4HeaderGood(%x) with a sum of %#04x", h, rfc1071(h[:]))
		}
		binary.BigEndian.PutUint16(h[10:], 0)
		binary.BigEndian.PutUint16(h[10:], ^rfc1071(h[:]))
		if !checksum.IPv4HeaderGood(&h) {
			t.Fatalf("IPv4HeaderGood(%x) is false", h)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	src, dst := make([]byte, 3000), make([]byte, 3000)
	ps, pd := [][]byte{src[:7], src[7:]}, [][]byte{dst[:100], dst[100:]}
	var sink checksum.Acc
	if n := testing.AllocsPerRun(100, func() {
		sink += checksum.Sum(src) + checksum.Copy(dst, src)
		s, d := checksum.NewCursor(ps), checksum.NewCursor(pd)
		a, _ := checksum.Transfer(&d, &s, 3000)
		sink += a
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
	_ = sink
}
