package scenarios

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"vhost-user-nvgre/guest-tests/harness"
	"vhost-user-nvgre/guest-tests/rig"
	"vhost-user-nvgre/guest-tests/stream"
)

// Every guest has a NIC at a port named after its front end. More ports, for
// what is plugged in later, add these to the name.
const (
	spare = "-spare"
	jumbo = "-jumbo"
)

// neighbour and bystander are the ports of front ends that are no guests.
const (
	neighbour = "neighbour"
	bystander = "bystander"
)

// queuePairs of every guest's NIC.
const queuePairs = 4

// The subnets that NICs have addresses in. A guest's number in each is the
// number of its front end plus one.
const (
	netBase = iota
	netSpare
	netJumbo
	netVLAN
)

// scene is a daemon with a guest for each front end.
type scene struct {
	*rig.Daemon
	guests []*rig.Peer // by rig.FrontEnd
}

// others returns the guests that are not of that front end.
func (s *scene) others(f rig.FrontEnd) (a, b *rig.Peer) {
	n := len(s.guests)
	return s.guests[(int(f)+1)%n], s.guests[(int(f)+2)%n]
}

func newScene(ctx context.Context, t *testing.T) *scene {
	var config rig.Config
	dir := harness.TempDir(t)
	monitors := make([][]string, len(rig.FrontEnds)) // arguments of QEMU
	for i, f := range rig.FrontEnds {
		var settings []string
		if f != rig.Device {
			// What the guest wants to receive is QEMU's, and the daemon asks for it.
			path, err := dir.Socket(f.String() + ".qmp")
			if err != nil {
				t.Fatal(err)
			}
			settings, monitors[i] = []string{"qmp=" + path}, monitorArgs(path)
		}
		config.Ports = append(config.Ports,
			rig.Port{Name: f.String(), QueuePairs: queuePairs, Settings: settings},
			rig.Port{Name: f.String() + spare, QueuePairs: 2, Settings: settings},
			rig.Port{Name: f.String() + jumbo, MTU: jumboMTU, Settings: settings},
		)
	}
	config.Ports = append(config.Ports, rig.Port{Name: neighbour, QueuePairs: 2}, rig.Port{Name: bystander})
	s := &scene{Daemon: rig.Run(t, config)}
	var guests []harness.Guest
	for i, f := range rig.FrontEnds {
		guests = append(guests, harness.Guest{
			Name: f.String(), QEMU: f.QEMU(), NICs: []harness.NIC{f.NIC(s.Port(f.String()))}, Args: monitors[i],
		})
	}
	for i, vm := range rig.Guests(t, guests...) {
		p, err := rig.Attach(ctx, netBase, i+1, vm, rig.FrontEnds[i].String())
		if err != nil {
			t.Fatal(err)
		}
		s.guests = append(s.guests, p)
	}
	s.mesh(ctx, t)
	return s
}

// TestScenes boots the guests once for all.
func TestScenes(t *testing.T) {
	harness.CheckLeaks(t)
	ctx := rig.Context(t)
	s := newScene(ctx, t)
	for _, sc := range []struct {
		name string
		do   func(context.Context, *testing.T, *scene, rig.FrontEnd)
	}{
		{"integrity", testIntegrity},
		// Shows: VNET-081
		{"queues", testQueues},
		// Shows: VNET-110, VNET-115, VNET-116, VNET-117, VNET-122
		{"filters", testFilters},
		// Shows: VNET-003, VNET-004
		{"bind", testBind},
		{"plug", testPlug},
		{"pause", testPause},
		{"link", testLink},
		{"reboot", testReboot},
	} {
		t.Run(sc.name, func(t *testing.T) {
			for _, f := range rig.FrontEnds {
				t.Run(f.String(), func(t *testing.T) { sc.do(ctx, t, s, f) })
			}
			s.CheckQuiet(t)
		})
	}
	// Shows: VNET-032
	t.Run("jumbo", func(t *testing.T) { testJumbo(ctx, t, s) })
	t.Run("idle", func(t *testing.T) { testIdle(ctx, t, s) })
	s.CheckQuiet(t)
	// What follows is meant to make the daemon complain.
	//
	// Shows: VNET-013
	t.Run("hostile", func(t *testing.T) { testHostile(ctx, t, s) })
	s.mesh(ctx, t)
}

// mesh fails the test unless every guest reaches every other.
func (s *scene) mesh(ctx context.Context, t *testing.T) {
	t.Helper()
	for _, f := range rig.FrontEnds {
		a, b := s.others(f)
		if err := reach(ctx, a, b); err != nil {
			t.Fatal(err)
		}
	}
}

// reach pings b from a by IPv4 and IPv6.
func reach(ctx context.Context, a, b *rig.Peer) error {
	return errors.Join(
		a.MustPing(ctx, b.IP4, harness.PingOptions{Count: 1}),
		a.MustPing(ctx, b.IP6, harness.PingOptions{Count: 1}),
	)
}

// backgroundPause is between two streams in the background, so that guests that
// share processors with them get on.
const backgroundPause = 300 * time.Millisecond

// background streams data between two guests until the function it returns is
// called, which fails the test if anything was lost or changed.
func background(ctx context.Context, t *testing.T, a, b *rig.Peer) (stop func()) {
	t.Helper()
	end := make(chan struct{})
	var wg sync.WaitGroup
	var err error
	streams := 0
	wg.Go(func() {
		job := stream.Job{Seed: 3, Sizes: []int{1, 1448, 65536, 9000}, Bytes: 512 << 10}
		for from, to := a, b; err == nil; from, to = to, from {
			if _, err = rig.Stream(ctx, from, to, streams%4 >= 2, job); err == nil {
				streams++
			}
			select {
			case <-end:
				return
			case <-time.After(backgroundPause):
			}
		}
	})
	return func() {
		t.Helper()
		close(end)
		wg.Wait()
		if err != nil {
			t.Errorf("between %s and %s, stream %d: %v", a.ID, b.ID, streams, err)
		}
	}
}

// both streams data from a to b and back.
func both(ctx context.Context, t *testing.T, a, b *rig.Peer) {
	t.Helper()
	job := stream.Job{Seed: 4, Sizes: []int{1, 1448, 65536, 9000}, Bytes: 512 << 10, Streams: 4}
	for _, way := range []struct {
		from, to *rig.Peer
		v6       bool
	}{{a, b, false}, {b, a, true}} {
		if _, err := rig.Stream(ctx, way.from, way.to, way.v6, job); err != nil {
			t.Fatalf("%s to %s: %v", way.from.ID, way.to.ID, err)
		}
	}
}

// neighbourEntry makes a guest send to an IPv4 address at a MAC address without
// asking for it.
func neighbourEntry(ctx context.Context, p *rig.Peer, iface, ip, mac string) error {
	_, err := p.Output(ctx, "ip", "neigh", "replace", ip, "lladdr", mac, "dev", iface, "nud", "permanent")
	return err
}

// forgetEntry takes back what neighbourEntry has set.
func forgetEntry(ctx context.Context, p *rig.Peer, iface, ip string) error {
	_, err := p.Output(ctx, "ip", "neigh", "del", ip, "dev", iface)
	return err
}

// forever is more datagrams than a flood sends before it is ended.
const forever = 1 << 30

// flood lets from send datagrams to a guest, without asking whether it is
// there, until the function returned is called.
func flood(ctx context.Context, t *testing.T, s *scene, from, to *rig.Peer) (stop func()) {
	t.Helper()
	if err := neighbourEntry(ctx, from, from.Iface, to.IP4, s.Port(to.ID).MAC); err != nil {
		t.Fatal(err)
	}
	p, err := rig.StartFlood(ctx, from, to.IP4, forever)
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := p.Kill(ctx, sigkill); err != nil {
			t.Error(err)
		}
		if _, err := p.Wait(ctx); err != nil {
			t.Error(err)
		}
		if err := forgetEntry(ctx, from, from.Iface, to.IP4); err != nil {
			t.Error(err)
		}
	}
}
