package harness

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vhost-user-nvgre/guest-tests/lab"
)

var (
	oldQEMU = &lab.QEMU{Major: 7, Minor: 2, Version: "7.2.22"}
	newQEMU = &lab.QEMU{Major: 11, Minor: 1, Version: "11.1.3"}
)

// add adds a NIC to a guest that does not run; files get numbers from 10 on.
func add(t *testing.T, q *lab.QEMU, accel string, n NIC) (*pluggedNIC, error) {
	t.Helper()
	vm := &VM{QEMU: q, accel: accel, nics: make(map[string]*pluggedNIC)}
	next := 9
	return vm.addNIC(n, 0, func(*os.File) int { next++; return next })
}

func TestNICCommandLines(t *testing.T) {
	tests := []struct {
		name                    string
		qemu                    *lab.QEMU
		kvm                     bool
		nic                     NIC
		chardev, netdev, device string
	}{
		{
			name: "vhost-user client", qemu: newQEMU,
			nic:     NIC{MAC: "52:54:00:00:00:01", Link: VhostUser{Socket: "/s"}},
			chardev: "socket,id=nic0-chr,path=/s",
			netdev:  "vhost-user,id=nic0-net,chardev=nic0-chr,queues=1",
			device:  "virtio-net-pci,id=nic0,netdev=nic0-net,mac=52:54:00:00:00:01,addr=10.0,romfile=",
		},
		{
			name: "vhost-user server, four pairs, properties in order", qemu: newQEMU,
			nic:     NIC{ID: "n", Queues: 4, Link: VhostUser{Socket: "/s", Server: true}, Props: map[string]any{"mrg_rxbuf": false, "host_mtu": 9000}},
			chardev: "socket,id=n-chr,path=/s,server=on,wait=off",
			netdev:  "vhost-user,id=n-net,chardev=n-chr,queues=4",
			device:  "virtio-net-pci,id=n,netdev=n-net,mq=on,vectors=10,addr=10.0,romfile=,host_mtu=9000,mrg_rxbuf=off",
		},
		{
			name: "reconnect in milliseconds", qemu: newQEMU,
			nic:     NIC{Link: VhostUser{Socket: "/a,b", ReconnectMS: 1500}},
			chardev: "socket,id=nic0-chr,path=/a,,b,reconnect-ms=1500",
			netdev:  "vhost-user,id=nic0-net,chardev=nic0-chr,queues=1",
			device:  "virtio-net-pci,id=nic0,netdev=nic0-net,addr=10.0,romfile=",
		},
		{
			name: "reconnect in seconds", qemu: oldQEMU, kvm: true,
			nic:     NIC{Link: VhostUser{Socket: "/s", ReconnectMS: 1500}},
			chardev: "socket,id=nic0-chr,path=/s,reconnect=2",
			netdev:  "vhost-user,id=nic0-net,chardev=nic0-chr,queues=1",
			device:  "virtio-net-pci,id=nic0,netdev=nic0-net,addr=10.0,romfile=",
		},
		{
			name: "no MSI-X on old QEMU under TCG", qemu: oldQEMU,
			nic:     NIC{Queues: 2, Link: VhostUser{Socket: "/s"}},
			chardev: "socket,id=nic0-chr,path=/s",
			netdev:  "vhost-user,id=nic0-net,chardev=nic0-chr,queues=2",
			device:  "virtio-net-pci,id=nic0,netdev=nic0-net,mq=on,vectors=0,addr=10.0,romfile=",
		},
		{
			name: "vectors as asked for", qemu: oldQEMU,
			nic:     NIC{Queues: 2, Link: VhostUser{Socket: "/s"}, Props: map[string]any{"vectors": 3}},
			chardev: "socket,id=nic0-chr,path=/s",
			netdev:  "vhost-user,id=nic0-net,chardev=nic0-chr,queues=2",
			device:  "virtio-net-pci,id=nic0,netdev=nic0-net,mq=on,addr=10.0,romfile=,vectors=3",
		},
		{
			name: "test device", qemu: newQEMU,
			nic:     NIC{Queues: 2, Link: TestDevice{Socket: "/s"}},
			chardev: "socket,id=nic0-chr,path=/s",
			device:  "vhost-user-test-device-pci,id=nic0,chardev=nic0-chr,virtio-id=1,num_vqs=5,vq_size=256,config_size=28,addr=10.0",
		},
		{
			name: "test device that listens waits for its back end", qemu: newQEMU,
			nic:     NIC{Link: TestDevice{Socket: "/s", Server: true, VQSize: 64, ConfigSize: 24}},
			chardev: "socket,id=nic0-chr,path=/s,server=on,wait=on",
			device:  "vhost-user-test-device-pci,id=nic0,chardev=nic0-chr,virtio-id=1,num_vqs=3,vq_size=64,config_size=24,addr=10.0",
		},
		{
			name: "tap", qemu: oldQEMU,
			nic:    NIC{Link: Tap{Files: make([]*os.File, 1)}},
			netdev: "tap,id=nic0-net,fd=10",
			device: "virtio-net-pci,id=nic0,netdev=nic0-net,addr=10.0,romfile=",
		},
		{
			name: "tap, two pairs", qemu: newQEMU,
			nic:    NIC{Queues: 2, Link: Tap{Files: make([]*os.File, 2)}},
			netdev: "tap,id=nic0-net,fds=10:11",
			device: "virtio-net-pci,id=nic0,netdev=nic0-net,mq=on,vectors=6,addr=10.0,romfile=",
		},
		{
			name: "stream", qemu: newQEMU,
			nic:    NIC{Link: Stream{Socket: "/s", Server: true}},
			netdev: "stream,id=nic0-net,server=on,addr.type=unix,addr.path=/s",
			device: "virtio-net-pci,id=nic0,netdev=nic0-net,addr=10.0,romfile=",
		},
		{
			name: "datagram", qemu: newQEMU,
			nic:    NIC{Link: Datagram{}},
			netdev: "dgram,id=nic0-net,local.type=fd,local.str=10",
			device: "virtio-net-pci,id=nic0,netdev=nic0-net,addr=10.0,romfile=",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			accel := lab.TCG
			if tt.kvm {
				accel = lab.KVM
			}
			p, err := add(t, tt.qemu, accel, tt.nic)
			if err != nil {
				t.Fatalf("addNIC(%+v) = %v", tt.nic, err)
			}
			chardev := ""
			if p.objects.chardev != nil {
				chardev = p.objects.chardev.commandLine(tt.qemu)
			}
			for _, c := range [][3]string{
				{"-chardev", chardev, tt.chardev},
				{"-netdev", commandLine(p.objects.netdev), tt.netdev},
				{"-device", commandLine(p.objects.device), tt.device},
			} {
				if c[1] != c[2] {
					t.Errorf("%s\n got %s\nwant %s", c[0], c[1], c[2])
				}
			}
		})
	}
}

func TestNICRefused(t *testing.T) {
	tests := []struct {
		name string
		qemu *lab.QEMU
		nic  NIC
		want string
	}{
		{"no link", newQEMU, NIC{}, "no Link"},
		{"no socket", newQEMU, NIC{Link: VhostUser{}}, "without Socket"},
		{"no socket", newQEMU, NIC{Link: TestDevice{}}, "without Socket"},
		{"no socket", newQEMU, NIC{Link: Stream{}}, "without Socket"},
		{"server reconnects", newQEMU, NIC{Link: VhostUser{Socket: "/s", Server: true, ReconnectMS: 1}}, "only a client"},
		{"test device on old QEMU", oldQEMU, NIC{Link: TestDevice{Socket: "/s"}}, "10.2"},
		{"MAC of a test device", newQEMU, NIC{MAC: "52:54:00:00:00:01", Link: TestDevice{Socket: "/s"}}, "MAC"},
		{"tap files", newQEMU, NIC{Queues: 2, Link: Tap{Files: make([]*os.File, 1)}}, "1 files for 2"},
	}
	for _, tt := range tests {
		if _, err := add(t, tt.qemu, lab.TCG, tt.nic); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: addNIC() = %v, want an error with %q", tt.name, err, tt.want)
		}
	}
	vm := &VM{QEMU: newQEMU, nics: make(map[string]*pluggedNIC)}
	for _, l := range []Link{Tap{Files: make([]*os.File, 1)}, Datagram{}} {
		if _, err := vm.addNIC(NIC{Link: l}, -1, nil); err == nil {
			t.Errorf("%T can be plugged into a running guest, want an error", l)
		}
	}
}

func TestSlots(t *testing.T) {
	vm := &VM{QEMU: newQEMU, nics: make(map[string]*pluggedNIC)}
	var ids []string
	for {
		p, err := vm.addNIC(NIC{Link: Stream{Socket: "/s"}}, -1, nil)
		if err != nil {
			break
		}
		ids = append(ids, p.ID+" "+p.address())
	}
	if len(ids) != lastSlot-firstSlot+1 || ids[0] != "nic0 0000:00:10.0" || ids[14] != "nic14 0000:00:1e.0" {
		t.Errorf("NICs until the bus is full: %q", ids)
	}
	vm.forgetNIC("nic3")
	if p, err := vm.addNIC(NIC{Link: Stream{Socket: "/s"}}, -1, nil); err != nil || p.ID != "nic3" || p.slot != firstSlot+3 {
		t.Errorf("after nic3 went: %+v, %v, want it to be free", p, err)
	}
	if _, err := vm.addNIC(NIC{ID: "nic3", Link: Stream{Socket: "/s"}}, -1, nil); err == nil {
		t.Error("a second nic3 = nil error")
	}
}

func TestArguments(t *testing.T) {
	got := arguments([]prop{{"type", "stream"}, {"server", true}, {"addr.type", "unix"}, {"addr.path", "/s"}, {"queues", 2}})
	want := map[string]any{
		"type": "stream", "server": true, "queues": 2,
		"addr": map[string]any{"type": "unix", "path": "/s"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("arguments() (-want +got):\n%s", diff)
	}
	chr := &chardev{id: "c", path: "/s", server: true, wait: false}
	want = map[string]any{"id": "c", "backend": map[string]any{"type": "socket", "data": map[string]any{
		"addr":   map[string]any{"type": "unix", "data": map[string]any{"path": "/s"}},
		"server": true, "wait": false,
	}}}
	if diff := cmp.Diff(want, chr.arguments(newQEMU)); diff != "" {
		t.Errorf("chardev arguments (-want +got):\n%s", diff)
	}
}
