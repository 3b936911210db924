package selftest

import (
	"syscall"
	"testing"
	"time"

	"vhost-user-nvgre/guest-tests/harness"
	"vhost-user-nvgre/guest-tests/lab"
)

// The vhost-user links work with a foreign back end, DPDK's testpmd: from the
// start with two queue pairs, and plugged into and out of the old QEMU while the
// other guest runs.
func TestVhostUserLinks(t *testing.T) {
	harness.CheckLeaks(t)
	ctx := t.Context()
	dir := harness.TempDir(t)
	left, right := socket(t, dir, "left.sock"), socket(t, dir, "right.sock")
	daemon, err := harness.Testpmd{
		Queues: 2,
		Vdevs:  []string{"net_vhost0,iface=" + left + ",queues=2", "net_vhost1,iface=" + right + ",queues=2"},
	}.Daemon(ctx, harness.Lab(t), dir)
	if err != nil {
		t.Fatal(err)
	}
	testpmd := harness.RunDaemon(t, daemon)
	a := harness.Start(t, harness.Guest{
		Name: "a", CPUs: 2,
		NICs: []harness.NIC{{MAC: "52:54:00:00:00:0a", Queues: 2, Link: harness.VhostUser{Socket: left}}},
	})
	b := harness.Start(t, harness.Guest{Name: "b", QEMU: lab.OldQEMU})
	address(t, a, "10.0.0.1/24")
	for round := range 2 {
		id, err := b.Plug(ctx, harness.NIC{MAC: "52:54:00:00:00:0b", Queues: 2, Link: harness.VhostUser{Socket: right}})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if _, err := b.Address(ctx, id, "10.0.0.2/24"); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if err := b.MustPing(ctx, "10.0.0.1", harness.PingOptions{}); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if err := b.Unplug(ctx, id); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
	if err := testpmd.Signal(syscall.SIGINT); err != nil { // It prints its counters and ends.
		t.Fatal(err)
	}
	<-testpmd.Done()
	stats := harness.TestpmdStats(testpmd.Stdout.String())
	if len(stats) != 2 || stats[0].RxPackets == 0 || stats[1].RxPackets == 0 {
		t.Errorf("testpmd's counters: %+v, want packets on both ports", stats)
	}
}

// testpmd works as a front end too, without huge pages.
func TestTestpmdFrontEnd(t *testing.T) {
	harness.CheckLeaks(t)
	dir := harness.TempDir(t)
	path := socket(t, dir, "s")
	run := func(p harness.Testpmd) *harness.Process {
		d, err := p.Daemon(t.Context(), harness.Lab(t), dir)
		if err != nil {
			t.Fatal(err)
		}
		return harness.RunDaemon(t, d)
	}
	back := run(harness.Testpmd{Name: "back", Forward: "rxonly", Vdevs: []string{"net_vhost0,iface=" + path}})
	run(harness.Testpmd{Name: "front", MainCore: 1, Forward: "txonly", Vdevs: []string{"net_virtio_user0,path=" + path}})
	for end := time.Now().Add(30 * time.Second); harness.TestpmdStats(back.Stdout.String())[0].RxPackets == 0; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no packet came through")
		}
	}
}

func socket(t *testing.T, dir *harness.Dir, name string) string {
	t.Helper()
	p, err := dir.Socket(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
