package rates

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vhost-user-nvgre/cmd/internal/control"
)

var (
	began = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	at    = began.Add(time.Hour)
)

// status returns that of a daemon after so many seconds.
func status(uptime float64, ports ...control.Port) *control.Status {
	return &control.Status{PID: 7, StartedAt: began, UptimeNS: uint64(uptime * 1e9), Ports: ports}
}

func port(name string, queues ...control.Queue) control.Port {
	return control.Port{Name: name, Queues: queues}
}

func TestQueues(t *testing.T) {
	full := func(n uint64) map[string]uint64 { return map[string]uint64{"rx_full": n, "rx_filter": 5} }
	for _, tt := range []struct {
		name          string
		before, after []control.Port
		want          []Port
	}{
		{"none", nil, nil, []Port{}},
		{
			"rates",
			[]control.Port{port("a",
				control.Queue{Index: 0, Kind: "rx", Shard: -1, Packets: 1000, Bytes: 1e6, Calls: 10, Waited: 4, Drops: full(1)},
				control.Queue{Index: 1, Kind: "tx", Shard: 1, Packets: 7, Bytes: 70, Kicks: 7})},
			[]control.Port{port("a",
				control.Queue{Index: 0, Kind: "rx", Shard: -1, Packets: 3000, Bytes: 4e6, Calls: 110, Waited: 24, Drops: full(7)},
				control.Queue{Index: 1, Kind: "tx", Shard: 1, Packets: 7, Bytes: 70, Kicks: 8})},
			[]Port{{Name: "a", Queues: []Queue{
				{Index: 0, Kind: "rx", Shard: -1, Frames: 1000, Bits: 12e6, BytesPerFrame: 1500, Calls: 50, FramesPerCall: 20, Waited: 10, Drops: map[string]float64{"rx_full": 3}},
				{Index: 1, Kind: "tx", Shard: 1, Kicks: 0.5},
			}}},
		},
		{
			"a port and a queue that are new began at 0",
			[]control.Port{port("a", control.Queue{Kind: "rx", Packets: 5, Bytes: 50})},
			[]control.Port{
				port("a", control.Queue{Kind: "rx", Packets: 7, Bytes: 70}, control.Queue{Index: 2, Kind: "ctrl", Packets: 4, Kicks: 2}),
				port("b", control.Queue{Index: 1, Kind: "tx", Packets: 10, Bytes: 600}),
			},
			[]Port{
				{Name: "a", Queues: []Queue{
					{Kind: "rx", Frames: 1, Bits: 80, BytesPerFrame: 10},
					{Index: 2, Kind: "ctrl", Frames: 2, Kicks: 1, FramesPerKick: 2},
				}},
				{Name: "b", Queues: []Queue{{Index: 1, Kind: "tx", Frames: 5, Bits: 2400, BytesPerFrame: 60}}},
			},
		},
		{
			"a port vanishes",
			[]control.Port{port("a", control.Queue{Kind: "rx", Packets: 5, Bytes: 50}), port("b")},
			[]control.Port{port("b")},
			[]Port{{Name: "b", Queues: []Queue{}}, {Name: "a", Gone: true, Queues: []Queue{}}},
		},
		{
			"another index or kind is another queue",
			[]control.Port{port("a", control.Queue{Index: 2, Kind: "rx", Packets: 100})},
			[]control.Port{port("a", control.Queue{Index: 2, Kind: "ctrl", Packets: 2})},
			[]Port{{Name: "a", Queues: []Queue{{Index: 2, Kind: "ctrl", Frames: 1}}}},
		},
		{
			"a port was made again",
			[]control.Port{
				port("packets", control.Queue{Packets: 5}), port("calls", control.Queue{Calls: 5}), port("kicks", control.Queue{Kicks: 5}),
				port("waited", control.Queue{Waited: 5}), port("drops", control.Queue{Drops: full(5)}),
			},
			[]control.Port{
				port("packets", control.Queue{Packets: 4, Kicks: 9}), port("calls", control.Queue{Packets: 9}), port("kicks", control.Queue{Packets: 9, Kicks: 4}),
				port("waited", control.Queue{Packets: 9}), port("drops", control.Queue{Packets: 9, Drops: map[string]uint64{"rx_full": 4, "rx_filter": 9}}),
			},
			[]Port{
				{Name: "packets", Queues: []Queue{{Restarted: true}}},
				{Name: "calls", Queues: []Queue{{Restarted: true}}},
				{Name: "kicks", Queues: []Queue{{Restarted: true}}},
				{Name: "waited", Queues: []Queue{{Restarted: true}}},
				{Name: "drops", Queues: []Queue{{Restarted: true}}},
			},
		},
		{
			"a wire finds out what it lost",
			[]control.Port{port("w", control.Queue{Packets: 100, Bytes: 1000})},
			[]control.Port{port("w", control.Queue{Packets: 90, Bytes: 900, Drops: map[string]uint64{"wire_busy": 12}})},
			[]Port{{Name: "w", Queues: []Queue{{Drops: map[string]float64{"wire_busy": 6}}}}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := Between(status(10, tt.before...), status(12, tt.after...), at, 3*time.Second)
			if diff := cmp.Diff(tt.want, got.Ports); diff != "" {
				t.Errorf("Between(...).Ports differs (-want +got):\n%s", diff)
			}
			if got.Seconds != 2 || got.Restarted || !got.At.Equal(at) {
				t.Errorf("Between(...) = %+v, want one of 2 s at %v", got, at)
			}
		})
	}
}

func TestShards(t *testing.T) {
	before, after := status(10), status(12)
	before.CPUNS, after.CPUNS = 1e9, 4e9
	before.ShardLoad = []control.Shard{
		{ID: 0, BusyNS: 5e9, PollingNS: 1e9, AsleepNS: 4e9, Wakeups: 100, Frames: 1000},
		{ID: 1, AsleepNS: 10e9},
		{ID: 2, AsleepNS: 9e9, BusyNS: 1e9},
	}
	after.ShardLoad = []control.Shard{
		{ID: 0, BusyNS: 6e9, PollingNS: 1.5e9, AsleepNS: 4.5e9, Wakeups: 200, Frames: 4000},
		{ID: 1, AsleepNS: 12e9},
		{ID: 2, AsleepNS: 9e9, BusyNS: 2.9e9, Frames: 10}, // the rest is not published yet
		{ID: 3},
	}
	got := Between(before, after, at, 0)
	want := []Shard{
		{ID: 0, Busy: 0.5, Polling: 0.25, Asleep: 0.25, Wakeups: 50, Frames: 1500, FramesPerWakeup: 30},
		{ID: 1, Asleep: 1},
		{ID: 2, Busy: 1, Frames: 5},
		{ID: 3},
	}
	if diff := cmp.Diff(want, got.Shards); diff != "" || got.CPUs != 1.5 {
		t.Errorf("Between(...) has %v processors, want 1.5, and shards differ (-want +got):\n%s", got.CPUs, diff)
	}
}

// Of what another process counted nothing follows.
func TestRestarted(t *testing.T) {
	for name, change := range map[string]func(*control.Status){
		"process": func(s *control.Status) { s.PID++ },
		"start":   func(s *control.Status) { s.StartedAt = s.StartedAt.Add(1) },
	} {
		after := status(100, port("a", control.Queue{Packets: 50, State: "broken"}))
		after.CPUNS = 1
		change(after)
		got := Between(status(10, port("a", control.Queue{Packets: 40})), after, at, time.Second)
		want := &Sample{At: at, Seconds: 1, Restarted: true, Ports: []Port{}, Shards: []Shard{}, Hints: []string{}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("another %s: Between(...) differs (-want +got):\n%s", name, diff)
		}
	}
}

// A daemon that does not say when it read its counters is taken at the
// client's clock.
func TestOldDaemon(t *testing.T) {
	got := Between(status(0, port("a", control.Queue{Packets: 1})), status(0, port("a", control.Queue{Packets: 5})), at, 4*time.Second)
	if got.Seconds != 4 || got.Ports[0].Queues[0].Frames != 1 || got.CPUs != 0 || len(got.Shards) != 0 {
		t.Errorf("Between(...) = %+v, want 1 frame/s in 4 s", got)
	}
	if got := Between(status(0), status(0, port("a", control.Queue{Packets: 5})), at, 0); got.Ports[0].Queues[0].Frames != 0 {
		t.Errorf("Between(...) in no time = %+v, want no rate", got)
	}
}

func TestOnly(t *testing.T) {
	s := &Sample{Ports: []Port{{Name: "a"}, {Name: "b"}}, Shards: []Shard{{}}, Hints: []string{"x"}}
	if got := s.Only("b"); len(got.Ports) != 1 || got.Ports[0].Name != "b" || len(got.Shards) != 1 || len(got.Hints) != 1 {
		t.Errorf("Only(b) = %+v", got)
	}
	if got := s.Only("c"); got.Ports == nil || len(got.Ports) != 0 || len(s.Ports) != 2 {
		t.Errorf("Only(c) = %+v, of %+v", got, s)
	}
}
