package scenarios

import (
	"context"
	"errors"
	"testing"

	"vhost-user-nvgre/guest-tests/rig"
)

// testReboot restarts a guest, by the reset line or, on the device, by its own
// kernel, while one guest sends to it all the time and others talk to each
// other.
func testReboot(ctx context.Context, t *testing.T, s *scene, f rig.FrontEnd) {
	p := s.guests[f]
	a, b := s.others(f)
	defer background(ctx, t, a, b)()
	stop := flood(ctx, t, s, a, p)
	restart := p.Reset
	if f == rig.Device {
		restart = p.Reboot
	}
	if err := restart(ctx); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(rig.ServeStreams(ctx, p.VM), p.Readdress(ctx), reach(ctx, p, b)); err != nil {
		t.Fatal(err)
	}
	stop()
	newFilterTest(s, f, a).filter(ctx, t, "it is the new driver's", func(f *rig.RXFilter) bool { return !f.Promiscuous })
	both(ctx, t, p, a)
	if n := s.MustStatus(t).Port(p.ID).QueuePairsInUse; n != 1 {
		t.Errorf("%d queue pairs in use after the restart, want 1", n)
	}
}
