package queues

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/virtio"
)

// Shards run where they are told to; a processor that there is not costs a line
// in the log.
func TestPin(t *testing.T) {
	var allowed unix.CPUSet
	must(t, unix.SchedGetaffinity(0, &allowed))
	cpu := 0
	for !allowed.IsSet(cpu) {
		cpu++
	}
	pinned := func() (n int) {
		tasks, err := filepath.Glob("/proc/self/task/*")
		must(t, err)
		for _, task := range tasks {
			var set unix.CPUSet
			if unix.SchedGetaffinity(atoi(filepath.Base(task)), &set) == nil && set.IsSet(cpu) && set.Count() == 1 {
				n++
			}
		}
		return n
	}
	if allowed.Count() == 1 {
		t.Log("there is one processor only: every thread is bound to it already")
	}
	before := pinned()
	cfg := testConfig(2, &journal{})
	cfg.CPUs = []int{cpu, 1000}
	e := startEngine(t, cfg)
	a, b := plug(t, e, 1, nicOptions{pairs: 2}), plug(t, e, 2, nicOptions{pairs: 2})
	exchange(t, a, b, 60)
	for pair := range 2 { // each of a shard of its own
		a.send(pair, virtio.NetHdr{}, frame(b.mac, a.mac, 60))
		a.reaped(pair)
	}
	if got := pinned() - before; allowed.Count() > 1 && got != 1 {
		t.Errorf("%d threads are bound to processor %d alone, want 1", got, cpu)
	}
	a.wait("the other shard's complaint", func() bool {
		return e.journal().find("warning", "cannot pin to processor 1000") != ""
	})
}

func atoi(s string) (n int) {
	for _, c := range s {
		n = 10*n + int(c-'0')
	}
	return n
}

// An engine that cannot start, for lack of descriptors at any point, says so
// and leaves none open.
func TestNewFails(t *testing.T) {
	if _, err := New(testConfig(0, &journal{})); err == nil || !strings.Contains(err.Error(), "shards 0: want at least 1") {
		t.Errorf("New with no shards = %v", err)
	}
	var old unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &old)
	before := descriptors(t)
	probe, err := os.Open("/dev/null") // the next free number
	must(t, err)
	free := uint64(probe.Fd())
	must(t, probe.Close())
	failed := 0
	for more := range uint64(8) {
		must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: free + more, Max: old.Max}))
		e, err := New(testConfig(3, &journal{}))
		must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &old))
		switch {
		case err == nil:
			e.Close()
		case !strings.Contains(err.Error(), "too many open files"):
			t.Errorf("with %d descriptors: %v", more, err)
		default:
			failed++
		}
		if after := descriptors(t); after != before {
			t.Fatalf("with room for %d descriptors: %d are open, before: %d", more, after, before)
		}
	}
	if failed < 3 {
		t.Errorf("%d of 8 starts failed: the test shows nothing", failed)
	}
}

// An engine takes ports of different names while it runs, and stops once.
func TestAddPortFails(t *testing.T) {
	e := newEngine(t, 1)
	p, err := e.AddPort(PortConfig{Name: "vm1", QueuePairs: 1, MAC: macOf(1)})
	must(t, err)
	if _, err := e.AddPort(PortConfig{Name: "vm1", QueuePairs: 1, MAC: macOf(2)}); err == nil || !strings.Contains(err.Error(), "there is a port of that name") {
		t.Errorf("a second vm1: %v", err)
	}
	e.RemovePort(p)
	e.RemovePort(p) // again
	if got := len(e.Ports()); got != 0 {
		t.Errorf("%d ports after the only one was removed", got)
	}
	if _, err := e.AddPort(PortConfig{Name: "vm1", QueuePairs: 1, MAC: macOf(2)}); err != nil {
		t.Errorf("vm1 after vm1 was removed: %v", err)
	}
	e.Close()
	e.Close()
	if _, err := e.AddPort(PortConfig{Name: "vm2", QueuePairs: 1, MAC: macOf(3)}); err == nil || !strings.Contains(err.Error(), "the engine is closed") {
		t.Errorf("a port of a closed engine: %v", err)
	}
}

// The first queue pairs of neighbours, often the only ones that guests use,
// belong to different shards, and so do the pairs of a port.
func TestQueuesSpreadOverShards(t *testing.T) {
	const shards = 3
	e := newStill(t, shards)
	for i := 1; i <= 4; i++ {
		plug(t, e, i, nicOptions{pairs: 4})
	}
	loads, firsts := map[int]int{}, map[int]int{}
	for _, p := range e.Status() {
		own := map[int]int{}
		for _, q := range p.Queues {
			if q.Kind != "tx" {
				continue
			}
			loads[q.Shard]++
			own[q.Shard]++
			if q.Index == 1 {
				firsts[q.Shard]++
			}
		}
		for s, n := range own {
			if n > 2 {
				t.Errorf("port %s: %d of 4 transmit queues belong to shard %d", p.Name, n, s)
			}
		}
	}
	for s := range shards {
		if loads[s] < 5 || loads[s] > 6 || firsts[s] < 1 || firsts[s] > 2 {
			t.Errorf("shard %d: %d of 16 transmit queues, %d of 4 first ones; want them spread evenly", s, loads[s], firsts[s])
		}
	}
}
