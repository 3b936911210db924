// Package selftest boots real guests to test the harness that boots guests.
package selftest

import (
	"testing"

	"vhost-user-nvgre/guest-tests/harness"
	"vhost-user-nvgre/guest-tests/lab"
)

// wire boots two guests whose first NICs are joined by a socket, and gives them
// addresses.
func wire(t *testing.T, age lab.QEMUAge) (a, b *harness.VM) {
	t.Helper()
	left, right, err := harness.DatagramPair()
	if err != nil {
		t.Fatal(err)
	}
	defer left.Close()
	defer right.Close()
	a = harness.Start(t, harness.Guest{Name: "a", QEMU: age, NICs: []harness.NIC{{Link: harness.Datagram{File: left}, MAC: "52:54:00:00:00:0a"}}})
	b = harness.Start(t, harness.Guest{Name: "b", QEMU: age, NICs: []harness.NIC{{Link: harness.Datagram{File: right}, MAC: "52:54:00:00:00:0b"}}})
	address(t, a, "10.0.0.1/24", "fd00::1/64")
	address(t, b, "10.0.0.2/24", "fd00::2/64")
	return a, b
}

func address(t *testing.T, vm *harness.VM, addrs ...string) {
	t.Helper()
	if _, err := vm.Address(t.Context(), "nic0", addrs...); err != nil {
		t.Fatal(err)
	}
}
