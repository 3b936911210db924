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
	// Driver is the name of the device, such as virtio-net-pci.
	Driver string
	// Netdev is "" if the device needs none.
	Netdev string
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

// find returns the device with an ID, nil if there is none.
func (q *QEMU) find(ctx context.Context, id string) (*Attached, error) {
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
	chardevs, err := q.netdevs(ctx)
	if err != nil {
		return nil, err
	}
	var all []Attached
	for _, folder := range []string{"/machine/peripheral", "/machine/peripheral-anon"} {
		var children []struct {
			Name string `json:"name"`
			Type string `json:"type"`
		}
		if err := q.execute(ctx, "qom-list", map[string]string{"path": folder}, &children); err != nil {
			return nil, err
		}
		for _, c := range children {
			driver, ok := strings.CutPrefix(c.Type, "child<")
			if !ok {
				continue
			}
			n := &Attached{ID: c.Name, Driver: strings.TrimSuffix(driver, ">")}
			path := folder + "/" + c.Name
			if folder != "/machine/peripheral" {
				n.ID = path
			}
			if err := q.describe(ctx, n, path, chardevs); refusal(err) != nil {
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
func (q *QEMU) describe(ctx context.Context, n *Attached, path string, chardevs map[string]string) error {
	switch {
	case strings.HasPrefix(n.Driver, "virtio-net"):
		if err := q.get(ctx, path, "netdev", &n.Netdev); err != nil {
			return err
		}
		n.Chardev = chardevs[n.Netdev]
	case n.Driver == testDevice:
		var id int
		if err := q.get(ctx, path, "virtio-id", &id); err != nil || id != networkDevice {
			return err
		}
		if err := q.get(ctx, path, "chardev", &n.Chardev); err != nil {
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

// backendLine is a line of "info network" about a queue pair of a vhost-user
// netdev, as net_vhost_user_init has written it since 2.1.
var backendLine = regexp.MustCompile(`(?m)^(?: \\ )?(\S+): index=\d+,type=vhost-user,vhost-user\d+ to (.+?)\r?$`)

// netdevs returns the chardevs of vhost-user netdevs. QMP has no query for
// netdevs, only the monitor for people has.
func (q *QEMU) netdevs(ctx context.Context) (map[string]string, error) {
	var text string
	if err := q.execute(ctx, "human-monitor-command", map[string]string{"command-line": "info network"}, &text); err != nil {
		return nil, err
	}
	chardevs := make(map[string]string)
	for _, m := range backendLine.FindAllStringSubmatch(text, -1) {
		chardevs[m[1]] = m[2]
	}
	return chardevs, nil
}
