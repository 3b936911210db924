package harness

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"vhost-user-nvgre/guest-tests/lab"
)

// firstSlot is where NICs go on the guest's PCI bus. Below are the machine's
// own devices.
const (
	firstSlot = 0x10
	lastSlot  = 0x1e
)

// NIC is a network device of a guest.
type NIC struct {
	// ID names it in QMP; its netdev and chardev get ID with "-net" and
	// "-chr" added. Empty: nic0, nic1 … in the order given.
	ID string
	// MAC address; empty leaves it to QEMU, and to the back end of a
	// TestDevice, which always sets its own.
	MAC string
	// Link is where its frames go. It also decides which device the guest
	// sees.
	Link Link
	// Queues is the number of queue pairs; 0 means 1.
	Queues int
	// Props are further properties of the device: bool, int or string by
	// name, for virtio-net-pci such as "mrg_rxbuf": false, "host_mtu": 9000,
	// "rx_queue_size": 1024, "packed": true, "event_idx": false, "csum": false.
	Props map[string]any

	slot int // on the PCI bus, set when the NIC is added to a guest
}

func (n *NIC) queues() int { return max(n.Queues, 1) }

// address is the NIC's place as the guest names it.
func (n *NIC) address() string { return fmt.Sprintf("0000:00:%02x.0", n.slot) }

// Link connects a NIC. The types of this package that implement it are all
// there are.
type Link interface {
	// objects says what QEMU must create. fd passes an open file on and
	// returns its number in QEMU; it is nil when QEMU already runs.
	objects(n *NIC, m machine, fd func(*os.File) int) (objects, error)
}

// machine is what a guest runs on.
type machine struct {
	*lab.QEMU
	accel string // lab.KVM or lab.TCG
}

// crashesOnMSIX tells whether QEMU ends with a segmentation fault when a guest
// unmasks an interrupt vector of a vhost-user device: before 8.0 it then uses
// structures that exist under KVM only (kvm_virtio_pci_irqfd_use).
func (m machine) crashesOnMSIX() bool { return m.accel == lab.TCG && !m.AtLeast(8, 0) }

// VhostUser attaches a virtio-net-pci through -netdev vhost-user. On the old
// QEMU under TCG the device has no MSI-X, because QEMU would crash; everywhere
// else it has.
type VhostUser struct {
	// Socket is the path of the back end's socket.
	Socket string
	// Server makes QEMU listen on Socket. It then waits at start, deaf to
	// everything, until a back end has connected.
	Server bool
	// ReconnectMS makes QEMU, as a client, try again after losing the back
	// end, every so many milliseconds. 0: never. QEMU before 9.2 counts in
	// seconds; there it is rounded up.
	ReconnectMS int
}

// TestDevice attaches QEMU's vhost-user-test-device-pci as a network device:
// the back end serves the control queue and the configuration too. Only the
// new QEMU has it.
type TestDevice struct {
	// Socket and Server are as for VhostUser. The back end must be listening
	// before QEMU starts unless Server is set.
	Socket string
	Server bool
	// VQSize is the size of every queue, a power of two; 0 means 256.
	VQSize int
	// ConfigSize is the size of the configuration space in bytes; 0 means 28.
	ConfigSize int
}

// Tap attaches a virtio-net-pci to tap devices of the host, one open file for
// each queue pair; see Bridge. The files stay the caller's.
type Tap struct{ Files []*os.File }

// Stream attaches a virtio-net-pci to a Unix stream socket that QEMU speaks its
// own framing on: two guests with it, one of them Server, form a wire.
type Stream struct {
	Socket string
	Server bool
}

// Datagram attaches a virtio-net-pci to an open Unix datagram socket, one frame
// a datagram; see DatagramPair. The file stays the caller's.
type Datagram struct{ File *os.File }

// prop is one property of a QEMU object. A dot in key descends into a nested
// object.
type prop struct {
	key   string
	value any // bool, int or string
}

// objects are what a NIC is made of, in the order of creation. chardev and
// netdev are nil if there is none.
type objects struct {
	chardev *chardev
	netdev  []prop // starts with type and id
	device  []prop // starts with driver and id
}

// chardev is a Unix socket as QEMU's character device. It is no list of
// properties because its command line and QMP forms differ.
type chardev struct {
	id, path    string
	server      bool
	wait        bool // for a client, at start; counts only with server
	reconnectMS int
}

func (v VhostUser) objects(n *NIC, m machine, _ func(*os.File) int) (objects, error) {
	if v.Socket == "" {
		return objects{}, errors.New("VhostUser without Socket")
	}
	if v.Server && v.ReconnectMS != 0 {
		return objects{}, errors.New("VhostUser with both Server and ReconnectMS: only a client reconnects")
	}
	netdev := []prop{{"type", "vhost-user"}, {"id", n.ID + "-net"}, {"chardev", n.ID + "-chr"}, {"queues", n.queues()}}
	return objects{
		chardev: &chardev{id: n.ID + "-chr", path: v.Socket, server: v.Server, reconnectMS: v.ReconnectMS},
		netdev:  netdev,
		device:  n.virtioNet(m.crashesOnMSIX()),
	}, nil
}

func (d TestDevice) objects(n *NIC, m machine, _ func(*os.File) int) (objects, error) {
	if d.Socket == "" {
		return objects{}, errors.New("TestDevice without Socket")
	}
	if !m.AtLeast(10, 2) {
		return objects{}, fmt.Errorf("QEMU %s has no vhost-user-test-device-pci, 10.2 is the first", m.Version)
	}
	if n.MAC != "" {
		return objects{}, errors.New("the back end of a TestDevice sets the MAC address: leave NIC.MAC empty")
	}
	size, config := d.VQSize, d.ConfigSize
	if size == 0 {
		size = 256
	}
	if config == 0 {
		config = 28
	}
	return objects{
		// The device, unlike a netdev, does not wait for its chardev itself.
		chardev: &chardev{id: n.ID + "-chr", path: d.Socket, server: d.Server, wait: true},
		device: append([]prop{
			{"driver", "vhost-user-test-device-pci"},
			{"id", n.ID},
			{"chardev", n.ID + "-chr"},
			{"virtio-id", 1},
			{"num_vqs", 2*n.queues() + 1},
			{"vq_size", size},
			{"config_size", config},
		}, n.place()...),
	}, nil
}

func (t Tap) objects(n *NIC, m machine, fd func(*os.File) int) (objects, error) {
	if len(t.Files) != n.queues() {
		return objects{}, fmt.Errorf("Tap with %d files for %d queue pairs", len(t.Files), n.queues())
	}
	if fd == nil {
		return objects{}, errors.New("a Tap cannot be plugged into a running guest: QEMU inherits its files")
	}
	netdev := []prop{{"type", "tap"}, {"id", n.ID + "-net"}}
	if len(t.Files) == 1 {
		netdev = append(netdev, prop{"fd", fmt.Sprint(fd(t.Files[0]))})
	} else {
		numbers := make([]string, len(t.Files))
		for i, f := range t.Files {
			numbers[i] = fmt.Sprint(fd(f))
		}
		netdev = append(netdev, prop{"fds", strings.Join(numbers, ":")})
	}
	return objects{netdev: netdev, device: n.virtioNet(false)}, nil
}

func (s Stream) objects(n *NIC, m machine, _ func(*os.File) int) (objects, error) {
	if s.Socket == "" {
		return objects{}, errors.New("Stream without Socket")
	}
	netdev := []prop{{"type", "stream"}, {"id", n.ID + "-net"}, {"server", s.Server}, {"addr.type", "unix"}, {"addr.path", s.Socket}}
	return objects{netdev: netdev, device: n.virtioNet(false)}, nil
}

func (d Datagram) objects(n *NIC, m machine, fd func(*os.File) int) (objects, error) {
	if fd == nil {
		return objects{}, errors.New("a Datagram cannot be plugged into a running guest: QEMU inherits its file")
	}
	netdev := []prop{{"type", "dgram"}, {"id", n.ID + "-net"}, {"local.type", "fd"}, {"local.str", fmt.Sprint(fd(d.File))}}
	return objects{netdev: netdev, device: n.virtioNet(false)}, nil
}

// virtioNet describes the device for links that are a netdev. Without MSI-X
// all its queues share one interrupt line: slower, but it works.
func (n *NIC) virtioNet(noMSIX bool) []prop {
	dev := []prop{{"driver", "virtio-net-pci"}, {"id", n.ID}, {"netdev", n.ID + "-net"}}
	if n.MAC != "" {
		dev = append(dev, prop{"mac", n.MAC})
	}
	// Two for each pair, one for the control queue, one for changes of
	// configuration.
	q, vectors := n.queues(), 2*n.queues()+2
	if q > 1 {
		dev = append(dev, prop{"mq", true})
	}
	if noMSIX {
		vectors = 0
	}
	if _, set := n.Props["vectors"]; !set && (q > 1 || noMSIX) {
		dev = append(dev, prop{"vectors", vectors})
	}
	return append(dev, n.place()...)
}

// place returns where the device goes and the properties the caller wants. A
// fixed slot tells the guest's interfaces apart whatever their MAC is. There is
// no boot ROM to load.
func (n *NIC) place() []prop {
	p := []prop{{"addr", fmt.Sprintf("%02x.0", n.slot)}}
	if _, test := n.Link.(TestDevice); !test {
		p = append(p, prop{"romfile", ""})
	}
	for _, k := range slices.Sorted(maps.Keys(n.Props)) {
		p = append(p, prop{k, n.Props[k]})
	}
	return p
}
