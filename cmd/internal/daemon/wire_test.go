package daemon

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/sirupsen/logrus"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vhost-user-nvgre/cmd/internal/config"
	"vhost-user-nvgre/vhostuser/frontendtest"
	"vhost-user-nvgre/virtio"
)

// again is set in the environment of tests that run in namespaces of their
// own.
const again = "DAEMON_TEST_AGAIN"

// inNamespaces runs the calling test in a process with namespaces of its own,
// and reports whether this is that process.
func inNamespaces(t *testing.T, flags uintptr) bool {
	t.Helper()
	if os.Getenv(again) != "" {
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), again+"=1")
	attr := &syscall.SysProcAttr{Cloneflags: flags, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 || flags&syscall.CLONE_NEWUSER != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	cmd.SysProcAttr = attr
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("in namespaces of its own (run as root or allow user namespaces if they could not be made): %v\n%s", err, out)
	}
	return false
}

// wireIn returns the settings of a port that leads to an interface.
func wireIn(kind config.Kind, name, device string) config.Port {
	p := config.DefaultPort()
	p.Name, p.Kind, p.Interface, p.Origin = name, kind, device, "test"
	return p
}

// TestTapPort has a guest and the host's kernel exchange UDP super-frames
// through a daemon, and the tap device come and go with its port.
func TestTapPort(t *testing.T) {
	if !inNamespaces(t, syscall.CLONE_NEWNET) {
		return
	}
	var vm config.Port
	r := run(t, func(dir string, s *config.Settings) {
		vm = portIn(dir, "vm")
		up := wireIn(config.KindTap, "up0", "tap%d")
		up.QueuePairs, up.MTU = 2, 9000
		s.Ports = []config.Port{vm, up}
	})
	mac := vm.Address()
	configure(t, "tap0", mac)
	r.swapSuperFrames(mac, "tap0")

	_, p := r.status("up0")
	if p.Kind != "tap" || p.Place != "interface tap0" || !p.LinkUp || p.MTU != 9000 || p.QueuePairs != 2 || p.QueuePairsInUse != 2 || p.Mode != "" || p.MAC != "" {
		t.Errorf("status %+v", p)
	}
	if _, p := r.status("vm"); p.Kind != "vhost-user" || p.Place != vm.Socket+" (server)" {
		t.Errorf("status %+v", p)
	}
	if err := r.client.Announce(t.Context(), "up0"); err == nil || !strings.Contains(err.Error(), "there is no driver behind a port of kind tap") {
		t.Errorf("Announce of a tap: %v", err)
	}
	for _, up := range []bool{false, true} {
		if err := r.client.SetLink(t.Context(), "up0", up); err != nil {
			t.Fatal(err)
		}
		if _, p := r.status("up0"); p.LinkUp != up {
			t.Errorf("link up: %v, want %v", p.LinkUp, up)
		}
		r.until("setting the carrier", func() bool {
			l, err := netlink.LinkByName("tap0")
			return err == nil && l.Attrs().RawFlags&unix.IFF_LOWER_UP != 0 == up
		})
	}
	// A reload takes it away, another brings it back with its link down.
	r.next.Ports = []config.Port{vm}
	r.signals <- syscall.SIGHUP
	r.until("rid of the port", func() bool { _, p := r.status("up0"); return p == nil })
	r.until("rid of the interface", func() bool { _, err := netlink.LinkByName("tap0"); return err != nil })
	again := wireIn(config.KindTap, "up0", "tap9")
	again.LinkUp = false
	r.next.Ports = []config.Port{vm, again}
	r.signals <- syscall.SIGHUP
	r.until("having the port again", func() bool {
		_, p := r.status("up0")
		return p != nil && p.Place == "interface tap9" && !p.LinkUp
	})
}

// TestPacketPort is the same over a veth pair.
func TestPacketPort(t *testing.T) {
	if !inNamespaces(t, syscall.CLONE_NEWNET) {
		return
	}
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "veth0"}, PeerName: "veth1"}); err != nil {
		t.Fatal(err)
	}
	setUp(t, "veth1")
	var vm config.Port
	r := run(t, func(dir string, s *config.Settings) {
		vm = portIn(dir, "vm")
		s.Ports = []config.Port{vm, wireIn(config.KindPacket, "up0", "veth1")}
	})
	mac := vm.Address()
	configure(t, "veth0", mac)
	// Until the kernel has noticed the carriers, frames vanish.
	for _, name := range []string{"veth0", "veth1"} {
		r.until("seeing "+name+" up", func() bool {
			l, err := netlink.LinkByName(name)
			return err == nil && l.Attrs().OperState == netlink.OperUp
		})
	}
	r.swapSuperFrames(mac, "veth0")
	if _, p := r.status("up0"); p.Kind != "packet" || p.Place != "interface veth1" || p.QueuePairsInUse != 1 {
		t.Errorf("status %+v", p)
	}
	l, err := netlink.LinkByName("veth0")
	if err == nil {
		err = netlink.LinkDel(l)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.until("saying that the interface is gone", func() bool {
		_, p := r.status("up0")
		q := queueOf(p, 1)
		return q.State == "broken" && q.Reason == "interface veth1 is gone"
	})
	if _, p := r.status("vm"); queueOf(p, 1).State != "running" {
		t.Errorf("the guest's port: %+v, want it running", p)
	}
}

// TestPcapPort has a guest receive a capture when the port's link goes up, and
// what the guest sends written to another.
func TestPcapPort(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from.pcap"), filepath.Join(dir, "to.pcapng")
	want := frame(virtio.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, virtio.MAC{2, 5: 9}, 200)
	file, err := os.Create(from)
	if err != nil {
		t.Fatal(err)
	}
	w := pcapgo.NewWriter(file)
	ci := gopacket.CaptureInfo{Timestamp: time.Unix(1, 0), CaptureLength: len(want), Length: len(want)}
	if err := errors.Join(w.WriteFileHeader(65535, layers.LinkTypeEthernet), w.WritePacket(ci, want), file.Close()); err != nil {
		t.Fatal(err)
	}
	r := run(t, func(dir string, s *config.Settings) {
		pc := config.DefaultPort()
		pc.Name, pc.Kind, pc.Read, pc.Write, pc.LinkUp, pc.Origin = "pc0", config.KindPcap, from, to, false, "test"
		s.Ports = []config.Port{portIn(dir, "vm"), pc}
	})
	f := r.attach("vm", frontendtest.Options{})
	if err := r.client.SetLink(t.Context(), "pc0", true); err != nil {
		t.Fatal(err)
	}
	if got := f.RX[0].MustRecv(t); !bytes.Equal(got.Data, want) {
		t.Errorf("%d bytes came from the capture, want its frame of %d", len(got.Data), len(want))
	}
	back := frame(virtio.MAC{2, 5: 9}, virtio.MAC{4}, 300)
	f.TX[0].MustSend(t, virtio.NetHdr{}, back)
	r.until("writing", func() bool { _, p := r.status("pc0"); return queueOf(p, 0).Packets == 1 })
	if _, p := r.status("pc0"); p.Kind != "pcap" || p.Place != "from "+from+", to "+to {
		t.Errorf("status %+v", p)
	}
	r.signals <- syscall.SIGTERM
	if err := r.wait(); err != nil {
		t.Fatal(err)
	}
	if file, err = os.Open(to); err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	written, err := pcapgo.NewNgReader(file, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	if got, _, err := written.ReadPacketData(); err != nil || !bytes.Equal(got, back) {
		t.Errorf("%d bytes were written, %v; want the frame of %d", len(got), err, len(back))
	}
}

func setUp(t *testing.T, device string) {
	t.Helper()
	l, err := netlink.LinkByName(device)
	if err == nil {
		err = netlink.LinkSetUp(l)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// configure gives an interface 10.9.0.1/24 and tells it where 10.9.0.2 is.
func configure(t *testing.T, device string, mac virtio.MAC) {
	t.Helper()
	setUp(t, device)
	l, err := netlink.LinkByName(device)
	if err != nil {
		t.Fatal(err)
	}
	addr, err := netlink.ParseAddr("10.9.0.1/24")
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		netlink.AddrAdd(l, addr),
		netlink.NeighAdd(&netlink.Neigh{
			LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT, IP: net.IP{10, 9, 0, 2}, HardwareAddr: mac[:],
		}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// swapSuperFrames has a front end at port vm send a UDP super-frame to the
// kernel behind an interface, and the kernel one back.
func (r *running) swapSuperFrames(mac virtio.MAC, device string) {
	t := r.t
	t.Helper()
	l, err := netlink.LinkByName(device)
	if err != nil {
		t.Fatal(err)
	}
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IP{10, 9, 0, 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	_ = socket.SetReadBuffer(4 << 20)
	f := r.attach("vm", frontendtest.Options{Style: frontendtest.Generic}) // the other lacks host_uso

	const size = 1400
	payload := bytes.Repeat([]byte("0123456789"), 6000)
	eth := &layers.Ethernet{SrcMAC: mac[:], DstMAC: l.Attrs().HardwareAddr, EthernetType: layers.EthernetTypeIPv4}
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.IP{10, 9, 0, 2}, DstIP: net.IP{10, 9, 0, 1}}
	udp := &layers.UDP{SrcPort: 4000, DstPort: layers.UDPPort(socket.LocalAddr().(*net.UDPAddr).Port)}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, eth, ip, udp, gopacket.Payload(payload)); err != nil {
		t.Fatal(err)
	}
	super := b.Bytes()
	// The checksum of the pseudo header, which is all a sender leaves there.
	sum := uint32(10<<8|9) + 2 + uint32(10<<8|9) + 1 + 17 + uint32(len(payload)+8)
	binary.BigEndian.PutUint16(super[40:], uint16(sum+sum>>16))
	f.TX[0].MustSend(t, virtio.NetHdr{
		Flags: virtio.HdrNeedsCsum, GSOType: virtio.GSOUDPL4, HdrLen: 42, GSOSize: size, CsumStart: 34, CsumOffset: 6,
	}, super)
	_ = socket.SetDeadline(time.Now().Add(patience))
	buf := make([]byte, 65536)
	for rest := payload; len(rest) > 0; {
		n, from, err := socket.ReadFromUDP(buf)
		want := rest[:min(size, len(rest))]
		if err != nil || !bytes.Equal(buf[:n], want) || from.Port != 4000 {
			t.Fatalf("%d bytes from %v came to the kernel's socket, %v; want %d from port 4000", n, from, err, len(want))
		}
		rest = rest[len(want):]
	}

	raw, err := socket.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Control(func(fd uintptr) {
		if err := unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, size); err != nil {
			t.Errorf("UDP_SEGMENT: %v", err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := socket.WriteToUDP(payload, &net.UDPAddr{IP: net.IP{10, 9, 0, 2}, Port: 4000}); err != nil {
		t.Fatal(err)
	}
	for {
		got := f.RX[0].MustRecv(t)
		if len(got.Data) < 42 || got.Data[12] != 8 || got.Data[13] != 0 || got.Data[23] != 17 {
			continue // what the kernel has to say otherwise
		}
		if !bytes.Equal(got.Data[42:], payload) || got.Hdr.GSOType != virtio.GSOUDPL4 || got.Hdr.GSOSize != size {
			t.Errorf("%d bytes with header %+v came, want the super-frame of %d", len(got.Data), got.Hdr, len(payload)+42)
		}
		return
	}
}

// TestWireRefused wants what is wrong in words and as exit code.
func TestWireRefused(t *testing.T) {
	if !inNamespaces(t, syscall.CLONE_NEWNET) {
		return
	}
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "veth0"}, PeerName: "veth1"}); err != nil {
		t.Fatal(err)
	}
	notTap, nowhere, noFeature := wireIn(config.KindTap, "up0", "veth0"), wireIn(config.KindTap, "up0", "tap0"), wireIn(config.KindTap, "up0", "tap0")
	noCapture := wireIn(config.KindPcap, "pc0", "")
	noCapture.Read = "/nowhere"
	nowhere.Netns, noFeature.Withhold = "/nowhere", virtio.FeatureMQ
	for _, tt := range []struct {
		port config.Port
		want string
	}{
		{notTap, "port up0: tap: interface veth0: it is there already and is no tap device"},
		{nowhere, "port up0: tap: network namespace: open /nowhere: no such file"},
		{wireIn(config.KindPacket, "up0", "veth9"), "port up0: there is no interface veth9: "},
		{wireIn(config.KindPacket, "up0", "lo"), "port up0: interface lo is not one for Ethernet"},
		{noCapture, "port pc0: read capture: open /nowhere: no such file"},
		{noFeature, "port up0: tap tap0: mq is nothing a tap device has"},
	} {
		refused(t, tt.port, exitFailure, tt.want)
	}
}

func refused(t *testing.T, port config.Port, code int, message string) {
	t.Helper()
	s := config.Default()
	s.Ports = []config.Port{port}
	log := logrus.New()
	log.SetOutput(testOutput{t})
	d, err := Open(&s, log)
	if err == nil {
		d.Close()
		t.Errorf("Open with %+v succeeded", port)
		return
	}
	if got := exitCode(err); got != code || !strings.Contains(err.Error(), message) {
		t.Errorf("Open with %+v: exit code %d, %v; want %d, %q", port, got, err, code, message)
	}
}

// TestWireNotPermitted runs as root of a user namespace, who may do nothing in
// the network namespace it did not make.
func TestWireNotPermitted(t *testing.T) {
	if !inNamespaces(t, syscall.CLONE_NEWUSER) {
		return
	}
	refused(t, wireIn(config.KindTap, "up0", "nvgretest0"), exitPermission, "operation not permitted")
	refused(t, wireIn(config.KindPacket, "up0", "lo"), exitPermission, "operation not permitted")
}
