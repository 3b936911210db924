package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// goals are what the daemon's median is to be, as a multiple of the other's.
var goals = []struct {
	other string
	ratio float64
}{
	{"tap on a bridge", 1.2},
	{"testpmd io, tso=1", 2.0},
}

// median of an odd number of values is the middle one, of an even number the
// mean of the two in the middle.
func median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// medianOf returns the median of one property of a way's values.
func (w *way) medianOf(property func(value) float64) float64 {
	all := make([]float64, len(w.values))
	for i, v := range w.values {
		all[i] = property(v)
	}
	return median(all)
}

func (w *way) median() float64 { return w.medianOf(func(v value) float64 { return v.gbits }) }

func (c *compare) report(out io.Writer) {
	fmt.Fprintf(out, "\niperf3 TCP, one stream, two guests of one processor, %d rounds of %d s, taking turns\n\n", c.rounds, c.seconds)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "BACK END\tMEDIAN\tALL VALUES (Gbit/s)\tRETRANSMITS\tCPU OF ITS PROCESS\tOF QEMU'S DEVICES")
	for _, w := range c.ways {
		var values, retransmits []string
		for _, v := range w.values {
			values = append(values, fmt.Sprintf("%.3f", v.gbits))
			retransmits = append(retransmits, fmt.Sprint(v.retransmits))
		}
		process := "-"
		if w.process != nil {
			process = percent(w.medianOf(func(v value) float64 { return v.process }))
		}
		fmt.Fprintf(t, "%s\t%.3f Gbit/s\t%s\t%s\t%s\t%s\n", w.name, w.median(),
			strings.Join(values, " "), strings.Join(retransmits, " "),
			process, percent(w.medianOf(func(v value) float64 { return v.device })))
	}
	_ = t.Flush() // To standard output: nobody is left to tell.
	fmt.Fprintln(out)
	ours := c.ways[0].median()
	for _, g := range goals {
		for _, w := range c.ways {
			if w.name != g.other {
				continue
			}
			verdict := "met"
			if ours/w.median() < g.ratio {
				verdict = "missed"
			}
			fmt.Fprintf(out, "demo-compare: %.2f x %s (goal %.1f, %s)\n", ours/w.median(), w.name, g.ratio, verdict)
		}
	}
}

func percent(x float64) string { return fmt.Sprintf("%.0f %%", 100*x) }
