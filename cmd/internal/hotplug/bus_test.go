package hotplug

import (
	"strings"
	"testing"
)

// On a machine whose root bus takes nothing, NICs go to root ports, while there
// are free ones.
func TestRootPorts(t *testing.T) {
	f := newFake()
	f.q35 = true
	q := f.connect(t)
	for _, id := range []string{"port0", "port1", "port2"} {
		f.devices[id] = map[string]any{"driver": rootPort}
	}
	f.devices["disk"] = map[string]any{"driver": "virtio-blk-pci", "bus": "port1"}
	attach := func(id, bus string) error {
		t.Helper()
		n := nic(Netdev, true)
		n.ID, n.Bus = id, bus
		return q.Attach(t.Context(), n)
	}
	for _, tt := range []struct{ id, bus, want string }{{"a", "", "port0"}, {"b", "", "port2"}} {
		if err := attach(tt.id, tt.bus); err != nil {
			t.Fatalf("Attach(%s) = %v, want nil", tt.id, err)
		}
		if got := f.devices[tt.id]["bus"]; got != tt.want {
			t.Errorf("Attach(%s) chose bus %v, want %s", tt.id, got, tt.want)
		}
	}
	left := strings.Join(f.left(), ", ")
	err := attach("c", "")
	const want = "Bus 'pcie.0' does not support hotplugging; this machine takes devices at run time only in free root ports: " +
		"start QEMU with -device pcie-root-port,id=hotplug0,slot=1"
	if err == nil || !strings.Contains(err.Error(), want) || refusal(err) == nil {
		t.Errorf("Attach(c) = %v, want an error with %q", err, want)
	}
	if got := strings.Join(f.left(), ", "); got != left {
		t.Errorf("a refused Attach left %s, want %s", got, left)
	}
	if err := q.Detach(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if err := attach("c", ""); err != nil || f.devices["c"]["bus"] != "port0" {
		t.Errorf("Attach(c) after Detach(a) = %v, bus %v, want nil, port0", err, f.devices["c"]["bus"])
	}
}
