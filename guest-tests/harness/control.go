package harness

import (
	"context"
	"fmt"
	"os"

	"vhost-user-nvgre/guest-tests/agentproto"
)

// PingAgent returns when the agent has answered.
func (vm *VM) PingAgent(ctx context.Context) error {
	_, err := vm.agent.ask(ctx, agentproto.Request{Op: agentproto.Ping}, nil)
	return vm.explain(err)
}

// WriteFile puts a file into the guest, with its folders. It works for files of
// /proc and /sys as well if data fits into one piece of 16 KiB.
func (vm *VM) WriteFile(ctx context.Context, path string, data []byte, mode os.FileMode) error {
	for offset := 0; offset == 0 || offset < len(data); {
		piece := data[offset:min(len(data), offset+agentproto.MaxData)]
		_, err := vm.agent.ask(ctx, agentproto.Request{
			Op: agentproto.Write, Path: path, Mode: uint32(mode.Perm()),
			Offset: int64(offset), Truncate: offset == 0, Data: piece,
		}, nil)
		if err != nil {
			return vm.explain(err)
		}
		offset += len(piece)
		if len(piece) == 0 {
			break
		}
	}
	return nil
}

// ReadFile returns the contents of a file of the guest.
func (vm *VM) ReadFile(ctx context.Context, path string) ([]byte, error) {
	var data []byte
	_, err := vm.agent.ask(ctx, agentproto.Request{Op: agentproto.Read, Path: path}, func(e agentproto.Event) {
		data = append(data, e.Data...)
	})
	return data, vm.explain(err)
}

// Modprobe loads kernel modules, those of the initramfs, with what they depend on.
func (vm *VM) Modprobe(ctx context.Context, names ...string) error {
	_, err := vm.agent.ask(ctx, agentproto.Request{Op: agentproto.Modprobe, Names: names}, nil)
	return vm.explain(err)
}

// Rmmod unloads kernel modules in the order given.
func (vm *VM) Rmmod(ctx context.Context, names ...string) error {
	_, err := vm.agent.ask(ctx, agentproto.Request{Op: agentproto.Rmmod, Names: names}, nil)
	return vm.explain(err)
}

// Pause stops the guest's processors.
func (vm *VM) Pause(ctx context.Context) error {
	return vm.explain(vm.monitor.Execute(ctx, "stop", nil, nil))
}

// Resume lets them go on.
func (vm *VM) Resume(ctx context.Context) error {
	return vm.explain(vm.monitor.Execute(ctx, "cont", nil, nil))
}

// Reset pulls the reset line and returns when the guest is up again. What was
// under way in it ends with ErrRebooted.
func (vm *VM) Reset(ctx context.Context) error {
	return vm.restart(ctx, func() error { return vm.monitor.Execute(ctx, "system_reset", nil, nil) })
}

// Reboot asks the guest to restart and returns when it is up again.
func (vm *VM) Reboot(ctx context.Context) error {
	return vm.restart(ctx, func() error {
		_, err := vm.agent.ask(ctx, agentproto.Request{Op: agentproto.Reboot}, nil)
		return err
	})
}

// restart does what makes the guest restart and waits for it.
func (vm *VM) restart(ctx context.Context, trigger func() error) error {
	vm.booting.Lock()
	defer vm.booting.Unlock()
	ctx, cancel := context.WithTimeout(ctx, bootPatience)
	defer cancel()
	vm.mu.Lock()
	vm.wanted++
	want := vm.wanted
	vm.mu.Unlock()
	if err := trigger(); err != nil {
		return vm.explain(err)
	}
	boot, err := vm.agent.waitBoot(ctx, want)
	if err != nil {
		return vm.explain(fmt.Errorf("restarting: %w", err))
	}
	vm.Guest.Logf("guest %s: up again after %.1f s", vm.Guest.Name, boot.Seconds)
	return nil
}

// Crashed returns an error if the guest restarted without being asked to, which
// is what it does when its kernel panics, or if QEMU ended.
func (vm *VM) Crashed() error {
	vm.mu.Lock()
	wanted := vm.wanted
	vm.mu.Unlock()
	if n := vm.agent.bootCount(); n > wanted {
		return vm.explain(fmt.Errorf("harness: the guest came up %d times, asked for were %d", n, wanted))
	}
	select {
	case <-vm.process.Done():
		return vm.explain(errQEMUEnded)
	default:
		return nil
	}
}

// Shutdown powers the guest off and returns when QEMU has ended.
func (vm *VM) Shutdown(ctx context.Context) error {
	vm.over.Store(true)
	if _, err := vm.agent.ask(ctx, agentproto.Request{Op: agentproto.Poweroff}, nil); err != nil {
		return vm.explain(err)
	}
	code, err := vm.process.Wait(ctx)
	if err != nil {
		return vm.explain(err)
	}
	if code != 0 {
		return vm.explain(fmt.Errorf("harness: QEMU ended with code %d after power-off", code))
	}
	return nil
}
