// Package rates says what a daemon did between two of its statuses, per second,
// and in words what that suggests. It only computes: reading the statuses and
// the clock is the caller's.
package rates

import (
	"slices"
	"time"

	"vhost-user-nvgre/cmd/internal/control"
)

// Sample is what happened in an interval. Quotients of which there are none, as
// the mean length of no frames, are 0.
type Sample struct {
	At      time.Time `json:"at"`      // the interval's end
	Seconds float64   `json:"seconds"` // its length
	// Error is why there is nothing else: the daemon could not be asked.
	Error string `json:"error,omitempty"`
	// Restarted: another process answered than before, and nothing is known of
	// the interval.
	Restarted bool `json:"restarted,omitempty"`

	CPUs   float64  `json:"cpus"` // processors that the daemon kept busy
	Ports  []Port   `json:"ports"`
	Shards []Shard  `json:"shards"`
	Hints  []string `json:"hints"`
}

// Port is what a port did.
type Port struct {
	Name   string  `json:"name"`
	Gone   bool    `json:"gone,omitempty"` // it was there before and is not any more
	Queues []Queue `json:"queues"`
}

// Queue is what a virtqueue did.
type Queue struct {
	Index int    `json:"index"`
	Kind  string `json:"kind"`  // rx, tx or ctrl, as the driver sees it
	Shard int    `json:"shard"` // -1: none
	// Restarted: its counters began anew, and nothing else is known.
	Restarted bool `json:"restarted,omitempty"`

	Frames        float64            `json:"frames_per_s"`
	Bits          float64            `json:"bits_per_s"` // of frames, without packet headers
	BytesPerFrame float64            `json:"bytes_per_frame"`
	Kicks         float64            `json:"kicks_per_s"`
	FramesPerKick float64            `json:"frames_per_kick"`
	Calls         float64            `json:"calls_per_s"`
	FramesPerCall float64            `json:"frames_per_call"`
	Waited        float64            `json:"waited_per_s"` // frames that had to wait for receive buffers
	Drops         map[string]float64 `json:"drops_per_s,omitempty"`
}

// Shard is what a worker thread did. Busy, Polling and Asleep are parts of the
// interval, 1 together.
type Shard struct {
	ID              int     `json:"id"`
	Busy            float64 `json:"busy"`
	Polling         float64 `json:"polling"`
	Asleep          float64 `json:"asleep"`
	Wakeups         float64 `json:"wakeups_per_s"`
	Frames          float64 `json:"frames_per_s"`
	FramesPerWakeup float64 `json:"frames_per_wakeup"`
}

// Idle reports whether nothing happened.
func (q *Queue) Idle() bool {
	return !q.Restarted && q.Frames == 0 && q.Kicks == 0 && q.Calls == 0 && q.Waited == 0 && len(q.Drops) == 0
}

// Only returns the sample without the other ports. What it suggests stays: what
// limits a port may well be another one.
func (s *Sample) Only(port string) *Sample {
	out := *s
	out.Ports = slices.DeleteFunc(slices.Clone(s.Ports), func(p Port) bool { return p.Name != port })
	return &out
}

// Between returns what happened between two statuses, the later of which was
// taken at the time at, took after the other. No rate is negative.
func Between(before, after *control.Status, at time.Time, took time.Duration) *Sample {
	s := &Sample{At: at, Seconds: took.Seconds(), Ports: []Port{}, Shards: []Shard{}, Hints: []string{}}
	if before.PID != after.PID || !before.StartedAt.Equal(after.StartedAt) {
		s.Restarted = true
		return s
	}
	// The daemon's clock knows better when the counters were read.
	if after.UptimeNS > before.UptimeNS {
		s.Seconds = float64(after.UptimeNS-before.UptimeNS) / 1e9
	}
	s.CPUs = per(since(before.CPUNS, after.CPUNS), s.Seconds*1e9)
	s.ports(before, after)
	s.shards(before, after)
	s.Hints = hints(s, after)
	return s
}

func (s *Sample) ports(before, after *control.Status) {
	for i := range after.Ports {
		now := &after.Ports[i]
		was := find(before, now.Name)
		if was == nil {
			was = &control.Port{} // its counters began at 0
		}
		p := Port{Name: now.Name, Queues: []Queue{}}
		for k := range now.Queues {
			p.Queues = append(p.Queues, queue(counted(was, &now.Queues[k]), &now.Queues[k], s.Seconds))
		}
		s.Ports = append(s.Ports, p)
	}
	for i := range before.Ports {
		if name := before.Ports[i].Name; find(after, name) == nil {
			s.Ports = append(s.Ports, Port{Name: name, Gone: true, Queues: []Queue{}})
		}
	}
}

func find(s *control.Status, port string) *control.Port {
	for i := range s.Ports {
		if s.Ports[i].Name == port {
			return &s.Ports[i]
		}
	}
	return nil
}

// counted returns q as it was; a queue that nobody had used had counted
// nothing.
func counted(p *control.Port, q *control.Queue) *control.Queue {
	for i := range p.Queues {
		if was := &p.Queues[i]; was.Index == q.Index && was.Kind == q.Kind {
			return was
		}
	}
	return &control.Queue{}
}

// queue returns the rates of a queue.
func queue(was, now *control.Queue, seconds float64) Queue {
	q := Queue{Index: now.Index, Kind: now.Kind, Shard: now.Shard}
	if q.Restarted = restarted(was, now); q.Restarted {
		return q
	}
	frames, bytes := since(was.Packets, now.Packets), since(was.Bytes, now.Bytes)
	kicks, calls := since(was.Kicks, now.Kicks), since(was.Calls, now.Calls)
	q.Frames, q.Bits, q.BytesPerFrame = per(frames, seconds), per(8*bytes, seconds), per(bytes, frames)
	q.Kicks, q.FramesPerKick = per(kicks, seconds), per(frames, kicks)
	q.Calls, q.FramesPerCall = per(calls, seconds), per(frames, calls)
	q.Waited = per(since(was.Waited, now.Waited), seconds)
	for reason, n := range now.Drops {
		if d := since(was.Drops[reason], n); d > 0 {
			if q.Drops == nil {
				q.Drops = map[string]float64{}
			}
			q.Drops[reason] = per(d, seconds)
		}
	}
	return q
}

// restarted reports whether the counters of a queue are not those that they
// were: a port was taken away, and another one of its name was made.
func restarted(was, now *control.Queue) bool {
	for reason, n := range was.Drops {
		if now.Drops[reason] < n {
			return true
		}
	}
	// What a wire lost is taken off its packets when that becomes known, so
	// those alone may well get less.
	return now.Packets+dropped(now) < was.Packets+dropped(was) ||
		now.Kicks < was.Kicks || now.Calls < was.Calls || now.Waited < was.Waited
}

func dropped(q *control.Queue) (n uint64) {
	for _, d := range q.Drops {
		n += d
	}
	return n
}

func (s *Sample) shards(before, after *control.Status) {
	for i := range after.ShardLoad {
		now, was := &after.ShardLoad[i], &control.Shard{}
		for k := range before.ShardLoad {
			if before.ShardLoad[k].ID == now.ID {
				was = &before.ShardLoad[k]
			}
		}
		busy, polling, asleep := since(was.BusyNS, now.BusyNS), since(was.PollingNS, now.PollingNS), since(was.AsleepNS, now.AsleepNS)
		// Not of the interval: what a shard says of itself is up to a millisecond
		// old.
		sum := busy + polling + asleep
		wakeups, frames := since(was.Wakeups, now.Wakeups), since(was.Frames, now.Frames)
		s.Shards = append(s.Shards, Shard{
			ID: now.ID, Busy: per(busy, sum), Polling: per(polling, sum), Asleep: per(asleep, sum),
			Wakeups: per(wakeups, s.Seconds), Frames: per(frames, s.Seconds), FramesPerWakeup: per(frames, wakeups),
		})
	}
}

// since returns by how much a counter grew.
func since(was, now uint64) float64 {
	if now < was {
		return 0
	}
	return float64(now - was)
}

// per is n/d, 0 where that is no number.
func per(n, d float64) float64 {
	if d <= 0 {
		return 0
	}
	return n / d
}
