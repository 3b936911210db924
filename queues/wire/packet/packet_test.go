package packet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/queues/wire/internal/wiretest"
	"vhost-user-nvgre/virtio"
)

func TestMain(m *testing.M) { wiretest.Main(m) }

// open attaches to an interface.
func open(t testing.TB, c Config) *Wire {
	t.Helper()
	w, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// side is a network namespace whose veth0 leads to wire0 in another one.
func side(t testing.TB, middle *wiretest.Namespace, wire string, addrs ...string) *wiretest.Namespace {
	t.Helper()
	n := wiretest.NewNamespace(t)
	middle.Veth(t, wire, n, "veth0")
	n.Configure(t, "veth0", addrs...)
	return n
}

// TestSuperFrames has a guest talk to the kernel's TCP and UDP over a veth
// pair, in super-frames with partial checksums both ways.
func TestSuperFrames(t *testing.T) {
	for _, mtu := range []int{1500, 9000} {
		t.Run(fmt.Sprintf("mtu=%d", mtu), func(t *testing.T) {
			e, _ := wiretest.NewEngine(t)
			middle := wiretest.NewNamespace(t)
			host := side(t, middle, "wire0", "10.9.0.1/24")
			middle.SetMTU(t, "wire0", mtu)
			w := open(t, Config{Interface: "wire0", Netns: middle.Path, QueuePairs: 1})
			port := wiretest.AddWire(t, e, "wire", w)
			if w.Features() != Offloads {
				t.Errorf("Features() = %v, want %v", w.Features().Names(), Offloads.Names())
			}
			wiretest.SuperFrames(t, e, port, host, 10_000)
		})
	}
}

// TestFinished has the kernel and a guest that leave and take nothing
// unfinished talk to each other.
func TestFinished(t *testing.T) {
	e, _ := wiretest.NewEngine(t)
	middle := wiretest.NewNamespace(t)
	host := side(t, middle, "wire0", "10.9.0.1/24")
	wiretest.AddWire(t, e, "wire", open(t, Config{Interface: "wire0", Netns: middle.Path, QueuePairs: 1}))
	wiretest.Whole(t, e, host)
}

// TestStreams has the kernel talk to itself over two veth pairs with the
// switch between them.
func TestStreams(t *testing.T) {
	for _, pairs := range []int{1, 3} {
		t.Run(fmt.Sprintf("pairs=%d", pairs), func(t *testing.T) {
			e, _ := wiretest.NewEngine(t)
			middle := wiretest.NewNamespace(t)
			a := side(t, middle, "wire0", "10.9.0.1/24", "fd09::1/64")
			b := side(t, middle, "wire1", "10.9.0.2/24", "fd09::2/64")
			pa := wiretest.AddWire(t, e, "a", open(t, Config{Interface: "wire0", Netns: middle.Path, QueuePairs: pairs}))
			pb := wiretest.AddWire(t, e, "b", open(t, Config{Interface: "wire1", Netns: middle.Path, QueuePairs: pairs}))
			wiretest.Streams(t, wiretest.Side{Namespace: a, Port: pa}, wiretest.Side{Namespace: b, Port: pb}, 3000)
			used := 0
			for _, q := range pa.Snapshot().Queues {
				if q.Kind == "tx" && q.Packets > 0 {
					used++
				}
			}
			if pairs > 1 && used < 2 {
				t.Errorf("all flows came in %d of %d queues", used, pairs)
			}
		})
	}
}

// TestTags wants VLAN tags in the frames, which the kernel takes out on their
// way, be they short or longer than a slot.
func TestTags(t *testing.T) {
	e, _ := wiretest.NewEngine(t)
	middle := wiretest.NewNamespace(t)
	host := side(t, middle, "wire0")
	host.SetMTU(t, "veth0", 9000)
	raw := host.RawSocket(t, "veth0")
	wiretest.AddWire(t, e, "wire", open(t, Config{Interface: "wire0", Netns: middle.Path, QueuePairs: 1}))
	middle.SetMTU(t, "wire0", 9000) // the slots stay as they are
	g := wiretest.NewGuest(t, e, "guest", 0)
	for _, tag := range [][]byte{{0x81, 0, 0, 100}, {0x88, 0xa8, 0xe0, 5}, {0x81, 0, 0, 100, 0x81, 0, 0, 7}} {
		for _, size := range []int{60, 1514, 9000} {
			f := frame(0x88b5, size)
			f = append(append(bytes.Clone(f[:12]), tag...), f[12:]...)
			send(t, raw, f)
			for {
				got := g.Recv()
				if !bytes.Equal(got.B[:12], f[:12]) {
					continue // what the kernel has to say of itself
				}
				if !bytes.Equal(got.B, f) {
					t.Errorf("frame of %d bytes with tag %x: got %d bytes, %x...", len(f), tag, len(got.B), got.B[:min(len(got.B), 30)])
				}
				break
			}
		}
	}
}

// TestTagged looks at every byte of a frame that a tag is put back into.
func TestTagged(t *testing.T) {
	b := make([]byte, 200)
	h := virtio.NetHdr{Flags: virtio.HdrNeedsCsum, GSOType: virtio.GSOTCPv4, HdrLen: 54, GSOSize: 1400, CsumStart: 34, CsumOffset: 16}
	image := make([]byte, virtio.NetHdrSize)
	h.Encode(image)
	frame := wiretest.Bytes(60, 1)
	copy(b[40:], image[:kernelHdr])
	copy(b[50:], frame)
	got := tagged(bytes.Clone(b), 50, len(frame), 0x88a8, 0x6123)
	h.CsumStart, h.HdrLen = 38, 58
	want := make([]byte, virtio.NetHdrSize)
	h.Encode(want)
	want = append(want, frame[:12]...)
	want = binary.BigEndian.AppendUint16(want, 0x88a8)
	want = binary.BigEndian.AppendUint16(want, 0x6123)
	if want = append(want, frame[12:]...); !bytes.Equal(got, want) {
		t.Errorf("tagged: got\n%x, want\n%x", got, want)
	}
	if got, want := plain(bytes.Clone(b), 50, len(frame)), append(image, frame...); !bytes.Equal(got, want) {
		t.Errorf("plain: got\n%x, want\n%x", got, want)
	}
}

// TestOwnFrames wants nothing back of what goes out of the interface, be it
// ours or the host's.
func TestOwnFrames(t *testing.T) {
	for _, pairs := range []int{1, 2} {
		e, _ := wiretest.NewEngine(t)
		middle := wiretest.NewNamespace(t)
		side(t, middle, fmt.Sprintf("wire%d", pairs))
		name := fmt.Sprintf("wire%d", pairs)
		p := wiretest.AddWire(t, e, "wire", open(t, Config{Interface: name, Netns: middle.Path, QueuePairs: pairs}))
		g := wiretest.NewGuest(t, e, "guest", 0)
		f := frame(0x88b5, 100)
		for range 10 {
			g.Send(wiretest.Packet{B: f})
		}
		send(t, middle.RawSocket(t, name), f)
		wiretest.Eventually(t, "the frames to be sent", func() bool { n, _, _ := wiretest.Count(p, "rx"); return n >= 10 })
		time.Sleep(20 * time.Millisecond)
		for _, m := range e.MACTable() {
			if m.Port == "wire" && m.MAC == virtio.MAC(wiretest.GuestMAC) {
				t.Errorf("%d pairs: what was sent came back: %+v", pairs, m)
			}
		}
	}
}

// frame returns a broadcast frame of the guest's.
func frame(kind uint16, size int) []byte {
	b := append(bytes.Repeat([]byte{0xff}, 6), wiretest.GuestMAC...)
	return append(binary.BigEndian.AppendUint16(b, kind), make([]byte, size-14)...)
}

func send(t *testing.T, raw int, b []byte) {
	t.Helper()
	if _, err := unix.Write(raw, b); err != nil {
		t.Fatal(err)
	}
}

// TestBurst has more frames come at a time than there are slots, several times
// around the ring, and wants each received or counted.
func TestBurst(t *testing.T) {
	e, _ := wiretest.NewEngine(t)
	middle := wiretest.NewNamespace(t)
	a := side(t, middle, "wire0")
	p := wiretest.AddWire(t, e, "wire", open(t, Config{Interface: "wire0", Netns: middle.Path, QueuePairs: 1}))
	total := func() uint64 {
		packets, _, drops := wiretest.Count(p, "tx")
		return packets + drops["wire_full"]
	}
	raw := a.RawSocket(t, "veth0")
	send(t, raw, frame(0x88b5, 60))
	wiretest.Eventually(t, "the first frame", func() bool { return total() >= 1 })
	time.Sleep(50 * time.Millisecond) // for what the kernel says of itself
	before := total()
	const frames = 20_000
	for i := range frames {
		send(t, raw, frame(0x88b5, 60+i%1400))
	}
	wiretest.Eventually(t, "all frames", func() bool { return total()-before >= frames })
	if n := total() - before; n > frames+20 {
		t.Errorf("%d frames received or lost, %d were sent", n, frames)
	}
}

// TestLong wants frames that the interface does not take counted.
func TestLong(t *testing.T) {
	e, _ := wiretest.NewEngine(t)
	middle := wiretest.NewNamespace(t)
	side(t, middle, "wire0")
	p := wiretest.AddWire(t, e, "wire", open(t, Config{Interface: "wire0", Netns: middle.Path, QueuePairs: 1}))
	g := wiretest.NewGuest(t, e, "guest", 0)
	g.Send(wiretest.Packet{B: frame(0x88b5, 1514)}, wiretest.Packet{B: frame(0x88b5, 1600)}, wiretest.Packet{B: frame(0x88b5, 100)})
	wiretest.Eventually(t, "one frame lost of three", func() bool {
		packets, sent, drops := wiretest.Count(p, "rx")
		return packets == 2 && sent == 1614 && drops["wire_long"] == 1
	})
	middle.Down(t, "wire0")
	g.Send(wiretest.Packet{B: frame(0x88b5, 100)})
	wiretest.Eventually(t, "one frame lost for the interface is down", func() bool {
		_, _, drops := wiretest.Count(p, "rx")
		return drops["wire_down"] == 1
	})
	if q := p.Snapshot().Queues; q[0].State != "running" || q[1].State != "running" {
		t.Errorf("queues %+v, want them running while the interface is down", q)
	}
}

// TestDownAndUp wants frames again when the interface was down meanwhile.
func TestDownAndUp(t *testing.T) {
	e, _ := wiretest.NewEngine(t)
	middle := wiretest.NewNamespace(t)
	a := side(t, middle, "wire0", "10.9.0.1/24")
	b := side(t, middle, "wire1", "10.9.0.2/24")
	wiretest.AddWire(t, e, "a", open(t, Config{Interface: "wire0", Netns: middle.Path, QueuePairs: 2}))
	wiretest.AddWire(t, e, "b", open(t, Config{Interface: "wire1", Netns: middle.Path, QueuePairs: 1}))
	for range 3 {
		wiretest.Stream(t, a, b, "10.9.0.2", 300_000, 1)
		middle.Down(t, "wire0")
		middle.Configure(t, "wire0")
	}
	wiretest.Stream(t, a, b, "10.9.0.2", 300_000, 1)
}

// TestGone deletes the interface under a port that nothing goes through, which
// breaks the port and no other.
func TestGone(t *testing.T) {
	e, log := wiretest.NewEngine(t)
	middle := wiretest.NewNamespace(t)
	side(t, middle, "wire0")
	side(t, middle, "wire1", "10.9.0.1/24")
	pa := wiretest.AddWire(t, e, "a", open(t, Config{Interface: "wire0", Netns: middle.Path, QueuePairs: 2}))
	wiretest.AddWire(t, e, "b", open(t, Config{Interface: "wire1", Netns: middle.Path, QueuePairs: 1}))
	middle.Delete(t, "wire0")
	wiretest.Eventually(t, "all queues to break", func() bool {
		broken := 0
		for _, q := range pa.Snapshot().Queues {
			if q.State == "broken" && q.Reason == "interface wire0 is gone" {
				broken++
			}
		}
		return broken == 4
	})
	wiretest.Eventually(t, "the log to say so", func() bool { return log.Has("port a queue 0: stopped: interface wire0 is gone") })
	wiretest.NewPeer(wiretest.NewGuest(t, e, "guest", 0), wiretest.GuestMAC, "10.9.0.3", "10.9.0.1")
}

func TestNoAllocations(t *testing.T) {
	middle := wiretest.NewNamespace(t)
	host := side(t, middle, "wire0")
	host.SetMTU(t, "veth0", 9000)
	w := open(t, Config{Interface: "wire0", Netns: middle.Path, QueuePairs: 1})
	defer w.Close()
	middle.SetMTU(t, "wire0", 9000)
	raw := host.RawSocket(t, "veth0")
	for _, size := range []int{60, 8000} { // in a slot, and longer than one
		wiretest.NoAllocations(t, w.Pairs()[0], raw, frame(0x88b5, size))
	}
}

// TestOpenRefused wants errors that say what is wrong, and nothing left
// behind.
func TestOpenRefused(t *testing.T) {
	middle := wiretest.NewNamespace(t)
	side(t, middle, "wire0")
	before := wiretest.Descriptors(t)
	for _, tt := range []struct {
		c    Config
		want string
		is   error
	}{
		{Config{Interface: "wire0", Netns: middle.Path}, "interface wire0: 0 queue pairs, want 1 to 64", nil},
		{Config{Interface: "wire0", Netns: middle.Path, QueuePairs: 65}, "interface wire0: 65 queue pairs, want 1 to 64", nil},
		{Config{Interface: "wire9", Netns: middle.Path, QueuePairs: 1}, "there is no interface wire9", unix.ENODEV},
		{Config{Interface: "lo", Netns: middle.Path, QueuePairs: 1}, "interface lo is not one for Ethernet", nil},
		{Config{Interface: "", Netns: middle.Path, QueuePairs: 1}, `interface name "": want 1 to 15 characters`, nil},
		{Config{Interface: "sixteen-letters.", Netns: middle.Path, QueuePairs: 1}, `interface name "sixteen-letters.": want 1 to 15 characters`, nil},
		{Config{Interface: "wire0", Netns: "/nowhere", QueuePairs: 1}, "network namespace: open /nowhere: no such file or directory", fs.ErrNotExist},
		{Config{Interface: "wire0", QueuePairs: 1, Withhold: virtio.FeatureHostTSO4}, "interface wire0: host_tso4 cannot be withheld, want some of guest_csum", nil},
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
	w := open(t, Config{Interface: "wire0", Netns: middle.Path, QueuePairs: 2, Withhold: virtio.FeatureGuestTSO4})
	if f := w.Features(); f != Offloads&^virtio.FeatureGuestTSO4 {
		t.Errorf("Features() = %v, want all but guest_tso4", f.Names())
	}
	wiretest.Eventually(t, "promiscuous mode", func() bool { return middle.Link(t, "wire0").Promisc > 0 })
	for range 2 {
		if err := w.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if middle.Link(t, "wire0").Promisc > 0 {
		t.Error("the interface is still promiscuous")
	}
	if after := wiretest.Descriptors(t); after != before {
		t.Errorf("%d descriptors are open, %d were before", after, before)
	}
}

// TestChurn opens and closes wires while frames come, and wants every
// descriptor closed.
func TestChurn(t *testing.T) {
	e, _ := wiretest.NewEngine(t)
	middle := wiretest.NewNamespace(t)
	a := side(t, middle, "wire0", "10.9.0.1/24")
	b := side(t, middle, "wire1", "10.9.0.2/24")
	wiretest.AddWire(t, e, "stay", open(t, Config{Interface: "wire1", Netns: middle.Path, QueuePairs: 2}))
	before := 0
	for i := range 20 {
		if i == 1 {
			before = wiretest.Descriptors(t) // with those of Go's own poller
		}
		t.Run("", func(t *testing.T) {
			wiretest.AddWire(t, e, "a", open(t, Config{Interface: "wire0", Netns: middle.Path, QueuePairs: 2}))
			wiretest.Stream(t, a, b, "10.9.0.2", 100_000, 1)
		})
	}
	wiretest.Eventually(t, "all descriptors to be closed", func() bool { return wiretest.Descriptors(t) == before })
}
