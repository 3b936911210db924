package hotplug

import (
	"context"
	"fmt"
	"strings"
)

// rootPort is QEMU's device that has a PCI Express bus with room for one device,
// which may come and go.
const rootPort = "pcie-root-port"

// child is a property in QEMU's object tree, as qom-list has it.
type child struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// freeRootPort returns the bus of the first root port with nothing in it, "" if
// there is none: q35 takes devices at run time nowhere else, and QEMU does not
// look there by itself. A port has a bus of its own name.
func (q *QEMU) freeRootPort(ctx context.Context) (string, error) {
	const folder = "/machine/peripheral"
	var devices []child
	if err := q.execute(ctx, "qom-list", map[string]string{"path": folder}, &devices); err != nil {
		return "", err
	}
	for _, d := range devices {
		if d.Type != "child<"+rootPort+">" {
			continue
		}
		var on []child
		err := q.execute(ctx, "qom-list", map[string]string{"path": folder + "/" + d.Name + "/" + d.Name}, &on)
		switch {
		case refusal(err) != nil:
			continue // It has gone, or is none of ours to name.
		case err != nil:
			return "", err
		}
		free := true
		for _, c := range on {
			free = free && !strings.HasPrefix(c.Name, "child[")
		}
		if free {
			return d.Name, nil
		}
	}
	return "", nil
}

// explainBus says what the machine needs if QEMU has refused a device for lack
// of a place.
func explainBus(err error) error {
	if r := refusal(err); r == nil || !strings.Contains(r.Desc, "does not support hotplugging") {
		return err
	}
	return fmt.Errorf("%w; this machine takes devices at run time only in free root ports: "+
		"start QEMU with -device %s,id=hotplug0,slot=1, one for each NIC to come", err, rootPort)
}
