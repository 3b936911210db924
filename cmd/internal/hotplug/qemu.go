// Package hotplug gives a running QEMU a NIC at a port of the daemon, and takes
// it away again, over QEMU's machine protocol (QMP).
//
// A NIC is made of up to three objects of QEMU: a chardev, which is the
// connection to the port's socket; a netdev, for virtio-net-pci only; and the
// device that the guest sees. They are made in this order and removed in the
// opposite one.
//
// While a NIC is being made QEMU waits for the daemon with its main loop, so
// that the guest stands still. What would make it wait for ever is looked for
// beforehand.
package hotplug

import (
	"context"
	"errors"
	"fmt"
	"time"

	"vhost-user-nvgre/cmd/qmp"
)

// Time limits.
const (
	// dialTime bounds connecting and the greeting, which comes at once from a
	// monitor that is free.
	dialTime = 5 * time.Second
	// commandTime bounds one command.
	commandTime = 10 * time.Second
	// connectTime bounds waiting until the daemon has connected to a socket
	// that QEMU listens at. The daemon tries every five seconds at least.
	connectTime = 15 * time.Second
	// pollInterval is how often something is asked again that sends no event.
	pollInterval = 50 * time.Millisecond
)

// QEMU is a connection to a running QEMU. It is for one goroutine at a time.
type QEMU struct {
	client *qmp.Client

	// Limits that tests shorten.
	commandTime, connectTime time.Duration
}

// Dial connects to the Unix socket of a QMP monitor. Close ends the connection.
func Dial(ctx context.Context, path string) (*QEMU, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	c, err := qmp.Dial(ctx, "unix", path, qmp.Options{})
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return nil, fmt.Errorf("%s: QEMU does not answer: is another client connected? A monitor socket serves one at a time (%w)", path, err)
	case err != nil:
		return nil, err
	}
	return New(c), nil
}

// New returns a QEMU of a client that is connected.
func New(c *qmp.Client) *QEMU {
	return &QEMU{client: c, commandTime: commandTime, connectTime: connectTime}
}

// Close ends the connection.
func (q *QEMU) Close() error { return q.client.Disconnect() }

// execute runs a command to its end even when ctx ends meanwhile: given up on
// it would leave open what it has done. It takes commandTime at most.
func (q *QEMU) execute(ctx context.Context, name string, args, result any) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), q.commandTime)
	defer cancel()
	return q.client.Execute(ctx, name, args, result)
}

// get reads a property of an object in QEMU's object tree.
func (q *QEMU) get(ctx context.Context, path, property string, value any) error {
	return q.execute(ctx, "qom-get", map[string]string{"path": path, "property": property}, value)
}

// refusal returns what QEMU said, nil if err is something else. A refused
// command has had no effect.
func refusal(err error) *qmp.Error {
	e, _ := errors.AsType[*qmp.Error](err)
	return e
}

// atLeast tells whether QEMU is that version or newer.
func (q *QEMU) atLeast(major, minor int) bool {
	v := q.client.Version().QEMU
	return v.Major > major || v.Major == major && v.Minor >= minor
}

// pause waits for d, less if ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
