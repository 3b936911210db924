package scenarios

import (
	"context"
	"testing"
	"time"
)

// Guests that do nothing may cost the daemon this share of a processor.
const (
	idleTime  = 10 * time.Second
	idleShare = 0.005
)

// testIdle measures what the daemon uses while the guests rest.
func testIdle(ctx context.Context, t *testing.T, s *scene) {
	before, err := s.Process().Usage()
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-time.After(idleTime):
	case <-ctx.Done():
		t.Fatal(ctx.Err())
	}
	after, err := s.Process().Usage()
	if err != nil {
		t.Fatal(err)
	}
	used := after.CPU - before.CPU
	t.Logf("%v of processor time in %v", used, idleTime)
	if limit := time.Duration(float64(idleTime) * idleShare); used > limit {
		t.Errorf("the daemon used %v of processor time in %v with idle guests, want at most %v", used, idleTime, limit)
	}
}
