package hotplug

import (
	"context"
	"regexp"
	"strings"
)

// Attached is a device that QEMU has.
type Attached struct {
	// ID is the device's, or its path in QEMU's object tree if it has none.
	ID string
	// Path is where the device is in QEMU's object tree.
	Path string
	// Driver is the name of the device, such as virtio-net-pci.
	Driver string
	// Netdev is "" if the device needs none. Client is what QEMU calls the
	// device where it is the other end of a netdev, as in query-rx-filter.
	Netdev, Client string
	// Chardev is "" if the NIC leads to something other than a vhost-user
	// socket. Socket is the path, as QEMU was given it.
	Chardev, Socket string
	// Connected tells whether the daemon is there.
	Connected bool
}

// List returns the NICs that lead to a vhost-user socket, also those that were
// there when QEMU started.
func (q *QEMU) List(ctx context.Context) ([]Attached, error) {
	all, err := q.devices(ctx)
	if err != nil {
		return nil, err
	}
	var nics []Attached
	for _, n := range all {
		if n.Socket != "" {
			nics = append(nics, n)
		}
	}
	return nics, nil
}

// Find returns the device with an ID, be it a NIC or not, nil if there is none.
func (q *QEMU) Find(ctx context.Context, id string) (*Attached, error) {
	all, err := q.devices(ctx)
	for i := range all {
		if all[i].ID == id {
			return &all[i], err
		}
	}
	return nil, err
}

// devices returns all devices, NICs or not.
func (q *QEMU) devices(ctx context.Context) ([]Attached, error) {
	netdevs, err := q.netdevs(ctx)
	if err != nil {
		return nil, err
	}
	var all []Attached
	for _, folder := range []string{"/machine/peripheral", "/machine/peripheral-anon"} {
		var children []child
		if err := q.execute(ctx, "qom-list", map[string]string{"path": folder}, &children); err != nil {
			return nil, err
		}
		for _, c := range children {
			driver, ok := strings.CutPrefix(c.Type, "child<")
			if !ok {
				continue
			}
			n := &Attached{ID: c.Name, Path: folder + "/" + c.Name, Driver: strings.TrimSuffix(driver, ">")}
			if folder != "/machine/peripheral" {
				n.ID = n.Path
			}
			if err := q.describe(ctx, n, netdevs); refusal(err) != nil {
				continue // It is just going.
			} else if err != nil {
				return nil, err
			}
			all = append(all, *n)
		}
	}
	return all, nil
}

// describe completes the description of a device if it is a NIC.
func (q *QEMU) describe(ctx context.Context, n *Attached, netdevs map[string]netdev) error {
	switch {
	case strings.HasPrefix(n.Driver, "virtio-net"):
		if err := q.get(ctx, n.Path, "netdev", &n.Netdev); err != nil {
			return err
		}
		n.Chardev, n.Client = netdevs[n.Netdev].chardev, netdevs[n.Netdev].client
	case n.Driver == testDevice:
		var id int
		if err := q.get(ctx, n.Path, "virtio-id", &id); err != nil || id != networkDevice {
			return err
		}
		if err := q.get(ctx, n.Path, "chardev", &n.Chardev); err != nil {
			return err
		}
	}
	if n.Chardev == "" {
		return nil
	}
	// query-chardev names no path for a client's socket in old QEMU.
	var addr struct {
		Type string `json:"type"`
		Path string `json:"path"`
	}
	if err := q.get(ctx, "/chardevs/"+n.Chardev, "addr", &addr); err != nil {
		return unlessRefused(err)
	}
	if addr.Type == "unix" {
		n.Socket = addr.Path
	}
	return unlessRefused(q.get(ctx, "/chardevs/"+n.Chardev, "connected", &n.Connected))
}

// networkLine is a line of "info network" about a NIC or about a queue pair of a
// vhost-user netdev, which comes below its NIC (print_net_client,
// net_vhost_user_init; the same since 2.1).
var networkLine = regexp.MustCompile(`(?m)^( \\ )?(\S+): index=\d+,type=(?:(nic),|vhost-user,vhost-user\d+ to (.+?)\r?$)`)

// netdev is the vhost-user netdev of a NIC.
type netdev struct {
	chardev string
	client  string // the NIC, "" if there is none
}

// netdevs returns the vhost-user netdevs. QMP has no query for netdevs, only
// the monitor for people has.
func (q *QEMU) netdevs(ctx context.Context) (map[string]netdev, error) {
	var text string
	if err := q.execute(ctx, "human-monitor-command", map[string]string{"command-line": "info network"}, &text); err != nil {
		return nil, err
	}
	return netdevsIn(text), nil
}

// netdevsIn returns the netdevs that "info network" shows.
func netdevsIn(text string) map[string]netdev {
	all, nic := make(map[string]netdev), ""
	for _, m := range networkLine.FindAllStringSubmatch(text, -1) {
		switch below, name, chardev := m[1] != "", m[2], m[4]; {
		case m[3] != "":
			nic = name
		case below:
			all[name] = netdev{chardev, nic}
		default:
			all[name] = netdev{chardev: chardev}
		}
	}
	return all
}
