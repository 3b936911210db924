package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"vhost-user-nvgre/guest-tests/bench/loadgen"
	"vhost-user-nvgre/guest-tests/harness"
	"vhost-user-nvgre/guest-tests/lab"
)

// Options of a run.
type Options struct {
	Rows     []Row
	Rounds   int
	Duration time.Duration // of one measurement
	// BackendCPU is the processor of both back ends, GeneratorCPU the one of
	// everything else.
	BackendCPU, GeneratorCPU int
	// Realtime runs generator and back ends before all ordinary threads, for
	// machines that have other work. It takes the right to do so.
	Realtime bool
	// HugePages has all memory in 2 MiB pages. What the system has too few of is
	// reserved for the time of the run, which takes the right to do so.
	HugePages bool
	// Logf receives a line per step.
	Logf func(format string, args ...any)
}

// Sample is one measurement.
type Sample struct {
	Mpps float64 `json:"mpps"`
	Gbps float64 `json:"gbps"`
	// Disturbed is the share of time that other work took from the back end or
	// the generator.
	Disturbed float64 `json:"disturbed"`
	// Starved is the share of the generator's looks at the rings that found the
	// back end without work.
	Starved float64 `json:"starved"`
	Lost    uint64  `json:"lost"`
}

// Line is a row with what was measured.
type Line struct {
	Row     Row      `json:"-"`
	Name    string   `json:"name"`
	Ours    []Sample `json:"ours"` // by round
	Testpmd []Sample `json:"testpmd"`
}

// Report is what a run found.
type Report struct {
	Machine string `json:"machine"`
	Setting string `json:"setting"`
	// Ceiling is what the generator reaches at least, in Mpps, with a back end
	// that only moves indices.
	Ceiling float64 `json:"ceiling_mpps"`
	Lines   []Line  `json:"rows"`
}

// Run measures all rows.
func Run(ctx context.Context, l *lab.Lab, o Options) (*Report, error) {
	m, err := newMachine(ctx, l, o)
	if err != nil {
		return nil, err
	}
	r := &Report{Machine: m.describe(), Setting: m.setting()}
	if r.Ceiling, err = m.ceiling(ctx); err != nil {
		return nil, errors.Join(err, m.close())
	}
	for _, row := range o.Rows {
		var line *Line
		if line, err = m.measure(ctx, row); err != nil {
			err = fmt.Errorf("%s: %w", row.Name, err)
			break
		}
		r.Lines = append(r.Lines, *line)
	}
	if cerr := m.close(); err == nil {
		err = cerr
	}
	return r, err
}

// ceiling measures the generator. The best of some tries counts: other work on
// the machine makes figures too low, and nothing makes them too high.
func (m *machine) ceiling(ctx context.Context) (best float64, err error) {
	for range ceilingTries {
		r, err := m.generate(ctx, loadgen.Config{Null: true, NullCPU: m.BackendCPU, Kind: loadgen.Plain, Size: 72})
		if err != nil {
			return 0, fmt.Errorf("generator alone: %w", err)
		}
		best = max(best, r.Mpps)
	}
	m.Logf("generator alone: %.0f Mpps", best)
	return best, nil
}

const ceilingTries = 3

func (m *machine) setting() string {
	s := fmt.Sprintf("back end on processor %d, generator on processor %d, rings of 1,024, receive buffers of 2 KiB, "+
		"%d rounds of %s in turn", m.BackendCPU, m.GeneratorCPU, m.Rounds, m.Duration)
	if m.Realtime {
		s += ", real-time scheduling"
	}
	return s
}

// measure fills a line of the table.
func (m *machine) measure(ctx context.Context, r Row) (*Line, error) {
	line := &Line{Row: r, Name: r.Name}
	testpmd, err := m.startTestpmd(ctx, r)
	if err != nil {
		return nil, err
	}
	defer testpmd.stop()
	if err := testpmd.pause(); err != nil {
		return nil, err
	}
	ours, err := m.startOurs(ctx, r)
	if err != nil {
		return nil, err
	}
	defer ours.stop()
	turns := []turn{{testpmd, r.testpmdLoad(), &line.Testpmd}, {ours, r.Load, &line.Ours}}
	for round := range m.Rounds {
		for i := range turns {
			t := &turns[(i+round)%len(turns)] // Neither is always the first.
			s, err := m.sample(ctx, &r, t.b, t.load)
			if err != nil {
				return nil, fmt.Errorf("%s: %w\n%s", t.b.name, err, t.b.said())
			}
			*t.into = append(*t.into, s)
			m.Logf("%s: round %d of %d: %-7s %6.2f Mpps %7.2f Gbit/s", r.Name, round+1, m.Rounds, t.b.name, s.Mpps, s.Gbps)
		}
	}
	return line, nil
}

// turn is a back end with the load it gets.
type turn struct {
	b    *backend
	load loadgen.Config
	into *[]Sample
}

// said returns the end of a back end's output.
func (b *backend) said() string {
	text := b.process.Stderr.String() + b.process.Stdout.String()
	return text[max(0, len(text)-2000):]
}

// testpmdLoad is the row's load with what is to be expected of testpmd.
func (r *Row) testpmdLoad() loadgen.Config {
	c := r.Load
	c.Lax = r.Testpmd.Lax
	if r.Testpmd.Expect != "" {
		c.Expect = r.Testpmd.Expect
	}
	return c
}

// sample measures a back end once.
func (m *machine) sample(ctx context.Context, row *Row, b *backend, c loadgen.Config) (s Sample, err error) {
	if err := b.resume(); err != nil {
		return s, err
	}
	pid := b.process.Pid()
	tids, err := waitWorkers(ctx, pid, m.BackendCPU)
	if err != nil {
		return s, err
	}
	if m.Realtime {
		for _, tid := range tids {
			if err := loadgen.Realtime(tid); err != nil {
				return s, err
			}
		}
	}
	before, err := usageOf(pid, tids)
	if err != nil {
		return s, err
	}
	c.Send = b.ports[0]
	if !row.Drop {
		c.Receive = b.ports[1]
	}
	r, err := m.generate(ctx, c)
	if err != nil {
		return s, err
	}
	after, err := usageOf(pid, tids)
	if err != nil {
		return s, err
	}
	return Sample{
		Mpps: r.Mpps, Gbps: r.Gbps, Lost: r.Lost,
		Disturbed: max(after.disturbed(before), 1-r.OwnCPU),
		Starved:   float64(r.Starved) / float64(r.Looks),
	}, b.settle(ctx)
}

// generate runs the load generator.
func (m *machine) generate(ctx context.Context, c loadgen.Config) (*loadgen.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, m.Duration+2*patience)
	defer cancel()
	huge := loadgen.HugeNo
	if m.HugePages {
		huge = loadgen.HugeYes
	}
	args := []string{
		"--send", c.Send, "--receive", c.Receive, "--kind", string(c.Kind), "--expect", string(c.Expect), "--huge", string(huge),
		"--size", strconv.Itoa(c.Size), "--mss", strconv.Itoa(c.MSS), "--cpu", strconv.Itoa(m.GeneratorCPU),
		"--duration", m.Duration.String(), "--lax=" + strconv.FormatBool(c.Lax), "--realtime=" + strconv.FormatBool(m.Realtime && !c.Null),
	}
	if c.Null {
		args = append(args, "--null", strconv.Itoa(c.NullCPU))
	}
	if names := c.WithholdReceive.Names(); len(names) > 0 {
		args = append(args, "--withhold-receive", strings.Join(names, ","))
	}
	p, err := harness.StartProcess("loadgen", exec.CommandContext(ctx, m.loadgen, args...), nil)
	if err != nil {
		return nil, err
	}
	defer p.Kill()
	code, err := p.Wait(ctx)
	if err != nil {
		return nil, err
	}
	if code != 0 {
		return nil, fmt.Errorf("bench: the load generator ended with code %d: %s", code, strings.TrimSpace(p.Stderr.String()))
	}
	r := &loadgen.Result{}
	if err := json.Unmarshal(p.Stdout.Bytes(), r); err != nil {
		return nil, fmt.Errorf("bench: result of the load generator: %w", err)
	}
	return r, nil
}
