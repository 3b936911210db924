package selftest

import (
	"testing"

	"vhost-user-nvgre/guest-tests/harness"
)

// Two guests meet on a kernel bridge, one of them with two queue pairs.
func TestTapBridge(t *testing.T) {
	harness.CheckLeaks(t)
	ctx := t.Context()
	bridge, err := harness.NewBridge(ctx, harness.Lab(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := bridge.Close(); err != nil {
			t.Error(err)
		}
	})
	start := func(name, mac string, queues int) *harness.VM {
		files, err := bridge.Tap(queues)
		if err != nil {
			t.Fatal(err)
		}
		vm := harness.Start(t, harness.Guest{Name: name, CPUs: queues, NICs: []harness.NIC{{MAC: mac, Queues: queues, Link: harness.Tap{Files: files}}}})
		for _, f := range files {
			f.Close()
		}
		return vm
	}
	a := start("a", "52:54:00:00:00:0a", 1)
	b := start("b", "52:54:00:00:00:0b", 2)
	address(t, a, "10.0.0.1/24")
	address(t, b, "10.0.0.2/24")
	if err := a.MustPing(ctx, "10.0.0.2", harness.PingOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := bridge.Tap(100); err == nil {
		t.Error("Tap(100) = nil error, want one: too many queues")
	}
}
