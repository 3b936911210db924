package scenarios

import (
	"context"
	"fmt"
	"testing"

	"vhost-user-nvgre/guest-tests/harness"
	"vhost-user-nvgre/guest-tests/rig"
	"vhost-user-nvgre/guest-tests/stream"
)

// combination is what a pair of NICs has.
type combination struct {
	pairs            int
	mrgRxbuf, evtIdx bool
}

func (c combination) String() string {
	return fmt.Sprintf("pairs=%d,mrg_rxbuf=%s,event_idx=%s", c.pairs, onOff(c.mrgRxbuf), onOff(c.evtIdx))
}

func onOff(v bool) string {
	if v {
		return "on"
	}
	return "off"
}

func combinations() (list []combination) {
	for _, pairs := range []int{1, 4} {
		for _, mrgRxbuf := range []bool{true, false} {
			for _, evtIdx := range []bool{true, false} {
				list = append(list, combination{pairs, mrgRxbuf, evtIdx})
			}
		}
	}
	return list
}

// withheld returns the features that are not to be negotiated.
func (c combination) withheld() (list []string) {
	if !c.mrgRxbuf {
		list = append(list, "mrg_rxbuf")
	}
	if !c.evtIdx {
		list = append(list, "event_idx")
	}
	return list
}

// port is the port of guest i for combination n. On the device, where QEMU has
// no say, the port itself does not offer what is off. The ports of guest 1
// coalesce what it receives.
func (c combination) port(f rig.FrontEnd, n, i int) rig.Port {
	p := rig.Port{Name: portName(n, i), QueuePairs: c.pairs}
	if i == 1 {
		p.Settings = []string{"rsc=on", "uro=on"}
	}
	if f == rig.Device {
		p.Withhold = c.withheld()
	}
	return p
}

func portName(n, i int) string { return fmt.Sprintf("vm%d-%d", i, n) }

func (c combination) nic(f rig.FrontEnd, p rig.Port) harness.NIC {
	nic := f.NIC(p)
	if f != rig.Device {
		nic.Props = map[string]any{}
		for _, feature := range c.withheld() {
			nic.Props[feature] = false
		}
	}
	return nic
}

func TestCombinations(t *testing.T) {
	for _, f := range rig.FrontEnds {
		t.Run(f.String(), func(t *testing.T) { testFrontEnd(t, f) })
	}
}

// memMB is the guests' memory. Each receive queue without mergeable buffers
// holds 17 MiB of it, and keeps them when its interface is down.
const memMB = 512

// testFrontEnd boots two guests that have a NIC for every combination, and uses
// one pair of NICs after the other.
func testFrontEnd(t *testing.T, f rig.FrontEnd) {
	harness.CheckLeaks(t)
	ctx := rig.Context(t)
	var config rig.Config
	all := combinations()
	for n, c := range all {
		config.Ports = append(config.Ports, c.port(f, n, 0), c.port(f, n, 1))
	}
	d := rig.Run(t, config)
	guests := []harness.Guest{{Name: "a", QEMU: f.QEMU(), MemMB: memMB}, {Name: "b", QEMU: f.QEMU(), MemMB: memMB}}
	for n, c := range all {
		for i := range guests {
			guests[i].NICs = append(guests[i].NICs, c.nic(f, d.Port(portName(n, i))))
		}
	}
	vms := rig.Guests(t, guests...)
	for n, c := range all {
		t.Run(c.String(), func(t *testing.T) {
			a, b := portName(n, 0), portName(n, 1)
			p, err := rig.Join(ctx, n, vms[0], a, vms[1], b)
			if err != nil {
				t.Fatal(err)
			}
			// All ports are on one switch: only the NICs in question take part.
			defer func() {
				for _, peer := range []*rig.Peer{&p.A, &p.B} {
					if err := peer.Down(ctx); err != nil {
						t.Error(err)
					}
				}
			}()
			testCombination(ctx, t, d, p, f, c)
		})
	}
	d.CheckQuiet(t)
}

// streams is how many run in parallel. With several queue pairs there are 64
// altogether, two settings times two directions, and each is a flow in either
// direction: every queue meets one, but for once in ten million times.
func (c combination) streams() int {
	if c.pairs == 1 {
		return 2
	}
	return 16
}

func testCombination(ctx context.Context, t *testing.T, d *rig.Daemon, p *rig.Pair, f rig.FrontEnd, c combination) {
	for _, peer := range []*rig.Peer{&p.A, &p.B} {
		if c.pairs > 1 {
			if err := peer.SetQueuePairs(ctx, c.pairs); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Links take a moment to come up.
	if err := p.A.MustPing(ctx, p.B.IP6, harness.PingOptions{Count: 1}); err != nil {
		t.Fatal(err)
	}
	before := d.MustStatus(t)
	checkNegotiated(t, before.Port(p.A.ID), c)
	checkNegotiated(t, before.Port(p.B.ID), c)
	for _, on := range []bool{true, false} {
		t.Run("offloads="+onOff(on), func(t *testing.T) { testOffloads(ctx, t, d, p, on, c.streams()) })
	}
	counted := d.MustStatus(t).Since(before)
	for _, port := range []string{p.A.ID, p.B.ID} {
		for _, kind := range []string{rig.RX, rig.TX} {
			if used := counted.Port(port).Used(kind, 1); used > c.pairs || used < leastUsed(f, kind, c.pairs) {
				t.Errorf("port %s: %d of %d %s queues carried traffic: %+v", port, used, c.pairs, kind, counted.Port(port).Queues)
			}
		}
	}
}

func checkNegotiated(t *testing.T, p *rig.PortStatus, c combination) {
	t.Helper()
	for feature, want := range map[string]bool{"mrg_rxbuf": c.mrgRxbuf, "event_idx": c.evtIdx, "guest_tso4": true, "host_tso4": true} {
		if p.Has(feature) != want {
			t.Errorf("port %s: %s negotiated: %v, want %v", p.Name, feature, !want, want)
		}
	}
	if p.QueuePairsInUse != c.pairs {
		t.Errorf("port %s: %d queue pairs in use, want %d", p.Name, p.QueuePairsInUse, c.pairs)
	}
}

// fullFrame is the longest frame of an interface whose MTU is 1500, without
// tags.
const fullFrame = 1514

// testOffloads sends data both ways with the guests' transmit offloads on or
// off, by TCP and UDP over IPv4 and IPv6.
func testOffloads(ctx context.Context, t *testing.T, d *rig.Daemon, p *rig.Pair, on bool, streams int) {
	for _, peer := range []*rig.Peer{&p.A, &p.B} {
		if _, err := peer.Ethtool(ctx, "-K", "tx", onOff(on), "tso", onOff(on), "gso", onOff(on)); err != nil {
			t.Fatal(err)
		}
	}
	tcp := stream.Job{Seed: 1, Sizes: []int{65536, 1, 1448, 30_000}, Bytes: 128 << 10, Streams: streams}
	for _, dir := range []struct {
		from, to *rig.Peer
		v6       bool
	}{{&p.A, &p.B, on}, {&p.B, &p.A, !on}} {
		before := d.MustStatus(t)
		if _, err := rig.Stream(ctx, dir.from, dir.to, dir.v6, tcp); err != nil {
			t.Fatal(err)
		}
		counted := d.MustStatus(t).Since(before)
		sent, received := counted.Port(dir.from.ID).Total(rig.TX), counted.Port(dir.to.ID).Total(rig.RX)
		if mean := sent.Bytes / max(1, sent.Packets); (mean > fullFrame) != on {
			t.Errorf("frames of %d bytes in the mean with offloads %s", mean, onOff(on))
		}
		// Segments that the guest has cut are put together for the one whose
		// port does so, whose kernel then takes them as one.
		coalesced := received.Coalescing["packets"]
		if want := dir.to == &p.B; !on && (coalesced > 0) != want || !want && coalesced > 0 {
			t.Errorf("%s: %d of %d frames coalesced with offloads %s", dir.to.ID, coalesced, sent.Packets, onOff(on))
		}
	}
	udp := stream.Job{Seed: 2, UDP: true, Sizes: []int{1, 2, 64, 1472, 1473, 9000, 65507}}
	there, err := rig.StartStream(ctx, &p.A, &p.B, !on, udp)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rig.Stream(ctx, &p.B, &p.A, on, udp); err != nil {
		t.Error(err)
	}
	if _, err := rig.WaitStream(ctx, there); err != nil {
		t.Error(err)
	}
}
