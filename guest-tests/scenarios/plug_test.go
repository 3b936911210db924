package scenarios

import (
	"context"
	"testing"

	"vhost-user-nvgre/guest-tests/rig"
)

// testPlug plugs a second NIC into a running guest, uses it, and takes it out
// again, twice, while the other guests talk to each other.
func testPlug(ctx context.Context, t *testing.T, s *scene, f rig.FrontEnd) {
	p := s.guests[f]
	a, b := s.others(f)
	defer background(ctx, t, a, b)()
	name := p.ID + spare
	// The peer is reached in the same subnet, on the NIC it has.
	peer, err := rig.Attach(ctx, netSpare, int(f)+100, a.VM, a.ID)
	if err != nil {
		t.Fatal(err)
	}
	for round := range 2 {
		plugged, err := plug(ctx, s, f, name, netSpare)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if err := reach(ctx, plugged, peer); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		both(ctx, t, plugged, peer)
		if n := s.MustStatus(t).Port(name).Total(rig.RX).Packets; n == 0 {
			t.Errorf("round %d: no packets counted at port %s", round, name)
		}
		if err := unplug(ctx, s, plugged); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if n := s.MustStatus(t).Port(name).FrontEnd.Sessions; n != uint64(round+1) {
			t.Errorf("round %d: %d sessions at port %s", round, n, name)
		}
	}
	if err := reach(ctx, p, a); err != nil {
		t.Error(err)
	}
}

// plug adds a NIC at a port to the guest of a front end and gives it addresses.
func plug(ctx context.Context, s *scene, f rig.FrontEnd, port string, subnet int) (*rig.Peer, error) {
	vm := s.guests[f].VM
	if _, err := vm.Plug(ctx, f.NIC(s.Port(port))); err != nil {
		return nil, err
	}
	return rig.Attach(ctx, subnet, int(f)+1, vm, port)
}

// unplug takes a NIC out and returns when the daemon knows.
func unplug(ctx context.Context, s *scene, p *rig.Peer) error {
	if err := p.Unplug(ctx, p.ID); err != nil {
		return err
	}
	_, err := s.WaitStatus(ctx, p.ID+" is let go of", func(st *rig.Status) bool {
		return !st.Port(p.ID).FrontEnd.Connected
	})
	return err
}
