package queues

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"vhost-user-nvgre/queues/fdb"
)

// journal is the log of an engine under test. A fault of our own in it fails
// the test, whatever else the test looks at.
type journal struct {
	still  bool      // the test steps the shards
	began  time.Time // of a still engine: its clock shows how far start was moved back
	faulty bool      // the test provokes a fault of ours

	mu    sync.Mutex
	lines []string
}

func (j *journal) add(level, format string, a ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.lines) < 10_000 {
		j.lines = append(j.lines, level+" "+fmt.Sprintf(format, a...))
	}
}

func (j *journal) Debugf(f string, a ...any) { j.add("debug", f, a...) }
func (j *journal) Infof(f string, a ...any)  { j.add("info", f, a...) }
func (j *journal) Warnf(f string, a ...any)  { j.add("warning", f, a...) }

// find returns the first line that has all of the parts, "" if none has.
func (j *journal) find(parts ...string) string {
	j.mu.Lock()
	defer j.mu.Unlock()
next:
	for _, l := range j.lines {
		for _, p := range parts {
			if !strings.Contains(l, p) {
				continue next
			}
		}
		return l
	}
	return ""
}

// ours are what the log has of faults that no input may cause.
var ours = []string{"internal fault", "runtime error: i", "runtime error: s", "nil pointer", "epoll_wait"}

func (j *journal) clean(t testing.TB) {
	t.Helper()
	for _, what := range ours {
		if j.faulty {
			return
		}
		if l := j.find(what); l != "" {
			t.Errorf("the log has %q", l)
		}
	}
}

func testConfig(shards int, j *journal) Config {
	return Config{
		Shards: shards, PollMax: 50 * time.Microsecond,
		MACTable: 1024, MACAge: 300 * time.Second, Log: j,
	}
}

// newEngine returns a running engine that is closed when the test ends.
func newEngine(t testing.TB, shards int) *Engine {
	t.Helper()
	return startEngine(t, testConfig(shards, &journal{}))
}

func startEngine(t testing.TB, cfg Config) *Engine {
	t.Helper()
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		e.Close()
		e.journal().clean(t)
	})
	return e
}

// newStill returns an engine whose shards do nothing of themselves: its nics
// step them when they look for frames, so that a test waits for nothing and
// finds everything done.
func newStill(t testing.TB, shards int) *Engine {
	t.Helper()
	j := &journal{still: true}
	cfg := testConfig(shards, j)
	e := &Engine{
		cfg: cfg, log: j, start: time.Now(),
		fdb: fdb.New(cfg.MACTable, cfg.MACTable/4, uint32(cfg.MACAge/time.Second)),
	}
	j.began = e.start
	e.ports.Store(&[]*switchPort{})
	for i := range shards {
		s, err := newShard(e, i, -1, 0)
		if err != nil {
			t.Fatal(err)
		}
		e.shards = append(e.shards, s)
		t.Cleanup(s.poll.close)
	}
	t.Cleanup(func() { j.clean(t) })
	return e
}

// journal returns the engine's journal.
func (e *Engine) journal() *journal { return e.log.(*journal) }

// lapse lets time pass. For a still engine it is as long as the test looks for
// something in vain, however busy the machine is.
func lapse(e *Engine) {
	time.Sleep(50 * time.Microsecond)
	if e.journal().still {
		e.start = e.start.Add(-time.Millisecond)
		settle(e)
	}
}

// settle lets the shards of a still engine process what is there.
func settle(e *Engine) {
	if !e.journal().still {
		return
	}
	for busy := true; busy; {
		busy = false
		for _, p := range *e.ports.Load() {
			if p == nil {
				continue
			}
			for _, q := range p.tx {
				q.shard.now = e.journal().began.Sub(e.start)
				for q.shard.step(q) > 0 {
					busy = true
				}
			}
		}
	}
}

// fewer returns how many rounds of n are enough under the race detector, which
// makes everything slow.
func fewer(n int) int {
	if raceEnabled {
		return max(1, n/8)
	}
	return n
}
