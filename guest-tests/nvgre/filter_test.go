package nvgre

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	"vhost-user-nvgre/guest-tests/rawframe"
	"vhost-user-nvgre/guest-tests/rig"
)

// filter has receive filters for an inner address, with and without a VLAN. It
// is the NIC's own, so that plain frames have the address too, in their only
// header.
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
	const vlan = 7
	var frames []rawframe.Frame
	var untagged, tagged uint64 // that have the address
	for _, p := range families() {
		p.payload, p.src, p.dst = base.payload, base.src, base.dst
		inner := 14 + 20 + 8
		if p.outer6 {
			inner += 20
		}
		to := func(mac net.HardwareAddr, vlan uint16) []byte {
			p.vlan = vlan
			b := bytes.Clone(p.whole(t).Data)
			copy(b[inner:], mac)
			return b
		}
		plain := to(mine, 0)[inner:]
		copy(plain[6:], p.src)
		elsewhere := to(mine, 0)
		elsewhere[inner-4]++ // in another virtual subnet, of which filters know nothing
		for _, b := range [][]byte{to(mine, 0), elsewhere, to(mine, vlan), to(mine, vlan+1), to(other, 0), to(other, vlan), plain} {
			frames = append(frames, rawframe.Frame{Data: b})
		}
		untagged += 2
		tagged++
	}
	arrive := func(when string, want uint64) {
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

	all := untagged + 2*tagged // of two VLANs
	arrive("without filters", 0)
	if out := ctl("filter", "add", "a-on", mine.String(), "1", "--inner"); out != "filter 1 leads to queue 1\n" {
		t.Errorf("filter add: %q", out)
	}
	arrive("with a filter", all)
	ctl("offload", "set", "a-on", "nvgre=off")
	arrive("with a filter, NVGRE off", 0)
	ctl("offload", "set", "a-on", "nvgre=on")
	arrive("with a filter, NVGRE on again", all)
	ctl("filter", "del", "a-on", "1")
	ctl("filter", "add", "a-on", mine.String(), "1", "--inner", "--vlan", fmt.Sprint(vlan))
	arrive("with a filter for a VLAN", tagged)
	ctl("filter", "add", "a-on", mine.String(), "1", "--inner", "--vlan", "none")
	arrive("with another for untagged frames", tagged+untagged)
	ctl("filter", "del", "a-on", "1")
	ctl("filter", "del", "a-on", "2")
	arrive("after the filters", 0)
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
