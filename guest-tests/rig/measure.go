package rig

import (
	"context"
	"fmt"
	"time"

	"vhost-user-nvgre/guest-tests/harness"
)

// Measurement is an iperf3 run with what the daemon did meanwhile.
type Measurement struct {
	*harness.IperfResult
	// Daemon has what the daemon counted during the run.
	Daemon *Status
	// CPU is the processor time the daemon took, Elapsed how long iperf3 ran,
	// with its start and its end.
	CPU, Elapsed time.Duration
}

// Iperf runs iperf3 from the pair's a to its b, where server runs; with v6 over
// IPv6.
func (d *Daemon) Iperf(ctx context.Context, p *Pair, server *harness.IperfServer, v6 bool, i harness.Iperf) (*Measurement, error) {
	to := p.B.IP4
	if v6 {
		to = p.B.IP6
	}
	var m Measurement
	var err error
	m.Daemon, m.CPU, m.Elapsed, err = d.Observe(ctx, func() error {
		m.IperfResult, err = p.A.RunIperf(ctx, to, server, i)
		return err
	})
	return &m, err
}

// Observe returns what the daemon counted and the processor time it took while
// do ran.
func (d *Daemon) Observe(ctx context.Context, do func() error) (counted *Status, cpu, elapsed time.Duration, err error) {
	before, err := d.Status(ctx)
	if err != nil {
		return nil, 0, 0, err
	}
	usage, err := d.Process().Usage()
	if err != nil {
		return nil, 0, 0, err
	}
	start := time.Now()
	if err := do(); err != nil {
		return nil, 0, 0, err
	}
	elapsed = time.Since(start)
	after, err := d.Process().Usage()
	if err != nil {
		return nil, 0, 0, err
	}
	counted, err = d.Status(ctx)
	if err != nil {
		return nil, 0, 0, err
	}
	return counted.Since(before), after.CPU - usage.CPU, elapsed, nil
}

// socketBuffer is how many bytes a socket of a guest can buffer after
// BigSocketBuffers: what the slowest guest takes in while it is not running.
const socketBuffer = 4 << 20

// BigSocketBuffers lets programs in a guest ask for larger socket buffers than
// the system's default allows, so that datagrams are not lost because a guest
// whose processor is shared got its turn a moment late.
func BigSocketBuffers(ctx context.Context, vm *harness.VM) error {
	for _, name := range []string{"rmem_max", "wmem_max"} {
		err := vm.WriteFile(ctx, "/proc/sys/net/core/"+name, fmt.Append(nil, socketBuffer), 0o644)
		if err != nil {
			return err
		}
	}
	return nil
}
