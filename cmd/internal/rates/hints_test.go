package rates

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"vhost-user-nvgre/cmd/internal/control"
)

// scene is a sample and what the daemon says of its ports.
type scene struct {
	ports  []Port
	status []control.Port
	shards []Shard
	cpus   float64
}

// does returns a port that did something on one queue of a kind.
func does(name, kind string, q Queue) Port {
	q.Kind = kind
	if kind == "tx" {
		q.Index++
	}
	return Port{Name: name, Queues: []Queue{q}}
}

// moves returns rates of frames of so many bytes.
func moves(frames, bytes float64) Queue { return Queue{Frames: frames, Bits: 8 * frames * bytes} }

func TestRules(t *testing.T) {
	vm := func(features ...string) []control.Port {
		return []control.Port{{Name: "vm1", Kind: "vhost-user", Negotiated: features}}
	}
	tap := []control.Port{{Name: "up0", Kind: "tap", Place: "interface tap0"}}
	waits := func(frames, waited, full float64) []Port {
		q := Queue{Frames: frames, Waited: waited}
		if full > 0 {
			q.Drops = map[string]float64{"rx_full": full, "rx_filter": 99}
		}
		return []Port{does("vm1", "rx", q)}
	}
	sends := func(name string, frames, bytes float64) []Port { return []Port{does(name, "tx", moves(frames, bytes))} }
	both := append(sends("vm0", 2000, 40000), does("vm1", "rx", moves(60000, 1514)))
	const (
		refill = "the guest's driver does not refill its ring fast enough"
		own    = "the guest segments itself, see ethtool -K INTERFACE tso on, or sends datagrams one by one"
	)
	for _, tt := range []struct {
		name string
		rule rule
		in   scene
		want []string
	}{
		{"a broken queue", broken, scene{status: []control.Port{{Name: "vm1", Queues: []control.Queue{{}, {Index: 3, State: "broken", Reason: "why"}}}}}, []string{"vm1: queue 3 is broken: why"}},
		{"none broken", broken, scene{status: []control.Port{{Queues: []control.Queue{{State: "stopped"}, {State: "running"}}}}}, nil},

		{"frames wait", noRoom, scene{ports: waits(1000, 400, 0), status: vm()}, []string{"vm1: frames wait for receive buffers: " + refill}},
		{"frames are dropped", noRoom, scene{ports: waits(1000, 400, 30), status: vm()}, []string{"vm1: frames wait for receive buffers, and 30/s are dropped: " + refill}},
		{"all are dropped", noRoom, scene{ports: waits(0, 0, 30), status: vm()}, []string{"vm1: frames wait for receive buffers, and 30/s are dropped: " + refill}},
		{"one in a hundred waits", noRoom, scene{ports: waits(10000, 100, 0), status: vm()}, nil},
		{"a few wait", noRoom, scene{ports: waits(12, 9, 0), status: vm()}, nil},
		{"a sender's frames wait", noRoom, scene{ports: []Port{does("vm1", "tx", Queue{Frames: 1000, Waited: 900})}, status: vm()}, nil},
		{
			"frames wait for a wire", noRoom,
			scene{ports: []Port{does("up0", "rx", Queue{Frames: 1000, Waited: 900})}, status: tap},
			[]string{"up0: frames wait for room: interface tap0 takes them more slowly than they come"},
		},

		{"segments", ownSegments, scene{ports: sends("vm1", 50000, 1500), status: vm("host_tso4")}, []string{"vm1: frames are small (1500 bytes): " + own}},
		{"segments by IPv6", ownSegments, scene{ports: sends("vm1", 50000, 1448), status: vm("host_tso6")}, []string{"vm1: frames are small (1448 bytes): " + own}},
		{
			"segments of a driver without", ownSegments,
			scene{ports: sends("vm1", 50000, 1514), status: vm("csum")},
			[]string{"vm1: frames are small (1514 bytes): the guest's driver has not negotiated host_tso4 or host_tso6, so the guest segments itself"},
		},
		{"super-frames", ownSegments, scene{ports: sends("vm1", 50000, 20000), status: vm("host_tso4")}, nil},
		{"small packets", ownSegments, scene{ports: sends("vm1", 50000, 80), status: vm("host_tso4")}, nil},
		{"few segments", ownSegments, scene{ports: sends("vm1", 900, 1514), status: vm("host_tso4")}, nil},
		{"jumbo segments", ownSegments, scene{ports: sends("vm1", 5000, 9014), status: []control.Port{{Name: "vm1", MTU: 9000, Negotiated: []string{"host_tso4"}}}}, []string{"vm1: frames are small (9014 bytes): " + own}},
		{"below a jumbo MTU", ownSegments, scene{ports: sends("vm1", 5000, 1514), status: []control.Port{{Name: "vm1", MTU: 9000}}}, nil},
		{"segments from a wire", ownSegments, scene{ports: sends("up0", 50000, 1514), status: tap}, nil},
		{"segments of a port that left", ownSegments, scene{ports: sends("vm1", 50000, 1514)}, nil},

		{"cut", cut, scene{ports: both, status: vm("mrg_rxbuf")}, []string{"vm1: super-frames are cut for it: the guest's driver has not negotiated guest_tso4 or guest_tso6"}},
		{"cut though it takes some", cut, scene{ports: both, status: vm("guest_tso4")}, nil},
		{"nothing to cut", cut, scene{ports: append(sends("vm0", 60000, 1514), both[1]), status: vm()}, nil},
		{"acknowledgements", cut, scene{ports: append(sends("vm0", 60000, 30000), does("vm1", "rx", moves(500, 66))), status: vm()}, nil},

		{"overloaded", overloaded, scene{shards: []Shard{{Busy: 0.9}, {Busy: 0.8, Polling: 0.1}}, cpus: 0.9}, []string{"worker threads could use 1.8 processors and get 0.9: the machine is overloaded"}},
		{"enough processors", overloaded, scene{shards: []Shard{{Busy: 0.9}, {Busy: 0.9}}, cpus: 1.7}, nil},
		{"little to do", overloaded, scene{shards: []Shard{{Busy: 0.2}, {Busy: 0.2}}, cpus: 0.1}, nil},
		{"processors not known", overloaded, scene{shards: []Shard{{Busy: 1}}}, nil},

		{
			"a shard with two queues", busyShards,
			scene{ports: append(sends("vm0", 10, 60), sends("vm1", 10, 60)...), shards: []Shard{{Busy: 0.98}, {ID: 1, Busy: 0.9}}, cpus: 1.9},
			[]string{"shard 0 is busy 98 % of the time: more --shards may help"},
		},
		{
			"a shard with one queue", busyShards,
			scene{ports: append(sends("vm0", 10, 60), sends("vm1", 0, 0)...), shards: []Shard{{Busy: 0.98}}, cpus: 1},
			[]string{"shard 0 is busy 98 % of the time, with queue 1 of vm0 alone: more queue pairs may help, with --shards to match and more streams"},
		},
		{"a shard with none", busyShards, scene{shards: []Shard{{ID: 3, Busy: 1}}}, []string{"shard 3 is busy 100 % of the time"}},
		{"a shard that waits for a processor", busyShards, scene{ports: both, shards: []Shard{{Busy: 0.98}}, cpus: 0.5}, nil},

		{"shards sleep", guestsLimit, scene{ports: sends("vm1", 2000, 100), status: vm(), shards: []Shard{{Asleep: 0.8}, {Asleep: 0.9}}}, []string{"worker threads sleep at least 80 % of the time: the guests are the limit"}},
		{"the shard sleeps", guestsLimit, scene{ports: sends("vm1", 100, 20000), status: vm(), shards: []Shard{{Asleep: 0.8}}}, []string{"the worker thread sleeps 80 % of the time: the guests are the limit"}},
		{"one does not sleep", guestsLimit, scene{ports: sends("vm1", 2000, 100), status: vm(), shards: []Shard{{Asleep: 0.3}, {Asleep: 0.9}}}, nil},
		{"nothing to do", guestsLimit, scene{ports: sends("vm1", 20, 100), status: vm(), shards: []Shard{{Asleep: 1}}}, nil},
		{"a wire sends", guestsLimit, scene{ports: sends("up0", 2000, 100), status: tap, shards: []Shard{{Asleep: 0.8}}}, nil},
		{"it is known which guest", guestsLimit, scene{ports: append(waits(1000, 400, 0), sends("vm1", 2000, 100)...), status: vm(), shards: []Shard{{Asleep: 0.8}}}, nil},
		{"shards do not say", guestsLimit, scene{ports: sends("vm1", 2000, 100), status: vm()}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &Sample{Ports: tt.in.ports, Shards: tt.in.shards, CPUs: tt.in.cpus}
			if diff := cmp.Diff(tt.want, tt.rule(s, &control.Status{Ports: tt.in.status})); diff != "" {
				t.Errorf("rule of %+v differs (-want +got):\n%s", tt.in, diff)
			}
		})
	}
}

// All rules are asked.
func TestHints(t *testing.T) {
	st := &control.Status{Ports: []control.Port{{Name: "vm1", Queues: []control.Queue{{State: "broken", Reason: "why"}}}}}
	s := &Sample{Ports: []Port{does("vm1", "tx", moves(5000, 1514))}, Shards: []Shard{{Asleep: 0.75}}}
	want := []string{
		"vm1: queue 0 is broken: why",
		"vm1: frames are small (1514 bytes): the guest's driver has not negotiated host_tso4 or host_tso6, so the guest segments itself",
		"the worker thread sleeps 75 % of the time: the guests are the limit",
	}
	if diff := cmp.Diff(want, hints(s, st)); diff != "" {
		t.Errorf("hints() differs (-want +got):\n%s", diff)
	}
	if got := hints(&Sample{}, &control.Status{}); got == nil || len(got) != 0 {
		t.Errorf("hints of nothing = %#v, want none", got)
	}
}
