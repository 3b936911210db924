package offloads

import (
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"vhost-user-nvgre/guest-tests/harness"
	"vhost-user-nvgre/guest-tests/initramfs"
	"vhost-user-nvgre/guest-tests/rig"
	"vhost-user-nvgre/vhostuser/frontendtest"
)

// A guest walks through the life cycle of its NIC's offloads by OID requests
// over AF_VSOCK, which a vsock device in user space hands to a Unix socket on
// the host; and an administrator sees what it did. It does so with traffic, and
// by the self-test.
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
	uds, err := dir.Socket("v")
	if err != nil {
		t.Fatal(err)
	}
	device, err := dir.Socket("vsock.sock")
	if err != nil {
		t.Fatal(err)
	}
	d := rig.Run(t, rig.Config{Ports: []rig.Port{
		{Name: "vm0", QueuePairs: 2, Settings: []string{"oid-socket=" + uds + "_1028"}},
		{Name: "vm1"},
	}})
	p, err := harness.StartProcess("vhost-device-vsock", tool.Command(ctx, "--guest-cid", "3", "--socket", device, "--uds-path", uds), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	// Not by connecting: the device takes the first connection for QEMU's.
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(device); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("no socket of vhost-device-vsock:\n%s%s", p.Stdout, p.Stderr)
		}
	}
	vm := rig.RawGuests(t, harness.Guest{
		Name:    "oid",
		NICs:    []harness.NIC{rig.Device.NIC(d.Port("vm0"))},
		Modules: []string{"virtio_net", "vsock", "vmw_vsock_virtio_transport_common", "vmw_vsock_virtio_transport"},
		Args:    []string{"-chardev", "socket,id=vsock,path=" + device, "-device", "vhost-user-vsock-pci,chardev=vsock"},
		Files:   []initramfs.File{{Name: "/bin/nvgre-guest", Mode: 0o755, Source: program}},
	})[0]
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
	out, err := vm.Output(ctx, "nvgre-guest", "selftest")
	t.Logf("selftest:\n%s", out)
	if err != nil || strings.Contains(out, "FAIL") || !strings.Contains(out, "steps passed") {
		t.Errorf("nvgre-guest selftest: %v", err)
	}
	if out, err := vm.Output(ctx, "nvgre-guest", "offload", "on", "framing", "nvgre"); err != nil {
		t.Fatalf("nvgre-guest offload on: %v\n%s", err, out)
	}
	for port, want := range map[string]string{"vm0": "all", "vm1": "-"} {
		out, err := d.Ctl(ctx, "offload", "show", port)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(out, "\n")
		at := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "NVGRE receive checksum") })
		if at < 0 || !strings.HasSuffix(strings.TrimSpace(lines[at]), " "+want) {
			t.Errorf("port %s: want operational NVGRE receive checksums %q:\n%s", port, want, out)
		}
	}
	d.CheckQuiet(t)
}
