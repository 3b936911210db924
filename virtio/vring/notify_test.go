package vring_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"vhost-user-nvgre/virtio/vring"
	"vhost-user-nvgre/virtio/vringtest"
)

// passes says, entry by entry, whether an index on its way from one value to
// another fills the entry that the other side waits for.
func passes(from, to, event uint16) bool {
	for i := from; i != to; i++ {
		if i == event {
			return true
		}
	}
	return false
}

// restart gives r a fresh ring over rings whose indices stand at idx.
func (r *rig) restart(t *testing.T, idx uint16) {
	t.Helper()
	r.driver.Resume(idx, idx)
	r.driver.SetAvailIndex(idx)
	binary.LittleEndian.PutUint16(r.mem.At(r.driver.Used+2, 2), idx)
	r.start(t, idx)
}

// complete returns n buffers that nobody took.
func (r *rig) complete(n int) { r.ring.Complete(nobodys[:n]) }

var nobodys = make([]vring.Used, vring.MaxSize)

// Shows: VNET-016
func TestNeedNotifyEventIdx(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 7))
	for _, size := range []uint32{1, 2, 256, 32768} {
		r := newRig(t, size, event)
		for range 500 {
			old, n := uint16(random.Uint32()), 1+random.IntN(min(int(size), 600))
			if random.IntN(100) == 0 {
				n = int(size)
			}
			if random.IntN(4) == 0 {
				old = -uint16(random.IntN(n + 1)) // wraps on the way
			}
			at := old + uint16(n)
			wanted := []uint16{old - 2, old - 1, old, old + 1, at - 2, at - 1, at, at + 1, old + 0x8000, uint16(random.Uint32())}
			for _, e := range wanted {
				r.restart(t, old-1)
				r.driver.SetUsedEvent(old + 0x4000)
				r.complete(1)
				if !r.ring.NeedNotify() {
					t.Fatalf("size %d: the first NeedNotify is false", size)
				}
				if r.ring.NeedNotify() {
					t.Fatalf("size %d: NeedNotify is true with nothing completed", size)
				}
				r.driver.SetAvailFlags(uint16(random.IntN(2))) // no meaning here
				r.driver.SetUsedEvent(e)
				r.complete(n)
				if got, want := r.ring.NeedNotify(), passes(old, at, e); got != want {
					t.Fatalf("size %d: NeedNotify = %t from %d to %d, used_event %d; want %t", size, got, old, at, e, want)
				}
				if flags := r.driver.UsedFlags(); flags != 0 {
					t.Fatalf("used.flags = %d, want 0", flags)
				}
			}
		}
	}
}

// Several completions between two decisions count as one.
//
// Shows: VNET-016
func TestNeedNotifyAfterSeveralCompletions(t *testing.T) {
	const size = 32768
	for _, total := range []int{size, 2*size - 1, 2 * size, 2*size + 1, 3 * size} {
		for _, e := range []uint16{99, 100, 101, 100 + size, 0xffff} {
			r := newRig(t, size, event)
			r.restart(t, 99)
			r.complete(1)
			r.ring.NeedNotify()
			r.driver.SetUsedEvent(e)
			for left := total; left > 0; left -= min(left, size/2) {
				r.complete(min(left, size/2))
			}
			// Once every value of the index went by, the wanted one did too.
			want := total >= 65536 || passes(100, 100+uint16(total), e)
			if got := r.ring.NeedNotify(); got != want {
				t.Errorf("NeedNotify = %t after %d from 100, used_event %d; want %t", got, total, e, want)
			}
		}
	}
}

// Shows: VNET-015
func TestNeedNotifyFlags(t *testing.T) {
	for _, first := range []bool{true, false} {
		for _, flags := range []uint16{0, 1, 2, 0xfffe, 0xffff} {
			for _, e := range []uint16{0, 1, 5, 0xffff} {
				r := newRig(t, 8, plain)
				if !first {
					r.complete(1)
					r.ring.NeedNotify()
				}
				r.driver.SetAvailFlags(flags)
				r.driver.SetUsedEvent(e) // no meaning here
				r.complete(3)
				if got, want := r.ring.NeedNotify(), flags&1 == 0; got != want {
					t.Errorf("first %t: NeedNotify = %t with flags 0x%x, used_event %d; want %t", first, got, flags, e, want)
				}
				if r.ring.NeedNotify() {
					t.Error("NeedNotify is true with nothing completed")
				}
			}
		}
	}
}

// After Arm the next buffer, and no earlier or later one, makes the driver
// kick; after Disarm none does.
//
// Shows: VNET-017, VNET-018
func TestArm(t *testing.T) {
	for _, mode := range modes {
		for _, size := range []uint32{1, 4, 256} {
			for _, start := range []uint16{0, 1, 0xfffe, 0xffff} {
				r := newRig(t, size, mode.features)
				r.restart(t, start)
				at := start
				for round := range 4 * int(size) {
					n := 1 + round%int(size)
					var b vring.Batch
					if r.ring.Arm() {
						t.Fatalf("%s, size %d: Arm = true at %d with nothing waiting", mode.name, size, at)
					}
					if mode.features == event && r.driver.AvailEvent() != at {
						t.Fatalf("size %d: avail_event = %d, want %d", size, r.driver.AvailEvent(), at)
					}
					for range n {
						r.driver.Add(vringtest.Elem{Addr: r.mem.Info.Guest, Len: 1})
					}
					r.driver.Publish()
					if !r.driver.NeedKick() {
						t.Fatalf("%s, size %d: no kick for %d buffers at %d after Arm", mode.name, size, n, at)
					}
					if !r.ring.Arm() {
						t.Fatalf("%s, size %d: Arm = false at %d with %d waiting", mode.name, size, at, n)
					}
					at += uint16(n)
					for _, c := range r.take(t, &b, n) {
						r.ring.Complete([]vring.Used{c.Used(0)})
						r.driver.Pop()
					}
				}
			}
		}
	}
}

// Shows: VNET-015, VNET-016
func TestDisarm(t *testing.T) {
	for _, mode := range modes {
		r := newRig(t, 64, mode.features)
		var b vring.Batch
		kicks := 0
		add := func() {
			r.driver.Add(vringtest.Elem{Addr: r.mem.Info.Guest, Len: 1})
			r.driver.Publish()
			if r.driver.NeedKick() {
				kicks++
			}
			r.take(t, &b, 1)
		}
		r.ring.Arm()
		add()
		if kicks != 1 {
			t.Errorf("%s: %d kicks after Arm, want 1", mode.name, kicks)
		}
		r.ring.Disarm()
		kicks = 0
		for range 40 {
			add()
		}
		if kicks != 0 {
			t.Errorf("%s: %d kicks after Disarm", mode.name, kicks)
		}
		// Publishing used buffers keeps what was asked for.
		r.complete(3)
		if want := map[string]uint16{"flags": 1, "event_idx": 0}[mode.name]; r.driver.UsedFlags() != want {
			t.Errorf("%s: used.flags = %d after Disarm, want %d", mode.name, r.driver.UsedFlags(), want)
		}
		r.ring.Arm()
		if r.driver.UsedFlags() != 0 || r.driver.UsedIndex() != 3 {
			t.Errorf("%s: used.flags = %d, idx = %d after Arm; want 0, 3", mode.name, r.driver.UsedFlags(), r.driver.UsedIndex())
		}
		add()
		if kicks != 1 {
			t.Errorf("%s: %d kicks after Arm again, want 1", mode.name, kicks)
		}
	}
}
