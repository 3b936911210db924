package scenarios

import (
	"context"
	"testing"

	"vhost-user-nvgre/guest-tests/rig"
	"vhost-user-nvgre/guest-tests/stream"
)

// sizes are those around which something changes: buffers, segments, pages.
func sizes(most int) (list []int) {
	for n := 1; n <= 64; n++ {
		list = append(list, n)
	}
	for _, n := range []int{128, 256, 512, 1024, 1448, 1460, 1472, 1500, 1514, 2036, 2048, 2896, 4096, 8192, 16384, 32768, 65507, 65535} {
		for _, m := range []int{n - 1, n, n + 1} {
			if m <= most {
				list = append(list, m)
			}
		}
	}
	return list
}

// The largest write, and the largest datagrams there are.
const (
	maxSegment = 65536
	maxUDP4    = 65535 - 20 - 8
	maxUDP6    = 65535 - 8
)

// testIntegrity compares what guests send and receive, in sizes from one byte
// to 64 KiB. Datagrams that the guest leaves whole, for the device to cut, are
// among them.
func testIntegrity(ctx context.Context, t *testing.T, s *scene, f rig.FrontEnd) {
	a, b := s.guests[f], s.guests[(int(f)+1)%len(s.guests)]
	for _, j := range []struct {
		name string
		job4 stream.Job
		job6 stream.Job
	}{
		{
			"tcp",
			stream.Job{Seed: 10, Sizes: sizes(maxSegment), Bytes: 2 << 20, Streams: 2},
			stream.Job{Seed: 11, Sizes: sizes(maxSegment), Bytes: 2 << 20, Streams: 2},
		},
		{
			"udp",
			stream.Job{Seed: 12, UDP: true, Sizes: sizes(maxUDP4)},
			stream.Job{Seed: 13, UDP: true, Sizes: sizes(maxUDP6)},
		},
		{
			"udp segments",
			stream.Job{Seed: 14, UDP: true, Segment: 1472, Sizes: []int{1472, 1473, 9000, 1472 * 44, 65507}},
			stream.Job{Seed: 15, UDP: true, Segment: 1000, Sizes: []int{1000, 1001, 9000, 64000, 63001}},
		},
	} {
		t.Run(j.name, func(t *testing.T) {
			there, err := rig.StartStream(ctx, a, b, false, j.job4)
			if err != nil {
				t.Fatal(err)
			}
			back, err := rig.StartStream(ctx, b, a, true, j.job6)
			if err != nil {
				t.Fatal(err)
			}
			if r, err := rig.WaitStream(ctx, there); err != nil {
				t.Errorf("%s to %s: %v", a.ID, b.ID, err)
			} else {
				t.Logf("%s to %s: %d bytes, %d datagrams, %d of them sent again", a.ID, b.ID, r.Bytes, r.Datagrams, r.Lost)
			}
			if r, err := rig.WaitStream(ctx, back); err != nil {
				t.Errorf("%s to %s: %v", b.ID, a.ID, err)
			} else {
				t.Logf("%s to %s: %d bytes, %d datagrams, %d of them sent again", b.ID, a.ID, r.Bytes, r.Datagrams, r.Lost)
			}
		})
	}
}
