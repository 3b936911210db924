package nvgre

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"

	"vhost-user-nvgre/guest-tests/rawframe"
	"vhost-user-nvgre/guest-tests/rig"
)

// filter has a receive filter for an inner address, which is the NIC's own, so
// that plain frames have the address too, in their only header.
func (s *scene) filter(ctx context.Context, t *testing.T) {
	back := &rig.Pair{A: s.on.B, B: s.on.A}
	if err := back.B.SetQueuePairs(ctx, pairs); err != nil {
		t.Fatal(err)
	}
	if s.MustStatus(t).Port("a-on").Has("rss") {
		// The driver's own choice holds for what no filter matches.
		if _, err := back.B.Ethtool(ctx, "-X", "equal", "1"); err != nil {
			t.Fatal(err)
		}
	}
	base := s.between(ctx, t, back, packet{payload: pattern(500)})
	mine, other := base.dst, net.HardwareAddr{2, 0, 0, 0, 0, 2}
	var frames []rawframe.Frame
	matching := uint64(0)
	for _, p := range families() {
		p.payload, p.src, p.dst = base.payload, base.src, base.dst
		inner := 14 + 20 + 8
		if p.outer6 {
			inner += 20
		}
		to := func(mac net.HardwareAddr) []byte {
			b := bytes.Clone(p.whole(t).Data)
			copy(b[inner:], mac)
			return b
		}
		plain := to(mine)[inner:]
		copy(plain[6:], p.src)
		frames = append(frames, rawframe.Frame{Data: to(mine)}, rawframe.Frame{Data: to(other)}, rawframe.Frame{Data: plain})
		matching++
	}
	arrive := func(when string, steered bool) {
		t.Helper()
		var got []rawframe.Frame
		counted, _, _, err := s.Observe(ctx, func() (err error) {
			got, err = back.B.Capture(ctx, func() error { return back.A.SendFrames(ctx, frames...) })
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		var queue [pairs]uint64
		for _, q := range counted.Port("a-on").Queues {
			if q.Kind == rig.RX {
				queue[q.Index/2] = q.Packets
			}
		}
		for _, f := range frames {
			// A plain frame is sent once for each outer family.
			if n, sent := count(got, f), count(frames, f); n != sent {
				t.Errorf("%s: a frame of %d bytes arrived %d times, was sent %d times", when, len(f.Data), n, sent)
			}
		}
		want := uint64(0)
		if steered {
			want = matching
		}
		t.Logf("%s: %d frames on queue 0, %d on queue 1", when, queue[0], queue[1])
		// What the guest's stack hears besides comes on queue 0.
		if queue[1] != want || queue[0] < uint64(len(frames))-want {
			t.Errorf("%s: %d frames on queue 1, want %d of %d, and %d on queue 0", when, queue[1], want, len(frames), queue[0])
		}
	}
	ctl := func(args ...string) string {
		t.Helper()
		out, err := s.Ctl(ctx, args...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}

	arrive("without filters", false)
	if out := ctl("filter", "add", "a-on", mine.String(), "1", "--inner"); out != "filter 1 leads to queue 1\n" {
		t.Errorf("filter add: %q", out)
	}
	arrive("with a filter", true)
	ctl("offload", "set", "a-on", "nvgre=off")
	arrive("with a filter, NVGRE off", false)
	ctl("offload", "set", "a-on", "nvgre=on")
	arrive("with a filter, NVGRE on again", true)
	ctl("filter", "del", "a-on", "1")
	arrive("after the filter", false)
	if out := ctl("filter", "list", "a-on"); strings.Count(out, "\n") != 1 {
		t.Errorf("filter list afterwards:\n%s", out)
	}
}

// count returns how often a frame is among others.
func count(list []rawframe.Frame, f rawframe.Frame) (n int) {
	for _, g := range list {
		if bytes.Equal(f.Data, g.Data) {
			n++
		}
	}
	return n
}
