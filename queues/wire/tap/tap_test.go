package tap

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"testing"
	"time"

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

var guestMAC = net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1}

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
	p := wiretest.NewPeer(wiretest.NewGuest(t, e, "guest", wiretest.AllOffloads), guestMAC, "10.9.0.2", "10.9.0.1")

	l := host.Listen(t, "10.9.0.1")
	c := p.Dial(l.Addr().(*net.TCPAddr).Port)
	served, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer served.Close()
	_ = served.SetDeadline(time.Now().Add(wiretest.Patience))

	before, beforeBytes, _ := wiretest.Count(port, "rx")
	there := wiretest.Bytes(60_000, 1)
	c.Write(there, 1400)
	got := make([]byte, len(there))
	if _, err := io.ReadFull(served, got); err != nil || !bytes.Equal(got, there) {
		t.Fatalf("the kernel's TCP received %v, not the %d bytes sent", err, len(there))
	}
	packets, sent, drops := wiretest.Count(port, "rx")
	if sent-beforeBytes < 60_000 || sent-beforeBytes > 62_000 || packets-before > 20 || len(drops) > 0 {
		t.Errorf("%d bytes went to the device in %d frames, dropped %v; want the super-frame and a few acknowledgements", sent-beforeBytes, packets-before, drops)
	}

	back := wiretest.Bytes(1_000_000, 2)
	go func() { _, _ = served.Write(back) }()
	c.Read(len(back))
	if !bytes.Equal(c.Got, back) {
		t.Fatal("other bytes came than the kernel sent")
	}
	h := c.Largest.Hdr
	if len(c.Largest.B) < 8000 || h.GSOType != virtio.GSOTCPv4 || h.GSOSize != 1460 || h.Flags != virtio.HdrNeedsCsum || h.CsumStart != 34 || h.CsumOffset != 16 {
		t.Errorf("the longest of %d frames has %d bytes and header %+v, want a super-frame", c.Datagrams, len(c.Largest.B), h)
	}

	u := host.UDP(t, "10.9.0.1", 0)
	p.Datagrams(u.LocalAddr().(*net.UDPAddr).Port, there, 1400)
	wiretest.CompareDatagrams(t, u, there, 1400)
}

// TestFinished has the kernel and a guest that leave and take nothing
// unfinished talk to each other.
func TestFinished(t *testing.T) {
	e, _ := wiretest.NewEngine(t)
	host := wiretest.NewNamespace(t)
	w := open(t, Config{Device: "tap0", Netns: host.Path, QueuePairs: 1, MTU: 9000})
	wiretest.AddWire(t, e, "tap", w)
	host.Configure(t, "tap0", "10.9.0.1/24")
	p := wiretest.NewPeer(wiretest.NewGuest(t, e, "guest", 0), guestMAC, "10.9.0.2", "10.9.0.1")
	b := wiretest.Bytes(50_000, 3)
	l := host.Listen(t, "10.9.0.1")
	go func() {
		served, err := l.Accept()
		if err == nil {
			_, _ = served.Write(b)
			served.Close()
		}
	}()
	c := p.Dial(l.Addr().(*net.TCPAddr).Port)
	c.Read(len(b))
	if !bytes.Equal(c.Got, b) {
		t.Fatal("other bytes came than the kernel sent")
	}
	if len(c.Largest.B) > 1514 || c.Largest.Hdr.Flags != 0 {
		t.Errorf("the longest frame has %d bytes and header %+v, want segments that are complete", len(c.Largest.B), c.Largest.Hdr)
	}
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
			for i := range 4 {
				wiretest.Stream(t, a, b, "10.9.0.2", 3_000_000, uint64(i))
				wiretest.Stream(t, a, b, "fd09::2", 3_000_000, uint64(i))
			}
			for _, ip := range [][2]string{{"10.9.0.1", "10.9.0.2"}, {"fd09::1", "fd09::2"}} {
				wiretest.Datagrams(t, a.UDP(t, ip[0], 1200), b.UDP(t, ip[1], 0), wiretest.Bytes(60_500, 9), 1200)
			}
			for _, p := range []struct {
				name  string
				count func() (uint64, uint64, map[string]uint64)
			}{
				{"a", func() (uint64, uint64, map[string]uint64) { return wiretest.Count(pa, "tx") }},
				{"b", func() (uint64, uint64, map[string]uint64) { return wiretest.Count(pb, "tx") }},
			} {
				packets, sent, drops := p.count()
				if sent < 24_000_000 || sent/packets < 4000 || len(drops) > 0 {
					t.Errorf("%d bytes came from %s in %d frames, dropped %v; want at least 24 MB, mostly in super-frames", sent, p.name, packets, drops)
				}
			}
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
	p := wiretest.NewPeer(wiretest.NewGuest(t, e, "guest", wiretest.AllOffloads), guestMAC, "10.9.0.3", "10.9.0.2")
	wiretest.NewPeer(p.Guest, guestMAC, "10.9.0.3", "10.9.0.1")
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
	broadcast := append(bytes.Repeat([]byte{0xff}, 6), append([]byte(guestMAC), make([]byte, 48)...)...)
	wiretest.Eventually(t, "frames to the device to be counted as dropped", func() bool {
		p.Send(wiretest.Packet{B: broadcast})
		_, _, drops := wiretest.Count(pa, "rx")
		return drops["wire_other"] > 0 && drops["rx_stopped"] > 0
	})
	wiretest.NewPeer(p.Guest, guestMAC, "10.9.0.3", "10.9.0.2")
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
	g.Send(wiretest.Packet{B: append(bytes.Repeat([]byte{0xff}, 6), append([]byte(guestMAC), make([]byte, 48)...)...)})
	wiretest.Eventually(t, "a frame counted as lost", func() bool {
		packets, _, drops := wiretest.Count(p, "rx")
		return packets == 0 && drops["wire_down"] == 1
	})
	host.Configure(t, "tap0", "10.9.0.1/24")
	wiretest.NewPeer(g, guestMAC, "10.9.0.2", "10.9.0.1")
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
	frame := append(bytes.Repeat([]byte{0xff}, 6), append([]byte(guestMAC), make([]byte, 1000)...)...)
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
	before := descriptors(t)
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
	if after := descriptors(t); after != before {
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
			before = descriptors(t) // with those of Go's own poller
		}
		t.Run("", func(t *testing.T) {
			wiretest.AddWire(t, e, "a", open(t, Config{Device: "tap0", Netns: a.Path, QueuePairs: 2}))
			a.Configure(t, "tap0", "10.9.0.1/24")
			wiretest.Stream(t, a, b, "10.9.0.2", 100_000, 1)
		})
	}
	wiretest.Eventually(t, "all descriptors to be closed", func() bool { return descriptors(t) == before })
}

// descriptors counts those that are open.
func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// persist has the device live on without us, or not.
func persist(t *testing.T, w *Wire, on int) {
	t.Helper()
	if err := unix.IoctlSetInt(w.fds[0], unix.TUNSETPERSIST, on); err != nil {
		t.Fatal(err)
	}
}
