package rxwatch

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"vhost-user-nvgre/cmd/internal/hotplug"
)

// find returns the NIC of a QEMU that is meant.
func find(ctx context.Context, q *hotplug.QEMU, n *NIC) (*hotplug.Attached, error) {
	if n.ID != "" {
		a, err := q.Find(ctx, n.ID)
		switch {
		case err != nil:
			return nil, err
		case a == nil:
			return nil, fmt.Errorf("QEMU has no device %q", n.ID)
		}
		return a, usable(a)
	}
	all, err := q.List(ctx)
	if err != nil {
		return nil, err
	}
	var fit, others []string
	var found *hotplug.Attached
	for i := range all {
		if filepath.Clean(all[i].Socket) == n.Socket {
			found = &all[i]
			fit = append(fit, all[i].ID)
		} else {
			others = append(others, fmt.Sprintf("%s at %s", all[i].ID, all[i].Socket))
		}
	}
	switch {
	case len(fit) > 1:
		return nil, fmt.Errorf("several NICs of QEMU lead to %s: %s; name the right one with qmp-id", n.Socket, strings.Join(fit, ", "))
	case len(others) > 0 && found == nil:
		return nil, fmt.Errorf("no NIC of QEMU leads to %s, but there are %s; if it is one of them, name it with qmp-id", n.Socket, strings.Join(others, ", "))
	case found == nil:
		return nil, fmt.Errorf("no NIC of QEMU leads to %s", n.Socket)
	}
	return found, usable(found)
}

// usable fails if QEMU keeps no filter for that device.
func usable(a *hotplug.Attached) error {
	switch {
	case !strings.HasPrefix(a.Driver, "virtio-net"):
		return fmt.Errorf("QEMU keeps no receive filter for %s, a %s; want a virtio-net device", a.ID, a.Driver)
	case a.Client == "":
		return fmt.Errorf("netdev %q of %s does not lead to a vhost-user socket; want a netdev of type vhost-user", a.Netdev, a.ID)
	}
	return nil
}
