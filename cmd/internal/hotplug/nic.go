package hotplug

import (
	"fmt"
	"strings"
)

// FrontEnd is the device that a guest sees.
type FrontEnd string

// What there is. README.md, "Attaching QEMU", compares them.
const (
	Netdev FrontEnd = "netdev" // virtio-net-pci with a netdev of type vhost-user
	Device FrontEnd = "device" // vhost-user-test-device-pci
)

// testDevice is the driver of front end Device.
const testDevice = "vhost-user-test-device-pci"

// Fixed properties of a testDevice.
const (
	networkDevice    = 1   // virtio's number for it
	testDeviceRing   = 256 // size of every queue
	testDeviceConfig = 28  // octets of configuration space, supported_tunnel_types included
)

// reconnectMS is how often QEMU tries to reach a daemon it has lost.
const reconnectMS = 1000

// NIC is a NIC to be made.
type NIC struct {
	// ID is the device's; the netdev and the chardev get it with "-net" and
	// "-chr" added.
	ID       string
	FrontEnd FrontEnd
	// Socket is the absolute path of the port's socket. Listen makes QEMU
	// listen there, for a port in client mode.
	Socket string
	Listen bool
	// QueuePairs is how many the port has.
	QueuePairs int
	// MAC, MTU and Speed, in Mbit/s, are what the guest is told. 0 leaves out.
	// With front end Device the daemon tells the guest itself.
	MAC        string
	MTU, Speed int
	// Bus and Addr say where in the guest it goes. An empty Bus is a free
	// pcie-root-port if there is one, else, like an empty Addr, for QEMU to
	// choose.
	Bus, Addr string
}

// DefaultID returns the ID of a port's NIC unless it is given another.
func DefaultID(port string) string { return "nvgre-" + port }

func netdevID(id string) string  { return id + "-net" }
func chardevID(id string) string { return id + "-chr" }

type arguments map[string]any

// chardev returns the arguments of chardev-add. With reconnect QEMU, as client,
// tries again and again to connect, also in the beginning.
func (n *NIC) chardev(id string, reconnect bool, q *QEMU) arguments {
	socket := arguments{
		"addr":   arguments{"type": "unix", "data": arguments{"path": n.Socket}},
		"server": n.Listen,
	}
	switch {
	case n.Listen:
		// Waiting would stop the whole of QEMU; connected looks instead.
		socket["wait"] = false
	case reconnect && q.atLeast(9, 2):
		socket["reconnect-ms"] = reconnectMS
	case reconnect:
		socket["reconnect"] = (reconnectMS + 999) / 1000 // QEMU counted in seconds
	}
	return arguments{"id": id, "backend": arguments{"type": "socket", "data": socket}}
}

// netdev returns the arguments of netdev_add.
func (n *NIC) netdev() arguments {
	return arguments{"type": "vhost-user", "id": netdevID(n.ID), "chardev": chardevID(n.ID), "queues": n.QueuePairs}
}

// device returns the arguments of device_add.
func (n *NIC) device(msix bool) arguments {
	a := arguments{"id": n.ID}
	if n.Bus != "" {
		a["bus"] = n.Bus
	}
	if n.Addr != "" {
		a["addr"] = n.Addr
	}
	if n.FrontEnd == Device {
		a["driver"] = testDevice
		a["chardev"] = chardevID(n.ID)
		a["virtio-id"] = networkDevice
		a["num_vqs"] = 2*n.QueuePairs + 1 // the last is the control queue
		a["vq_size"] = testDeviceRing
		a["config_size"] = testDeviceConfig
		return a
	}
	a["driver"] = "virtio-net-pci"
	a["netdev"] = netdevID(n.ID)
	a["romfile"] = "" // The guest has booted already.
	a["mq"] = n.QueuePairs > 1
	a["vectors"] = 0
	if msix {
		// One a queue, one for the control queue, one for changes of configuration.
		a["vectors"] = 2*n.QueuePairs + 2
	}
	if n.MAC != "" {
		a["mac"] = n.MAC
	}
	if n.MTU != 0 {
		a["host_mtu"] = n.MTU
	}
	if n.Speed != 0 {
		a["speed"], a["duplex"] = n.Speed, "full"
	}
	return a
}

// check finds what QEMU would not.
func (n *NIC) check() error {
	switch {
	case n.ID == "":
		return fmt.Errorf("the NIC has no id")
	case n.FrontEnd != Netdev && n.FrontEnd != Device:
		return fmt.Errorf("front end %q: want %s or %s", n.FrontEnd, Netdev, Device)
	case !strings.HasPrefix(n.Socket, "/"):
		return fmt.Errorf("socket %q: want an absolute path, for QEMU may be in another folder", n.Socket)
	case n.QueuePairs < 1:
		return fmt.Errorf("%d queue pairs: want 1 at least", n.QueuePairs)
	}
	return nil
}
