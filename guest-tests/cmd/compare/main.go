// Command compare measures vhost-user-nvgre against what else could connect two
// guests: QEMU's own tap devices on a kernel bridge, and DPDK's testpmd as a
// vhost-user switch. All three connect the same two stock guests of one
// processor, with QEMU's default NIC, and take turns.
//
// It prints every value, medians, and the ratios of the medians beside the
// project's goals. A missed goal is no failure: the exit code is 1 only if
// something did not work.
package main

import (
	"context"
	"flag"
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
	c := &compare{start: time.Now()}
	flag.IntVar(&c.rounds, "rounds", 5, "how often each is measured")
	flag.IntVar(&c.seconds, "seconds", 5, "how long each measurement takes")
	flag.Parse()
	if flag.NArg() > 0 || c.rounds < 1 || c.seconds < 1 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := c.run(ctx)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "compare: failed: %s: %v\n", c.step, err)
		os.Exit(1)
	}
	c.report(os.Stdout)
}

// compare is one run.
type compare struct {
	rounds, seconds int

	start time.Time
	step  string
	ways  []*way
}

func (c *compare) begin(format string, args ...any) {
	c.step = fmt.Sprintf(format, args...)
	c.say("%s", c.step)
}

func (c *compare) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "[%3.0f s] %s\n", time.Since(c.start).Seconds(), fmt.Sprintf(format, args...))
}

func (c *compare) run(ctx context.Context) error {
	c.begin("preparing QEMU, kernel, the guests' programs and testpmd")
	l, err := lab.Open(lab.Options{Logf: c.say})
	if err != nil {
		return err
	}
	if err := l.Prepare(ctx, "dpdk-testpmd"); err != nil {
		return err
	}
	dir, err := harness.NewDir()
	if err != nil {
		return err
	}
	defer func() { _ = dir.Remove() }() // The next run sweeps what is left.
	for _, open := range []func(context.Context, *lab.Lab, *harness.Dir) (*way, error){openDaemon, openTap, openTestpmd} {
		w, err := open(ctx, l, dir)
		if err != nil {
			return err
		}
		defer w.close()
		c.ways = append(c.ways, w)
	}
	vms, err := c.boot(ctx, l)
	if err != nil {
		return err
	}
	for _, vm := range vms {
		defer vm.Close()
	}
	for n, w := range c.ways {
		c.begin("%s: do the guests reach each other?", w.name)
		w.guests = vms
		if w.pair, err = rig.Join(ctx, n, vms[0], w.nics[0].ID, vms[1], w.nics[1].ID); err != nil {
			return err
		}
		if err := w.pair.MustPing(ctx); err != nil {
			return err
		}
	}
	return c.measure(ctx, vms[1])
}

// boot starts two guests that have a NIC on each of the ways.
func (c *compare) boot(ctx context.Context, l *lab.Lab) ([]*harness.VM, error) {
	c.begin("booting two guests")
	guests := []harness.Guest{{Name: "a", Logf: c.say}, {Name: "b", Logf: c.say}}
	for i := range guests {
		for _, w := range c.ways {
			guests[i].NICs = append(guests[i].NICs, w.nics[i])
		}
	}
	return harness.BootAll(ctx, l, guests...)
}

// measure takes all rounds; the server runs in guest b.
func (c *compare) measure(ctx context.Context, b *harness.VM) error {
	c.begin("starting iperf3")
	server, err := b.StartIperf(ctx, 0)
	if err != nil {
		return err
	}
	for _, w := range c.ways {
		if err := w.suspend(); err != nil {
			return err
		}
	}
	for round := range c.rounds + 1 {
		for _, w := range c.ways {
			// The first time emulated guests translate what they execute.
			seconds, name := c.seconds, fmt.Sprintf("round %d of %d", round, c.rounds)
			if round == 0 {
				seconds, name = 2, "warming up"
			}
			c.begin("%s: %s", name, w.name)
			v, err := w.measure(ctx, server, seconds)
			if err != nil {
				return err
			}
			c.say("  %s", v)
			if round > 0 {
				w.values = append(w.values, v)
			}
		}
	}
	return nil
}
