package selftest

import (
	"testing"

	"vhost-user-nvgre/guest-tests/harness"
	"vhost-user-nvgre/guest-tests/lab"
)

// Two guests on either QEMU exchange traffic over a socket between their QEMUs.
func TestTraffic(t *testing.T) {
	for _, age := range []lab.QEMUAge{lab.NewQEMU, lab.OldQEMU} {
		t.Run(age.String(), func(t *testing.T) {
			harness.CheckLeaks(t)
			ctx := t.Context()
			a, b := wire(t, age)
			for _, to := range []string{"10.0.0.2", "fd00::2"} {
				if err := a.MustPing(ctx, to, harness.PingOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			if r, err := a.Ping(ctx, "10.0.0.3", harness.PingOptions{Count: 1}); err != nil || r.Received != 0 {
				t.Errorf("Ping() of nobody = %+v, %v, want no answer and no error", r, err)
			}
			server, err := b.StartIperf(ctx, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range []harness.Iperf{
				{Seconds: 1},
				{Seconds: 1, Reverse: true},
				{Seconds: 1, UDP: true, Rate: "10M"},
				{Seconds: 1, Streams: 2, Bidirectional: true},
			} {
				r, err := a.RunIperf(ctx, "10.0.0.2", server, i)
				if err != nil {
					t.Fatal(err)
				}
				if r.Sent.Bytes == 0 || r.Received.Bytes == 0 || r.Received.BitsPerSecond == 0 {
					t.Errorf("RunIperf(%+v) moved nothing: %s", i, r.JSON)
				}
				if i.Bidirectional && r.BackReceived.Bytes == 0 {
					t.Errorf("RunIperf(%+v) moved nothing back: %s", i, r.JSON)
				}
				if i.UDP && r.Received.Packets == 0 {
					t.Errorf("RunIperf(%+v) counted no packets: %s", i, r.JSON)
				}
			}
			if err := server.Stop(ctx); err != nil {
				t.Error(err)
			}
			if _, err := a.RunIperf(ctx, "10.0.0.2", server, harness.Iperf{Seconds: 1}); err == nil {
				t.Error("RunIperf() without a server = nil error")
			}
		})
	}
}

// A NIC comes, works and goes while the guest runs, several times over.
func TestHotPlug(t *testing.T) {
	for _, age := range []lab.QEMUAge{lab.NewQEMU, lab.OldQEMU} {
		t.Run(age.String(), func(t *testing.T) {
			harness.CheckLeaks(t)
			ctx := t.Context()
			dir := harness.TempDir(t)
			sock, err := dir.Socket("wire.sock")
			if err != nil {
				t.Fatal(err)
			}
			a := harness.Start(t, harness.Guest{Name: "a", QEMU: age, NICs: []harness.NIC{{ID: "wire", Link: harness.Stream{Socket: sock, Server: true}}}})
			b := harness.Start(t, harness.Guest{Name: "b", QEMU: age})
			if _, err := a.Address(ctx, "wire", "10.0.0.1/24"); err != nil {
				t.Fatal(err)
			}
			for round := range 2 {
				id, err := b.Plug(ctx, harness.NIC{MAC: "52:54:00:00:00:0b", Link: harness.Stream{Socket: sock}, Props: map[string]any{"mrg_rxbuf": false}})
				if err != nil {
					t.Fatalf("round %d: %v", round, err)
				}
				if _, err := b.Address(ctx, id, "10.0.0.2/24"); err != nil {
					t.Fatalf("round %d: %v", round, err)
				}
				if n, err := b.Interface(ctx, id); err != nil || n.MAC != "52:54:00:00:00:0b" || n.Driver != "virtio_net" {
					t.Errorf("round %d: Interface() = %+v, %v", round, n, err)
				}
				if err := b.MustPing(ctx, "10.0.0.1", harness.PingOptions{}); err != nil {
					t.Fatalf("round %d: %v", round, err)
				}
				if err := b.Unplug(ctx, id); err != nil {
					t.Fatalf("round %d: %v", round, err)
				}
				if list, err := b.NICs(ctx); err != nil || len(list) != 0 {
					t.Errorf("round %d: NICs() after Unplug() = %+v, %v, want none", round, list, err)
				}
			}
			if _, err := b.Plug(ctx, harness.NIC{ID: "x", Link: harness.VhostUser{Socket: dir.Path("none.sock")}}); err == nil {
				t.Error("Plug() with a back end that is not there = nil error")
			}
			if _, err := b.Plug(ctx, harness.NIC{ID: "x", Link: harness.Stream{Socket: sock}}); err != nil {
				t.Errorf("Plug() under a name that failed before: %v", err)
			}
		})
	}
}
