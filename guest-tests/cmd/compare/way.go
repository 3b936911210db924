package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"vhost-user-nvgre/guest-tests/harness"
	"vhost-user-nvgre/guest-tests/lab"
	"vhost-user-nvgre/guest-tests/rig"
)

// way is something that connects two guests.
type way struct {
	name string
	nics [2]harness.NIC
	// process moves the frames; nil if QEMU and the kernel do.
	process *harness.Process
	// polls: the process takes a processor even when there is nothing to do,
	// and is stopped while others are measured.
	polls bool
	close func()

	guests []*harness.VM
	pair   *rig.Pair
	values []value
}

// value is one measurement.
type value struct {
	gbits       float64
	retransmits int
	// process and device are the processor time, per time that passed, of the
	// process that moves frames and of both QEMUs' devices.
	process, device float64
}

func (v value) String() string {
	return fmt.Sprintf("%.3f Gbit/s, %d retransmits, %.0f %% of a processor", v.gbits, v.retransmits, 100*(v.process+v.device))
}

// mac returns the address of guest i's NIC on way n.
func mac(n, i int) string { return fmt.Sprintf("52:54:00:00:%02x:%02x", n, i+1) }

func openDaemon(ctx context.Context, l *lab.Lab, dir *harness.Dir) (*way, error) {
	d, err := rig.Start(ctx, l, dir, rig.Config{Ports: []rig.Port{{Name: "vm0", MAC: mac(0, 0)}, {Name: "vm1", MAC: mac(0, 1)}}})
	if err != nil {
		return nil, err
	}
	return &way{
		name:    "vhost-user-nvgre",
		nics:    [2]harness.NIC{rig.Netdev.NIC(d.Port("vm0")), rig.Netdev.NIC(d.Port("vm1"))},
		process: d.Process(), close: d.Kill,
	}, nil
}

func openTap(ctx context.Context, l *lab.Lab, _ *harness.Dir) (*way, error) {
	b, err := harness.NewBridge(ctx, l)
	if err != nil {
		return nil, err
	}
	w := &way{name: "tap on a bridge"}
	var open []func()
	w.close = func() {
		for _, f := range open {
			f()
		}
		_ = b.Close() // It ends with this program at the latest.
	}
	for i := range w.nics {
		files, err := b.Tap(1)
		if err != nil {
			w.close()
			return nil, err
		}
		open = append(open, func() { files[0].Close() })
		w.nics[i] = harness.NIC{ID: "tap", MAC: mac(1, i), Link: harness.Tap{Files: files}}
	}
	return w, nil
}

func openTestpmd(ctx context.Context, l *lab.Lab, dir *harness.Dir) (*way, error) {
	w := &way{name: "testpmd io, tso=1", polls: true}
	var vdevs []string
	for i := range w.nics {
		socket, err := dir.Socket(fmt.Sprintf("pmd%d.sock", i))
		if err != nil {
			return nil, err
		}
		vdevs = append(vdevs, fmt.Sprintf("net_vhost%d,iface=%s,queues=1,tso=1", i, socket))
		w.nics[i] = harness.NIC{ID: "pmd", MAC: mac(2, i), Link: harness.VhostUser{Socket: socket}}
	}
	daemon, err := harness.Testpmd{Vdevs: vdevs}.Daemon(ctx, l, dir)
	if err != nil {
		return nil, err
	}
	if w.process, err = harness.StartDaemon(ctx, l, daemon); err != nil {
		return nil, err
	}
	w.close = w.process.Kill
	return w, nil
}

// suspend and resume keep a process that polls from disturbing the others.
func (w *way) suspend() error { return w.signal(syscall.SIGSTOP) }
func (w *way) resume() error  { return w.signal(syscall.SIGCONT) }

func (w *way) signal(sig syscall.Signal) error {
	if !w.polls {
		return nil
	}
	return w.process.Signal(sig)
}

// measure runs iperf3 once over this way.
func (w *way) measure(ctx context.Context, server *harness.IperfServer, seconds int) (v value, err error) {
	if err := w.resume(); err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, w.suspend()) }()
	process, device, err := w.cpu(ctx)
	if err != nil {
		return v, err
	}
	start := time.Now()
	r, err := w.pair.A.RunIperf(ctx, w.pair.B.IP4, server, harness.Iperf{Seconds: seconds})
	if err != nil {
		return v, err
	}
	elapsed := time.Since(start).Seconds()
	processAfter, deviceAfter, err := w.cpu(ctx)
	if err != nil {
		return v, err
	}
	if r.Received.Bytes == 0 {
		return v, errors.New("no data arrived")
	}
	return value{
		gbits: r.Received.BitsPerSecond / 1e9, retransmits: r.Sent.Retransmits,
		process: (processAfter - process).Seconds() / elapsed,
		device:  (deviceAfter - device).Seconds() / elapsed,
	}, nil
}

// cpu returns the processor time taken so far by the process that moves frames,
// and by both QEMUs for anything but the guests themselves.
func (w *way) cpu(ctx context.Context) (process, device time.Duration, err error) {
	if w.process != nil {
		u, err := w.process.Usage()
		if err != nil {
			return 0, 0, err
		}
		process = u.CPU
	}
	for _, vm := range w.guests {
		t, err := vm.DeviceCPU(ctx)
		if err != nil {
			return 0, 0, err
		}
		device += t
	}
	return process, device, nil
}
