package scenarios

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"vhost-user-nvgre/guest-tests/harness"
	"vhost-user-nvgre/guest-tests/lab"
	"vhost-user-nvgre/guest-tests/rig"
	"vhost-user-nvgre/guest-tests/stream"
)

// attachMTU of the ports tells that guests are told what the port has.
const attachMTU = 1400

// host is a guest with a QMP monitor of its own for nvgrectl.
type host struct {
	*harness.VM
	*rig.Daemon
	qmp string // path of the monitor's socket
}

// TestAttach plugs NICs into running guests that have none, by nvgrectl, and
// takes them out again.
func TestAttach(t *testing.T) {
	harness.CheckLeaks(t)
	ctx := rig.Context(t)
	d := rig.Run(t, rig.Config{Ports: []rig.Port{
		{Name: "new", QueuePairs: 2, MTU: attachMTU},
		{Name: "old", QueuePairs: 2, MTU: attachMTU},
		{Name: "client", MTU: attachMTU, Client: true},
	}})
	dir := harness.TempDir(t)
	var guests []harness.Guest
	var hosts []*host
	for name, age := range map[string]lab.QEMUAge{"new": lab.NewQEMU, "old": lab.OldQEMU} {
		path, err := dir.Socket(name + ".qmp")
		if err != nil {
			t.Fatal(err)
		}
		args := monitorArgs(path)
		if age == lab.NewQEMU {
			// A machine whose root bus takes nothing at run time.
			args = append(args, "-machine", "q35", "-device", "pcie-root-port,id=hotplug0,slot=1")
		}
		guests = append(guests, harness.Guest{Name: name, QEMU: age, CPUs: 2, Args: args})
		hosts = append(hosts, &host{Daemon: d, qmp: path})
	}
	var young, old *host
	for i, vm := range rig.Guests(t, guests...) {
		hosts[i].VM = vm
		if vm.Guest.Name == "new" {
			young = hosts[i]
		} else {
			old = hosts[i]
		}
	}

	t.Run("unshared memory", func(t *testing.T) { testUnshared(ctx, t, d, dir) })
	t.Run("refused", func(t *testing.T) {
		young.refuse(ctx, t, "Bus 'nonesuch' not found", "--bus", "nonesuch", "new")
		young.refuse(ctx, t, "there is no such port", "nonesuch")
		young.refuse(ctx, t, "Bus 'pcie.0' does not support hotplugging; this machine takes devices at run time only in free root ports", "--bus", "pcie.0", "new")
		old.refuse(ctx, t, "has no vhost-user-test-device-pci", "--front-end", "device", "new")
		young.checkClean(ctx, t)
		old.checkClean(ctx, t)
	})

	a := old.attach(ctx, t, 1, "old")
	young.refuse(ctx, t, "a front end is connected already", "old")
	for host, by := range []struct {
		port     string
		frontEnd string
	}{{"new", "netdev"}, {"new", "device"}, {"client", "netdev"}, {"client", "device"}} {
		t.Run(by.port+" "+by.frontEnd, func(t *testing.T) {
			b := young.attach(ctx, t, host+2, by.port, "--front-end", by.frontEnd)
			for _, pair := range [][2]*rig.Peer{{a, b}, {b, a}} {
				if err := reach(ctx, pair[0], pair[1]); err != nil {
					t.Fatal(err)
				}
				job := stream.Job{Seed: 5, Sizes: []int{1448, 65536}, Bytes: 256 << 10}
				if _, err := rig.Stream(ctx, pair[0], pair[1], false, job); err != nil {
					t.Error(err)
				}
			}
			young.detach(ctx, t, by.port)
		})
	}
	old.detach(ctx, t, "old")
	if _, err := old.Ctl(ctx, "detach", "--qmp", old.qmp, "old"); err == nil || !strings.Contains(err.Error(), "QEMU has no such NIC") {
		t.Errorf("detaching again: %v, want that there is no such NIC", err)
	}
	d.CheckQuiet(t)
}

func monitorArgs(path string) []string {
	return []string{"-qmp", "unix:" + path + ",server=on,wait=off"}
}

// attach plugs a NIC at a port in and gives it the address number n.
func (h *host) attach(ctx context.Context, t *testing.T, n int, port string, options ...string) *rig.Peer {
	t.Helper()
	if _, err := h.Ctl(ctx, append([]string{"attach", "--qmp", h.qmp, port}, options...)...); err != nil {
		t.Fatal(err)
	}
	out, err := h.Ctl(ctx, "attach", "--list", "--qmp", h.qmp)
	if err != nil {
		t.Fatal(err)
	}
	asJSON, err := h.Ctl(ctx, "attach", "--list", "--json", "--qmp", h.qmp)
	if err != nil {
		t.Fatal(err)
	}
	var list []struct {
		Port      string `json:"port"`
		ID        string `json:"id"`
		Connected bool   `json:"connected"`
	}
	if err := json.Unmarshal([]byte(asJSON), &list); err != nil || len(list) != 1 || list[0].Port != port || list[0].ID != "nvgre-"+port || !list[0].Connected {
		t.Errorf("attach --list --json after attaching %s: %v, %+v", port, err, list)
	}
	if want := port + " "; !strings.Contains(out, "\n"+want) || !strings.Contains(out, " connected ") {
		t.Errorf("attach --list after attaching %s prints\n%s", port, out)
	}
	name, err := h.iface(ctx, h.Port(port).MAC, true)
	if err != nil {
		t.Fatal(err)
	}
	p := &rig.Peer{VM: h.VM, ID: port, Iface: name, IP4: fmt.Sprintf("10.0.0.%d", n), IP6: fmt.Sprintf("fd00::%x", n)}
	_, err = h.Shell(ctx, fmt.Sprintf("ip address add %s/24 dev %[3]s; ip address add %[2]s/64 dev %[3]s; ip link set %[3]s up", p.IP4, p.IP6, name))
	if err != nil {
		t.Fatal(err)
	}
	mtu, err := h.ReadFile(ctx, "/sys/class/net/"+name+"/mtu")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(mtu)); got != fmt.Sprint(attachMTU) {
		t.Errorf("MTU in the guest = %s, want the port's, %d", got, attachMTU)
	}
	if got := len(h.MustStatus(t).Port(port).Queues); got < 2*h.Port(port).QueuePairs {
		t.Errorf("port %s has %d queues in use, want both of %d pairs", port, got, h.Port(port).QueuePairs)
	}
	return p
}

// detach takes the NIC at a port out, and checks that nobody has it any more.
func (h *host) detach(ctx context.Context, t *testing.T, port string) {
	t.Helper()
	if _, err := h.Ctl(ctx, "detach", "--qmp", h.qmp, port); err != nil {
		t.Fatal(err)
	}
	if name, err := h.iface(ctx, h.Port(port).MAC, false); err != nil {
		t.Errorf("interface %s: %v", name, err)
	}
	_, err := h.WaitStatus(ctx, port+" is let go of", func(s *rig.Status) bool { return !s.Port(port).FrontEnd.Connected })
	if err != nil {
		t.Error(err)
	}
	h.checkClean(ctx, t)
}

// iface returns the name of the guest's interface with a MAC address once it is
// there, or once it is not.
func (h *host) iface(ctx context.Context, mac string, there bool) (string, error) {
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		all, err := h.NICs(ctx)
		if err != nil {
			return "", err
		}
		name := ""
		for _, n := range all {
			if n.MAC == mac {
				name = n.Name
			}
		}
		if (name != "") == there {
			return name, nil
		}
		if time.Now().After(end) {
			return name, fmt.Errorf("the guest has %+v; want one with %s: %v", all, mac, there)
		}
	}
}

// refuse attaches and fails the test unless that fails with what is wanted.
func (h *host) refuse(ctx context.Context, t *testing.T, want string, args ...string) {
	t.Helper()
	out, err := h.Ctl(ctx, append([]string{"attach", "--qmp", h.qmp}, args...)...)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("attach %q = %q, %v; want an error with %q", args, out, err, want)
	}
}

// checkClean fails the test if QEMU has anything of a NIC.
func (h *host) checkClean(ctx context.Context, t *testing.T) {
	t.Helper()
	for command, args := range map[string]any{
		"query-chardev":         nil,
		"qom-list":              map[string]string{"path": "/machine/peripheral"},
		"human-monitor-command": map[string]string{"command-line": "info network"},
	} {
		var result any
		if err := h.QMP().Execute(ctx, command, args, &result); err != nil {
			t.Fatal(err)
		}
		if text := fmt.Sprint(result); strings.Contains(text, "nvgre-new") || strings.Contains(text, "nvgre-old") || strings.Contains(text, "nvgre-client") {
			t.Errorf("left in QEMU, by %s: %s", command, text)
		}
	}
}

// testUnshared attaches to a QEMU whose guest, which never starts, has memory of
// its own.
func testUnshared(ctx context.Context, t *testing.T, d *rig.Daemon, dir *harness.Dir) {
	q, err := harness.Lab(t).QEMU(ctx, lab.NewQEMU)
	if err != nil {
		t.Fatal(err)
	}
	path, err := dir.Socket("unshared.qmp")
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-S", "-nodefaults", "-no-user-config", "-display", "none", "-accel", "tcg", "-m", "64M"}, monitorArgs(path)...)
	p, err := harness.StartProcess("QEMU with memory of its own", q.Command(ctx, args...), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	for {
		_, err := os.Stat(path)
		if err == nil {
			break
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-p.Done():
			t.Fatalf("%v\n%s", err, p.Stderr)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	h := &host{Daemon: d, qmp: path}
	h.refuse(ctx, t, "is not shared", "new")
}
