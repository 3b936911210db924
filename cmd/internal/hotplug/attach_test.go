package hotplug

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// nic returns a NIC of either kind.
func nic(f FrontEnd, listen bool) *NIC {
	return &NIC{
		ID: "nvgre-vm0", FrontEnd: f, Socket: "/run/vm0.sock", Listen: listen,
		QueuePairs: 2, MAC: "52:54:00:00:00:01", MTU: 1400, Speed: 10000,
	}
}

// What QEMU is told, in its order.
func TestAttachCommands(t *testing.T) {
	chardev := func(more string) string {
		return `chardev-add {"backend":{"data":{"addr":{"data":{"path":"/run/vm0.sock"},"type":"unix"},` + more + `},"type":"socket"},"id":"nvgre-vm0-chr"}`
	}
	const (
		remove = `chardev-remove {"id":"nvgre-vm0-chr"}`
		netdev = `netdev_add {"chardev":"nvgre-vm0-chr","id":"nvgre-vm0-net","queues":2,"type":"vhost-user"}`
		virtio = `device_add {"driver":"virtio-net-pci","duplex":"full","host_mtu":1400,"id":"nvgre-vm0","mac":"52:54:00:00:00:01",` +
			`"mq":true,"netdev":"nvgre-vm0-net","romfile":"","speed":10000,"vectors":6}`
		device = `device_add {"chardev":"nvgre-vm0-chr","config_size":28,"driver":"vhost-user-test-device-pci","id":"nvgre-vm0",` +
			`"num_vqs":5,"virtio-id":1,"vq_size":256}`
	)
	tests := []struct {
		name    string
		nic     *NIC
		version [3]int
		kvm     bool
		want    []string
	}{
		{"netdev", nic(Netdev, false), [3]int{11, 1, 3}, false, []string{
			chardev(`"server":false`), remove, chardev(`"reconnect-ms":1000,"server":false`), netdev, virtio,
		}},
		{"netdev, QEMU counts in seconds", nic(Netdev, false), [3]int{9, 1, 0}, false, []string{
			chardev(`"server":false`), remove, chardev(`"reconnect":1,"server":false`), netdev, virtio,
		}},
		{"netdev, QEMU crashes on vectors", nic(Netdev, false), [3]int{7, 2, 22}, false, []string{
			chardev(`"server":false`), remove, chardev(`"reconnect":1,"server":false`), netdev,
			strings.Replace(virtio, `"vectors":6`, `"vectors":0`, 1),
		}},
		{"netdev, old QEMU with KVM", nic(Netdev, false), [3]int{7, 2, 22}, true, []string{
			chardev(`"server":false`), remove, chardev(`"reconnect":1,"server":false`), netdev, virtio,
		}},
		{"netdev, QEMU listens", nic(Netdev, true), [3]int{11, 1, 3}, false, []string{
			chardev(`"server":true,"wait":false`), netdev, virtio,
		}},
		{"device", nic(Device, false), [3]int{11, 1, 3}, false, []string{chardev(`"server":false`), device}},
		{"device, QEMU listens", nic(Device, true), [3]int{11, 1, 3}, false, []string{chardev(`"server":true,"wait":false`), device}},
		{"one pair, nothing more known", &NIC{
			ID: "x", FrontEnd: Netdev, Socket: "/s", Listen: true, QueuePairs: 1, Bus: "pci.1", Addr: "5.0",
		}, [3]int{11, 1, 3}, false, []string{
			`chardev-add {"backend":{"data":{"addr":{"data":{"path":"/s"},"type":"unix"},"server":true,"wait":false},"type":"socket"},"id":"x-chr"}`,
			`netdev_add {"chardev":"x-chr","id":"x-net","queues":1,"type":"vhost-user"}`,
			`device_add {"addr":"5.0","bus":"pci.1","driver":"virtio-net-pci","id":"x","mq":false,"netdev":"x-net","romfile":"","vectors":4}`,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake()
			f.version, f.kvm = tt.version, tt.kvm
			if err := f.connect(t).Attach(t.Context(), tt.nic); err != nil {
				t.Fatalf("Attach(%+v) = %v, want nil", tt.nic, err)
			}
			if diff := cmp.Diff(tt.want, f.changes()); diff != "" {
				t.Errorf("Attach(%+v): commands differ (-want +got):\n%s", tt.nic, diff)
			}
		})
	}
}

// everyWay calls do for each kind of NIC and each command that attaching it
// takes, by its number.
func everyWay(t *testing.T, do func(t *testing.T, n *NIC, fails int)) {
	t.Helper()
	for _, frontEnd := range []FrontEnd{Netdev, Device} {
		for _, listen := range []bool{false, true} {
			n := nic(frontEnd, listen)
			f := newFake()
			if err := f.connect(t).Attach(t.Context(), n); err != nil {
				t.Fatal(err)
			}
			for i, command := range f.said {
				name, _, _ := strings.Cut(command, " ")
				t.Run(fmt.Sprintf("%s listen=%v %d %s", frontEnd, listen, i, name), func(t *testing.T) { do(t, n, i) })
			}
		}
	}
}

func TestAttachRefusedIsUndone(t *testing.T) {
	// What only asks for what QEMU need not know may be refused.
	asks := []string{"query-memdev", "query-memory-devices", `qom-get {"path":"/machine","property":"memory-backend"}`}
	everyWay(t, func(t *testing.T, n *NIC, fails int) {
		f := newFake()
		f.onCommand = func(i int, _ string) string {
			if i == fails {
				return "This is how QEMU says it"
			}
			return ""
		}
		err := f.connect(t).Attach(t.Context(), n)
		if slices.Contains(asks, f.said[fails]) {
			if err != nil {
				t.Errorf("Attach() with %s refused = %v, want nil", f.said[fails], err)
			}
			return
		}
		if err == nil || !strings.Contains(err.Error(), "This is how QEMU says it") {
			t.Errorf("Attach() with %s refused = %v, want QEMU's words", f.said[fails], err)
		}
		if left := f.left(); len(left) > 0 {
			t.Errorf("Attach() with %s refused leaves %q", f.said[fails], left)
		}
	})
}

// A command may take effect though its reply does not come.
func TestAttachUnansweredIsUndone(t *testing.T) {
	everyWay(t, func(t *testing.T, n *NIC, fails int) {
		f := newFake()
		f.onCommand = func(i int, _ string) string {
			if i == fails {
				return effectOnly
			}
			return ""
		}
		q := f.connect(t)
		q.commandTime = 20 * time.Millisecond
		if err := q.Attach(t.Context(), n); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Attach() = %v, want %v", err, context.DeadlineExceeded)
		}
		if left := f.left(); len(left) > 0 {
			t.Errorf("Attach() without a reply leaves %q", left)
		}
	})
}

func TestAttachInterruptedIsUndone(t *testing.T) {
	everyWay(t, func(t *testing.T, n *NIC, at int) {
		f := newFake()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		last := false
		f.onCommand = func(i int, name string) string {
			if i == at {
				cancel()
				last = name == "device_add"
				if name != "chardev-remove" {
					f.busy["nvgre-vm0-chr"] = 1 // Undoing waits, though ctx is over.
				}
			}
			return ""
		}
		err := f.connect(t).Attach(ctx, n)
		if last { // Then it is there.
			if err != nil {
				t.Errorf("Attach() interrupted in its last command = %v, want nil", err)
			}
			return
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Attach() = %v, want %v", err, context.Canceled)
		}
		if left := f.left(); len(left) > 0 {
			t.Errorf("Attach() interrupted leaves %q", left)
		}
	})
}

func TestAttachSaysWhatIsLeft(t *testing.T) {
	for _, tt := range []struct {
		name string
		on   func(int, string) string
		want []string
	}{
		{"undoing refused", func(_ int, name string) string {
			if name == "device_add" || name == "netdev_del" {
				return name + " does not work"
			}
			return ""
		}, []string{"device_add does not work", "netdev nvgre-vm0-net may be left in QEMU", "netdev_del does not work"}},
		{"QEMU goes", func(_ int, name string) string {
			if name == "netdev_add" {
				return hangUp
			}
			return ""
		}, []string{"netdev nvgre-vm0-net may be left in QEMU", "chardev nvgre-vm0-chr may be left in QEMU"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake()
			f.onCommand = tt.on
			q := f.connect(t)
			q.commandTime = 100 * time.Millisecond
			err := q.Attach(t.Context(), nic(Netdev, false))
			for _, want := range tt.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("Attach() = %v, want it to say %q", err, want)
				}
			}
		})
	}
}

// What somebody else made is not taken away.
func TestAttachKeepsOthers(t *testing.T) {
	f := newFake()
	q := f.connect(t)
	if err := q.Attach(t.Context(), nic(Netdev, false)); err != nil {
		t.Fatal(err)
	}
	before := f.left()
	if err := q.Attach(t.Context(), nic(Netdev, false)); err == nil || !strings.Contains(err.Error(), "Chardev with id 'nvgre-vm0-chr' already exists") {
		t.Errorf("Attach() of an ID there is = %v, want QEMU's words", err)
	}
	if diff := cmp.Diff(before, f.left()); diff != "" {
		t.Errorf("Attach() of an ID there is changed QEMU (-before +after):\n%s", diff)
	}

	// Nobody uses this one yet, so that nothing but restraint keeps it.
	f = newFake()
	f.chardevs["nvgre-vm0-chr"] = map[string]any{}
	if err := f.connect(t).Attach(t.Context(), nic(Netdev, false)); err == nil {
		t.Error("Attach() with a chardev of that ID there = nil, want an error")
	}
	if diff := cmp.Diff([]string{"chardev nvgre-vm0-chr"}, f.left()); diff != "" {
		t.Errorf("after Attach() with a chardev of that ID there QEMU has (-want +got):\n%s", diff)
	}
}

func TestAttachWaitsForTheDaemon(t *testing.T) {
	f := newFake()
	f.never = true
	q := f.connect(t)
	q.connectTime = 30 * time.Millisecond
	if err := q.Attach(t.Context(), nic(Netdev, true)); err == nil || !strings.Contains(err.Error(), "the daemon has not connected") {
		t.Errorf("Attach() without a daemon = %v, want that it has not connected", err)
	}
	if left := f.left(); len(left) > 0 {
		t.Errorf("Attach() without a daemon leaves %q", left)
	}
}

func TestAttachLooksAhead(t *testing.T) {
	shared, private := `{"id": "mem", "share": true}`, `{"id": "own", "share": false}`
	for _, tt := range []struct {
		name   string
		change func(*fakeQEMU, *NIC)
		want   string // "": it works
	}{
		{"no id", func(_ *fakeQEMU, n *NIC) { n.ID = "" }, "no id"},
		{"no front end", func(_ *fakeQEMU, n *NIC) { n.FrontEnd = "tap" }, `front end "tap": want netdev or device`},
		{"relative path", func(_ *fakeQEMU, n *NIC) { n.Socket = "a.sock" }, `socket "a.sock": want an absolute path`},
		{"no queues", func(_ *fakeQEMU, n *NIC) { n.QueuePairs = 0 }, "0 queue pairs: want 1 at least"},
		{"no such device", func(f *fakeQEMU, n *NIC) { f.noTest, n.FrontEnd = true, Device }, "Device 'vhost-user-test-device-pci' not found"},
		{"device not asked for", func(f *fakeQEMU, _ *NIC) { f.noTest = true }, ""},
		{"private memory", func(f *fakeQEMU, _ *NIC) {
			f.memory, f.backend = `[{"id": "pc.ram", "share": false}]`, "/objects/pc.ram"
		}, `memory "pc.ram" is not shared`},
		{"private memory of something else", func(f *fakeQEMU, _ *NIC) { f.memory = "[" + shared + "," + private + "]" }, ""},
		{"private memory in a NUMA node", func(f *fakeQEMU, _ *NIC) {
			f.memory, f.backend = "["+shared+","+private+"]", ""
		}, `memory "own" is not shared`},
		{"private memory plugged in", func(f *fakeQEMU, _ *NIC) {
			f.memory, f.dimms = "["+shared+","+private+"]", `[{"type": "dimm", "data": {"memdev": "/objects/own"}}]`
		}, `memory "own" is not shared`},
		{"QEMU does not tell", func(f *fakeQEMU, _ *NIC) { f.memory = `[{"id": "mem"}]` }, ""},
		{"shared memory without a file", func(f *fakeQEMU, _ *NIC) {
			f.memType, f.version = "memory-backend-ram", [3]int{9, 2, 0}
		}, `memory "mem" is a memory-backend-ram`},
		{"shared memory with a file", func(f *fakeQEMU, _ *NIC) { f.memType = "memory-backend-ram" }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, n := newFake(), nic(Netdev, false)
			tt.change(f, n)
			err := f.connect(t).Attach(t.Context(), n)
			if tt.want == "" {
				if err != nil {
					t.Errorf("Attach() = %v, want nil", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Attach() = %v, want an error with %q", err, tt.want)
			}
			if changes := f.changes(); len(changes) > 0 {
				t.Errorf("Attach() changed something: %q", changes)
			}
		})
	}
}

func TestDialFailures(t *testing.T) {
	path := filepath.Join(t.TempDir(), "qmp")
	if _, err := Dial(t.Context(), path); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("Dial() of no socket = %v, want that there is none", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, path); err == nil || !strings.Contains(err.Error(), "is another client connected?") {
		t.Errorf("Dial() of a monitor that is busy = %v, want that somebody may have it", err)
	}
}
