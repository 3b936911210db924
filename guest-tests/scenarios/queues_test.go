package scenarios

import (
	"context"
	"fmt"
	"testing"

	"vhost-user-nvgre/guest-tests/rig"
	"vhost-user-nvgre/guest-tests/stream"
)

// testQueues changes how many queue pairs a guest uses while data flows to and
// from it. Nothing is lost, and from the change on only those queues are used.
func testQueues(ctx context.Context, t *testing.T, s *scene, f rig.FrontEnd) {
	p := s.guests[f]
	a, _ := s.others(f)
	stop := background(ctx, t, a, p)
	defer stop()
	job := stream.Job{Seed: 5, Sizes: []int{8192}, Streams: 32}
	for _, n := range []int{queuePairs, 2, 3, 1} {
		if err := p.SetQueuePairs(ctx, n); err != nil {
			t.Fatal(err)
		}
		before, err := s.WaitStatus(ctx, fmt.Sprintf("%s uses %d queue pairs", p.ID, n), func(st *rig.Status) bool {
			return st.Port(p.ID).QueuePairsInUse == n
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := rig.Stream(ctx, a, p, false, job); err != nil {
			t.Fatalf("with %d queue pairs: %v", n, err)
		}
		port := s.MustStatus(t).Since(before).Port(p.ID)
		for _, q := range port.Queues {
			if (q.Kind == rig.RX || q.Kind == rig.TX) && q.Packets > 0 && q.Index >= 2*n {
				t.Errorf("with %d queue pairs: queue %d carried %d packets", n, q.Index, q.Packets)
			}
		}
		for _, kind := range []string{rig.RX, rig.TX} {
			if used, least := port.Used(kind, 1), leastUsed(f, kind, n); used < least {
				t.Errorf("with %d queue pairs: %d %s queues carried traffic, want %d at least", n, used, kind, least)
			}
		}
	}
}

// leastUsed returns how many of n queues of a kind many flows must use: all of
// them, but for receive queues of the device. There the driver chooses a key for
// the hash at random, and because the flows' ports are consecutive numbers one
// key in ten leaves queues out.
func leastUsed(f rig.FrontEnd, kind string, n int) int {
	if f == rig.Device && kind == rig.RX {
		return 1
	}
	return n
}
