package scenarios

import (
	"context"
	"errors"
	"testing"

	"vhost-user-nvgre/guest-tests/rig"
)

// testPause stops a guest's processors and lets them go on, while another sends
// to it. The front end stops and starts all rings meanwhile; what the driver
// configured is still there.
func testPause(ctx context.Context, t *testing.T, s *scene, f rig.FrontEnd) {
	const pairs = 3
	p := s.guests[f]
	a, b := s.others(f)
	x := newFilterTest(s, f, b)
	if err := p.SetQueuePairs(ctx, pairs); err != nil {
		t.Fatal(err)
	}
	x.link(ctx, t, p, "promisc", "on")
	stop := flood(ctx, t, s, a, p)
	for range 3 {
		if err := errors.Join(p.Pause(ctx), p.Resume(ctx)); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	if err := reach(ctx, p, a); err != nil {
		t.Error(err)
	}
	if n := s.MustStatus(t).Port(p.ID).QueuePairsInUse; n != pairs {
		t.Errorf("%d queue pairs in use after a pause, want %d", n, pairs)
	}
	x.filter(ctx, t, "it is promiscuous as before", func(f *rig.RXFilter) bool { return f.Promiscuous })
	x.want(ctx, t, "another's frames when promiscuous before a pause", x.at(ctx, t, x.a.Iface, nobody, foreignMAC), true)
	both(ctx, t, p, a)
	x.link(ctx, t, p, "promisc", "off")
	if err := p.SetQueuePairs(ctx, 1); err != nil {
		t.Fatal(err)
	}
}
