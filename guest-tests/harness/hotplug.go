package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	goqmp "github.com/digitalocean/go-qemu/qmp"

	"vhost-user-nvgre/cmd/qmp"
	"vhost-user-nvgre/guest-tests/agentproto"
)

// addNIC gives a NIC its name and slot and remembers it. index is its number
// among those the guest starts with, or -1 when it is plugged later.
func (vm *VM) addNIC(n NIC, index int, fd func(*os.File) int) (*pluggedNIC, error) {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	used := make(map[int]bool)
	for _, other := range vm.nics {
		used[other.slot] = true
	}
	n.slot = firstSlot
	for used[n.slot] {
		n.slot++
	}
	if n.slot > lastSlot {
		return nil, fmt.Errorf("a guest has room for %d NICs", lastSlot-firstSlot+1)
	}
	if n.ID == "" {
		if index < 0 {
			index = n.slot - firstSlot
		}
		n.ID = fmt.Sprintf("nic%d", index)
	}
	if vm.nics[n.ID] != nil {
		return nil, fmt.Errorf("there is a NIC %q already", n.ID)
	}
	if n.Link == nil {
		return nil, fmt.Errorf("NIC %q has no Link", n.ID)
	}
	o, err := n.Link.objects(&n, machine{vm.QEMU, vm.accel}, fd)
	if err != nil {
		return nil, fmt.Errorf("NIC %q: %w", n.ID, err)
	}
	p := &pluggedNIC{NIC: n, objects: o}
	vm.nics[n.ID] = p
	return p, nil
}

func (vm *VM) forgetNIC(id string) {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	delete(vm.nics, id)
}

func (vm *VM) nic(id string) (*pluggedNIC, error) {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	if p := vm.nics[id]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("harness: guest %s has no NIC %q", vm.Guest.Name, id)
}

// Plug adds a NIC to the running guest and returns its ID when QEMU has it;
// Interface waits for the guest to have it as well. If it fails nothing of the
// NIC is left in QEMU.
func (vm *VM) Plug(ctx context.Context, n NIC) (id string, err error) {
	p, err := vm.addNIC(n, -1, nil)
	if err != nil {
		return "", fmt.Errorf("harness: guest %s: %w", vm.Guest.Name, err)
	}
	var undo []func()
	defer func() {
		if err == nil {
			return
		}
		// ctx may be what failed.
		for i := len(undo) - 1; i >= 0; i-- {
			undo[i]()
		}
		vm.forgetNIC(p.ID)
		err = vm.explain(fmt.Errorf("plugging %s in: %w", p.ID, err))
	}()
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if c := p.objects.chardev; c != nil {
		if err := vm.monitor.Execute(ctx, "chardev-add", c.arguments(vm.QEMU), nil); err != nil {
			return "", err
		}
		undo = append(undo, func() { _ = vm.removeChardev(late, c.id) }) // Best effort.
	}
	if p.objects.netdev != nil {
		if err := vm.monitor.Execute(ctx, "netdev_add", arguments(p.objects.netdev), nil); err != nil {
			return "", err
		}
		undo = append(undo, func() { _ = vm.monitor.Execute(late, "netdev_del", map[string]string{"id": p.ID + "-net"}, nil) })
	}
	if err := vm.monitor.Execute(ctx, "device_add", arguments(p.objects.device), nil); err != nil {
		return "", err
	}
	return p.ID, nil
}

// Unplug removes a NIC from the running guest and returns when the guest has
// let go of it and QEMU holds nothing of it any more, half a minute at most.
func (vm *VM) Unplug(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	p, err := vm.nic(id)
	if err != nil {
		return err
	}
	events, err := vm.monitor.Subscribe()
	if err != nil {
		return vm.explain(err)
	}
	defer events.Close()
	if err := vm.monitor.Execute(ctx, "device_del", map[string]string{"id": id}, nil); err != nil {
		return vm.explain(err)
	}
	_, err = WaitEvent(ctx, events, "DEVICE_DELETED", func(e goqmp.Event) bool { return e.Data["device"] == id })
	if err != nil {
		return vm.explain(fmt.Errorf("unplugging %s: %w", id, err))
	}
	vm.forgetNIC(id)
	if p.objects.netdev != nil {
		if err := vm.monitor.Execute(ctx, "netdev_del", map[string]string{"id": id + "-net"}, nil); err != nil {
			return vm.explain(err)
		}
	}
	if p.objects.chardev != nil {
		return vm.explain(vm.removeChardev(ctx, p.objects.chardev.id))
	}
	return nil
}

// removeChardev makes sure that a chardev is gone. Removing a vhost-user netdev
// takes its chardev along; a device gives its own up a moment after the event
// that reports its end, and until then QEMU calls it busy.
func (vm *VM) removeChardev(ctx context.Context, id string) error {
	for {
		err := vm.monitor.Execute(ctx, "chardev-remove", map[string]string{"id": id}, nil)
		var qe *qmp.Error
		if !errors.As(err, &qe) {
			return err
		}
		switch qe.Desc {
		case fmt.Sprintf("Chardev '%s' not found", id):
			return nil
		case fmt.Sprintf("Chardev '%s' is busy", id):
		default:
			return err
		}
		select {
		case <-time.After(retryInterval):
		case <-ctx.Done():
			return err
		}
	}
}

// patience bounds waiting for what takes a second at most on an idle machine,
// so that a test that waits in vain says what for.
const patience = 30 * time.Second

// retryInterval is how often something is asked again that sends no event.
const retryInterval = 20 * time.Millisecond

// WaitEvent returns the first event of that name for which match is true; a nil
// match takes any. Subscribe before doing what causes the event.
func WaitEvent(ctx context.Context, s *qmp.Subscription, name string, match func(goqmp.Event) bool) (goqmp.Event, error) {
	for {
		select {
		case e, ok := <-s.C():
			if !ok {
				return e, fmt.Errorf("harness: waiting for event %s: the connection to QEMU ended", name)
			}
			if e.Event == name && (match == nil || match(e)) {
				return e, nil
			}
		case <-ctx.Done():
			return goqmp.Event{}, fmt.Errorf("harness: waiting for event %s (%d events lost): %w", name, s.Dropped(), ctx.Err())
		}
	}
}

// NICs returns the network interfaces of the guest that have a device.
func (vm *VM) NICs(ctx context.Context) ([]agentproto.NIC, error) {
	e, err := vm.agent.ask(ctx, agentproto.Request{Op: agentproto.NICs}, nil)
	return e.NICs, vm.explain(err)
}

// Interface returns the guest's interface of a NIC, waiting half a minute at
// most until there is one.
func (vm *VM) Interface(ctx context.Context, id string) (agentproto.NIC, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	p, err := vm.nic(id)
	if err != nil {
		return agentproto.NIC{}, err
	}
	for {
		list, err := vm.NICs(ctx)
		if err != nil {
			return agentproto.NIC{}, err
		}
		for _, n := range list {
			if n.PCI == p.address() {
				return n, nil
			}
		}
		select {
		case <-time.After(retryInterval):
		case <-ctx.Done():
			return agentproto.NIC{}, vm.explain(fmt.Errorf("waiting for NIC %s at %s: %w; there are %+v", id, p.address(), ctx.Err(), list))
		}
	}
}
