package toeplitz_test

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"vhost-user-nvgre/offload/toeplitz"
	"vhost-user-nvgre/offload/toeplitz/toeplitztest"
)

// definition is the hash by its definition.
func definition(key [toeplitz.KeySize]byte, input []byte) uint32 {
	return toeplitztest.Hash(key[:], input)
}

// Microsoft, "Verifying the RSS Hash Calculation". Destination first, as
// printed there; the hash takes the source first.
var vectors = []struct {
	dst, src  string
	ip, ports uint32
}{
	{"161.142.100.80:1766", "66.9.149.187:2794", 0x323e8fc2, 0x51ccc178},
	{"65.69.140.83:4739", "199.92.111.2:14230", 0xd718262a, 0xc626b0ea},
	{"12.22.207.184:38024", "24.19.198.95:12898", 0xd2d0a5de, 0x5c2b394a},
	{"209.142.163.6:2217", "38.27.205.30:48228", 0x82989176, 0xafc7327f},
	{"202.188.127.2:1303", "153.39.163.191:44251", 0x5d1809c5, 0x10e828a2},
	{"[3ffe:2501:200:3::1]:1766", "[3ffe:2501:200:1fff::7]:2794", 0x2cc18cd5, 0x40207d3d},
	{"[ff02::1]:4739", "[3ffe:501:8::260:97ff:fe40:efab]:14230", 0x0f0c461c, 0xdde51bbf},
	{"[fe80::200:f8ff:fe21:67cf]:38024", "[3ffe:1900:4545:3:200:f8ff:fe21:67cf]:44251", 0x4b61e985, 0x02d1feef},
}

// hashes returns what every body and function makes of addrs (8 or 32 bytes)
// and ports (4), by name.
func hashes(k *toeplitz.Key, addrs, ports []byte) map[string]uint32 {
	got := map[string]uint32{"Hash": k.Hash(append(append([]byte(nil), addrs...), ports...))}
	for _, b := range toeplitz.Bodies() {
		if len(addrs) == 8 {
			var h [24]byte
			for i := range h {
				h[i] = 0xa5 // what must not count
			}
			copy(h[12:], addrs)
			copy(h[20:], ports)
			got[b.Name+" IPv4Apart"] = b.IPv4(k, (*[8]byte)(addrs), (*[4]byte)(ports))
			got[b.Name+" IPv4Ports"] = b.IPv4Header(k, &h)
			continue
		}
		var h [44]byte
		for i := range h {
			h[i] = 0xa5
		}
		copy(h[8:], addrs)
		copy(h[40:], ports)
		got[b.Name+" IPv6Apart"] = b.IPv6(k, (*[16]byte)(addrs), (*[16]byte)(addrs[16:]), (*[4]byte)(ports))
		got[b.Name+" IPv6Ports"] = b.IPv6Header(k, &h)
	}
	return got
}

// Shows: NDIS-179, NDIS-180, VNET-094
func TestVerificationVectors(t *testing.T) {
	k := toeplitz.NewAll(toeplitz.DefaultKey())
	for _, v := range vectors {
		src, dst := netip.MustParseAddrPort(v.src), netip.MustParseAddrPort(v.dst)
		addrs := append(src.Addr().AsSlice(), dst.Addr().AsSlice()...)
		ports := binary.BigEndian.AppendUint16(nil, src.Port())
		ports = binary.BigEndian.AppendUint16(ports, dst.Port())
		for name, got := range hashes(k, addrs, ports) {
			if got != v.ports {
				t.Errorf("%s of %s > %s = %#08x, want %#08x", name, v.src, v.dst, got, v.ports)
			}
		}
		got := k.Hash(addrs)
		if got != v.ip {
			t.Errorf("Hash of %s > %s = %#08x, want %#08x", src.Addr(), dst.Addr(), got, v.ip)
		}
		if src.Addr().Is4() {
			var h [20]byte
			copy(h[12:], addrs)
			got = k.IPv4(&h)
		} else {
			var h [40]byte
			copy(h[8:], addrs)
			got = k.IPv6(&h)
			if ex := k.IPv6Apart((*[16]byte)(addrs), (*[16]byte)(addrs[16:]), toeplitz.NoPorts()); ex != v.ip {
				t.Errorf("IPv6Apart without ports of %s > %s = %#08x, want %#08x", src.Addr(), dst.Addr(), ex, v.ip)
			}
		}
		if got != v.ip {
			t.Errorf("IPv4 or IPv6 of %s > %s = %#08x, want %#08x", src.Addr(), dst.Addr(), got, v.ip)
		}
	}
}

// Each single input bit under each single key bit: the whole linear map.
func TestEveryBit(t *testing.T) {
	for kb := range 8 * toeplitz.KeySize {
		var key [toeplitz.KeySize]byte
		key[kb/8] = 0x80 >> (kb % 8)
		k := toeplitz.NewAll(key)
		for ib := range 8 * toeplitz.MaxInput {
			var in [toeplitz.MaxInput]byte
			in[ib/8] = 0x80 >> (ib % 8)
			// The input bit sees key bits ib..ib+31, the first as the top bit.
			var want uint32
			if kb >= ib && kb < ib+32 {
				want = 1 << (31 - (kb - ib))
			}
			for _, b := range toeplitz.Bodies() {
				if got := b.IPv6(k, (*[16]byte)(in[:]), (*[16]byte)(in[16:]), (*[4]byte)(in[32:])); got != want {
					t.Fatalf("%s: key bit %d, input bit %d: IPv6Apart = %#08x, want %#08x", b.Name, kb, ib, got, want)
				}
				var h6 [44]byte
				copy(h6[8:], in[:])
				if got := b.IPv6Header(k, &h6); got != want {
					t.Fatalf("%s: key bit %d, input bit %d: IPv6Ports = %#08x, want %#08x", b.Name, kb, ib, got, want)
				}
				if ib >= 8*12 {
					continue
				}
				if got := b.IPv4(k, (*[8]byte)(in[:]), (*[4]byte)(in[8:])); got != want {
					t.Fatalf("%s: key bit %d, input bit %d: IPv4Apart = %#08x, want %#08x", b.Name, kb, ib, got, want)
				}
				var h4 [24]byte
				copy(h4[12:], in[:])
				if got := b.IPv4Header(k, &h4); got != want {
					t.Fatalf("%s: key bit %d, input bit %d: IPv4Ports = %#08x, want %#08x", b.Name, kb, ib, got, want)
				}
			}
		}
	}
}

func fill(r *rand.Rand, b []byte) {
	for i := range b {
		b[i] = byte(r.Uint32())
	}
}

// Shows: NDIS-181
func TestAnyKey(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var key [toeplitz.KeySize]byte
		fill(r, key[:])
		k := toeplitz.NewAll(key)
		if k.Bytes() != key {
			t.Fatalf("Bytes() = %x, want %x", k.Bytes(), key)
		}
		for n := 0; n <= toeplitz.MaxInput; n++ {
			in := make([]byte, n)
			fill(r, in)
			if got, want := k.Hash(in), definition(key, in); got != want {
				t.Fatalf("New(%x).Hash(%x) = %#08x, want %#08x", key, in, got, want)
			}
		}
		var in [toeplitz.MaxInput + 4]byte
		fill(r, in[:])
		if got, want := k.Hash(in[:]), definition(key, in[:toeplitz.MaxInput]); got != want {
			t.Fatalf("Hash of %d bytes = %#08x, want that of the first %d, %#08x", len(in), got, toeplitz.MaxInput, want)
		}
		for _, n := range []int{8, 32} {
			want := definition(key, in[:n+4])
			for name, got := range hashes(k, in[:n], in[n:n+4]) {
				if got != want {
					t.Fatalf("New(%x): %s of %x = %#08x, want %#08x", key, name, in[:n+4], got, want)
				}
			}
		}
	}
}

// The choice of a body is made in assembly.
func TestDispatch(t *testing.T) {
	in := packet()
	for _, c := range []struct{ clmul, vpclmul bool }{{false, false}, {true, false}, {true, true}} {
		restore := toeplitz.SetBody(c.clmul, c.vpclmul)
		k := toeplitz.New(toeplitz.DefaultKey())
		for _, n := range []int{8, 32} {
			want := definition(toeplitz.DefaultKey(), in[:n+4])
			for name, got := range hashes(toeplitz.NewAll(toeplitz.DefaultKey()), in[:n], in[n:n+4]) {
				if got != want {
					t.Errorf("clmul %v, vpclmul %v: %s = %#08x, want %#08x", c.clmul, c.vpclmul, name, got, want)
				}
			}
			if got := k.Hash(in[:n+4]); got != want {
				t.Errorf("clmul %v, vpclmul %v: Hash = %#08x, want %#08x", c.clmul, c.vpclmul, got, want)
			}
		}
		restore()
	}
}

func TestNoAllocation(t *testing.T) {
	k := toeplitz.New(toeplitz.DefaultKey())
	var in [44]byte
	var sum uint32
	if n := testing.AllocsPerRun(100, func() {
		sum += k.IPv4((*[20]byte)(in[:])) + k.IPv4Ports((*[24]byte)(in[:])) +
			k.IPv4Apart((*[8]byte)(in[:]), (*[4]byte)(in[8:])) +
			k.IPv6((*[40]byte)(in[:])) + k.IPv6Ports(&in) +
			k.IPv6Apart((*[16]byte)(in[:]), (*[16]byte)(in[16:]), toeplitz.NoPorts()) + k.Hash(in[:])
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
	_ = sum
}

func FuzzHash(f *testing.F) {
	key := toeplitz.DefaultKey()
	f.Add(key[:], []byte("\x42\x09\x95\xbb\xa1\x8e\x64\x50\x0a\xea\x06\xe6"))
	f.Fuzz(func(t *testing.T, keyBytes, in []byte) {
		var key [toeplitz.KeySize]byte
		copy(key[:], keyBytes)
		in = in[:min(len(in), toeplitz.MaxInput)]
		if got, want := toeplitz.New(key).Hash(in), definition(key, in); got != want {
			t.Errorf("New(%x).Hash(%x) = %#08x, want %#08x", key, in, got, want)
		}
	})
}

func packet() []byte {
	b := make([]byte, 128)
	fill(rand.New(rand.NewPCG(3, 4)), b)
	return b
}

// The benchmarks include what a caller adds: finding the header in the packet
// and looking the hash up in an indirection table. An operation is a batch of
// 64 packets.
var sink uint32

func benchmarkBatch(b *testing.B, hash func(k *toeplitz.Key, pkts *[64][128]byte, queue *[64]uint32, table *[128]uint32)) {
	k, table := toeplitz.New(toeplitz.DefaultKey()), new([128]uint32)
	pkts, queue := new([64][128]byte), new([64]uint32)
	r := rand.New(rand.NewPCG(5, 6))
	for i := range pkts {
		fill(r, pkts[i][:])
	}
	b.ReportAllocs()
	for b.Loop() {
		hash(k, pkts, queue, table)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/64, "ns/hash")
}

func BenchmarkIPv4Ports(b *testing.B) {
	benchmarkBatch(b, func(k *toeplitz.Key, pkts *[64][128]byte, queue *[64]uint32, table *[128]uint32) {
		for i := range pkts {
			queue[i] = table[k.IPv4Ports((*[24]byte)(pkts[i][56:]))&127]
		}
	})
}

func BenchmarkIPv6Ports(b *testing.B) {
	benchmarkBatch(b, func(k *toeplitz.Key, pkts *[64][128]byte, queue *[64]uint32, table *[128]uint32) {
		for i := range pkts {
			queue[i] = table[k.IPv6Ports((*[44]byte)(pkts[i][56:]))&127]
		}
	})
}

func BenchmarkBody(b *testing.B) {
	k, pkt := toeplitz.NewAll(toeplitz.DefaultKey()), packet()
	for _, body := range toeplitz.Bodies() {
		run := func(name string, f func() uint32) {
			b.Run(body.Name+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				s := uint32(0)
				for b.Loop() {
					s += f()
				}
				sink = s
			})
		}
		run("IPv4Ports", func() uint32 { return body.IPv4Header(k, (*[24]byte)(pkt)) })
		run("IPv4Apart", func() uint32 { return body.IPv4(k, (*[8]byte)(pkt), (*[4]byte)(pkt[8:])) })
		run("IPv6Ports", func() uint32 { return body.IPv6Header(k, (*[44]byte)(pkt)) })
		run("IPv6Apart", func() uint32 {
			return body.IPv6(k, (*[16]byte)(pkt), (*[16]byte)(pkt[16:]), (*[4]byte)(pkt[32:]))
		})
	}
}
