package scenarios

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"vhost-user-nvgre/guest-tests/rig"
)

const (
	foreignMAC = "52:54:00:aa:00:01"
	newMAC     = "52:54:00:bb:00:01"
	// The group's address and what IPv4 makes of it.
	group    = "239.127.0.1"
	groupMAC = "01:00:5e:7f:00:01"
	nobody   = "10.0.0.99"
	vlan     = "v5"
	vlanID   = "5"
)

// filterTest looks at which frames from a a guest p gets.
type filterTest struct {
	*scene
	p, a *rig.Peer
	// filters: the control queue is the device's, so it does the filtering. On a
	// netdev QEMU keeps the filter to itself, and the guest gets all there is.
	filters bool
}

// testFilters changes the address, receive modes and VLANs of a guest's NIC, and
// looks at what it receives.
func testFilters(ctx context.Context, t *testing.T, s *scene, f rig.FrontEnd) {
	a, _ := s.others(f)
	x := &filterTest{scene: s, p: s.guests[f], a: a, filters: f == rig.Device}
	t.Run("promiscuous", func(t *testing.T) { x.promiscuous(ctx, t) })
	t.Run("multicast", func(t *testing.T) { x.multicast(ctx, t) })
	t.Run("address", func(t *testing.T) { x.address(ctx, t) })
	t.Run("VLAN", func(t *testing.T) { x.vlans(ctx, t) })
}

func (x *filterTest) promiscuous(ctx context.Context, t *testing.T) {
	to := x.at(ctx, t, x.a.Iface, nobody, foreignMAC)
	x.want(ctx, t, "another's frames", to, !x.filters)
	x.link(ctx, t, x.p, "promisc", "on")
	x.want(ctx, t, "another's frames when promiscuous", to, true)
	x.link(ctx, t, x.p, "promisc", "off")
	x.want(ctx, t, "another's frames when no longer promiscuous", to, !x.filters)
}

func (x *filterTest) multicast(ctx context.Context, t *testing.T) {
	x.run(ctx, t, x.a, "ip", "route", "add", group, "dev", x.a.Iface)
	x.want(ctx, t, "frames to a group", group, !x.filters)
	x.run(ctx, t, x.p, "ip", "maddr", "add", groupMAC, "dev", x.p.Iface)
	x.want(ctx, t, "frames to a group it has joined", group, true)
	x.run(ctx, t, x.p, "ip", "maddr", "del", groupMAC, "dev", x.p.Iface)
	x.want(ctx, t, "frames to a group it has left", group, !x.filters)
	x.link(ctx, t, x.p, "allmulticast", "on")
	x.want(ctx, t, "frames to any group", group, true)
	x.link(ctx, t, x.p, "allmulticast", "off")
	x.want(ctx, t, "frames to a group, no longer to any", group, !x.filters)
	x.run(ctx, t, x.a, "ip", "route", "del", group, "dev", x.a.Iface)
}

func (x *filterTest) address(ctx context.Context, t *testing.T) {
	old := x.Port(x.p.ID).MAC
	x.link(ctx, t, x.p, "address", newMAC)
	if x.filters {
		if mac := x.MustStatus(t).Port(x.p.ID).MAC; mac != newMAC {
			t.Errorf("the daemon says %s, want %s", mac, newMAC)
		}
	}
	x.run(ctx, t, x.a, "ip", "neigh", "flush", "dev", x.a.Iface)
	if err := reach(ctx, x.a, x.p); err != nil {
		t.Error(err)
	}
	to := x.at(ctx, t, x.a.Iface, nobody, old)
	x.want(ctx, t, "frames to its old address", to, !x.filters)
	to = x.at(ctx, t, x.a.Iface, nobody, newMAC)
	x.want(ctx, t, "frames to its new address", to, true)
	x.link(ctx, t, x.p, "address", old)
	x.run(ctx, t, x.a, "ip", "neigh", "flush", "dev", x.a.Iface)
	if err := reach(ctx, x.a, x.p); err != nil {
		t.Error(err)
	}
}

func (x *filterTest) vlans(ctx context.Context, t *testing.T) {
	if err := errors.Join(x.a.Modprobe(ctx, "8021q"), x.p.Modprobe(ctx, "8021q")); err != nil {
		t.Fatal(err)
	}
	addVLAN := func(p *rig.Peer, host int) string {
		ip := fmt.Sprintf("10.0.%d.%d", netVLAN, host)
		x.run(ctx, t, p, "ip", "link", "add", "link", p.Iface, "name", vlan, "type", "vlan", "id", vlanID)
		x.run(ctx, t, p, "ip", "address", "add", ip+"/24", "dev", vlan)
		x.run(ctx, t, p, "ip", "link", "set", vlan, "up")
		return ip
	}
	addVLAN(x.a, 1)
	stranger := x.at(ctx, t, vlan, fmt.Sprintf("10.0.%d.99", netVLAN), x.Port(x.p.ID).MAC)
	x.want(ctx, t, "frames of a VLAN it is not in", stranger, !x.filters)
	ip := addVLAN(x.p, 2)
	x.want(ctx, t, "frames of a VLAN it is in", stranger, true)
	x.run(ctx, t, x.a, "ping", "-c", "1", "-W", "5", ip)
	x.run(ctx, t, x.p, "ip", "link", "del", vlan)
	x.want(ctx, t, "frames of a VLAN it has left", stranger, !x.filters)
	x.run(ctx, t, x.a, "ip", "link", "del", vlan)
	if err := reach(ctx, x.a, x.p); err != nil {
		t.Error(err)
	}
}

// at makes the sender send to ip at that MAC address, and returns ip.
func (x *filterTest) at(ctx context.Context, t *testing.T, iface, ip, mac string) string {
	t.Helper()
	if err := neighbourEntry(ctx, x.a, iface, ip, mac); err != nil {
		t.Fatal(err)
	}
	return ip
}

func (x *filterTest) link(ctx context.Context, t *testing.T, p *rig.Peer, args ...string) {
	t.Helper()
	x.run(ctx, t, p, append([]string{"ip", "link", "set", "dev", p.Iface}, args...)...)
}

func (x *filterTest) run(ctx context.Context, t *testing.T, p *rig.Peer, argv ...string) {
	t.Helper()
	if _, err := p.Output(ctx, argv...); err != nil {
		t.Fatal(err)
	}
}

// probes is how many frames are sent to see where they end up. What guests send
// unasked, a frame now and then, is far less than half of it.
const probes = 100

// want fails the test unless the guest receives what is sent to an address, or
// none of it.
func (x *filterTest) want(ctx context.Context, t *testing.T, what, to string, arrive bool) {
	t.Helper()
	before, inGuest := x.MustStatus(t), x.received(ctx, t)
	p, err := rig.StartFlood(ctx, x.a, to, probes)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := p.Wait(ctx); err != nil {
		t.Fatal(err)
	} else if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	// The sender is done when the frames are in its ring.
	now, err := x.WaitStatus(ctx, what+" are received or dropped", func(st *rig.Status) bool {
		rx := st.Since(before).Port(x.p.ID).Total(rig.RX)
		return rx.Packets+rx.Drops["rx_filter"] >= probes
	})
	if err != nil {
		t.Fatal(err)
	}
	rx := now.Since(before).Port(x.p.ID).Total(rig.RX)
	if got := rx.Packets > probes/2; got != arrive {
		t.Errorf("%s: received %v, want %v; counted: %+v", what, got, arrive, rx)
	}
	if got := x.received(ctx, t)-inGuest > probes/2; got != arrive {
		t.Errorf("%s: received, as the guest counts, %v, want %v", what, got, arrive)
	}
}

// received returns how many frames the guest's interface has received.
func (x *filterTest) received(ctx context.Context, t *testing.T) uint64 {
	t.Helper()
	out, err := x.p.Output(ctx, "cat", "/sys/class/net/"+x.p.Iface+"/statistics/rx_packets")
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(out), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
