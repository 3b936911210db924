package vring_test

import (
	"testing"

	"vhost-user-nvgre/virtio/vring"
	"vhost-user-nvgre/virtio/vringtest"
)

// A device that comes back to a ring that was in use, and is told base 0, goes on
// with the first chain that was not completed, taken before or not. The driver
// has been round all of the index's range before.
func TestResumeFromUsedIndex(t *testing.T) {
	for _, completed := range []int{1, 7, 65535, 65536, 65540} {
		r := newRig(t, 8, event)
		var b vring.Batch
		add := func(length int) {
			t.Helper()
			if _, ok := r.driver.Add(vringtest.Elem{Addr: 0x4000_0000, Len: uint32(length)}); !ok {
				t.Fatalf("the driver's ring is full")
			}
			r.driver.Publish()
		}
		for range completed {
			add(1)
			b.Reset()
			r.ring.Complete([]vring.Used{r.take(t, &b, 1)[0].Used(0)})
			r.driver.Pop()
		}
		for i := range 5 {
			add(100 + i)
		}
		b.Reset()
		r.take(t, &b, 2) // and crash

		// A front end that asked for the position a little too early, too.
		base := uint16(0)
		if completed == 7 {
			base = 5
		}
		r.start(t, base)
		if got, want := r.ring.Base(), uint32(uint16(completed)); got != want {
			t.Errorf("after %d chains Base = %d, want %d", completed, got, want)
		}
		b.Reset()
		for i, c := range r.take(t, &b, 5) {
			if got := len(b.Readable(c)[0]); got != 100+i {
				t.Errorf("after %d chains, chain %d has %d bytes, want %d", completed, i, got, 100+i)
			}
			r.ring.Complete([]vring.Used{c.Used(0)})
		}
		if got, want := r.driver.UsedIndex(), uint16(completed+5); got != want {
			t.Errorf("used index %d, want %d", got, want)
		}
	}
}
