package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"vhost-user-nvgre/cmd/internal/rates"
)

// renderTop prints a sample.
func renderTop(w io.Writer, s *rates.Sample) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "%s  %.2f s", s.At.Format("15:04:05"), s.Seconds)
	switch {
	case s.Error != "":
		fmt.Fprintf(b, "  %s\n", s.Error)
	case s.Restarted:
		fmt.Fprintln(b, "  restarted: the daemon is another process than before")
	default:
		fmt.Fprintf(b, ", the daemon used %.2f processors\n", s.CPUs)
		topPorts(b, s.Ports)
		topShards(b, s.Shards)
		for _, h := range s.Hints {
			fmt.Fprintln(b, h)
		}
	}
	fmt.Fprintln(b)
	return b.Flush()
}

// topPorts prints a line for each queue that did something.
func topPorts(w io.Writer, ports []rates.Port) {
	t := table{}
	t.row("PORT", ">QUEUE", "KIND", ">FRAMES/S", ">GBIT/S", ">BYTES/FRAME", ">KICKS/S", ">PER KICK", ">CALLS/S", ">PER CALL", ">WAITED/S", "DROPS/S")
	nothing := func(port, queue, why string) { t.row(port, queue, why, "", "", "", "", "", "", "", "", "") }
	for i := range ports {
		p := &ports[i]
		if p.Gone {
			nothing(p.Name, "-", "gone")
			continue
		}
		idle := true
		for k := range p.Queues {
			q := &p.Queues[k]
			if q.Idle() {
				continue
			}
			idle = false
			index := strconv.Itoa(q.Index)
			if q.Restarted {
				nothing(p.Name, index, "restarted")
				continue
			}
			t.row(p.Name, index, q.Kind, rate(q.Frames), fmt.Sprintf("%.3f", q.Bits/1e9), mean(q.BytesPerFrame, 0),
				rate(q.Kicks), mean(q.FramesPerKick, 1), rate(q.Calls), mean(q.FramesPerCall, 1), rate(q.Waited), dropRates(q.Drops))
		}
		if idle {
			nothing(p.Name, "-", "idle")
		}
	}
	if len(t.rows) > 1 {
		t.print(w)
	}
}

func topShards(w io.Writer, shards []rates.Shard) {
	if len(shards) == 0 {
		return
	}
	t := table{}
	t.row(">SHARD", ">BUSY", ">POLLING", ">ASLEEP", ">WAKE-UPS/S", ">FRAMES/S", ">PER WAKE-UP")
	for _, s := range shards {
		t.row(strconv.Itoa(s.ID), percent(s.Busy), percent(s.Polling), percent(s.Asleep),
			rate(s.Wakeups), rate(s.Frames), mean(s.FramesPerWakeup, 1))
	}
	t.print(w)
}

// rate prints what happened so often a second. What happened at all is not 0.
func rate(v float64) string {
	if v > 0 && v < 9.5 {
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 0, 64)
}

// mean prints a quotient with so many digits, where 0 is none.
func mean(v float64, digits int) string {
	if v == 0 {
		return "-"
	}
	return strconv.FormatFloat(v, 'f', digits, 64)
}

func percent(part float64) string { return fmt.Sprintf("%.0f %%", 100*part) }

// dropRates prints rates by reason, the largest first.
func dropRates(m map[string]float64) string {
	reasons := slices.SortedFunc(maps.Keys(m), func(a, b string) int {
		return cmp.Or(cmp.Compare(m[b], m[a]), strings.Compare(a, b))
	})
	for i, r := range reasons {
		reasons[i] = r + "=" + rate(m[r])
	}
	return strings.Join(orDash(reasons), " ")
}
