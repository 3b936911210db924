package offloads

import (
	"context"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"vhost-user-nvgre/guest-tests/harness"
	"vhost-user-nvgre/guest-tests/initramfs"
	"vhost-user-nvgre/guest-tests/lab"
	"vhost-user-nvgre/guest-tests/rig"
	"vhost-user-nvgre/vhostuser/frontendtest"
)

// vsock is a vsock device in user space, which hands what a guest connects to
// on the host's port N to a Unix socket with _N behind its name.
type vsock struct {
	cid string
	uds string // beginning of the Unix sockets' paths
	dev string // path of its vhost-user socket
}

func newVsock(t *testing.T, dir *harness.Dir, cid string) *vsock {
	t.Helper()
	v := &vsock{cid: cid}
	var err error
	if v.uds, err = dir.Socket("v" + cid); err != nil {
		t.Fatal(err)
	}
	if v.dev, err = dir.Socket("vsock" + cid + ".sock"); err != nil {
		t.Fatal(err)
	}
	return v
}

// start returns when a guest can attach the device.
func (v *vsock) start(ctx context.Context, t *testing.T, tool *lab.Program) {
	t.Helper()
	p, err := harness.StartProcess("vhost-device-vsock", tool.Command(ctx, "--guest-cid", v.cid, "--socket", v.dev, "--uds-path", v.uds), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	// Not by connecting: the device takes the first connection for QEMU's.
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(v.dev); err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("no socket of vhost-device-vsock:\n%s%s", p.Stdout, p.Stderr)
		}
	}
}

// setting is that of a port whose adapter the guest reaches.
func (v *vsock) setting() string { return "oid-socket=" + v.uds + "_1028" }

// guest returns a guest with the device and a NIC.
func (v *vsock) guest(name, program string, nic harness.NIC) harness.Guest {
	return harness.Guest{
		Name:    name,
		NICs:    []harness.NIC{nic},
		Modules: []string{"virtio_net", "vsock", "vmw_vsock_virtio_transport_common", "vmw_vsock_virtio_transport"},
		Args:    []string{"-chardev", "socket,id=vsock,path=" + v.dev, "-device", "vhost-user-vsock-pci,chardev=vsock"},
		Files:   []initramfs.File{{Name: "/bin/nvgre-guest", Mode: 0o755, Source: program}},
	}
}

// A guest walks through the life cycle of its NIC's offloads by OID requests
// over AF_VSOCK; an administrator sees what it did; and another guest cannot
// touch it. It does so with traffic, and by the self-test.
//
// Shows: NDIS-026, NDIS-027, NDIS-032, NDIS-033, NDIS-035, NDIS-080, NDIS-082, NDIS-091, NDIS-098, NDIS-101, NDIS-104, NDIS-106
func TestSelftestOverVsock(t *testing.T) {
	ctx := t.Context()
	l := harness.Lab(t)
	tool, err := l.Tool(ctx, "vhost-device-vsock")
	if err != nil {
		t.Fatal(err)
	}
	program, err := l.GoBuild(ctx, "./cmd/nvgre-guest", "-ldflags=-s -w")
	if err != nil {
		t.Fatal(err)
	}
	dir := harness.TempDir(t)
	mine, theirs := newVsock(t, dir, "3"), newVsock(t, dir, "4")
	d := rig.Run(t, rig.Config{Ports: []rig.Port{
		{Name: "vm0", QueuePairs: 2, Settings: []string{mine.setting()}},
		{Name: "vm1"},
		{Name: "vm2", Settings: []string{theirs.setting()}},
	}})
	mine.start(ctx, t, tool)
	theirs.start(ctx, t, tool)
	vms := rig.RawGuests(t,
		mine.guest("oid", program, rig.Device.NIC(d.Port("vm0"))),
		theirs.guest("stranger", program, rig.Netdev.NIC(d.Port("vm2"))))
	vm, stranger := vms[0], vms[1] // whose interface stays down, and so says nothing
	peer := rig.Peer{VM: vm, ID: "vm0"}
	if peer.Iface, err = vm.Address(ctx, "vm0"); err != nil { // brings the driver up
		t.Fatal(err)
	}
	far := frontendtest.MustConnect(t, frontendtest.MustDial(t, d.Port("vm1").Socket()), frontendtest.Options{})
	at := receive(t, far.RX[0])
	// Shows: NDIS-026, NDIS-027, NDIS-034, NDIS-035, NDIS-039, NDIS-041, NDIS-048, NDIS-057, NDIS-060, NDIS-062, NDIS-069, NDIS-078, NDIS-086, NDIS-097
	t.Run("life cycle", func(t *testing.T) {
		lifeCycle(ctx, t, &bench{daemon: d, peer: peer, tx: far.TX[0], rnd: rand.New(rand.NewPCG(3, 4))}, at)
	})
	t.Run("self-test", func(t *testing.T) {
		out, err := vm.Output(ctx, "nvgre-guest", "selftest")
		t.Logf("selftest:\n%s", out)
		if err != nil || strings.Contains(out, "FAIL") || !strings.Contains(out, "steps passed") {
			t.Errorf("nvgre-guest selftest: %v", err)
		}
	})
	if out, err := vm.Output(ctx, "nvgre-guest", "offload", "on", "framing", "nvgre"); err != nil {
		t.Fatalf("nvgre-guest offload on: %v\n%s", err, out)
	}
	checksums(ctx, t, d, map[string]string{"vm0": "all", "vm1": "-", "vm2": "-"})
	t.Run("another guest", func(t *testing.T) { testStranger(ctx, t, d, stranger) })
	d.CheckQuiet(t)
}

// testStranger lets the guest at port vm2 ask for port vm0. What it does is done
// to its own NIC, whichever it asks for.
func testStranger(ctx context.Context, t *testing.T, d *rig.Daemon, stranger *harness.VM) {
	before := offloads(ctx, t, d, "vm0")
	for _, try := range []struct{ args, refusal string }{
		{"--nic vm0 offload off nvgre", "port vm0 cannot be reached here"},
		{"--port 1029 offload off nvgre", "connect to AF_VSOCK port 1029 of the host"},
	} {
		_, err := stranger.Output(ctx, append([]string{"nvgre-guest"}, strings.Fields(try.args)...)...)
		if err == nil || !strings.Contains(err.Error(), try.refusal) {
			t.Errorf("nvgre-guest %s in another guest: %v, want an error with %q", try.args, err, try.refusal)
		}
	}
	for _, try := range []struct{ args, vm2 string }{
		{"--nic vm2 offload on framing nvgre", "all"},
		{"offload off nvgre", "-"},
	} {
		if _, err := stranger.Output(ctx, append([]string{"nvgre-guest"}, strings.Fields(try.args)...)...); err != nil {
			t.Errorf("nvgre-guest %s: %v", try.args, err)
		}
		checksums(ctx, t, d, map[string]string{"vm2": try.vm2})
		if after := offloads(ctx, t, d, "vm0"); after != before {
			t.Errorf("another guest's %q changed port vm0 from\n%s\nto\n%s", try.args, before, after)
		}
	}
}

// offloads returns what nvgrectl shows of a port's.
func offloads(ctx context.Context, t *testing.T, d *rig.Daemon, port string) string {
	t.Helper()
	out, err := d.Ctl(ctx, "offload", "show", port)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// checksums fails the test unless ports' operational NVGRE receive checksums are
// those wanted.
func checksums(ctx context.Context, t *testing.T, d *rig.Daemon, want map[string]string) {
	t.Helper()
	for port, want := range want {
		out := offloads(ctx, t, d, port)
		lines := strings.Split(out, "\n")
		at := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "NVGRE receive checksum") })
		if at < 0 || !strings.HasSuffix(strings.TrimSpace(lines[at]), " "+want) {
			t.Errorf("port %s: want operational NVGRE receive checksums %q:\n%s", port, want, out)
		}
	}
}
