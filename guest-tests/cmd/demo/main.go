// Command demo shows two stock guests exchanging traffic through
// vhost-user-nvgre. It fetches what that takes, starts the daemon with two
// ports, boots two guests on each of QEMU's front ends, measures, and prints a
// table. The last line sums up:
//
//	demo: ok tcp=<Gbit/s> udp=<Gbit/s> drops=<n>
//
// Progress goes to standard error. The exit code is 1 if a step failed.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"vhost-user-nvgre/guest-tests/harness"
	"vhost-user-nvgre/guest-tests/lab"
	"vhost-user-nvgre/guest-tests/rig"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	d := &demo{start: time.Now()}
	err := d.run(ctx)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "demo: failed: %s: %v\n", d.step, err)
		os.Exit(1)
	}
	printTable(os.Stdout, d.rows)
	fmt.Println(d.summary())
}

// demo is one run of it.
type demo struct {
	start time.Time
	step  string // what is being done
	rows  []row
}

// begin says what is going to be done.
func (d *demo) begin(format string, args ...any) {
	d.step = fmt.Sprintf(format, args...)
	d.say("%s", d.step)
}

// say reports progress.
func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "[%3.0f s] %s\n", time.Since(d.start).Seconds(), fmt.Sprintf(format, args...))
}

// frontEnds are those shown.
var frontEnds = []rig.FrontEnd{rig.Netdev, rig.Device}

func (d *demo) run(ctx context.Context) error {
	d.begin("preparing QEMU, kernel and the guests' programs")
	l, err := lab.Open(lab.Options{Logf: d.say})
	if err != nil {
		return err
	}
	if err := l.Prepare(ctx); err != nil {
		return err
	}
	d.begin("building and starting the daemon")
	dir, err := harness.NewDir()
	if err != nil {
		return err
	}
	defer func() { _ = dir.Remove() }() // The next run sweeps what is left.
	daemon, err := rig.Start(ctx, l, dir, rig.Config{Ports: []rig.Port{
		{Name: "vm0", QueuePairs: queuePairs},
		{Name: "vm1", QueuePairs: queuePairs},
	}})
	if err != nil {
		return err
	}
	defer daemon.Kill()
	for _, frontEnd := range frontEnds {
		if err := d.show(ctx, l, daemon, frontEnd); err != nil {
			return err
		}
	}
	d.begin("stopping the daemon")
	return daemon.Stop(ctx)
}

// show boots the guests on a front end and takes all measurements.
func (d *demo) show(ctx context.Context, l *lab.Lab, daemon *rig.Daemon, frontEnd rig.FrontEnd) error {
	d.begin("%s: booting two guests", frontEnd)
	guest := func(name string) harness.Guest {
		return harness.Guest{Name: name, Logf: d.say, NICs: []harness.NIC{frontEnd.NIC(daemon.Port(name))}}
	}
	vms, err := harness.BootAll(ctx, l, guest("vm0"), guest("vm1"))
	if err != nil {
		return err
	}
	for _, vm := range vms {
		defer vm.Close()
	}
	s := &session{demo: d, daemon: daemon, frontEnd: frontEnd}
	if err := s.measure(ctx, vms[0], vms[1]); err != nil {
		return withConsoles(err, daemon, vms)
	}
	return nil
}
