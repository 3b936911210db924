package pcap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"vhost-user-nvgre/queues"
	"vhost-user-nvgre/queues/wire/internal/wiretest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open makes a wire that the caller closes.
func open(t testing.TB, c Config) *Wire {
	t.Helper()
	if c.Log == nil {
		c.Log = &wiretest.Journal{}
	}
	w, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// captured is a packet of a file.
type captured struct {
	at time.Time
	b  []byte
}

// readBack has gopacket read a file.
func readBack(t testing.TB, path string) (all []captured) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcapgo.NewNgReader(f, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	for {
		b, ci, err := r.ReadPacketData()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatalf("packet %d: %v", len(all), err)
		}
		all = append(all, captured{ci.Timestamp, b})
	}
}

// broadcast returns a frame to everybody with a number in it.
func broadcast(i, size int) []byte {
	b := append(bytes.Repeat([]byte{0xff}, 6), 0x52, 0x54, 0, 0, 0, 9, 0x88, 0xb5)
	b = binary.BigEndian.AppendUint32(b, uint32(i))
	return append(b, wiretest.Bytes(max(0, size-len(b)), uint64(i))...)
}

// write makes a capture in one of the formats that there are.
func write(t testing.TB, format string, packets []captured) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "capture")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var put func(gopacket.CaptureInfo, []byte) error
	switch format {
	case "pcapng":
		w, err := pcapgo.NewNgWriter(f, layers.LinkTypeEthernet)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Flush()
		put = w.WritePacket
	case "pcap", "pcap-ns":
		w := pcapgo.NewWriter(f)
		if format == "pcap-ns" {
			w = pcapgo.NewWriterNanos(f)
		}
		if err := w.WriteFileHeader(65607, layers.LinkTypeEthernet); err != nil {
			t.Fatal(err)
		}
		put = w.WritePacket
	}
	for _, p := range packets {
		if err := put(gopacket.CaptureInfo{Timestamp: p.at, CaptureLength: len(p.b), Length: len(p.b)}, p.b); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// TestThrough has captures of every format go through the switch into another
// capture: every frame, once, in order.
func TestThrough(t *testing.T) {
	var want []captured
	for i := range 3000 {
		want = append(want, captured{time.Unix(1_700_000_000, int64(i)*1000), broadcast(i, 18+(i*37)%3000)})
	}
	want = append(want, captured{time.Unix(1_700_000_001, 0), broadcast(3000, 65000)})
	for _, format := range []string{"pcapng", "pcap", "pcap-ns"} {
		t.Run(format, func(t *testing.T) {
			e, log := wiretest.NewEngine(t)
			path := filepath.Join(t.TempDir(), "out.pcapng")
			began := time.Now()
			to := open(t, Config{Name: "to", Write: path})
			pt, err := e.AddWire(queues.WireConfig{Name: "to"}, to)
			if err != nil {
				t.Fatal(err)
			}
			from := write(t, format, want)
			pf := wiretest.AddWire(t, e, "from", open(t, Config{Read: from, Log: log}))
			wiretest.Eventually(t, "all frames", func() bool {
				packets, _, drops := wiretest.Count(pt, "rx")
				return packets+drops["wire_behind"]+drops["rx_full"] == uint64(len(want))
			})
			wiretest.Eventually(t, "the log to say so", func() bool {
				return log.Has(fmt.Sprintf("capture %s: read to its end, %d frames", from, len(want)))
			})
			e.RemoveWire(pt)
			if err := to.Close(); err != nil {
				t.Fatal(err)
			}
			got := readBack(t, path)
			if len(got) != len(want) {
				t.Fatalf("%d frames were written, want %d; from %+v, to %+v", len(got), len(want), pf.Snapshot().Queues, pt.Snapshot().Queues)
			}
			last := began
			for i := range got {
				if !bytes.Equal(got[i].b, want[i].b) {
					t.Fatalf("frame %d is another one", i)
				}
				if at := got[i].at; at.Before(last.Add(-time.Millisecond)) || at.After(time.Now()) {
					t.Fatalf("frame %d came at %v, want one after %v", i, at, last)
				}
				last = got[i].at
			}
		})
	}
}

// TestComplete wants super-frames and partial checksums finished in the
// capture, as gopacket and tshark see them.
func TestComplete(t *testing.T) {
	e, _ := wiretest.NewEngine(t)
	path := filepath.Join(t.TempDir(), "out.pcapng")
	w := open(t, Config{Name: "up0", Write: path})
	p, err := e.AddWire(queues.WireConfig{Name: "up0"}, w)
	if err != nil {
		t.Fatal(err)
	}
	peer := wiretest.Peer{
		Guest: wiretest.NewGuest(t, e, "guest", wiretest.AllOffloads),
		MAC:   net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1}, IP: net.IP{10, 9, 0, 2},
		Remote: net.HardwareAddr{0x52, 0x54, 0, 0, 0, 2}, To: net.IP{10, 9, 0, 1},
	}
	payload := wiretest.Bytes(60_000, 1)
	peer.Datagrams(5000, payload, 1400)
	wiretest.Eventually(t, "all datagrams", func() bool { n, _, _ := wiretest.Count(p, "rx"); return n == 43 })
	// What was taken is to be seen in the file while the wire is in use.
	wiretest.Eventually(t, "all datagrams in the file", func() bool { info, err := os.Stat(path); return err == nil && info.Size() > 60_000 })
	e.RemoveWire(p)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var got []byte
	for i, c := range readBack(t, path) {
		d := gopacket.NewPacket(c.b, layers.LayerTypeEthernet, gopacket.NoCopy)
		udp, ok := d.TransportLayer().(*layers.UDP)
		if !ok {
			t.Fatalf("packet %d: no UDP: %v", i, d)
		}
		if err := udp.SetNetworkLayerForChecksum(d.NetworkLayer()); err != nil {
			t.Fatal(err)
		}
		if err, bad := d.VerifyChecksums(); err != nil || len(bad) > 0 {
			t.Fatalf("packet %d: bad checksums: %v, %+v", i, err, bad)
		}
		got = append(got, udp.Payload...)
	}
	if !bytes.Equal(got, payload) {
		t.Errorf("%d bytes in all datagrams, not the %d that were sent", len(got), len(payload))
	}
	cmd := exec.Command("tshark", "-r", path, "-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE",
		"-T", "fields", "-e", "ip.checksum.status", "-e", "udp.checksum.status", "-e", "udp.length", "-e", "frame.interface_name")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark, which this test needs: %v\n%s", err, stderr.String())
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != 43 {
		t.Fatalf("tshark saw %d packets, want 43:\n%s", len(lines), out)
	}
	for i, l := range lines {
		if want := fmt.Sprintf("1\t1\t%d\tup0", min(1400, len(payload)-1400*i)+8); strings.ReplaceAll(l, "Good", "1") != want {
			t.Errorf("packet %d: tshark says %q, want %q (1: the checksum is good)", i, l, want)
		}
	}
}

// TestByTimes wants frames as far apart as they were captured, and the clock
// to stand still while the link is down.
func TestByTimes(t *testing.T) {
	const gap = 40 * time.Millisecond
	var packets []captured
	for i := range 5 {
		packets = append(packets, captured{time.Unix(1_700_000_000, 0).Add(time.Duration(i) * gap), broadcast(i, 60)})
	}
	e, _ := wiretest.NewEngine(t)
	g := wiretest.NewGuest(t, e, "guest", 0)
	began := time.Now()
	p := wiretest.AddWire(t, e, "from", open(t, Config{Read: write(t, "pcapng", packets), ByTimes: true}))
	for i := range packets {
		got := g.Recv()
		if !bytes.Equal(got.B, packets[i].b) {
			t.Fatalf("frame %d is another one", i)
		}
		want := time.Duration(i) * gap
		if i > 2 {
			want += 3 * gap
		}
		if after := time.Since(began); after < want-5*time.Millisecond {
			t.Errorf("frame %d came after %v, want %v", i, after, want)
		}
		if i == 2 {
			p.SetLink(false)
			time.Sleep(3 * gap)
			p.SetLink(true)
		}
	}
}

// TestLink wants a capture to wait for its port's link, and to go on when it
// comes back, without a loss.
func TestLink(t *testing.T) {
	var packets []captured
	for i := range 2000 {
		packets = append(packets, captured{time.Unix(1_700_000_000, 0), broadcast(i, 60)})
	}
	e, _ := wiretest.NewEngine(t)
	g := wiretest.NewGuest(t, e, "guest", 0)
	w := open(t, Config{Read: write(t, "pcap", packets)})
	p, err := e.AddWire(queues.WireConfig{Name: "from", LinkDown: true}, w)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		e.RemoveWire(p)
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}()
	time.Sleep(20 * time.Millisecond)
	if n, _, drops := wiretest.Count(p, "tx"); n != 0 || len(drops) != 0 {
		t.Errorf("%d frames came, %v were dropped while the link was down; want none", n, drops)
	}
	for i := range packets {
		if i%400 == 0 {
			p.SetLink(true)
		}
		if got := g.Recv(); !bytes.Equal(got.B, packets[i].b) {
			t.Fatalf("frame %d is another one", i)
		}
		if i%400 == 200 {
			p.SetLink(false)
			p.SetLink(true)
		}
	}
	if _, _, drops := wiretest.Count(p, "tx"); len(drops) != 0 {
		t.Errorf("dropped %v, want nothing", drops)
	}
}

// TestUnfit wants what cannot be sent counted, and the rest sent.
func TestUnfit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "capture")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w, err := pcapgo.NewNgWriter(f, layers.LinkTypeEthernet)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := w.AddInterface(pcapgo.NgInterface{LinkType: layers.LinkTypeRaw})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []struct{ intf, size, length int }{{0, 60, 60}, {raw, 40, 40}, {0, 60, 1514}, {0, 70_000, 70_000}, {0, 60, 60}} {
		ci := gopacket.CaptureInfo{Timestamp: time.Unix(1_700_000_000, 0), CaptureLength: p.size, Length: p.length, InterfaceIndex: p.intf}
		if err := w.WritePacket(ci, broadcast(0, p.size)[:p.size]); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Flush(), f.Close()); err != nil {
		t.Fatal(err)
	}
	e, _ := wiretest.NewEngine(t)
	g := wiretest.NewGuest(t, e, "guest", 0)
	p := wiretest.AddWire(t, e, "from", open(t, Config{Read: path}))
	g.Recv()
	g.Recv()
	packets, _, drops := wiretest.Count(p, "tx")
	if packets != 2 || drops["wire_link_type"] != 1 || drops["wire_cut"] != 1 || drops["wire_long"] != 1 {
		t.Errorf("%d frames, dropped %v; want 2, and one each of another link type, cut and too long", packets, drops)
	}
}

// TestDamaged wants the frames before the damage, the port stopped, and the
// reason to be seen.
func TestDamaged(t *testing.T) {
	whole, err := os.ReadFile(write(t, "pcapng", []captured{{time.Unix(1, 0), broadcast(0, 60)}, {time.Unix(2, 0), broadcast(1, 60)}}))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "capture")
	if err := os.WriteFile(path, whole[:len(whole)-20], 0o600); err != nil {
		t.Fatal(err)
	}
	e, log := wiretest.NewEngine(t)
	g := wiretest.NewGuest(t, e, "guest", 0)
	p := wiretest.AddWire(t, e, "from", open(t, Config{Read: path}))
	if got := g.Recv(); !bytes.Equal(got.B, broadcast(0, 60)) {
		t.Error("the first frame is another one")
	}
	want := fmt.Sprintf("capture %s, after 1 frames: it ends within a packet", path)
	wiretest.Eventually(t, "a broken queue", func() bool {
		q := p.Snapshot().Queues
		return len(q) == 1 && q[0].State == "broken" && q[0].Reason == want
	})
	wiretest.Eventually(t, "the log to say so", func() bool { return log.Has("port from queue 1: stopped: " + want) })
}

// TestFull wants a disk that is full to stop the port, which says why.
func TestFull(t *testing.T) {
	e, log := wiretest.NewEngine(t)
	g := wiretest.NewGuest(t, e, "guest", 0)
	p := wiretest.AddWire(t, e, "to", fullDisk(t))
	g.Send(wiretest.Packet{B: broadcast(0, 60)})
	wiretest.Eventually(t, "a broken queue", func() bool {
		q := p.Snapshot().Queues
		return len(q) == 1 && q[0].State == "broken" && strings.Contains(q[0].Reason, "no space left on device")
	})
	wiretest.Eventually(t, "the log to say so", func() bool { return log.Has("port to queue 0: stopped: write capture:") })
	if q := p.Snapshot().Queues; len(q) != 1 {
		t.Errorf("queues %+v", q)
	}
}

// fullDisk returns a wire whose file system takes nothing after its header.
func fullDisk(t *testing.T) *Wire {
	t.Helper()
	w := open(t, Config{Write: filepath.Join(t.TempDir(), "out")})
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	if err := unix.Dup3(int(full.Fd()), int(w.out.file.Fd()), unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	return w
}

// TestStuck writes into a pipe from which nobody reads: frames to it are
// counted, and everybody else's go on.
func TestStuck(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	pipe, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	e, _ := wiretest.NewEngine(t)
	a, b := wiretest.NewGuest(t, e, "a", 0), wiretest.NewGuest(t, e, "b", 0)
	w := open(t, Config{Write: path})
	w.out.patience = 100 * time.Millisecond
	p, err := e.AddWire(queues.WireConfig{Name: "to"}, w)
	if err != nil {
		t.Fatal(err)
	}
	const size, sent = 50_000, 1000
	for i := range sent {
		f := broadcast(i, size)
		a.Send(wiretest.Packet{B: f})
		if got := b.Recv(); !bytes.Equal(got.B, f) {
			t.Fatalf("frame %d to the other guest is another one", i)
		}
	}
	wiretest.Eventually(t, "all frames taken or counted as lost, not more taken than fit", func() bool {
		packets, _, drops := wiretest.Count(p, "rx")
		lost := drops["wire_behind"]
		return lost > 0 && packets+lost == sent && packets*size <= 2*backlog
	})
	e.RemoveWire(p)
	if err := w.Close(); err == nil || !strings.Contains(err.Error(), "is not complete: it takes nothing") {
		t.Errorf("Close() = %v, want it to say that the capture is not complete", err)
	}
}

// TestOpenRefused wants errors that say what is wrong, and nothing left
// behind.
func TestOpenRefused(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	raw := filepath.Join(dir, "raw")
	f, err := os.Create(raw)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(pcapgo.NewWriter(f).WriteFileHeader(65535, layers.LinkTypeRaw), f.Close()); err != nil {
		t.Fatal(err)
	}
	good := write(t, "pcap", nil)
	before := descriptors(t)
	for _, tt := range []struct {
		c    Config
		want string
		is   error
	}{
		{Config{}, "no capture to read or write", nil},
		{Config{Read: dir + "/none"}, "read capture: open " + dir + "/none: no such file or directory", fs.ErrNotExist},
		{Config{Read: file("empty", "")}, "empty: 0 bytes, which is no capture", nil},
		{Config{Read: file("short", "ab")}, "short: 2 bytes, which is no capture", nil},
		{Config{Read: file("text", "this is text, not a capture of any kind")}, "text: neither pcapng nor pcap", nil},
		{Config{Read: file("gzip", "\x1f\x8b\x08\x00aaaa")}, "gzip: it is compressed; want it decompressed", nil},
		{Config{Read: raw}, "raw: frames of link type Raw, want Ethernet", nil},
		{Config{Read: good, Write: dir + "/no/out"}, "write capture: open " + dir + "/no/out: no such file or directory", fs.ErrNotExist},
		{Config{Write: dir}, "write capture: open " + dir + ": is a directory", unix.EISDIR},
		{Config{Write: "/dev/full"}, "write capture: write /dev/full: no space left on device", unix.ENOSPC},
	} {
		tt.c.Log = &wiretest.Journal{}
		w, err := Open(tt.c)
		if err == nil {
			_ = w.Close()
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
}

// TestChurn opens and closes wires while frames come and go.
func TestChurn(t *testing.T) {
	var packets []captured
	for i := range 500 {
		packets = append(packets, captured{time.Unix(1_700_000_000, int64(i)*1e6), broadcast(i, 600)})
	}
	e, _ := wiretest.NewEngine(t)
	wiretest.NewGuest(t, e, "guest", 0)
	dir := t.TempDir()
	from := write(t, "pcapng", packets)
	before := descriptors(t)
	for i := range 30 {
		w := open(t, Config{Read: from, Write: filepath.Join(dir, "out"), ByTimes: i%2 == 0})
		p, err := e.AddWire(queues.WireConfig{Name: "come and go"}, w)
		if err != nil {
			t.Fatal(err)
		}
		if i%3 == 0 {
			p.SetLink(false)
		}
		time.Sleep(time.Duration(i) * 100 * time.Microsecond)
		e.RemoveWire(p)
		for range 2 {
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors are open, %d were before", after, before)
	}
}

// descriptors counts those that are open.
func descriptors(t testing.TB) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// FuzzRead has arbitrary files read to their end, or to an error.
func FuzzRead(f *testing.F) {
	for _, format := range []string{"pcapng", "pcap", "pcap-ns"} {
		b, err := os.ReadFile(write(f, format, []captured{{time.Unix(1, 0), broadcast(0, 60)}, {time.Unix(1, 5), broadcast(1, 100)}}))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)-10])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "capture")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		s, err := newSource(file)
		if err != nil {
			return
		}
		// Each packet takes some bytes of the file, at least.
		for range len(b) + 1 {
			p, ci, err := next(s)
			if err != nil {
				return
			}
			if ci.CaptureLength == ci.Length && len(p) > len(b) {
				t.Fatalf("a packet of %d bytes in a file of %d", len(p), len(b))
			}
		}
		t.Fatalf("more packets than bytes, %d", len(b))
	})
}
