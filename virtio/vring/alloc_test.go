package vring_test

import (
	"testing"

	"vhost-user-nvgre/virtio/vring"
	"vhost-user-nvgre/virtio/vringtest"
)

// Once its storage has grown, a ring allocates nothing, whatever the driver's
// buffers look like.
func TestNoAllocation(t *testing.T) {
	mem, m := faultMemory(t)
	elems := []vringtest.Elem{{Addr: data, Len: 12}, {Addr: faultBorder - 7, Len: 100}, {Addr: data, Len: 9, Write: true}}
	for _, mode := range modes {
		r := attach(t, mem, m, 64, mode.features)
		for name, add := range map[string]func(){
			"one element": func() { r.driver.Add(elems[0]) },
			"direct":      func() { r.driver.Add(elems...) },
			"table":       func() { r.driver.AddTable(nil, table, mem.WriteTable(table, elems...)) },
			"misaligned table over a border": func() {
				at := uint64(faultBorder - 20 + 1)
				r.driver.AddTable(elems[:1], at, mem.WriteTable(at, elems[:2]...))
			},
		} {
			var b vring.Batch
			used := make([]vring.Used, 0, 64)
			cycle := func() {
				for range 10 {
					r.ring.Arm()
					r.ring.Disarm()
					b.Reset()
					n, err := r.ring.Take(&b, 16)
					if err != nil {
						t.Fatalf("%s: %v", name, err)
					}
					r.ring.Untake(b.Chains[n/2:])
					used = used[:0]
					for _, c := range b.Chains[:n/2] {
						used = append(used, c.Used(0))
					}
					r.ring.Complete(used)
					r.ring.NeedNotify()
				}
			}
			offer := func() {
				for range 16 {
					add()
				}
				r.driver.Publish()
			}
			drain := func() {
				for {
					if _, _, ok := r.driver.Pop(); !ok {
						return
					}
				}
			}
			offer()
			cycle()
			total := testing.AllocsPerRun(5, cycle)
			drain()
			if total != 0 {
				t.Errorf("%s, %s: %v allocations", mode.name, name, total)
			}
			// What Untake left, so that the next layout starts clean.
			b.Reset()
			for n := 1; n > 0; {
				n, _ = r.ring.Take(&b, 64)
			}
			used = used[:0]
			for _, c := range b.Chains {
				used = append(used, c.Used(0))
			}
			r.ring.Complete(used)
			drain()
		}
	}
}
