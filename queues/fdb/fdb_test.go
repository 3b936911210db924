package fdb

import (
	"math/rand/v2"
	"sync"
	"testing"
)

func key(n uint64) Key { return Key(n<<16 | 0x0200_0000_0000_0000) }

func TestKey(t *testing.T) {
	mac := [6]byte{0x52, 0x54, 0, 0x12, 0x34, 0x56}
	k := MakeKey(&mac, 0xfabc)
	if k.MAC() != mac || k.VLAN() != 0xabc {
		t.Errorf("MakeKey(%x, 0xfabc) = %x with MAC %x VLAN %#x", mac, uint64(k), k.MAC(), k.VLAN())
	}
}

func TestLearnMoveAge(t *testing.T) {
	tab := New(64, 64, 300)
	want := func(k Key, now uint32, port Port, found bool) {
		t.Helper()
		if p, ok := tab.Lookup(k, now); ok != found || ok && p != port {
			t.Errorf("Lookup(%x, %d) = %d, %v; want %d, %v", uint64(k), now, p, ok, port, found)
		}
	}
	want(key(1), 0, 0, false)
	tab.Learn(key(1), 3, 10)
	want(key(1), 10, 3, true)
	want(key(1)|5, 10, 0, false) // the same address in another VLAN
	gen := tab.Generation()
	tab.Learn(key(1), 3, 20)
	if tab.Generation() != gen {
		t.Error("a refresh changed the generation")
	}
	want(key(1), 320, 3, true)
	want(key(1), 321, 0, false)
	tab.Learn(key(1), 4, 30)
	if tab.Generation() == gen {
		t.Error("a move left the generation alone")
	}
	want(key(1), 30, 4, true)
	tab.Flush(4)
	want(key(1), 30, 0, false)
	tab.Learn(0, 1, 0)
	want(0, 0, 0, false)
}

func TestQuotaProtectsOthers(t *testing.T) {
	tab := New(256, 100, 300)
	for i := range uint64(50) {
		if !tab.Learn(key(i+1), 1, 0) {
			t.Fatalf("address %d of port 1 found no room", i)
		}
	}
	for i := range uint64(100_000) {
		tab.Learn(key(1000+i), 2, 1)
	}
	counts := map[Port]int{}
	for _, e := range tab.Entries(1) {
		counts[e.Port]++
	}
	if counts[1] != 50 || counts[2] > 100 {
		t.Errorf("after a flood port 1 holds %d (want 50), port 2 %d (want at most 100)", counts[1], counts[2])
	}
	// What port 2 holds expires, and it can learn again.
	if !tab.Learn(key(5), 1, 400) || !tab.Learn(key(999_999), 2, 400) {
		t.Error("no room after the flood aged out")
	}
}

// TestAgainstMap compares with a map while learning, moving and flushing at
// random; the table may forget (bucket full), but never answer wrongly.
func TestAgainstMap(t *testing.T) {
	tab := New(4096, 4096, 1000)
	want := map[Key]Port{}
	r := rand.New(rand.NewPCG(1, 2))
	found := 0
	for step := range 200_000 {
		k, p := key(r.Uint64N(500)+1), Port(r.IntN(5))
		switch r.IntN(50) {
		case 0:
			tab.Flush(p)
			for k, q := range want {
				if q == p {
					delete(want, k)
				}
			}
		default:
			if tab.Learn(k, p, uint32(step/1000)) {
				want[k] = p
			} else {
				delete(want, k)
			}
		}
		k = key(r.Uint64N(500) + 1)
		got, ok := tab.Lookup(k, uint32(step/1000))
		if w, has := want[k]; ok && (!has || got != w) {
			t.Fatalf("step %d: Lookup(%x) = %d; want %d, %v", step, uint64(k), got, w, has)
		}
		if ok {
			found++
		}
	}
	if found < 50_000 {
		t.Errorf("only %d of 200000 lookups found their address", found)
	}
}

func TestConcurrent(t *testing.T) {
	tab := New(128, 64, 10)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 0))
			for i := range 50_000 {
				// Key n belongs to port n%7, always.
				n := r.Uint64N(300) + 1
				tab.Learn(key(n), Port(n%7), uint32(i/1000))
				n = r.Uint64N(300) + 1
				if p, ok := tab.Lookup(key(n), uint32(i/1000)); ok && p != Port(n%7) {
					t.Errorf("Lookup(%d) = %d, want %d", n, p, n%7)
					return
				}
				if i%5000 == 0 {
					tab.Flush(Port(r.IntN(7)))
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkLookup(b *testing.B) {
	tab := New(8192, 8192, 300)
	for i := range uint64(1000) {
		tab.Learn(key(i+1), 1, 0)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		tab.Lookup(key(uint64(i%1000)+1), 0)
	}
}
