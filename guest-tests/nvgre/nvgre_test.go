package nvgre

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"vhost-user-nvgre/guest-tests/harness"
	"vhost-user-nvgre/guest-tests/rawframe"
	"vhost-user-nvgre/guest-tests/rig"
	"vhost-user-nvgre/virtio"
)

// pairs of each NIC in the tests of Linux's own tunnel.
const pairs = 2

// scene is a daemon and two guests with two NICs each, one at a port with NVGRE
// offloads on.
type scene struct {
	*rig.Daemon
	on, off *rig.Pair
}

// newScene boots the guests on a front end.
func newScene(ctx context.Context, t *testing.T, f rig.FrontEnd) *scene {
	var config rig.Config
	for _, guest := range []string{"a", "b"} {
		settings := []string{"nvgre=on"}
		if guest == "a" {
			settings = append(settings, "vmq=on") // excludes RSS, which b has
		}
		config.Ports = append(config.Ports,
			rig.Port{Name: guest + "-on", QueuePairs: pairs, Settings: settings},
			rig.Port{Name: guest + "-off", QueuePairs: pairs},
		)
	}
	s := &scene{Daemon: rig.Run(t, config)}
	var guests []harness.Guest
	for _, name := range []string{"a", "b"} {
		guests = append(guests, harness.Guest{
			Name: name, QEMU: f.QEMU(), CPUs: pairs, Modules: []string{"virtio_net", "ip_gre"},
			NICs: []harness.NIC{f.NIC(s.Port(name + "-on")), f.NIC(s.Port(name + "-off"))},
		})
	}
	vms := rig.RawGuests(t, guests...)
	var err error
	if s.on, err = rig.Join(ctx, 0, vms[0], "a-on", vms[1], "b-on"); err != nil {
		t.Fatal(err)
	}
	if s.off, err = rig.Join(ctx, 1, vms[0], "a-off", vms[1], "b-off"); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*rig.Pair{s.on, s.off} {
		if err := p.MustPing(ctx); err != nil {
			t.Fatal(err)
		}
		for _, peer := range []*rig.Peer{&p.A, &p.B} {
			// Frames are to be seen as they arrive.
			if _, err := peer.Ethtool(ctx, "-K", "gro", "off"); err != nil {
				t.Fatal(err)
			}
		}
	}
	return s
}

// exchange sends frames from one end of a pair and returns the NVGRE packets
// that arrive at the other, and what the daemon dropped meanwhile.
func (s *scene) exchange(ctx context.Context, t *testing.T, p *rig.Pair, frames ...rawframe.Frame) ([]rawframe.Frame, map[string]uint64) {
	t.Helper()
	var got []rawframe.Frame
	counted, _, _, err := s.Observe(ctx, func() (err error) {
		got, err = p.B.Capture(ctx, func() error { return p.A.SendFrames(ctx, frames...) })
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	drops := counted.Drops()
	delete(drops, "rx_filter") // of what the guests' stacks say by themselves
	return tunnelled(got), drops
}

// between returns the packet with the outer addresses of a pair.
func (s *scene) between(ctx context.Context, t *testing.T, pair *rig.Pair, p packet) packet {
	t.Helper()
	mac := func(peer *rig.Peer) net.HardwareAddr {
		out, err := peer.Output(ctx, "cat", "/sys/class/net/"+peer.Iface+"/address")
		if err != nil {
			t.Fatal(err)
		}
		m, err := net.ParseMAC(strings.TrimSpace(out))
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	p.src, p.dst = mac(&pair.A), mac(&pair.B)
	return p
}

func TestNVGRE(t *testing.T) {
	for _, f := range []rig.FrontEnd{rig.Netdev, rig.Device} {
		t.Run(f.String(), func(t *testing.T) {
			ctx := rig.Context(t)
			s := newScene(ctx, t, f)
			t.Run("large send", func(t *testing.T) { s.largeSend(ctx, t) })
			t.Run("partial checksum", func(t *testing.T) { s.partialChecksum(ctx, t) })
			t.Run("bad frames", func(t *testing.T) { s.badFrames(ctx, t) })
			t.Run("gretap", func(t *testing.T) { s.gretap(ctx, t) })
			// Shows: NDIS-067, NDIS-070, NDIS-072, NDIS-073, NDIS-216, NDIS-219, NDIS-222, NDIS-223
			t.Run("filter", func(t *testing.T) { s.filter(ctx, t) })
			s.CheckQuiet(t)
		})
	}
}

// largeSend sends 60,000 bytes at once and expects them as segments.
func (s *scene) largeSend(ctx context.Context, t *testing.T) {
	const size, mss = 60_000, 1400
	const want = (size + mss - 1) / mss
	for _, p := range families() {
		if p.outer6 != p.inner6 {
			continue // Linux refuses super-frames whose type is not that of the outer packet.
		}
		t.Run(p.String(), func(t *testing.T) {
			p.payload = pattern(size)
			p = s.between(ctx, t, s.on, p)
			got, drops := s.exchange(ctx, t, s.on, p.large(t, mss))
			if len(got) != want || len(drops) != 0 {
				t.Fatalf("%d frames arrived, want %d; drops %v", len(got), want, drops)
			}
			found := dissect(t, got)
			var payload []byte
			for i, f := range got {
				if d := found[i]; d.bad() || len(d.tcp) != 1 || d.key != fmt.Sprintf("0x%x", vsid<<8|flowID) {
					t.Errorf("segment %d: tshark finds %+v", i, d)
				}
				if f.Hdr.Flags&virtio.HdrDataValid == 0 {
					t.Errorf("segment %d: the guest was not told that its checksums are good", i)
				}
				tcp := decode(f).Layer(layers.LayerTypeTCP).(*layers.TCP)
				if last := i == want-1; tcp.Seq != uint32(1000+i*mss) || tcp.FIN != last || tcp.PSH != last || !tcp.ACK {
					t.Errorf("segment %d: sequence %d, FIN %t, PSH %t, ACK %t", i, tcp.Seq, tcp.FIN, tcp.PSH, tcp.ACK)
				}
				payload = append(payload, tcp.Payload...)
			}
			if !bytes.Equal(payload, p.payload) {
				t.Error("the payload is not what was sent")
			}

			// Without the offloads there is nothing that could split it.
			p = s.between(ctx, t, s.off, p)
			got, drops = s.exchange(ctx, t, s.off, p.large(t, mss))
			if len(got) != 0 || drops["tx_nvgre_off"] != 1 {
				t.Errorf("with NVGRE off: %d frames arrived, drops %v, want tx_nvgre_off", len(got), drops)
			}
		})
	}
}

// partialChecksum leaves the inner checksum to the NIC.
func (s *scene) partialChecksum(ctx context.Context, t *testing.T) {
	var sent []rawframe.Frame
	var names []string
	for _, p := range families() {
		for _, p.udp = range []bool{false, true} {
			for _, size := range []int{1, 2, 1337, 1338} {
				p.payload = pattern(size)
				p = s.between(ctx, t, s.on, p)
				sent, names = append(sent, p.partial(t)), append(names, fmt.Sprint(p, ", ", size, " bytes"))
			}
		}
	}
	got, drops := s.exchange(ctx, t, s.on, sent...)
	if len(got) != len(sent) || len(drops) != 0 {
		t.Fatalf("%d of %d frames arrived, drops %v", len(got), len(sent), drops)
	}
	for i, d := range dissect(t, got) {
		if d.bad() || len(d.tcp)+len(d.udp) != 1 {
			t.Errorf("%s: tshark finds %+v", names[i], d)
		}
		if got[i].Hdr.Flags != virtio.HdrDataValid {
			t.Errorf("%s: flags 0x%x, want DATA_VALID only", names[i], got[i].Hdr.Flags)
		}
	}
}

// badFrames sends what is wrong. What a network may carry arrives as it was
// sent, with the guest not told that it is good; what the NIC is asked for and
// cannot do is dropped and counted.
func (s *scene) badFrames(ctx context.Context, t *testing.T) {
	base := s.between(ctx, t, s.on, packet{payload: pattern(500)})
	good := base.whole(t)
	_, transport := base.build(t)
	change := func(at int, with ...byte) rawframe.Frame {
		f := good
		f.Data = bytes.Clone(f.Data)
		copy(f.Data[at:], with)
		return f
	}
	const outerIP, gre = 14, 34
	const innerIP = gre + 8 + 14
	arrive := map[string]rawframe.Frame{
		"inner TCP checksum":  change(transport+16, 0, 1),
		"inner payload":       change(len(good.Data)-1, ^good.Data[len(good.Data)-1]),
		"inner IP checksum":   change(innerIP+10, 0, 1),
		"inner IP length":     change(innerIP+2, 0xff, 0xff),
		"inner header length": change(innerIP, 0x44),
		"GRE version":         change(gre, 0x20, 0x01),
		"GRE checksum flag":   change(gre, 0xa0),
	}
	for name, f := range arrive {
		before := s.bad(t)
		got, drops := s.exchange(ctx, t, s.on, f)
		if len(got) != 1 || !bytes.Equal(got[0].Data, f.Data) || len(drops) != 0 {
			t.Errorf("bad %s: %d frames arrived, or a changed one; drops %v", name, len(got), drops)
			continue
		}
		if got[0].Hdr.Flags&virtio.HdrDataValid != 0 {
			t.Errorf("bad %s: the guest was told that it is good", name)
		}
		if strings.Contains(name, "checksum") && !strings.HasPrefix(name, "GRE") && s.bad(t) != before+1 {
			t.Errorf("bad %s: %d bad checksums counted, want 1", name, s.bad(t)-before)
		}
	}
	large := base
	large.payload = pattern(5000)
	refused := map[string]func(*rawframe.Frame){
		"GRE checksum flag": func(f *rawframe.Frame) { f.Data[gre] |= 0x80 },
		"GRE sequence flag": func(f *rawframe.Frame) { f.Data[gre] |= 0x10 },
	}
	for name, spoil := range refused {
		f := large.large(t, 1400)
		spoil(&f)
		got, drops := s.exchange(ctx, t, s.on, f)
		sum := uint64(0)
		for why, n := range drops {
			if strings.HasPrefix(why, "tx_") {
				sum += n
			}
		}
		if len(got) != 0 || sum != 1 {
			t.Errorf("large send with %s: %d frames arrived, drops %v, want one and none half done", name, len(got), drops)
		}
	}
	if got, _ := s.exchange(ctx, t, s.on, good); len(got) != 1 || got[0].Hdr.Flags&virtio.HdrDataValid == 0 {
		t.Errorf("a good frame afterwards: %+v", got)
	}
}

// bad returns how many checksums the receiving port found bad so far.
func (s *scene) bad(t *testing.T) (n uint64) {
	for _, q := range s.MustStatus(t).Port("b-on").Queues {
		n += q.Checksums.OuterIP.Bad + q.Checksums.InnerIP.Bad + q.Checksums.Transport.Bad
	}
	return n
}

// gretap has Linux's own tunnel on both pairs: with the offloads the flows
// within it spread over the queues and their checksums are validated, without
// they are one flow.
func (s *scene) gretap(ctx context.Context, t *testing.T) {
	for i, pair := range []*rig.Pair{s.on, s.off} {
		var err error
		for k, p := range []*rig.Peer{&pair.A, &pair.B} {
			remote := []*rig.Peer{&pair.B, &pair.A}[k].IP4
			name := fmt.Sprintf("nv%d", i)
			err = errors.Join(err, p.SetQueuePairs(ctx, pairs))
			for _, line := range []string{
				fmt.Sprintf("ip link add %s type gretap local %s remote %s key %d", name, p.IP4, remote, vsid<<8|flowID),
				fmt.Sprintf("ip addr add 192.168.%d.%d/24 dev %s", i, k+1, name),
				fmt.Sprintf("ip link set %s up", name),
			} {
				_, e := p.Output(ctx, strings.Fields(line)...)
				err = errors.Join(err, e)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	server, err := s.on.B.StartIperf(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, pair := range []*rig.Pair{s.on, s.off} {
		name := []string{"on", "off"}[i]
		to := fmt.Sprintf("192.168.%d.2", i)
		if err := pair.A.MustPing(ctx, to, harness.PingOptions{}); err != nil {
			t.Fatal(err)
		}
		var r *harness.IperfResult
		counted, _, _, err := s.Observe(ctx, func() (err error) {
			r, err = pair.A.RunIperf(ctx, to, server, harness.Iperf{Seconds: 3, Streams: 16})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		port := counted.Port("b-" + name)
		most, good, bad, frames := uint64(0), uint64(0), uint64(0), uint64(0)
		for _, q := range port.Queues {
			if q.Kind == rig.RX {
				most, frames = max(most, q.Packets), frames+q.Packets
			}
		}
		for _, q := range s.MustStatus(t).Port("b-" + name).Queues {
			good += q.Checksums.Transport.Good
			bad += q.Checksums.Transport.Bad
		}
		used := port.Used(rig.RX, frames/20)
		t.Logf("NVGRE %s: %.3f Gbit/s in %d frames over %d queues, at most %d in one; checksums found good: %d, bad: %d",
			name, r.Received.BitsPerSecond/1e9, frames, used, most, good, bad)
		switch {
		case frames < 1000:
			t.Errorf("NVGRE %s: only %d frames", name, frames)
		case name == "on" && (used < 2 || good < frames/2):
			t.Errorf("NVGRE on: %d queues used for 16 flows, %d checksums found good", used, good)
		case name == "off" && (used != 1 || good+bad != 0):
			t.Errorf("NVGRE off: %d queues used for one outer flow, %d checksums looked at", used, good+bad)
		}
	}
	if n := badTCP(ctx, t, &s.on.B); n != "0" {
		t.Errorf("the receiving guest's TCP counts %s bad checksums", n)
	}
}

// badTCP returns how many TCP segments with bad checksums a guest's stack
// counts.
func badTCP(ctx context.Context, t *testing.T, p *rig.Peer) string {
	t.Helper()
	out, err := p.Output(ctx, "cat", "/proc/net/snmp")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(out) {
		v := strings.Fields(line)
		switch {
		case len(v) == 0 || v[0] != "Tcp:":
		case names == nil:
			names = v
		default:
			if i := slices.Index(names, "InCsumErrors"); i >= 0 && i < len(v) {
				return v[i]
			}
		}
	}
	t.Fatalf("no InCsumErrors of TCP in:\n%s", out)
	return ""
}
