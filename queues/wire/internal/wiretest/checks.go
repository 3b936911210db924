package wiretest

import (
	"bytes"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"vhost-user-nvgre/queues"
	"vhost-user-nvgre/virtio"
)

// GuestMAC is the address of the guest in the checks below.
var GuestMAC = net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1}

// SuperFrames has a guest talk to the TCP and UDP of the kernel behind port,
// which is 10.9.0.1 in host, in super-frames with partial checksums both ways.
// The longest from the kernel is to have at least longest bytes.
func SuperFrames(t *testing.T, e *queues.Engine, port *queues.WirePort, host *Namespace, longest int) {
	t.Helper()
	p := NewPeer(NewGuest(t, e, "guest", AllOffloads), GuestMAC, "10.9.0.2", "10.9.0.1")
	l := host.Listen(t, "10.9.0.1")
	c := p.Dial(l.Addr().(*net.TCPAddr).Port)
	served, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer served.Close()
	_ = served.SetDeadline(time.Now().Add(Patience))

	before, beforeBytes, _ := Count(port, "rx")
	there := Bytes(60_000, 1)
	c.Write(there, 1400)
	got := make([]byte, len(there))
	if _, err := io.ReadFull(served, got); err != nil || !bytes.Equal(got, there) {
		t.Fatalf("the kernel's TCP received %v, not the %d bytes sent", err, len(there))
	}
	packets, sent, drops := Count(port, "rx")
	if sent-beforeBytes < 60_000 || sent-beforeBytes > 62_000 || packets-before > 20 || len(drops) > 0 {
		t.Errorf("%d bytes went out in %d frames, dropped %v; want the super-frame and a few acknowledgements", sent-beforeBytes, packets-before, drops)
	}

	back := Bytes(1_000_000, 2)
	go func() { _, _ = served.Write(back) }()
	c.Read(len(back))
	if !bytes.Equal(c.Got, back) {
		t.Fatal("other bytes came than the kernel sent")
	}
	h := c.Largest.Hdr
	if len(c.Largest.B) < longest || h.GSOType != virtio.GSOTCPv4 || h.GSOSize != 1460 || h.Flags != virtio.HdrNeedsCsum || h.CsumStart != 34 || h.CsumOffset != 16 {
		t.Errorf("the longest of %d frames has %d bytes and header %+v, want a super-frame", c.Datagrams, len(c.Largest.B), h)
	}
	u := host.UDP(t, "10.9.0.1", 0)
	p.Datagrams(u.LocalAddr().(*net.UDPAddr).Port, there, 1400)
	CompareDatagrams(t, u, there, 1400)
}

// Whole has the kernel that is 10.9.0.1 in host and a guest that leaves and
// takes nothing unfinished talk to each other.
func Whole(t *testing.T, e *queues.Engine, host *Namespace) {
	t.Helper()
	p := NewPeer(NewGuest(t, e, "guest", 0), GuestMAC, "10.9.0.2", "10.9.0.1")
	b := Bytes(50_000, 3)
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

// Side is the kernel behind a wire.
type Side struct {
	*Namespace
	Port *queues.WirePort
}

// Streams has one kernel talk to another through the switch: a, which is
// 10.9.0.1 and fd09::1, to b, which is 10.9.0.2 and fd09::2. Either's frames
// are to have at least perFrame bytes on average.
func Streams(t *testing.T, a, b Side, perFrame uint64) {
	t.Helper()
	for i := range 4 {
		Stream(t, a.Namespace, b.Namespace, "10.9.0.2", 3_000_000, uint64(i))
		Stream(t, a.Namespace, b.Namespace, "fd09::2", 3_000_000, uint64(i))
	}
	for _, ip := range [][2]string{{"10.9.0.1", "10.9.0.2"}, {"fd09::1", "fd09::2"}} {
		Datagrams(t, a.UDP(t, ip[0], 1200), b.UDP(t, ip[1], 0), Bytes(60_500, 9), 1200)
	}
	for name, s := range map[string]Side{"a": a, "b": b} {
		packets, sent, drops := Count(s.Port, "tx")
		if sent < 24_000_000 || sent/packets < perFrame || len(drops) > 0 {
			t.Errorf("%d bytes came from %s in %d frames, dropped %v; want at least 24 MB, mostly in super-frames", sent, name, packets, drops)
		}
	}
}

// Descriptors counts those that this process has open.
func Descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}
