package vring_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"vhost-user-nvgre/virtio/vring"
)

// flip stores two values in turn to an aligned word, each in one piece, from
// another goroutine until the returned function is called.
func flip(w *uint64, a, b uint64) (stop func()) {
	var done atomic.Bool
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for !done.Load() {
			atomic.StoreUint64(w, a)
			atomic.StoreUint64(w, b)
		}
	}()
	return func() {
		done.Store(true)
		<-ended
	}
}

// pack joins length, flags and next as they stand in a descriptor.
func pack(d desc) uint64 { return uint64(d.len) | uint64(d.flags)<<32 | uint64(d.next)<<48 }

// outcome is what Take made of one chain.
type outcome struct {
	readable, writable int // bytes, -1 after an error
	err                vring.Error
}

// A driver that rewrites a descriptor while the device reads it gets what one
// of the two values means, never a mixture: length, flags and next come from a
// single load. Of two loads of any of them one would sooner or later see the
// other value.
//
// Hostile: 93ed2f49de, CVE-2026-93683, CVE-2026-86562
// Shows: VNET-013
func TestDescriptorsAreReadOnce(t *testing.T) {
	short := desc{data, 16, 0, 0}
	long := desc{data, 64, write, 0}
	outside := desc{data, 0xffff_ffff, write, 0}
	for _, tt := range []struct {
		name  string
		a, b  desc // of the flipped descriptor, both at the same address
		table bool // flip an entry of an indirect table, not of the ring
		want  []outcome
	}{
		{"good and good", short, long, false, []outcome{{16, 0, vring.Error{}}, {0, 64, vring.Error{}}}},
		{"good and outside memory", short, outside, false, []outcome{
			{16, 0, vring.Error{}},
			{-1, -1, vring.Error{Fault: vring.FaultAddress, Value: data, Limit: 0xffff_ffff}},
		}},
		{"good and next behind the ring", short, desc{data, 64, next, 999}, false, []outcome{
			{16, 0, vring.Error{}},
			{-1, -1, vring.Error{Fault: vring.FaultNext, Value: 999, Limit: ringSize}},
		}},
		{"good and good in a table", short, long, true, []outcome{{16, 0, vring.Error{}}, {0, 64, vring.Error{}}}},
		{"good and outside in a table", short, outside, true, []outcome{
			{16, 0, vring.Error{}},
			{-1, -1, vring.Error{Fault: vring.FaultAddress, Value: data, Limit: 0xffff_ffff}},
		}},
		{"table lengths", desc{table, 16, indirect, 0}, desc{table, 17, indirect, 0}, false, []outcome{
			{16, 0, vring.Error{}},
			{-1, -1, vring.Error{Fault: vring.FaultIndirectLength, Value: 17, Limit: vring.MaxIndirect * 16}},
		}},
		{"table and element", desc{table, 16, indirect, 0}, desc{table, 48, 0, 0}, false, []outcome{
			{16, 0, vring.Error{}},
			{48, 0, vring.Error{}},
		}},
	} {
		mem, m := faultMemory(t)
		r := attach(t, mem, m, ringSize, event)
		flipped := r.driver.Desc
		r.setDescs(table, short)
		r.setDescs(r.driver.Desc, tt.a)
		if tt.table {
			flipped = table
			r.setDescs(r.driver.Desc, desc{table, 16, indirect, 0})
		}
		stop := flip(&words(mem.At(flipped, 16))[1], pack(tt.a), pack(tt.b))
		seen := map[outcome]int{}
		var b vring.Batch
		for range 100000 {
			head(0)(r)
			b.Reset()
			o := outcome{}
			n, err := r.ring.Take(&b, 1)
			if fault := (*vring.Error)(nil); errors.As(err, &fault) {
				o = outcome{-1, -1, *fault}
				r.restart(t, r.driver.AvailIndex()) // as if the chain had been good
			} else if n == 1 {
				for _, s := range b.Readable(b.Chains[0]) {
					o.readable += len(s)
				}
				for _, s := range b.Writable(b.Chains[0]) {
					o.writable += len(s)
				}
			}
			seen[o]++
		}
		stop()
		for _, w := range tt.want {
			delete(seen, w)
		}
		if len(seen) != 0 {
			t.Errorf("%s: Take also gave %v, which neither value means", tt.name, seen)
		}
	}
}

// The head, too, is read once: what was checked is what is used.
//
// Hostile: CVE-2026-86845
// Shows: VNET-013
func TestHeadIsReadOnce(t *testing.T) {
	mem, m := faultMemory(t)
	r := attach(t, mem, m, ringSize, plain)
	r.setDescs(r.driver.Desc, ok16)
	// Slots 2 to 5 share an aligned word.
	at := r.driver.Avail + 4 + 2*2
	if at%8 != 0 {
		t.Fatalf("slot 2 of the available ring is at 0x%x, want it at a multiple of 8", at)
	}
	defer flip(&words(mem.At(at, 16))[0], 0, 77<<48|77<<32|77<<16|77)()
	good, bad := 0, 0
	var b vring.Batch
	deadline := time.Now().Add(20 * time.Second)
	for round := 0; round < 50000 || good == 0 || bad == 0; round++ {
		if time.Now().After(deadline) {
			t.Fatalf("%d good batches, %d bad ones: the heads were not changed meanwhile", good, bad)
		}
		r.driver.SetAvailIndex(uint16(r.ring.Base()) + ringSize)
		b.Reset()
		n, err := r.ring.Take(&b, ringSize)
		for _, c := range b.Chains {
			if id := c.Used(0).ID; id != 0 || len(b.Readable(c)) != 1 {
				t.Fatalf("Take gave head %d with %d elements, want 0 with 1", id, len(b.Readable(c)))
			}
		}
		var fault *vring.Error
		switch {
		case err == nil && n == ringSize:
			good++
		case errors.As(err, &fault) && *fault == (vring.Error{Fault: vring.FaultHead, Value: 77, Limit: ringSize}):
			bad++
			r.restart(t, uint16(r.ring.Base())) // slots 2 to 5 come again
		default:
			t.Fatalf("Take = %d, %v; want %d chains or the fault of head 77", n, err, ringSize)
		}
	}
}
