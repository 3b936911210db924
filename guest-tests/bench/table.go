package bench

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// spread is the middle and the ends of some figures.
type spread struct{ median, min, max float64 }

func spreadOf(list []float64) spread {
	s := slices.Sorted(slices.Values(list))
	mid := len(s) / 2
	median := s[mid]
	if len(s)%2 == 0 {
		median = (s[mid-1] + s[mid]) / 2
	}
	return spread{median, s[0], s[len(s)-1]}
}

func figures(samples []Sample, of func(Sample) float64) spread {
	var list []float64
	for _, s := range samples {
		list = append(list, of(s))
	}
	return spreadOf(list)
}

// ratio returns ours to testpmd's, by round.
func (l *Line) ratio() spread {
	var list []float64
	for i := range min(len(l.Ours), len(l.Testpmd)) {
		list = append(list, l.Ours[i].Mpps/l.Testpmd[i].Mpps)
	}
	return spreadOf(list)
}

// Short returns the rows whose ratio or rate is below what is wanted.
func (r *Report) Short() (names []string) {
	for i := range r.Lines {
		l := &r.Lines[i]
		if l.ratio().median < l.Row.AtLeast || gbps(l.Ours).median < l.Row.AtLeastGbps {
			names = append(names, l.Name)
		}
	}
	return names
}

// disturbance from which on a note says that figures are too low.
const muchDisturbed = 0.03

// Write prints the report as a table.
func (r *Report) Write(w io.Writer) error {
	table := [][]string{{"port to port", "ours: Mpps", "min..max", "Gbit/s", "testpmd: Mpps", "min..max", "Gbit/s", "ratio", "min..max", "wanted"}}
	for i := range r.Lines {
		l := &r.Lines[i]
		table = append(table, slices.Concat([]string{l.Row.Title}, cells(l.Ours), cells(l.Testpmd), ratioCells(l)))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s\n%s\n\n", r.Machine, r.Setting, r.generator())
	layOut(&b, table)
	if notes := r.notes(); len(notes) > 0 {
		fmt.Fprintf(&b, "\n%s\n", strings.Join(notes, "\n"))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// generator says what the figures show of the back ends and not of the
// generator.
func (r *Report) generator() string {
	worst := 0.0
	for _, l := range r.Lines {
		for _, s := range slices.Concat(l.Ours, l.Testpmd) {
			worst = max(worst, s.Starved)
		}
	}
	return fmt.Sprintf("the generator alone reaches %.0f Mpps; it left back ends without work at up to %.2f %% of its looks at the rings", r.Ceiling, 100*worst)
}

// layOut writes a table, the first column to the left, the others to the right.
func layOut(b *strings.Builder, table [][]string) {
	widths := make([]int, len(table[0]))
	for _, row := range table {
		for i, cell := range row {
			widths[i] = max(widths[i], len(cell))
		}
	}
	for _, row := range table {
		line := fmt.Sprintf("%-*s", widths[0], row[0])
		for i, cell := range row[1:] {
			line += fmt.Sprintf("  %*s", widths[i+1], cell)
		}
		fmt.Fprintln(b, strings.TrimRight(line, " "))
	}
}

// rate prints as many digits as are of interest.
func rate(v float64) string {
	if v < 1 {
		return fmt.Sprintf("%.3f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// cells are the three of one back end.
func cells(samples []Sample) []string {
	m := figures(samples, func(s Sample) float64 { return s.Mpps })
	return []string{rate(m.median), rate(m.min) + ".." + rate(m.max), fmt.Sprintf("%.1f", gbps(samples).median)}
}

func gbps(samples []Sample) spread { return figures(samples, func(s Sample) float64 { return s.Gbps }) }

func ratioCells(l *Line) []string {
	q := l.ratio()
	wanted := ""
	if l.Row.AtLeast > 0 {
		wanted = fmt.Sprintf("%g", l.Row.AtLeast)
	}
	if l.Row.AtLeastGbps > 0 {
		wanted += fmt.Sprintf(" and %g Gbit/s", l.Row.AtLeastGbps)
	}
	return []string{fmt.Sprintf("%.2f", q.median), fmt.Sprintf("%.2f..%.2f", q.min, q.max), wanted}
}

// notes are sentences about what limits the figures' worth.
func (r *Report) notes() (list []string) {
	worst, where := 0.0, ""
	for _, l := range r.Lines {
		for name, samples := range map[string][]Sample{"ours": l.Ours, "testpmd": l.Testpmd} {
			for _, s := range samples {
				if s.Disturbed > worst {
					worst, where = s.Disturbed, l.Name
				}
			}
			if lost := figures(samples, func(s Sample) float64 { return float64(s.Lost) }); lost.max > 0 {
				list = append(list, fmt.Sprintf("%s, %s: up to %.0f frames were lost in a round.", l.Name, name, lost.max))
			}
		}
	}
	slices.Sort(list)
	if worst > muchDisturbed {
		list = append(list, fmt.Sprintf("Other work took up to %.0f %% of a processor (row %s): trust ratios, not rates.", 100*worst, where))
	}
	if short := r.Short(); len(short) > 0 {
		list = append(list, "Below what is wanted: "+strings.Join(short, ", ")+".")
	}
	return list
}
