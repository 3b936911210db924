package scenarios

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"vhost-user-nvgre/guest-tests/harness"
	"vhost-user-nvgre/guest-tests/rig"
	"vhost-user-nvgre/guest-tests/stream"
)

// jumboMTU is the MTU of ports whose name ends in jumbo.
const jumboMTU = 9000

// testJumbo gives every guest a NIC that is told an MTU of 9,000 bytes. Frames
// of that size pass, whole or cut from larger ones, in one piece.
func testJumbo(ctx context.Context, t *testing.T, s *scene) {
	var peers []*rig.Peer
	for _, f := range rig.FrontEnds {
		p, err := plugJumbo(ctx, s, f)
		if err != nil {
			t.Fatal(err)
		}
		peers = append(peers, p)
		if out, err := p.Output(ctx, "cat", "/sys/class/net/"+p.Iface+"/mtu"); err != nil || strings.TrimSpace(out) != fmt.Sprint(jumboMTU) {
			t.Errorf("%s: MTU %q, %v, want %d", p.ID, out, err, jumboMTU)
		}
		if !s.MustStatus(t).Port(p.ID).Has("mtu") {
			t.Errorf("%s: mtu is not negotiated", p.ID)
		}
	}
	for i, a := range peers {
		b := peers[(i+1)%len(peers)]
		if err := reach(ctx, a, b); err != nil {
			t.Fatal(err)
		}
		before := s.MustStatus(t)
		for _, ping := range []struct {
			to   string
			size int
		}{{b.IP4, jumboMTU - 28}, {b.IP6, jumboMTU - 48}} {
			if err := a.MustPing(ctx, ping.to, harness.PingOptions{Count: 5, Size: ping.size}); err != nil {
				t.Errorf("%s to %s, %d bytes: %v", a.ID, b.ID, ping.size, err)
			}
		}
		// The guest would send fragments if the link did not take them whole.
		received := s.MustStatus(t).Since(before).Port(b.ID).Total(rig.RX)
		if mean := received.Bytes / max(1, received.Packets); mean < 2*jumboMTU/3 {
			t.Errorf("%s to %s: frames of %d bytes in the mean, want %d", a.ID, b.ID, mean, jumboMTU+14)
		}
		udp := stream.Job{Seed: 20, UDP: true, Sizes: []int{jumboMTU - 28, jumboMTU - 29, 1472, 1473, 2048, 4096, 65507}, Bytes: 256 << 10}
		if _, err := rig.Stream(ctx, a, b, false, udp); err != nil {
			t.Errorf("%s to %s: %v", a.ID, b.ID, err)
		}
		both(ctx, t, a, b)
		// Without offloads the guest cuts into segments that fill frames.
		if _, err := a.Ethtool(ctx, "-K", "tx", "off", "tso", "off", "gso", "off"); err != nil {
			t.Fatal(err)
		}
		both(ctx, t, a, b)
		for name, n := range s.MustStatus(t).Since(before).Drops() {
			if name == "rx_mtu" || name == "rx_small" {
				t.Errorf("%s to %s: %d frames dropped: %s", a.ID, b.ID, n, name)
			}
		}
	}
	for _, p := range peers {
		if err := unplug(ctx, s, p); err != nil {
			t.Error(err)
		}
	}
}

// plugJumbo adds the NIC. On a netdev QEMU is what tells the MTU.
func plugJumbo(ctx context.Context, s *scene, f rig.FrontEnd) (*rig.Peer, error) {
	port := s.Port(f.String() + jumbo)
	nic := f.NIC(port)
	if f != rig.Device {
		nic.Props = map[string]any{"host_mtu": jumboMTU}
	}
	if _, err := s.guests[f].Plug(ctx, nic); err != nil {
		return nil, err
	}
	return rig.Attach(ctx, netJumbo, int(f)+1, s.guests[f].VM, port.Name)
}
