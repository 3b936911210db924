package hotplug

import (
	"context"
	"errors"
	"fmt"
	"time"

	"vhost-user-nvgre/cmd/qmp"
)

// ErrNoNIC says that QEMU has no such NIC.
var ErrNoNIC = errors.New("QEMU has no such NIC")

// Detach takes a NIC away: it asks the guest to let go of the device, waits for
// that as long as ctx lasts, and removes the netdev and the chardev. What is
// left of a NIC whose device has gone already is removed too.
//
// When ctx ends first the guest may still let go of the device; until it does
// the NIC works on.
func (q *QEMU) Detach(ctx context.Context, id string) error {
	n, err := q.Find(ctx, id)
	if err != nil {
		return err
	}
	net, chr := netdevID(id), chardevID(id)
	if n != nil {
		if n.Chardev == "" {
			return fmt.Errorf("%s: it does not lead to a vhost-user socket", id)
		}
		net, chr = n.Netdev, n.Chardev
	}
	device, err := q.removeDevice(ctx, id)
	if err != nil {
		return err
	}
	netdev := false
	if net != "" {
		if netdev, err = q.removeNetdev(ctx, net); err != nil {
			return err
		}
	}
	chardev, err := q.removeChardev(ctx, chr)
	if err == nil && !device && !netdev && !chardev {
		err = fmt.Errorf("%s: %w", id, ErrNoNIC)
	}
	return err
}

// removeDevice returns when the guest has let go of a device, and whether there
// was one.
func (q *QEMU) removeDevice(ctx context.Context, id string) (bool, error) {
	events, err := q.client.Subscribe()
	if err != nil {
		return false, err
	}
	defer events.Close()
	err = q.execute(ctx, "device_del", map[string]string{"id": id}, nil)
	if e := refusal(err); e != nil {
		switch {
		case e.Class == "DeviceNotFound":
			return false, nil
		case e.Desc == fmt.Sprintf("Device %s is already in the process of unplug", id):
			err = nil
		}
	}
	if err != nil {
		return false, err
	}
	return true, waitDeleted(ctx, events, id)
}

// waitDeleted returns when QEMU reports the end of a device.
func waitDeleted(ctx context.Context, events *qmp.Subscription, id string) error {
	for {
		select {
		case e, ok := <-events.C():
			if !ok {
				return fmt.Errorf("waiting until %s is gone: the connection to QEMU ended", id)
			}
			// A device without an ID is named by its path.
			if e.Data["device"] != id && e.Data["path"] != id {
				continue
			}
			switch e.Event {
			case "DEVICE_DELETED":
				return nil
			case "DEVICE_UNPLUG_GUEST_ERROR":
				return fmt.Errorf("%s: the guest refuses to let go of it (DEVICE_UNPLUG_GUEST_ERROR)", id)
			}
		case <-ctx.Done():
			return fmt.Errorf("%s: the guest has not let go of it; it may yet, and then detaching again removes the rest (%w)", id, ctx.Err())
		}
	}
}

// removeNetdev removes a netdev, and tells whether there was one. Its device
// must be gone: QEMU would take it from under the guest.
func (q *QEMU) removeNetdev(ctx context.Context, id string) (bool, error) {
	err := q.execute(ctx, "netdev_del", map[string]string{"id": id}, nil)
	if e := refusal(err); e != nil && e.Class == "DeviceNotFound" {
		return false, nil
	}
	return err == nil, err
}

// removeChardev removes a chardev, and tells whether there was one. The end of a
// vhost-user netdev may take its chardev along; a device gives its own up a
// moment after the event that reports its end, and until then QEMU calls it
// busy.
func (q *QEMU) removeChardev(ctx context.Context, id string) (bool, error) {
	for end := time.Now().Add(q.commandTime); ; {
		err := q.execute(ctx, "chardev-remove", map[string]string{"id": id}, nil)
		e := refusal(err)
		if e == nil {
			return err == nil, err
		}
		switch e.Desc {
		case fmt.Sprintf("Chardev '%s' not found", id):
			return false, nil
		case fmt.Sprintf("Chardev '%s' is busy", id):
		default:
			return false, err
		}
		if time.Now().After(end) || pause(ctx, pollInterval) != nil {
			return false, err
		}
	}
}
