package hotplug

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// plugged returns a QEMU with a NIC.
func plugged(t *testing.T, f *fakeQEMU, n *NIC) *QEMU {
	t.Helper()
	q := f.connect(t)
	if err := q.Attach(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	f.said = nil
	return q
}

func TestDetachCommands(t *testing.T) {
	for _, tt := range []struct {
		frontEnd FrontEnd
		want     []string
	}{
		{Netdev, []string{`device_del {"id":"nvgre-vm0"}`, `netdev_del {"id":"nvgre-vm0-net"}`, `chardev-remove {"id":"nvgre-vm0-chr"}`}},
		{Device, []string{`device_del {"id":"nvgre-vm0"}`, `chardev-remove {"id":"nvgre-vm0-chr"}`}},
	} {
		f := newFake()
		q := plugged(t, f, nic(tt.frontEnd, false))
		if err := q.Detach(t.Context(), "nvgre-vm0"); err != nil {
			t.Errorf("Detach() of %s = %v, want nil", tt.frontEnd, err)
		}
		if diff := cmp.Diff(tt.want, f.changes()); diff != "" {
			t.Errorf("Detach() of %s: commands differ (-want +got):\n%s", tt.frontEnd, diff)
		}
		if left := f.left(); len(left) > 0 {
			t.Errorf("Detach() of %s leaves %q", tt.frontEnd, left)
		}
		if err := q.Detach(t.Context(), "nvgre-vm0"); !errors.Is(err, ErrNoNIC) {
			t.Errorf("Detach() of %s again = %v, want %v", tt.frontEnd, err, ErrNoNIC)
		}
	}
}

// QEMU lets go of a chardev a moment after the device has gone.
func TestDetachWaitsForTheChardev(t *testing.T) {
	f := newFake()
	q := plugged(t, f, nic(Device, false))
	f.busy["nvgre-vm0-chr"] = 2
	if err := q.Detach(t.Context(), "nvgre-vm0"); err != nil || len(f.left()) > 0 {
		t.Errorf("Detach() = %v, leaves %q, want nil and nothing", err, f.left())
	}
}

// While the guest has the device, nothing may be taken from under it. What is
// left when it has let go of it later is removed then.
func TestDetachOfAGuestThatDoesNotLetGo(t *testing.T) {
	for guest, want := range map[string]string{refuses: "DEVICE_UNPLUG_GUEST_ERROR", ignores: "the guest has not let go of it"} {
		t.Run(guest, func(t *testing.T) {
			f := newFake()
			q := plugged(t, f, nic(Netdev, false))
			before := f.left()
			f.guest = guest
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
			defer cancel()
			if guest == refuses {
				ctx = t.Context()
			}
			if err := q.Detach(ctx, "nvgre-vm0"); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Detach() = %v, want an error with %q", err, want)
			}
			if diff := cmp.Diff(before, f.left()); diff != "" {
				t.Errorf("Detach() changed QEMU (-before +after):\n%s", diff)
			}
			f.mu.Lock()
			delete(f.devices, "nvgre-vm0")
			f.mu.Unlock()
			if err := q.Detach(t.Context(), "nvgre-vm0"); err != nil || len(f.left()) > 0 {
				t.Errorf("Detach() of what is left = %v, leaves %q, want nil and nothing", err, f.left())
			}
		})
	}
}

// A request that is under way is waited for, not failed.
func TestDetachTwice(t *testing.T) {
	f := newFake()
	q := plugged(t, f, nic(Netdev, false))
	asked := make(chan struct{})
	f.onCommand = func(_ int, name string) string {
		if name == "device_del" {
			close(asked)
			return "Device nvgre-vm0 is already in the process of unplug"
		}
		return ""
	}
	go func() {
		<-asked
		_, event := f.effect("device_del", map[string]any{"id": "nvgre-vm0"})
		_, _ = f.conn.Write([]byte(event + "\r\n")) // A failure shows in the test.
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := q.Detach(ctx, "nvgre-vm0"); err != nil {
		t.Errorf("Detach() = %v, want nil", err)
	}
}

// The end of another device is not that of this one.
func TestDetachHeedsItsOwnDeviceOnly(t *testing.T) {
	f := newFake()
	q := plugged(t, f, nic(Netdev, false))
	before := f.left()
	f.guest = another
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := q.Detach(ctx, "nvgre-vm0"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Detach() = %v, want %v: only another device has gone", err, context.DeadlineExceeded)
	}
	if diff := cmp.Diff(before, f.left()); diff != "" {
		t.Errorf("Detach() changed QEMU (-before +after):\n%s", diff)
	}
}

// A device that is none of ours stays, whatever it is.
func TestDetachOfSomethingElse(t *testing.T) {
	for _, device := range []map[string]any{
		{"driver": "virtio-blk-pci"},
		{"driver": "virtio-net-pci", "netdev": "tap0"},
		{"driver": testDevice, "virtio-id": 4.0, "chardev": "c"},
	} {
		f := newFake()
		f.devices["d"] = device
		q := f.connect(t)
		if err := q.Detach(t.Context(), "d"); err == nil || !strings.Contains(err.Error(), "does not lead to a vhost-user socket") {
			t.Errorf("Detach() of %v = %v, want an error", device, err)
		}
		if changes := f.changes(); len(changes) > 0 {
			t.Errorf("Detach() of %v changed something: %q", device, changes)
		}
	}
}

// What is there is found by where it leads, not by what it is called.
func TestList(t *testing.T) {
	f := newFake()
	q := f.connect(t)
	chardev := func(path string) map[string]any {
		return map[string]any{"backend": map[string]any{"data": map[string]any{"addr": map[string]any{"data": map[string]any{"path": path}}}}}
	}
	f.chardevs["c0"], f.chardevs["c1"] = chardev("/run/vm0.sock"), chardev("/run/vm1.sock")
	f.netdevs["n0"] = map[string]any{"chardev": "c0", "queues": 2.0}
	f.netdevs["unused"] = map[string]any{"chardev": "c9", "queues": 1.0}
	f.devices["a"] = map[string]any{"driver": "virtio-net-pci", "netdev": "n0"}
	f.devices["b"] = map[string]any{"driver": testDevice, "virtio-id": 1.0, "chardev": "c1"}
	f.devices["disk"] = map[string]any{"driver": "virtio-blk-pci"}
	f.devices["tap"] = map[string]any{"driver": "virtio-net-pci", "netdev": "t0"}
	got, err := q.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []Attached{
		{ID: "a", Path: "/machine/peripheral/a", Driver: "virtio-net-pci", Netdev: "n0", Client: "a", Chardev: "c0", Socket: "/run/vm0.sock", Connected: true},
		{ID: "b", Path: "/machine/peripheral/b", Driver: testDevice, Chardev: "c1", Socket: "/run/vm1.sock", Connected: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("List() differs (-want +got):\n%s", diff)
	}
	if err := q.Detach(t.Context(), "a"); err != nil {
		t.Errorf("Detach() of a NIC with names of its own = %v, want nil", err)
	}
	if diff := cmp.Diff([]string{"chardev c1", "device b", "device disk", "device tap", "netdev unused"}, f.left()); diff != "" {
		t.Errorf("after Detach() QEMU has (-want +got):\n%s", diff)
	}
}

// Lines as QEMU 7.2 and 11.1 print them.
func TestNetdevsOfTheMonitor(t *testing.T) {
	const text = "virtio-net-pci.0: index=0,type=nic,model=virtio-net-pci,macaddr=52:54:00:00:00:01\r\n" +
		" \\ t0: index=0,type=tap,ifname=tap0,script=no,downscript=no\r\n" +
		"n: index=0,type=nic,model=virtio-net-pci,macaddr=52:54:00:00:00:01\r\n" +
		" \\ n-net: index=0,type=vhost-user,vhost-user0 to n-chr\r\n" +
		"n: index=1,type=nic,\r\n" +
		" \\ n-net: index=1,type=vhost-user,vhost-user1 to n-chr\r\n" +
		"hub 0\r\n" +
		"u0: index=0,type=user,net=10.0.2.0,restrict=off\r\n" +
		"s.net: index=0,type=vhost-user,vhost-user0 to s.chr\r\n"
	want := map[string]netdev{"n-net": {"n-chr", "n"}, "s.net": {"s.chr", ""}}
	if diff := cmp.Diff(want, netdevsIn(text), cmp.AllowUnexported(netdev{})); diff != "" {
		t.Errorf("netdevs of\n%s\ndiffer (-want +got):\n%s", text, diff)
	}
}
