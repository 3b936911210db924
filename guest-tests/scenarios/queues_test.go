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
			if used := port.Used(kind, 1); used != n {
				t.Errorf("with %d queue pairs: %d %s queues carried traffic", n, used, kind)
			}
		}
	}
}
