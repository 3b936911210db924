package tap

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/queues/wire/internal/wiretest"
	"vhost-user-nvgre/virtio"
)

func TestMain(m *testing.M) { wiretest.Main(m) }

// open makes a tap device that is closed by the caller.
func open(t testing.TB, c Config) *Wire {
	t.Helper()
	w, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// TestSuperFrames has a guest talk to the kernel's TCP and UDP through a tap
// device, in super-frames with partial checksums both ways.
func TestSuperFrames(t *testing.T) {
	e, _ := wiretest.NewEngine(t)
	host := wiretest.NewNamespace(t)
	w := open(t, Config{Device: "tap0", Netns: host.Path, QueuePairs: 1})
	port := wiretest.AddWire(t, e, "tap", w)
	host.Configure(t, "tap0", "10.9.0.1/24")
	if w.Features() != Offloads {
		t.Errorf("Features() = %v, want all a tap device can have, %v", w.Features().Names(), Offloads.Names())
	}
	wiretest.SuperFrames(t, e, port, host, 8000)
}

// TestFinished has the kernel and a guest that leave and take nothing
// unfinished talk to each other.
func TestFinished(t *testing.T) {
	e, _ := wiretest.NewEngine(t)
	host := wiretest.NewNamespace(t)
	wiretest.AddWire(t, e, "tap", open(t, Config{Device: "tap0", Netns: host.Path, QueuePairs: 1, MTU: 9000}))
	host.Configure(t, "tap0", "10.9.0.1/24")
	wiretest.Whole(t, e, host)
}

// TestStreams has the kernel talk to itself, from one network namespace to
// another, through two tap devices of several queues.
func TestStreams(t *testing.T) {
	for _, pairs := range []int{1, 3} {
		t.Run(fmt.Sprintf("pairs=%d", pairs), func(t *testing.T) {
			e, _ := wiretest.NewEngine(t)
			a, b := wiretest.NewNamespace(t), wiretest.NewNamespace(t)
			wa, wb := open(t, Config{Device: "tap%d", Netns: a.Path, QueuePairs: pairs}), open(t, Config{Device: "left", Netns: b.Path, QueuePairs: pairs})
			pa, pb := wiretest.AddWire(t, e, "a", wa), wiretest.AddWire(t, e, "b", wb)
			if wa.Device() != "tap0" {
				t.Errorf("Device() = %q, want the name that the kernel chose, tap0", wa.Device())
			}
			a.Configure(t, wa.Device(), "10.9.0.1/24", "fd09::1/64")
			b.Configure(t, "left", "10.9.0.2/24", "fd09::2/64")
			wiretest.Streams(t, wiretest.Side{Namespace: a, Port: pa}, wiretest.Side{Namespace: b, Port: pb}, 4000)
		})
	}
}

// TestWithhold wants only what was asked for.
func TestWithhold(t *testing.T) {
	host := wiretest.NewNamespace(t)
	w := open(t, Config{Device: "tap0", Netns: host.Path, QueuePairs: 1, Withhold: virtio.FeatureCSUM | virtio.FeatureGuestTSO6})
	defer w.Close()
	want := virtio.FeatureGuestCSUM | virtio.FeatureGuestTSO4 | virtio.FeatureGuestECN | virtio.FeatureGuestUSO4 | virtio.FeatureGuestUSO6
	if w.Features() != want {
		t.Errorf("without csum and guest_tso6: features %v, want %v", w.Features().Names(), want.Names())
	}
}

// TestGone deletes the device under a port, which breaks the port and no
// other.
func TestGone(t *testing.T) {
	e, log := wiretest.NewEngine(t)
	a, b := wiretest.NewNamespace(t), wiretest.NewNamespace(t)
	wa, wb := open(t, Config{Device: "tap0", Netns: a.Path, QueuePairs: 2}), open(t, Config{Device: "tap0", Netns: b.Path, QueuePairs: 1})
	pa, pb := wiretest.AddWire(t, e, "a", wa), wiretest.AddWire(t, e, "b", wb)
	a.Configure(t, "tap0", "10.9.0.1/24")
	b.Configure(t, "tap0", "10.9.0.2/24")
	p := wiretest.NewPeer(wiretest.NewGuest(t, e, "guest", wiretest.AllOffloads), wiretest.GuestMAC, "10.9.0.3", "10.9.0.2")
	wiretest.NewPeer(p.Guest, wiretest.GuestMAC, "10.9.0.3", "10.9.0.1")
	a.Delete(t, "tap0")
	wiretest.Eventually(t, "the queues from the device to break", func() bool {
		broken := 0
		for _, q := range pa.Snapshot().Queues {
			if q.Kind == "tx" && q.State == "broken" && strings.Contains(q.Reason, "tap0 is gone") {
				broken++
			}
		}
		return broken == 2
	})
	wiretest.Eventually(t, "the log to say so", func() bool { return log.Has("port a queue 1: stopped: tap device tap0 is gone") })
	// Frames to it are counted, one by one while the kernel is asked.
	broadcast := append(bytes.Repeat([]byte{0xff}, 6), append([]byte(wiretest.GuestMAC), make([]byte, 48)...)...)
	wiretest.Eventually(t, "frames to the device to be counted as dropped", func() bool {
		p.Send(wiretest.Packet{B: broadcast})
		_, _, drops := wiretest.Count(pa, "rx")
		return drops["wire_other"] > 0 && drops["rx_stopped"] > 0
	})
	wiretest.NewPeer(p.Guest, wiretest.GuestMAC, "10.9.0.3", "10.9.0.2")
	if q := pb.Snapshot().Queues; q[0].State != "running" || q[1].State != "running" {
		t.Errorf("the other port: %+v, want it running", q)
	}
}

// TestDown wants frames to an interface that is down counted, and nothing
// broken.
func TestDown(t *testing.T) {
	e, _ := wiretest.NewEngine(t)
	host := wiretest.NewNamespace(t)
	// A device that is there already is left down.
	keep := open(t, Config{Device: "tap0", Netns: host.Path, QueuePairs: 1})
	persist(t, keep, 1)
	if err := keep.Close(); err != nil {
		t.Fatal(err)
	}
	host.Down(t, "tap0")
	w := open(t, Config{Device: "tap0", Netns: host.Path, QueuePairs: 1})
	persist(t, w, 0)
	p := wiretest.AddWire(t, e, "tap", w)
	g := wiretest.NewGuest(t, e, "guest", 0)
	g.Send(wiretest.Packet{B: append(bytes.Repeat([]byte{0xff}, 6), append([]byte(wiretest.GuestMAC), make([]byte, 48)...)...)})
	wiretest.Eventually(t, "a frame counted as lost", func() bool {
		packets, _, drops := wiretest.Count(p, "rx")
		return packets == 0 && drops["wire_down"] == 1
	})
	host.Configure(t, "tap0", "10.9.0.1/24")
	wiretest.NewPeer(g, wiretest.GuestMAC, "10.9.0.2", "10.9.0.1")
}

// TestLink wants the interface to lose its carrier when the port's link goes
// down.
func TestLink(t *testing.T) {
	e, _ := wiretest.NewEngine(t)
	host := wiretest.NewNamespace(t)
	p := wiretest.AddWire(t, e, "tap", open(t, Config{Device: "tap0", Netns: host.Path, QueuePairs: 1}))
	carrier := func() bool { return host.Link(t, "tap0").RawFlags&unix.IFF_LOWER_UP != 0 }
	wiretest.Eventually(t, "a carrier", carrier)
	p.SetLink(false)
	wiretest.Eventually(t, "no carrier", func() bool { return !carrier() })
	p.SetLink(true)
	wiretest.Eventually(t, "a carrier again", carrier)
}

func TestNoAllocations(t *testing.T) {
	host := wiretest.NewNamespace(t)
	w := open(t, Config{Device: "tap0", Netns: host.Path, QueuePairs: 1})
	defer w.Close()
	frame := append(bytes.Repeat([]byte{0xff}, 6), append([]byte(wiretest.GuestMAC), make([]byte, 1000)...)...)
	wiretest.NoAllocations(t, w.Pairs()[0], host.RawSocket(t, "tap0"), frame)
}

// TestOpenRefused wants errors that say what is wrong, and nothing left
// behind.
func TestOpenRefused(t *testing.T) {
	host := wiretest.NewNamespace(t)
	host.Veth(t, "veth0", host, "veth1")
	single := open(t, Config{Device: "single", Netns: host.Path, QueuePairs: 1})
	defer single.Close()
	multi := open(t, Config{Device: "multi", Netns: host.Path, QueuePairs: 2})
	defer multi.Close()
	before := wiretest.Descriptors(t)
	for _, tt := range []struct {
		c    Config
		want string
		is   error
	}{
		{Config{Device: "tap0", QueuePairs: 0}, "tap tap0: 0 queue pairs, want 1 to 64", nil},
		{Config{Device: "tap0", QueuePairs: 65}, "tap tap0: 65 queue pairs, want 1 to 64", nil},
		{Config{Device: "tap0", QueuePairs: 1, Withhold: virtio.FeatureMQ}, "tap tap0: mq is nothing a tap device has", nil},
		{Config{Device: "", Netns: host.Path, QueuePairs: 1}, `name "": want 1 to 15 characters`, nil},
		{Config{Device: "sixteen-letters.", Netns: host.Path, QueuePairs: 1}, `name "sixteen-letters.": want 1 to 15 characters`, nil},
		{Config{Device: "tap0", Netns: "/nowhere", QueuePairs: 1}, "network namespace: open /nowhere: no such file or directory", fs.ErrNotExist},
		{Config{Device: "tap0", Netns: "/dev/null", QueuePairs: 1}, "enter network namespace /dev/null: invalid argument", unix.EINVAL},
		{Config{Device: "veth0", Netns: host.Path, QueuePairs: 1}, "interface veth0: it is there already and is no tap device", nil},
		{Config{Device: "single", Netns: host.Path, QueuePairs: 1}, "interface single: another program uses it", unix.EBUSY},
		{Config{Device: "single", Netns: host.Path, QueuePairs: 2}, "interface single: it is there already and is no tap device with several queues", nil},
		{Config{Device: "mtu", Netns: host.Path, QueuePairs: 1, MTU: 67}, "interface mtu: set its MTU to 67: invalid argument", unix.EINVAL},
	} {
		w, err := Open(tt.c)
		if err == nil {
			w.Close()
			t.Errorf("Open(%+v) succeeded, want %q", tt.c, tt.want)
			continue
		}
		if !strings.Contains(err.Error(), tt.want) || tt.is != nil && !errors.Is(err, tt.is) {
			t.Errorf("Open(%+v) = %v, want %q", tt.c, err, tt.want)
		}
	}
	if after := wiretest.Descriptors(t); after != before {
		t.Errorf("%d descriptors are open, %d were before", after, before)
	}
	for _, name := range []string{"tap0", "mtu"} {
		if host.Link(t, name) != nil {
			t.Errorf("interface %s is left behind", name)
		}
	}
}

// TestChurn opens and closes wires while frames come, and wants every
// descriptor closed.
func TestChurn(t *testing.T) {
	e, _ := wiretest.NewEngine(t)
	a, b := wiretest.NewNamespace(t), wiretest.NewNamespace(t)
	wiretest.AddWire(t, e, "stay", open(t, Config{Device: "tap0", Netns: b.Path, QueuePairs: 2}))
	b.Configure(t, "tap0", "10.9.0.2/24", "fd09::2/64")
	before := 0
	for i := range 20 {
		if i == 1 {
			before = wiretest.Descriptors(t) // with those of Go's own poller
		}
		t.Run("", func(t *testing.T) {
			wiretest.AddWire(t, e, "a", open(t, Config{Device: "tap0", Netns: a.Path, QueuePairs: 2}))
			a.Configure(t, "tap0", "10.9.0.1/24")
			wiretest.Stream(t, a, b, "10.9.0.2", 100_000, 1)
		})
	}
	wiretest.Eventually(t, "all descriptors to be closed", func() bool { return wiretest.Descriptors(t) == before })
}

// persist has the device live on without us, or not.
func persist(t *testing.T, w *Wire, on int) {
	t.Helper()
	if err := unix.IoctlSetInt(w.fds[0], unix.TUNSETPERSIST, on); err != nil {
		t.Fatal(err)
	}
}
