package scenarios

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

	vlanNumber = 5
)

// filterTest looks at which frames from a a guest p gets. The device has what p
// wants from its control queue; a netdev's QEMU keeps that to itself, and the
// daemon asks for it over QMP.
type filterTest struct {
	*scene
	p, a   *rig.Peer
	source string // whom the filter comes from
}

func newFilterTest(s *scene, f rig.FrontEnd, a *rig.Peer) *filterTest {
	x := &filterTest{scene: s, p: s.guests[f], a: a, source: "qmp"}
	if f == rig.Device {
		x.source = "control queue"
	}
	return x
}

// testFilters changes the address, receive modes and VLANs of a guest's NIC, and
// looks at what it receives.
func testFilters(ctx context.Context, t *testing.T, s *scene, f rig.FrontEnd) {
	a, _ := s.others(f)
	x := newFilterTest(s, f, a)
	t.Run("promiscuous", func(t *testing.T) { x.promiscuous(ctx, t) })
	t.Run("multicast", func(t *testing.T) { x.multicast(ctx, t) })
	t.Run("address", func(t *testing.T) { x.address(ctx, t) })
	t.Run("VLAN", func(t *testing.T) { x.vlans(ctx, t) })
}

func (x *filterTest) promiscuous(ctx context.Context, t *testing.T) {
	promiscuous := func(on bool) {
		t.Helper()
		x.filter(ctx, t, fmt.Sprintf("promiscuous is %v", on), func(f *rig.RXFilter) bool { return f.Promiscuous == on })
	}
	to := x.at(ctx, t, x.a.Iface, nobody, foreignMAC)
	promiscuous(false)
	x.want(ctx, t, "another's frames", to, false)
	x.link(ctx, t, x.p, "promisc", "on")
	promiscuous(true)
	x.want(ctx, t, "another's frames when promiscuous", to, true)
	x.link(ctx, t, x.p, "promisc", "off")
	promiscuous(false)
	x.want(ctx, t, "another's frames when no longer promiscuous", to, false)
}

func (x *filterTest) multicast(ctx context.Context, t *testing.T) {
	joined := func(in bool) {
		t.Helper()
		x.filter(ctx, t, fmt.Sprintf("in the group is %v", in), func(f *rig.RXFilter) bool {
			return f.Multicast == "listed" && slices.Contains(f.MulticastTable, groupMAC) == in
		})
	}
	x.run(ctx, t, x.a, "ip", "route", "add", group, "dev", x.a.Iface)
	joined(false)
	x.want(ctx, t, "frames to a group", group, false)
	x.run(ctx, t, x.p, "ip", "maddr", "add", groupMAC, "dev", x.p.Iface)
	joined(true)
	x.want(ctx, t, "frames to a group it has joined", group, true)
	x.run(ctx, t, x.p, "ip", "maddr", "del", groupMAC, "dev", x.p.Iface)
	joined(false)
	x.want(ctx, t, "frames to a group it has left", group, false)
	x.link(ctx, t, x.p, "allmulticast", "on")
	x.filter(ctx, t, "all groups are wanted", func(f *rig.RXFilter) bool { return f.Multicast == "all" })
	x.want(ctx, t, "frames to any group", group, true)
	x.link(ctx, t, x.p, "allmulticast", "off")
	joined(false)
	x.want(ctx, t, "frames to a group, no longer to any", group, false)
	x.run(ctx, t, x.a, "ip", "route", "del", group, "dev", x.a.Iface)
}

func (x *filterTest) address(ctx context.Context, t *testing.T) {
	move := func(to string) {
		t.Helper()
		x.link(ctx, t, x.p, "address", to)
		_, err := x.WaitStatus(ctx, x.p.ID+" is at "+to, func(st *rig.Status) bool { return st.Port(x.p.ID).MAC == to })
		if err != nil {
			t.Fatal(err)
		}
		x.run(ctx, t, x.a, "ip", "neigh", "flush", "dev", x.a.Iface)
		if err := reach(ctx, x.a, x.p); err != nil {
			t.Error(err)
		}
	}
	old := x.Port(x.p.ID).MAC
	move(newMAC)
	to := x.at(ctx, t, x.a.Iface, nobody, old)
	x.want(ctx, t, "frames to its old address", to, false)
	to = x.at(ctx, t, x.a.Iface, nobody, newMAC)
	x.want(ctx, t, "frames to its new address", to, true)
	move(old)
}

func (x *filterTest) vlans(ctx context.Context, t *testing.T) {
	if err := errors.Join(x.a.Modprobe(ctx, "8021q"), x.p.Modprobe(ctx, "8021q")); err != nil {
		t.Fatal(err)
	}
	addVLAN := func(p *rig.Peer, host int) string {
		ip := fmt.Sprintf("10.0.%d.%d", netVLAN, host)
		x.run(ctx, t, p, "ip", "link", "add", "link", p.Iface, "name", vlan, "type", "vlan", "id", strconv.Itoa(vlanNumber))
		x.run(ctx, t, p, "ip", "address", "add", ip+"/24", "dev", vlan)
		x.run(ctx, t, p, "ip", "link", "set", vlan, "up")
		return ip
	}
	in := func(member bool) {
		t.Helper()
		x.filter(ctx, t, fmt.Sprintf("in the VLAN is %v", member), func(f *rig.RXFilter) bool {
			return f.VLANFilter && slices.Contains(f.VLANs, vlanNumber) == member
		})
	}
	addVLAN(x.a, 1)
	in(false)
	stranger := x.at(ctx, t, vlan, fmt.Sprintf("10.0.%d.99", netVLAN), x.Port(x.p.ID).MAC)
	x.want(ctx, t, "frames of a VLAN it is not in", stranger, false)
	ip := addVLAN(x.p, 2)
	in(true)
	x.want(ctx, t, "frames of a VLAN it is in", stranger, true)
	x.run(ctx, t, x.a, "ping", "-c", "1", "-W", "5", ip)
	x.run(ctx, t, x.p, "ip", "link", "del", vlan)
	in(false)
	x.want(ctx, t, "frames of a VLAN it has left", stranger, false)
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

// filter returns when the daemon has a filter of the guest's like that. By QMP
// it comes a moment after the guest has set it.
func (x *filterTest) filter(ctx context.Context, t *testing.T, what string, cond func(*rig.RXFilter) bool) {
	t.Helper()
	_, err := x.WaitStatus(ctx, x.p.ID+" has a filter by "+x.source+" and "+what, func(st *rig.Status) bool {
		f := &st.Port(x.p.ID).RXFilter
		return f.Source == x.source && f.Error == "" && cond(f)
	})
	if err != nil {
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
