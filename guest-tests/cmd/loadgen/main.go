// Command loadgen keeps a vhost-user back end busy and counts what it delivers.
// It attaches to two ports, sends into one and receives from the other:
//
//	loadgen --send /run/vm0.sock --receive /run/vm1.sock --size 1502
//
// Without --receive, the back end is to drop what it takes. With --null there is
// no back end, to see what the generator itself can do. The result is one
// JSON object; package loadgen says what is in it and how it is found out.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"

	"vhost-user-nvgre/guest-tests/bench/loadgen"
	"vhost-user-nvgre/virtio"
)

func main() {
	c, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "loadgen:", err)
		os.Exit(2)
	}
	if err := run(c); err != nil {
		fmt.Fprintln(os.Stderr, "loadgen:", strings.TrimPrefix(err.Error(), "loadgen: "))
		os.Exit(1)
	}
}

// parse reads the command line.
func parse(args []string) (loadgen.Config, error) {
	var c loadgen.Config
	f := flag.NewFlagSet("loadgen", flag.ContinueOnError)
	f.StringVar(&c.Send, "send", "", "`socket` of the port to send into")
	f.StringVar(&c.Receive, "receive", "", "`socket` of the port to receive from; none: the back end drops")
	f.Func("null", "`processor` of a stand-in for a back end, instead of sockets", func(s string) (err error) {
		c.Null = true
		c.NullCPU, err = strconv.Atoi(s)
		return err
	})
	features := func(name, usage string, into *virtio.Features) {
		f.Func(name, usage, func(list string) error {
			for name := range strings.SplitSeq(list, ",") {
				bit, err := virtio.ParseFeature(name)
				if err != nil {
					return err
				}
				*into |= bit
			}
			return nil
		})
	}
	features("withhold-send", "virtio `features`, comma separated, that the sending driver does without", &c.WithholdSend)
	features("withhold-receive", "virtio `features` that the receiving driver does without", &c.WithholdReceive)
	f.StringVar((*string)(&c.Kind), "kind", string(loadgen.Plain), fmt.Sprintf("`kind` of frames, one of %q", loadgen.Kinds()))
	f.IntVar(&c.Size, "size", 0, "`bytes` of a frame (default: by kind)")
	f.IntVar(&c.MSS, "mss", 0, "payload `bytes` of a segment (default: by kind)")
	f.StringVar((*string)(&c.Expect), "expect", "", "`outcome` to expect, whole, finished or segments (default: by features)")
	f.BoolVar(&c.Lax, "lax", false, "do not verify packet headers and segments' checksums")
	f.IntVar(&c.RingSize, "ring", 0, "`descriptors` of each ring (default 1024)")
	f.IntVar(&c.Buffer, "buffer", 0, "`bytes` of a receive buffer (default 2048)")
	f.IntVar(&c.Flight, "flight", 0, "`frames` in flight at most (default: as many as fit the receiver's buffers)")
	f.DurationVar(&c.Interval, "interval", 0, "`time` between looks at the rings (default 500ns)")
	f.DurationVar(&c.Warmup, "warmup", 0, "`time` before the measurement (default 200ms)")
	f.DurationVar(&c.Duration, "duration", 0, "`time` of the measurement (default 1s)")
	f.IntVar(&c.CPU, "cpu", -1, "`processor` to run on (default: any)")
	f.BoolVar(&c.Realtime, "realtime", false, "run before all ordinary threads; needs root")
	f.StringVar((*string)(&c.Huge), "huge", "", "2 MiB `pages`: auto, yes or no (default no)")
	if err := f.Parse(args); err != nil {
		return c, err
	}
	if f.NArg() > 0 {
		return c, fmt.Errorf("unknown argument %q", f.Arg(0))
	}
	return c, nil
}

func run(c loadgen.Config) error {
	runtime.LockOSThread()
	pin := loadgen.Pin
	if c.Null { // It needs the process's other threads.
		pin = func(cpu int) error { return loadgen.PinThread(0, cpu) }
	}
	if c.CPU >= 0 {
		if err := pin(c.CPU); err != nil {
			return err
		}
	}
	if c.Realtime {
		if err := loadgen.Realtime(0); err != nil {
			return err
		}
	}
	debug.SetGCPercent(-1) // There is next to nothing to collect.
	r, err := loadgen.Run(c)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}
