package scenarios

import (
	"context"
	"strings"
	"testing"
	"time"

	"vhost-user-nvgre/guest-tests/harness"
	"vhost-user-nvgre/guest-tests/rig"
)

// testLink takes a guest's link down and up again: by nvgrectl, which the driver
// learns of on the device only, and on a netdev by QEMU.
func testLink(ctx context.Context, t *testing.T, s *scene, f rig.FrontEnd) {
	p := s.guests[f]
	a, _ := s.others(f)
	ctl := func(t *testing.T, up bool) {
		if _, err := s.Ctl(ctx, "link", upDown(up), p.ID); err != nil {
			t.Fatal(err)
		}
	}
	qmp := func(t *testing.T, up bool) {
		if err := p.QMP().Execute(ctx, "set_link", map[string]any{"name": p.ID, "up": up}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, by := range []struct {
		name string
		set  func(*testing.T, bool)
		seen bool // by the driver
		can  bool
	}{
		{"nvgrectl", ctl, f == rig.Device, true},
		{"QMP", qmp, true, f != rig.Device},
	} {
		if !by.can {
			continue
		}
		t.Run(by.name, func(t *testing.T) {
			by.set(t, false)
			if by.seen {
				waitCarrier(ctx, t, p, false)
			}
			if r, err := a.Ping(ctx, p.IP4, harness.PingOptions{Count: 1}); err != nil || r.Received != 0 {
				t.Errorf("ping of a guest whose link is down: %+v, %v, want no answer", r, err)
			}
			by.set(t, true)
			if by.seen {
				waitCarrier(ctx, t, p, true)
			}
			if err := reach(ctx, a, p); err != nil {
				t.Error(err)
			}
		})
	}
}

func upDown(up bool) string {
	if up {
		return "up"
	}
	return "down"
}

// waitCarrier returns when the driver knows the state of its link.
func waitCarrier(ctx context.Context, t *testing.T, p *rig.Peer, up bool) {
	t.Helper()
	want := "0"
	if up {
		want = "1"
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		out, err := p.ReadFile(ctx, "/sys/class/net/"+p.Iface+"/carrier")
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimSpace(string(out)) == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: carrier %s, want %s", p.ID, out, want)
		}
	}
}
