package rings

import "vhost-user-nvgre/virtio/vring"

// InBudget is how many bytes of frames an incoming ring hands over at a time. A
// batch of super-frames would leave nothing else in the second-level cache.
const InBudget = 256 << 10

// Waiting keeps frames that were taken and given back untouched, for the next
// Take. The zero value keeps none.
type Waiting struct {
	ids []uint16 // the oldest last
}

// Untake keeps the frames taken last.
func (w *Waiting) Untake(chains []vring.Chain) {
	for i := range chains {
		w.ids = append(w.ids, chains[len(chains)-1-i].Used(0).ID)
	}
}

// Next returns the oldest frame that waits.
func (w *Waiting) Next() (id uint16, ok bool) {
	n := len(w.ids)
	if n == 0 {
		return 0, false
	}
	id, w.ids = w.ids[n-1], w.ids[:n-1]
	return id, true
}

// Any reports whether frames wait.
func (w *Waiting) Any() bool { return len(w.ids) > 0 }

// Free is a stock of buffers by number. The one that came back last goes out
// first: it is in the cache.
type Free struct{ ids []uint16 }

// NewFree returns the buffers 0 to n-1.
func NewFree(n int) Free {
	f := Free{make([]uint16, n)}
	for i := range f.ids {
		f.ids[i] = uint16(n - 1 - i)
	}
	return f
}

// Top returns the buffer to use next; Pop takes it out.
func (f *Free) Top() (id uint16, ok bool) {
	if len(f.ids) == 0 {
		return 0, false
	}
	return f.ids[len(f.ids)-1], true
}

// Pop takes the buffer out that Top returned.
func (f *Free) Pop() { f.ids = f.ids[:len(f.ids)-1] }

// Put takes buffers back.
func (f *Free) Put(used []vring.Used) {
	for i := range used {
		f.ids = append(f.ids, used[len(used)-1-i].ID)
	}
}
