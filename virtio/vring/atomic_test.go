package vring_test

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"vhost-user-nvgre/virtio/vring"
)

func TestAtomicsTouchOnlyTheirHalf(t *testing.T) {
	for _, body := range vring.AtomicBodies {
		r := rand.New(rand.NewPCG(1, 1))
		var mem [6]uint16 // of which the inner ones are accessed
		for range 10000 {
			for i := range mem {
				mem[i] = uint16(r.Uint32())
			}
			want := mem
			i, v := 2+r.IntN(2), uint16(r.Uint32())
			if got := body.Load16(&mem[i]); got != want[i] {
				t.Fatalf("%s: Load16 of half %d of %x = 0x%x", body.Name, i, want, got)
			}
			want[i] = v
			if body.StoreFence16(&mem[i], v); mem != want {
				t.Fatalf("%s: StoreFence16(half %d, 0x%x) left %x, want %x", body.Name, i, v, mem, want)
			}
		}
		words := [3]uint32{1, 2, 3}
		if body.StoreFence32(&words[1], 0xfffefdfc); words != [3]uint32{1, 0xfffefdfc, 3} {
			t.Fatalf("%s: StoreFence32 left %x", body.Name, words)
		}
	}
}

// Another processor changes the neighbour all the time; nothing may be lost.
func TestStore16KeepsConcurrentNeighbour(t *testing.T) {
	for _, body := range vring.AtomicBodies {
		pair := new([2]uint16)
		const rounds = 20000
		var wg sync.WaitGroup
		for i := range pair {
			wg.Go(func() {
				for v := range rounds {
					body.StoreFence16(&pair[i], uint16(v))
					if got := body.Load16(&pair[i]); got != uint16(v) {
						t.Errorf("%s: half %d is 0x%x after storing 0x%x", body.Name, i, got, v)
						return
					}
				}
			})
		}
		wg.Wait()
	}
}

// Two processors each store to their own place and then load the other's. With
// a full fence in between at least one of them sees the other's store; with
// plain stores both would often miss it. Lost wake-ups are made of this.
//
// Shows: VNET-018
func TestStoreIsFullFence(t *testing.T) {
	const rounds = 5000
	for _, body := range vring.AtomicBodies {
		for _, wide := range []bool{false, true} {
			// Places on cache lines of their own, aligned for both widths.
			mem := new([2][32]uint32)
			half := func(i int) *uint16 { return halfOf(&mem[i][0]) }
			var seen [2][rounds]uint16
			var turn atomic.Int64
			meet := func(n int64) {
				turn.Add(1)
				for spins := 0; turn.Load() < 2*n; spins++ {
					if spins > 1000 {
						runtime.Gosched()
					}
				}
			}
			var wg sync.WaitGroup
			for me := range 2 {
				wg.Go(func() {
					n := int64(0)
					for round := range rounds {
						body.StoreFence16(half(me), 0)
						n++
						meet(n)
						if wide {
							body.StoreFence32(&mem[me][0], 1)
						} else {
							body.StoreFence16(half(me), 1)
						}
						seen[me][round] = body.Load16(half(1 - me))
						n++
						meet(n)
					}
				})
			}
			wg.Wait()
			for round := range rounds {
				if seen[0][round] == 0 && seen[1][round] == 0 {
					t.Fatalf("%s, wide %t: in round %d neither side saw the other's store", body.Name, wide, round)
				}
			}
		}
	}
}
