package scenarios

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"vhost-user-nvgre/guest-tests/harness"
	"vhost-user-nvgre/guest-tests/rig"
)

const sigkill = syscall.SIGKILL

// rebinds is how often the driver lets go of the device and takes it again.
const rebinds = 10

// testBind takes the driver off the device and puts it back, again and again,
// while another guest sends to it all the time.
func testBind(ctx context.Context, t *testing.T, s *scene, f rig.FrontEnd) {
	p := s.guests[f]
	a, b := s.others(f)
	defer flood(ctx, t, s, a, p)()
	start := s.MustStatus(t)
	for round := range rebinds {
		device, err := virtioDevice(ctx, p)
		if err != nil {
			t.Fatal(err)
		}
		if err := bind(ctx, p, device, false); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		before := s.MustStatus(t)
		if _, err := s.WaitStatus(ctx, "frames are dropped for want of a driver", func(st *rig.Status) bool {
			return st.Since(before).Port(p.ID).Total(rig.RX).Packets == 0 &&
				st.Port(a.ID).Total(rig.TX).Packets > before.Port(a.ID).Total(rig.TX).Packets+floodSign
		}); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if err := bind(ctx, p, device, true); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if err := p.Readdress(ctx); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		before = s.MustStatus(t)
		if _, err := s.WaitStatus(ctx, "the driver gets frames again", func(st *rig.Status) bool {
			return st.Since(before).Port(p.ID).Total(rig.RX).Packets > floodSign
		}); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if err := p.MustPing(ctx, b.IP6, harness.PingOptions{Count: 1}); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
	both(ctx, t, p, b)
	now := s.MustStatus(t).Port(p.ID)
	if now.FrontEnd.Sessions != start.Port(p.ID).FrontEnd.Sessions {
		t.Errorf("%d sessions now, %d before: want no new one", now.FrontEnd.Sessions, start.Port(p.ID).FrontEnd.Sessions)
	}
}

// floodSign is how many frames tell that the flood goes on.
const floodSign = 20

// virtioDevice returns the name of the device behind a guest's interface.
func virtioDevice(ctx context.Context, p *rig.Peer) (string, error) {
	out, err := p.Output(ctx, "readlink", "/sys/class/net/"+p.Iface+"/device")
	out = strings.TrimSpace(out)
	return out[strings.LastIndexByte(out, '/')+1:], err
}

// bind gives a device to the guest's driver, or takes it away.
func bind(ctx context.Context, p *rig.Peer, device string, on bool) error {
	what := "unbind"
	if on {
		what = "bind"
	}
	if err := p.WriteFile(ctx, "/sys/bus/virtio/drivers/virtio_net/"+what, []byte(device), 0o200); err != nil {
		return fmt.Errorf("%s %s: %w", what, device, err)
	}
	return nil
}
