package hotplug

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// step is one on the way to a NIC. undo removes what it has made, and succeeds
// if there is nothing; it is nil if there cannot be.
type step struct {
	what     string
	do, undo func(context.Context) error
}

// Attach gives the guest a NIC and returns when QEMU has it; the guest's driver
// starts a moment later. Nothing is left in QEMU when it fails, also when ctx
// ends; if that does not succeed the error says what may be left.
//
// The daemon must be running and the port without a front end: QEMU, and with
// it the guest, would wait until it had its turn.
func (q *QEMU) Attach(ctx context.Context, n *NIC) error {
	if err := n.check(); err != nil {
		return err
	}
	if err := q.checkMemory(ctx); err != nil {
		return err
	}
	if err := q.checkFrontEnd(ctx, n.FrontEnd); err != nil {
		return err
	}
	msix, err := q.msix(ctx)
	if err != nil {
		return err
	}
	placed := *n
	if n.Bus == "" {
		if placed.Bus, err = q.freeRootPort(ctx); err != nil {
			return err
		}
	}
	steps := q.steps(&placed, msix)
	for i, s := range steps {
		if err := ctx.Err(); err != nil {
			return q.undo(ctx, steps[:i], err)
		}
		err := s.do(ctx)
		switch {
		case err == nil:
		case refusal(err) != nil:
			return q.undo(ctx, steps[:i], explainBus(err))
		default: // It may have taken effect, or may yet.
			return q.undo(ctx, steps[:i+1], err)
		}
	}
	return nil
}

// steps returns what it takes to make a NIC.
func (q *QEMU) steps(n *NIC, msix bool) []step {
	add := func(command string, args arguments) func(context.Context) error {
		return func(ctx context.Context) error { return q.execute(ctx, command, args, nil) }
	}
	chr, net := chardevID(n.ID), netdevID(n.ID)
	removeChardev := func(ctx context.Context) error {
		_, err := q.removeChardev(ctx, chr)
		return err
	}
	removeNetdev := func(ctx context.Context) error {
		_, err := q.removeNetdev(ctx, net)
		return err
	}
	removeDevice := func(ctx context.Context) error {
		_, err := q.removeDevice(ctx, n.ID)
		return err
	}
	var steps []step
	reconnect := n.FrontEnd == Netdev && !n.Listen
	if reconnect {
		// A chardev that reconnects hides why it cannot connect, and netdev_add
		// would wait for it for ever: one that does not says it.
		steps = append(steps,
			step{"chardev " + chr, add("chardev-add", n.chardev(chr, false, q)), removeChardev},
			step{"", removeChardev, nil})
	}
	steps = append(steps, step{"chardev " + chr, add("chardev-add", n.chardev(chr, reconnect, q)), removeChardev})
	if n.Listen {
		steps = append(steps, step{"", func(ctx context.Context) error { return q.connected(ctx, chr, n.Socket) }, nil})
	}
	if n.FrontEnd == Netdev {
		steps = append(steps, step{"netdev " + net, add("netdev_add", n.netdev()), removeNetdev})
	}
	return append(steps, step{"device " + n.ID, add("device_add", n.device(msix)), removeDevice})
}

// connected returns when the daemon has connected to a socket that QEMU listens
// at.
func (q *QEMU) connected(ctx context.Context, chardev, socket string) error {
	for end := time.Now().Add(q.connectTime); ; {
		var connected bool
		if err := q.get(ctx, "/chardevs/"+chardev, "connected", &connected); err != nil || connected {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("QEMU listens at %s, but the daemon has not connected within %v; its log says why", socket, q.connectTime)
		}
		if err := pause(ctx, pollInterval); err != nil {
			return err
		}
	}
}

// undo removes what was made, last first, and returns cause with what could not
// be removed.
func (q *QEMU) undo(ctx context.Context, made []step, cause error) error {
	// ctx may be what failed.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	var left []error
	removed := make(map[string]bool) // A chardev may be there twice.
	for i := len(made) - 1; i >= 0; i-- {
		s := made[i]
		if s.undo == nil || removed[s.what] {
			continue
		}
		removed[s.what] = true
		if err := s.undo(ctx); err != nil {
			left = append(left, fmt.Errorf("%s may be left in QEMU: %w", s.what, err))
		}
	}
	return errors.Join(append([]error{cause}, left...)...)
}

// undoTime bounds undoing as a whole.
const undoTime = 30 * time.Second
