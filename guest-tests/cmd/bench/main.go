// Command bench measures what one processor of the daemon forwards against what
// one of DPDK's testpmd does, and prints a table. Package bench says how.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"vhost-user-nvgre/guest-tests/bench"
	"vhost-user-nvgre/guest-tests/lab"
)

// Exit codes.
const (
	exitFailure = 1
	exitUsage   = 2
	exitShort   = 3 // with --check
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string) int {
	o := bench.Options{Logf: func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	rows := f.String("rows", "", "`names` of rows, comma separated (default: all)")
	f.IntVar(&o.Rounds, "rounds", 7, "`rounds`: measurements of each back end in each row")
	f.DurationVar(&o.Duration, "duration", 700*time.Millisecond, "`time` of one measurement")
	f.IntVar(&o.BackendCPU, "backend-cpu", 0, "`processor` of the back ends")
	f.IntVar(&o.GeneratorCPU, "generator-cpu", 1, "`processor` of the load generator")
	f.BoolVar(&o.Realtime, "realtime", false, "run before all other work, for machines that have some; needs root")
	f.BoolVar(&o.HugePages, "huge-pages", false, "have all memory in 2 MiB pages, reserving what is missing, which needs root")
	asJSON := f.Bool("json", false, "print JSON with every measurement")
	check := f.Bool("check", false, "exit with code 3 if a ratio or rate is below what is wanted")
	err := f.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err == nil {
		o.Rows, err = selected(*rows)
	}
	switch {
	case err != nil:
	case f.NArg() > 0:
		err = fmt.Errorf("unknown argument %q", f.Arg(0))
	case o.Rounds < 1 || o.Duration <= 0:
		err = errors.New("there is nothing to measure in no rounds or no time")
	case o.BackendCPU == o.GeneratorCPU:
		err = errors.New("back end and generator need a processor each")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return exitUsage
	}
	r, err := measure(ctx, o)
	if err == nil && *asJSON {
		err = json.NewEncoder(os.Stdout).Encode(r)
	} else if err == nil {
		err = r.Write(os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", strings.TrimPrefix(err.Error(), "bench: "))
		return exitFailure
	}
	if *check && len(r.Short()) > 0 {
		return exitShort
	}
	return 0
}

func measure(ctx context.Context, o bench.Options) (*bench.Report, error) {
	l, err := lab.Open(lab.Options{Logf: o.Logf})
	if err != nil {
		return nil, err
	}
	return bench.Run(ctx, l, o)
}

// selected returns the rows of a list of names.
func selected(list string) ([]bench.Row, error) {
	all := bench.Rows()
	if list == "" {
		return all, nil
	}
	var rows []bench.Row
	for name := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(all, func(r bench.Row) bool { return r.Name == name })
		if i < 0 {
			var names []string
			for _, r := range all {
				names = append(names, r.Name)
			}
			return nil, fmt.Errorf("no row %q: want some of %s", name, strings.Join(names, ","))
		}
		rows = append(rows, all[i])
	}
	return rows, nil
}
