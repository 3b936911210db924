package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vhost-user-nvgre/cmd/internal/control"
	"vhost-user-nvgre/cmd/internal/hotplug"
)

func TestDescribeNIC(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	s := &control.Status{PID: os.Getpid(), Ports: []control.Port{
		{Name: "vm0", Kind: "vhost-user", Socket: "/run/vm0.sock", Mode: "server", QueuePairs: 2, MAC: "52:54:00:00:00:01", MTU: 1400, Speed: 10000},
		{Name: "vm1", Kind: "vhost-user", Socket: "vm1.sock", Mode: "client", QueuePairs: 1, MAC: "52:54:00:00:00:02"},
		{Name: "used", Kind: "vhost-user", Socket: "/run/used.sock", Mode: "server", FrontEnd: control.FrontEnd{Connected: true, PID: 77}},
		{Name: "foreign", Kind: "vhost-user", Socket: "/run/f.sock", Mode: "server", FrontEnd: control.FrontEnd{Connected: true}},
		{Name: "inherited", Kind: "vhost-user", FD: 3, Mode: "server"},
		{Name: "up0", Kind: "tap"},
	}}
	for _, tt := range []struct {
		port string
		nic  hotplug.NIC // as the flags have it
		want hotplug.NIC
		err  string
	}{
		{port: "vm0", nic: hotplug.NIC{FrontEnd: hotplug.Netdev}, want: hotplug.NIC{
			ID: "nvgre-vm0", FrontEnd: hotplug.Netdev, Socket: "/run/vm0.sock", QueuePairs: 2, MAC: "52:54:00:00:00:01", MTU: 1400, Speed: 10000,
		}},
		{port: "vm1", nic: hotplug.NIC{ID: "n", FrontEnd: hotplug.Device, Bus: "b", Addr: "5.0"}, want: hotplug.NIC{
			ID: "n", FrontEnd: hotplug.Device, Socket: filepath.Join(here, "vm1.sock"), Listen: true, QueuePairs: 1, MAC: "52:54:00:00:00:02", Bus: "b", Addr: "5.0",
		}},
		{port: "vm9", err: "port vm9: there is no such port"},
		{port: "used", err: "port used: a front end is connected already, process 77"},
		{port: "foreign", err: "port foreign: a front end is connected already"},
		{port: "inherited", err: "port inherited: it has an inherited socket"},
		{port: "up0", err: "port up0: no QEMU can be attached to a port of kind tap"},
	} {
		t.Run(tt.port, func(t *testing.T) {
			got := tt.nic
			err := describeNIC(&got, s, tt.port)
			if tt.err != "" {
				if err == nil || !strings.HasPrefix(err.Error(), tt.err) {
					t.Errorf("describeNIC(%s) = %v, want an error that begins with %q", tt.port, err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatalf("describeNIC(%s) = %v, want nil", tt.port, err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("describeNIC(%s) differs (-want +got):\n%s", tt.port, diff)
			}
		})
	}
	want := map[string]string{
		"/run/vm0.sock": "vm0", filepath.Join(here, "vm1.sock"): "vm1", "/run/used.sock": "used", "/run/f.sock": "foreign",
	}
	if diff := cmp.Diff(want, portsBySocket(s)); diff != "" {
		t.Errorf("portsBySocket() differs (-want +got):\n%s", diff)
	}
	s.PID = -1
	if err := describeNIC(&hotplug.NIC{}, s, "vm1"); err == nil || !strings.Contains(err.Error(), "which is not known") {
		t.Errorf("describeNIC(vm1) of a daemon that is gone = %v, want that its folder is not known", err)
	}
}

func TestListAttached(t *testing.T) {
	s := &control.Status{Ports: []control.Port{{Name: "vm0", Kind: "vhost-user", Socket: "/run/vm0.sock"}, {Name: "vm1", Kind: "vhost-user", Socket: "/run/vm1.sock"}}}
	all := []hotplug.Attached{
		{ID: "a", Driver: "virtio-net-pci", Netdev: "a-net", Chardev: "a-chr", Socket: "/run/vm0.sock", Connected: true},
		{ID: "b", Driver: "virtio-net-pci", Socket: "/run/another.sock"},
		{ID: "c", Driver: "vhost-user-test-device-pci", Chardev: "c-chr", Socket: "/run//vm1.sock"},
	}
	const asText = "PORT  ID  DEVICE                      STATE         SOCKET\n" +
		"vm0   a   virtio-net-pci              connected     /run/vm0.sock\n" +
		"vm1   c   vhost-user-test-device-pci  disconnected  /run//vm1.sock\n"
	const asJSON = `[
  {
    "port": "vm0",
    "id": "a",
    "device": "virtio-net-pci",
    "netdev": "a-net",
    "chardev": "a-chr",
    "socket": "/run/vm0.sock",
    "connected": true
  },
  {
    "port": "vm1",
    "id": "c",
    "device": "vhost-user-test-device-pci",
    "chardev": "c-chr",
    "socket": "/run//vm1.sock",
    "connected": false
  }
]
`
	for _, tt := range []struct {
		all    []hotplug.Attached
		asJSON bool
		want   string
	}{{all, false, asText}, {all, true, asJSON}, {nil, false, ""}, {nil, true, "[]\n"}} {
		var b strings.Builder
		if err := writeAttached(&b, attachedTo(s, tt.all), tt.asJSON); err != nil || b.String() != tt.want {
			t.Errorf("%d NICs, JSON %v: %v, got\n%s\nwant\n%s", len(tt.all), tt.asJSON, err, b.String(), tt.want)
		}
	}
}
