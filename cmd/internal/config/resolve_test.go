package config

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"vhost-user-nvgre/virtio"
)

func TestCPUList(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want CPUList
	}{
		{"", nil},
		{"3", CPUList{3}},
		{"2-5,8", CPUList{2, 3, 4, 5, 8}},
		{"8,2-3", CPUList{8, 2, 3}},
		{"0-1,1023", CPUList{0, 1, 1023}},
	} {
		got, err := parseCPUs(tt.in)
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("parseCPUs(%q) = %v, %v; want %v", tt.in, []int(got), err, []int(tt.want))
		}
		if s := got.String(); s != tt.in {
			t.Errorf("%v prints as %q, want %q", []int(got), s, tt.in)
		}
	}
	for _, in := range []string{"a", "1-", "-1", "5-2", "1,,2", "1,1", "0-3,2", "1024", "1 ,2", "1-2-3"} {
		if got, err := parseCPUs(in); err == nil {
			t.Errorf("parseCPUs(%q) = %v, want an error", in, got)
		}
	}
}

func TestShardCount(t *testing.T) {
	upTo := func(n int) (l []int) {
		for i := range n {
			l = append(l, i)
		}
		return l
	}
	for _, tt := range []struct {
		shards int
		cpus   CPUList
		usable []int
		want   int
	}{
		{0, nil, upTo(2), 2},
		{0, nil, upTo(64), 8},
		{0, CPUList{1, 3}, upTo(64), 2},
		{0, upTo(20), upTo(64), 8},
		{12, nil, upTo(2), 12},
		{1, CPUList{1, 3}, upTo(64), 1},
	} {
		s := Settings{Shards: tt.shards, CPUs: tt.cpus}
		got, err := s.ShardCount(tt.usable)
		if err != nil || got != tt.want {
			t.Errorf("shards=%d cpus=%s on %d processors: %d, %v; want %d", tt.shards, tt.cpus, len(tt.usable), got, err, tt.want)
		}
	}
	s := Settings{CPUs: CPUList{0, 7}}
	if _, err := s.ShardCount([]int{0, 1, 2}); err == nil || !strings.Contains(err.Error(), "processor 7 is not among those this process may use (0-2)") {
		t.Errorf("a processor that is not there: %v", err)
	}
}

func TestProcessors(t *testing.T) {
	got, err := Processors()
	if err != nil || len(got) == 0 || !slices.IsSorted(got) {
		t.Errorf("Processors() = %v, %v", got, err)
	}
}

func TestDerivedAddress(t *testing.T) {
	seen := map[virtio.MAC]string{}
	for i := range 1000 {
		p := DefaultPort()
		p.Name = fmt.Sprintf("vm%d", i)
		m := p.Address()
		if m[0]&1 != 0 || m[0]&2 == 0 {
			t.Errorf("%s: %s is not one station's, locally administered", p.Name, m)
		}
		if m != p.Address() {
			t.Errorf("%s: two different addresses", p.Name)
		}
		if other := seen[m]; other != "" {
			t.Errorf("%s and %s have the same address", p.Name, other)
		}
		seen[m] = p.Name
	}
	// The address must not change between versions: guests know it.
	p := DefaultPort()
	p.Name = "vm0"
	if got, want := p.Address().String(), "36:94:c0:ee:51:4f"; got != want {
		t.Errorf("vm0 has %s, want %s", got, want)
	}
	p.MAC = virtio.MAC{2, 1, 2, 3, 4, 5}
	if p.Address() != p.MAC {
		t.Errorf("%s instead of the address that was set", p.Address())
	}
}

func TestControlPath(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", "/run/user/1")
	def := "/run/user/1/vhost-user-nvgre/control.sock"
	if os.Geteuid() == 0 {
		def = "/run/vhost-user-nvgre/control.sock"
	}
	for set, want := range map[string]string{"": def, "none": "", "/x/y": "/x/y"} {
		s := Settings{ControlSocket: set}
		if got, err := s.ControlPath(); err != nil || got != want {
			t.Errorf("control-socket %q: %q, %v; want %q", set, got, err, want)
		}
	}
}

func TestCompare(t *testing.T) {
	port := func(name, socket string) Port {
		p := DefaultPort()
		p.Name, p.Socket = name, socket
		return p
	}
	old, next := Default(), Default()
	old.Ports = []Port{port("a", "/a"), port("b", "/b"), port("c", "/c")}
	changed := port("b", "/b2")
	changed.LinkUp = false
	next.Ports = []Port{port("d", "/d"), changed, port("a", "/a")}
	next.LogLevel, next.Shards = "debug", 2
	d := Compare(&old, &next)
	if want := []Port{port("d", "/d")}; !slices.Equal(d.Added, want) {
		t.Errorf("added %v, want %v", d.Added, want)
	}
	if want := []Port{port("c", "/c")}; !slices.Equal(d.Removed, want) {
		t.Errorf("removed %v, want %v", d.Removed, want)
	}
	want := []Change{
		{Key: "shards", Old: "0", New: "2"},
		{Key: "log-level", Old: "info", New: "debug", Live: true},
		{Key: "socket", Port: "b", Old: "/b", New: "/b2"},
		{Key: "link", Port: "b", Old: "up", New: "down", Live: true},
	}
	if !slices.Equal(d.Changed, want) {
		t.Errorf("changed %+v, want %+v", d.Changed, want)
	}
	if got, want := d.Changed[2].String(), `port b: socket from "/b" to "/b2"`; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestAdoptLive(t *testing.T) {
	running, next := Default(), Default()
	p, gone := DefaultPort(), DefaultPort()
	p.Name, gone.Name = "a", "gone"
	running.Ports = []Port{gone, p}
	was := running.Ports
	next.LogLevel, next.Shards = "debug", 5
	p.LinkUp, p.QueuePairs = false, 7
	next.Ports = []Port{p}
	AdoptLive(&running, &next)
	if running.LogLevel != "debug" || running.Shards != 0 {
		t.Errorf("log-level %q, shards %d; want the first adopted, the second not", running.LogLevel, running.Shards)
	}
	if a := running.Ports[1]; a.LinkUp || a.QueuePairs != 1 {
		t.Errorf("port a: %+v; want link adopted, queue-pairs not", a)
	}
	if !running.Ports[0].LinkUp {
		t.Error("a port that only one side has was changed")
	}
	if !was[1].LinkUp {
		t.Error("the ports were changed in place, not in a copy")
	}
}

// What was adopted and undone is found again.
func TestUndo(t *testing.T) {
	running, next := Default(), Default()
	a, b := DefaultPort(), DefaultPort()
	a.Name, b.Name = "a", "b"
	running.Ports = []Port{a, b}
	b.NVGRE, b.QMP, b.LinkUp = true, "/run/qmp", false
	next.Ports, next.LogLevel = []Port{a, b}, "debug"
	want := Compare(&running, &next)
	if len(want.Changed) != 4 {
		t.Fatalf("changed %+v, want 4 settings", want.Changed)
	}
	AdoptLive(&running, &next)
	if got := Compare(&running, &next); len(got.Changed) != 0 {
		t.Fatalf("changed after AdoptLive: %+v", got.Changed)
	}
	for _, c := range want.Changed {
		c.Undo(&running)
	}
	if got := Compare(&running, &next); !reflect.DeepEqual(got, want) {
		t.Errorf("changed after Undo: %+v, want %+v", got, want)
	}
}

func TestNearest(t *testing.T) {
	all := []string{"shards", "poll-us", "queue-pairs"}
	for in, want := range map[string]string{"shard": "shards", "pol-us": "poll-us", "queues": "", "queue_pairs": "queue-pairs", "x": "", "": ""} {
		if got := nearest(all, in); got != want {
			t.Errorf("nearest(%q) = %q, want %q", in, got, want)
		}
	}
}
