//go:build !race

package eventfd_test

import "testing"

// The race detector makes buffers escape, hence the build constraint.
func TestNoAllocation(t *testing.T) {
	e := newFD(t)
	if n := testing.AllocsPerRun(100, func() {
		e.Signal()
		e.Drain()
		e.Drain()
	}); n != 0 {
		t.Errorf("Signal and Drain allocate %v times", n)
	}
}
