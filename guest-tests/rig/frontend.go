package rig

import (
	"vhost-user-nvgre/guest-tests/harness"
	"vhost-user-nvgre/guest-tests/lab"
)

// FrontEnd is a way for a guest to attach to a port.
type FrontEnd int

const (
	// Netdev is -netdev vhost-user with virtio-net-pci on the new QEMU.
	Netdev FrontEnd = iota
	// OldNetdev is the same on the old QEMU.
	OldNetdev
	// Device is vhost-user-test-device-pci, which only the new QEMU has.
	Device
)

// FrontEnds are all there are.
var FrontEnds = []FrontEnd{Netdev, OldNetdev, Device}

func (f FrontEnd) String() string {
	return [...]string{"netdev", "netdev-old", "device"}[f]
}

// QEMU returns the QEMU it takes.
func (f FrontEnd) QEMU() lab.QEMUAge {
	if f == OldNetdev {
		return lab.OldQEMU
	}
	return lab.NewQEMU
}

// reconnectMS is how often QEMU tries to reach a daemon it has lost.
const reconnectMS = 100

// NIC returns a NIC on a port of the daemon. A netdev connects again when it
// has lost the daemon; the device cannot.
func (f FrontEnd) NIC(p Port) harness.NIC {
	n := harness.NIC{ID: p.Name, Queues: p.QueuePairs}
	if f == Device {
		n.Link = harness.TestDevice{Socket: p.socket, Server: p.Client}
		return n
	}
	n.MAC = p.MAC
	v := harness.VhostUser{Socket: p.socket, Server: p.Client}
	if !p.Client {
		v.ReconnectMS = reconnectMS
	}
	n.Link = v
	return n
}
