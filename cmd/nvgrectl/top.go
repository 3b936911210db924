package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"vhost-user-nvgre/cmd/internal/control"
	"vhost-user-nvgre/cmd/internal/rates"
)

// Bounds of the interval: the daemon stops a queue for a moment to read its
// counters.
const (
	minInterval = 100 * time.Millisecond
	maxInterval = time.Hour
)

func newTop() *cobra.Command {
	t := top{}
	c := &cobra.Command{
		Use:   "top [PORT]",
		Short: "Show rates of queues and worker threads, and what they suggest",
		Long: `Show, every interval, what queues and worker threads (shards) did in it; with
PORT, the queues of that port. Queues that did nothing are left out.

  FRAMES/S, GBIT/S  frames moved; rx and tx are the driver's
  BYTES/FRAME       super-frames, or small ones
  KICKS/S, CALLS/S  notifications from the driver, interrupts of it, and how many
                    frames there were for each
  WAITED/S          frames that had to wait for receive buffers
  DROPS/S           by reason
  BUSY, POLLING     part of the time that a shard moved frames, and that it
                    looked for some in vain
  WAKE-UPS/S        sleeps of a shard that work ended

Below are the hints: what the figures suggest, where they are clear. With --json
there is one document a line and interval (docs/control-socket.md). It goes on
when the daemon is restarted, and ends by an interrupt or after --count intervals.`,
		Args:              wrongUsage(cobra.MaximumNArgs(1)),
		ValidArgsFunction: completePort(0),
		RunE: func(c *cobra.Command, args []string) error {
			if t.interval < minInterval || t.interval > maxInterval {
				return usageError{fmt.Errorf("interval %v: want %v to %v", t.interval, minInterval, maxInterval)}
			}
			if t.count < 0 {
				return usageError{fmt.Errorf("count %d: want 0 or more", t.count)}
			}
			if len(args) > 0 {
				t.port = args[0]
			}
			var err error
			if t.client, err = client(c); err != nil {
				return err
			}
			return t.run(c.Context(), c.OutOrStdout())
		},
	}
	c.Flags().DurationVar(&t.interval, "interval", time.Second, "time between two tables")
	c.Flags().IntVar(&t.count, "count", 0, "end after so many tables (0: never)")
	c.Flags().BoolVar(&t.asJSON, "json", false, "print a JSON document for each interval")
	for _, flag := range []string{"interval", "count"} {
		_ = c.RegisterFlagCompletionFunc(flag, cobra.NoFileCompletions)
	}
	return c
}

// top is a run of the command.
type top struct {
	client   *control.Client
	port     string // "": all
	interval time.Duration
	count    int // 0: until the context is done
	asJSON   bool
}

// run prints samples until it is told to end.
func (t *top) run(ctx context.Context, w io.Writer) error {
	before, err := t.client.Status(ctx)
	if err != nil {
		return interrupted(ctx, err)
	}
	if t.port != "" && findPort(before, t.port) == nil {
		return noPort(t.port)
	}
	taken := time.Now() // before was
	tick := time.NewTicker(t.interval)
	defer tick.Stop()
	for n := 0; t.count == 0 || n < t.count; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		after, err := t.client.Status(ctx)
		if ctx.Err() != nil {
			return nil
		}
		now := time.Now()
		var s *rates.Sample
		if err != nil {
			// It may be on its way back.
			s = &rates.Sample{At: now, Seconds: now.Sub(taken).Seconds(), Error: err.Error(), Ports: []rates.Port{}, Shards: []rates.Shard{}, Hints: []string{}}
		} else {
			s = rates.Between(before, after, now, now.Sub(taken))
			before, taken = after, now
		}
		if err := t.print(w, s); err != nil {
			return err
		}
	}
	return nil
}

// interrupted returns nil for an error whose cause is the end of ctx, by which
// this command ends as a rule.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (t *top) print(w io.Writer, s *rates.Sample) error {
	if t.port != "" {
		s = s.Only(t.port)
	}
	if t.asJSON {
		return json.NewEncoder(w).Encode(s)
	}
	return renderTop(w, s)
}
