package wiretest

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"vhost-user-nvgre/queues"
)

// Journal keeps what is logged.
type Journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *Journal) add(format string, a ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, a...))
}

// Debugf implements queues.Logger.
func (j *Journal) Debugf(format string, a ...any) { j.add(format, a...) }

// Infof implements queues.Logger.
func (j *Journal) Infof(format string, a ...any) { j.add(format, a...) }

// Warnf implements queues.Logger.
func (j *Journal) Warnf(format string, a ...any) { j.add(format, a...) }

// Has reports whether a line contains s.
func (j *Journal) Has(s string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, l := range j.lines {
		if strings.Contains(l, s) {
			return true
		}
	}
	return false
}

// NewEngine starts a switch of two shards that ends with the test.
func NewEngine(t testing.TB) (*queues.Engine, *Journal) {
	t.Helper()
	j := &Journal{}
	e, err := queues.New(queues.Config{Shards: 2, PollMax: 50 * time.Microsecond, MACTable: 1024, MACAge: time.Minute, Log: j})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e, j
}

// AddWire adds a port for w; both end with the test.
func AddWire(t testing.TB, e *queues.Engine, name string, w queues.Wire) *queues.WirePort {
	t.Helper()
	p, err := e.AddWire(queues.WireConfig{Name: name, Kind: "test"}, w)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		e.RemoveWire(p)
		if err := w.Close(); err != nil {
			t.Errorf("close the wire: %v", err)
		}
	})
	return p
}

// Count sums what the port's queues of a kind, rx or tx, moved and dropped.
func Count(p *queues.WirePort, kind string) (packets, bytes uint64, drops map[string]uint64) {
	drops = map[string]uint64{}
	for _, q := range p.Snapshot().Queues {
		if q.Kind != kind {
			continue
		}
		packets += q.Packets
		bytes += q.Bytes
		for why, n := range q.Drops {
			drops[why] += n
		}
	}
	return packets, bytes, drops
}
