package scenarios

import (
	"context"
	"errors"
	"slices"
	"testing"

	"vhost-user-nvgre/guest-tests/harness"
	"vhost-user-nvgre/guest-tests/rig"
	"vhost-user-nvgre/guest-tests/stream"
)

// TestRestart ends the daemon under guests, by a signal and as a crash would,
// and starts it again, while data flows between them. QEMU connects again, or
// the daemon to QEMU, and the data arrives.
func TestRestart(t *testing.T) {
	harness.CheckLeaks(t)
	ctx := rig.Context(t)
	frontEnds := []rig.FrontEnd{rig.Netdev, rig.OldNetdev}
	modes := []string{"server", "client"}
	var config rig.Config
	for _, f := range frontEnds {
		for _, mode := range modes {
			config.Ports = append(config.Ports, rig.Port{Name: f.String() + "-" + mode, QueuePairs: 2, Client: mode == "client"})
		}
	}
	d := rig.Run(t, config)
	var guests []harness.Guest
	for _, f := range frontEnds {
		g := harness.Guest{Name: f.String(), QEMU: f.QEMU()}
		for _, mode := range modes {
			g.NICs = append(g.NICs, f.NIC(d.Port(f.String()+"-"+mode)))
		}
		guests = append(guests, g)
	}
	vms := rig.Guests(t, guests...)
	var pairs []*rig.Pair
	for i, mode := range modes {
		p, err := rig.Join(ctx, i, vms[0], guests[0].NICs[i].ID, vms[1], guests[1].NICs[i].ID)
		if err != nil {
			t.Fatalf("%s: %v", mode, err)
		}
		if err := reach(ctx, &p.A, &p.B); err != nil {
			t.Fatalf("%s: %v", mode, err)
		}
		pairs = append(pairs, p)
	}
	for _, end := range []struct {
		name string
		do   func() error
	}{
		{"killed", func() error { d.Kill(); return nil }},
		{"stopped", func() error { return d.Stop(ctx) }},
	} {
		t.Run(end.name, func(t *testing.T) { restart(ctx, t, d, pairs, end.do) })
	}
	d.CheckQuiet(t)
}

// restart ends the daemon and starts it again while there is data under way
// between all pairs.
func restart(ctx context.Context, t *testing.T, d *rig.Daemon, pairs []*rig.Pair, end func() error) {
	streams := underWay(ctx, t, d, pairs)
	if err := errors.Join(end(), d.Restart(ctx)); err != nil {
		t.Fatal(err)
	}
	for i, p := range pairs {
		if _, err := rig.WaitStream(ctx, streams[i]); err != nil {
			t.Errorf("%s to %s: %v", p.A.ID, p.B.ID, err)
		}
		if err := errors.Join(reach(ctx, &p.A, &p.B), reach(ctx, &p.B, &p.A)); err != nil {
			t.Error(err)
		}
	}
}

// underWay returns streams, one for each pair, that have begun and not ended.
// How much data that takes depends on how fast the guests are.
func underWay(ctx context.Context, t *testing.T, d *rig.Daemon, pairs []*rig.Pair) (streams []*harness.GuestProcess) {
	t.Helper()
	const begun = 1 << 20
	for job := (stream.Job{Seed: 30, Sizes: []int{65536}, Bytes: 16 << 20}); job.Bytes < 10<<30; job.Bytes *= 4 {
		before := d.MustStatus(t)
		streams = nil
		for _, p := range pairs {
			s, err := rig.StartStream(ctx, &p.A, &p.B, false, job)
			if err != nil {
				t.Fatal(err)
			}
			streams = append(streams, s)
		}
		if _, err := d.WaitStatus(ctx, "all send", func(st *rig.Status) bool {
			counted := st.Since(before)
			return !slices.ContainsFunc(pairs, func(p *rig.Pair) bool {
				return counted.Port(p.A.ID).Total(rig.TX).Bytes < begun
			})
		}); err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(streams, ended) {
			return streams
		}
		for _, s := range streams {
			if _, err := rig.WaitStream(ctx, s); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Fatal("streams end too early to be disturbed")
	return nil
}

func ended(p *harness.GuestProcess) bool {
	select {
	case <-p.Done():
		return true
	default:
		return false
	}
}
