//go:build linux

package gso_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/offload/gso"
	"vhost-user-nvgre/offload/internal/frametest"
	"vhost-user-nvgre/offload/packet"
)

// kernelEnv marks the process that runs in a network namespace of its own.
const kernelEnv = "NVGRE_TEST_IN_NAMESPACE"

// TestKernelSegments has the Linux kernel split the same super-frames: one tap
// device takes them with a virtio header, a bridge forwards them to another
// that has no offloads, so that the kernel's own code splits them on the way.
// The segments must be equal byte by byte.
//
// Where the rules differ the test stays clear: the kernel counts IPv4
// identifications of TCP over 16 bits, NDIS over 15, so that those here do not
// pass 0x7fff; and a UDP checksum of 0 in the template means none to NDIS, while
// to the kernel the virtio header alone says whether there is one. It has no
// segmentation for GRE without its gre module.
//
// The test needs a network namespace with the right to configure it: as root
// it makes one, otherwise it makes a user namespace, too. A machine that
// allows neither cannot run it.
//
// Shows: NDIS-122, NDIS-123, NDIS-124, NDIS-125, NDIS-126, NDIS-127, NDIS-129, NDIS-144, NDIS-147, NDIS-148, VNET-046
func TestKernelSegments(t *testing.T) {
	if os.Getenv(kernelEnv) != "" {
		kernelSegments(t)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestKernelSegments$", "-test.v", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), kernelEnv+"=1")
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	cmd.SysProcAttr = attr
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("in a network namespace (run as root or allow user namespaces if it could not be made): %v\n%s", err, out)
	}
	t.Logf("%s", out)
}

func kernelSegments(t *testing.T) {
	in, out := openTap(t, "super", unix.IFF_VNET_HDR), openTap(t, "plain", 0)
	bridge(t, "br", "super", "plain")
	r := rand.New(rand.NewPCG(1, 2))
	count := 0
	for i, c := range frametest.Levels(nil) {
		s := c.Spec
		if s.Proto != frametest.TCP && s.Proto != frametest.UDP || len(s.Tags) > 2 {
			continue
		}
		if s.NoUDPSum || s.V6 && !kernelExtensions(s.Ext) {
			continue
		}
		for _, size := range []struct{ payload, mss int }{{2000, 700}, {2801, 1400}, {20000, 1448}, {60000, 1400}} {
			s.ID, s.TTL, s.TOS = uint16(i), 33, 0x28
			s.TCPFlags = []uint16{0x10, 0x18, 0x19, 0x90, 0x98, 0xd8}[i%6]
			s.Payload = randomBytes(r, size.payload)
			req := request(&s, size.mss)
			what := fmt.Sprintf("%s, %d bytes by %d", c.Name, size.payload, size.mss)
			f := s.Build()
			seed(&s, f)
			head := min(len(f.Bytes), 512)
			ours, ref := split(t, r, f.Bytes, head, req, &wide, i%3)
			if ref != gso.Accepted {
				t.Fatalf("%s: refused: %v", what, ref)
			}
			theirs := throughKernel(t, what, in, out, f, &s, req, len(ours))
			for k := range ours {
				if !bytes.Equal(ours[k], theirs[k]) {
					t.Fatalf("%s: segment %d\n   ours %x\nkernel %x", what, k, ours[k], theirs[k])
				}
				count++
			}
		}
	}
	if count < 1000 {
		t.Errorf("only %d segments compared", count)
	}
	t.Logf("%d segments equal to the kernel's", count)
}

// kernelExtensions reports whether the kernel splits packets with these
// headers.
func kernelExtensions(ext []frametest.Extension) bool {
	for _, e := range ext {
		if e.Type == frametest.Fragment || e.Type == frametest.AH {
			return false
		}
	}
	return true
}

// seed puts the pseudo-header's sum into the checksum field, as a sender does
// and the kernel relies on.
func seed(s *frametest.Spec, f frametest.Frame) {
	var p packet.Info
	packet.Parse(&p, f.Bytes, len(f.Bytes))
	l, b := &p.Outer, f.Bytes
	n := int(l.End) - int(l.L4)
	tail := binary.BigEndian.AppendUint32(nil, uint32(n))
	tail = append(tail, 0, 0, 0, s.Proto)
	at, sum := int(l.L4)+16, uint16(0)
	if s.Proto == frametest.UDP {
		at = int(l.L4) + 6
	}
	if l.Net == packet.IPv4 {
		sum = frametest.Sum(l.IPv4Addrs(b)[:], tail)
	} else {
		src, dst := l.IPv6Home(b)
		sum = frametest.Sum(src[:], dst[:], tail)
	}
	binary.BigEndian.PutUint16(b[at:], sum)
}

// throughKernel sends the super-frame f into one device and returns the n
// frames that come out of the other.
func throughKernel(t *testing.T, what string, in, out *os.File, f frametest.Frame, s *frametest.Spec, req gso.Request, n int) [][]byte {
	t.Helper()
	// struct virtio_net_hdr, host byte order.
	hdr := make([]byte, 10)
	hdr[0] = 1 // VIRTIO_NET_HDR_F_NEEDS_CSUM
	offset := uint16(16)
	switch req.Kind {
	case gso.TCPv4:
		hdr[1] = 1
	case gso.TCPv6:
		hdr[1] = 4
	case gso.UDP:
		hdr[1], offset = 5, 6
	}
	if s.TCPFlags&0x80 != 0 && s.Proto == frametest.TCP {
		hdr[1] |= 0x80 // VIRTIO_NET_HDR_GSO_ECN
	}
	o := f.Levels[0]
	ne := binary.NativeEndian
	ne.PutUint16(hdr[2:], uint16(o.Payload))
	ne.PutUint16(hdr[4:], uint16(req.MSS))
	ne.PutUint16(hdr[6:], uint16(o.L4))
	ne.PutUint16(hdr[8:], offset)
	if _, err := in.Write(append(hdr, f.Bytes...)); err != nil {
		t.Fatalf("%s: the kernel refuses the super-frame: %v", what, err)
	}
	var got [][]byte
	buf := make([]byte, 70000)
	for len(got) < n {
		if err := out.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		m, err := out.Read(buf)
		if err != nil {
			t.Fatalf("%s: after %d of %d segments: %v", what, len(got), n, err)
		}
		// The kernel speaks, too, when an interface comes up.
		if m > 12 && bytes.Equal(buf[:12], f.Bytes[:12]) {
			got = append(got, append([]byte(nil), buf[:m]...))
		}
	}
	return got
}

// openTap makes a tap device and sets it up, without offloads.
func openTap(t *testing.T, name string, flags uint16) *os.File {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatalf("open /dev/net/tun: %v", err)
	}
	ifr := ifreq(t, name)
	ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		t.Fatalf("TUNSETIFF of %s: %v", name, err)
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, 0); err != nil {
		t.Fatalf("TUNSETOFFLOAD of %s: %v", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	t.Cleanup(func() { f.Close() })
	return f
}

func ifreq(t *testing.T, name string) *unix.Ifreq {
	t.Helper()
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	return ifr
}

// bridge makes a bridge with ports and sets all of them up.
func bridge(t *testing.T, name string, ports ...string) {
	t.Helper()
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(s)
	call := func(what string, req uint, ifr *unix.Ifreq) {
		t.Helper()
		if err := unix.IoctlIfreq(s, req, ifr); err != nil {
			t.Fatalf("%s of %s: %v", what, ifr.Name(), err)
		}
	}
	// Its argument is a name, with which an ifreq begins.
	call("SIOCBRADDBR", unix.SIOCBRADDBR, ifreq(t, name))
	for _, p := range append(ports, name) {
		// Nothing else is to be sent over these interfaces.
		quiet := "/proc/sys/net/ipv6/conf/" + p + "/disable_ipv6"
		if err := os.WriteFile(quiet, []byte("1"), 0); err != nil && !os.IsNotExist(err) {
			t.Logf("%s: %v", quiet, err)
		}
		if p != name {
			ifr := ifreq(t, p)
			call("SIOCGIFINDEX", unix.SIOCGIFINDEX, ifr)
			add := ifreq(t, name)
			add.SetUint32(ifr.Uint32())
			call("SIOCBRADDIF", unix.SIOCBRADDIF, add)
		}
		ifr := ifreq(t, p)
		call("SIOCGIFFLAGS", unix.SIOCGIFFLAGS, ifr)
		ifr.SetUint16(ifr.Uint16() | unix.IFF_UP)
		call("SIOCSIFFLAGS", unix.SIOCSIFFLAGS, ifr)
	}
}
