package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"vhost-user-nvgre/cmd/internal/control"
)

// example is a status with one of everything.
func example(now time.Time) *control.Status {
	since, end := now.Add(-61*time.Second), now.Add(-62*time.Second)
	return &control.Status{
		Version: "v0.1.0", PID: 4711, StartedAt: now.Add(-2 * time.Hour), Shards: 2, MACCapacity: 8192,
		ShardLoad: []control.Shard{
			{ID: 0, CPU: 2, BusyNS: 3600e9, PollingNS: 1800e9, AsleepNS: 1800e9, Wakeups: 100000, Frames: 12345678},
			{ID: 1, CPU: -1, AsleepNS: 7200e9},
		},
		Ports: []control.Port{
			{
				Name: "vm0", Socket: "/run/vm0.sock", Mode: "server", LinkUp: true, MAC: "36:94:c0:ee:51:4f",
				MTU: 9000, Speed: 10000, QueuePairs: 2, QueuePairsInUse: 2, ControlQueue: "front end",
				Offered: []string{
					"csum", "guest_csum", "mtu", "mac", "guest_tso4", "guest_tso6", "host_tso4", "host_tso6", "mrg_rxbuf",
					"status", "ctrl_vq", "ctrl_rx", "mq", "indirect_desc", "event_idx", "version_1", "speed_duplex",
				},
				Negotiated: []string{
					"csum", "guest_csum", "mtu", "guest_tso4", "guest_tso6", "host_tso4", "host_tso6", "mrg_rxbuf",
					"mq", "indirect_desc", "event_idx", "version_1",
				},
				RXFilter: &control.RXFilter{
					Source: "qmp", NIC: "nic0", Unicast: "listed", Multicast: "listed", Broadcast: true,
					UnicastTable: []string{}, MulticastTable: []string{"33:33:00:00:00:01", "01:00:5e:00:00:01"}, VLANFilter: true, VLANs: []int{5, 100},
				},
				Offloads: []string{"lso_ipv4", "lso_ipv6", "nvgre_rx_checksum", "nvgre_lso:inner_ipv4+outer_ipv4"},
				FrontEnd: control.FrontEnd{
					Connected: true, PID: 4242, ConnectedAt: &since, Sessions: 2, MemoryRegions: 1, MemoryBytes: 512 << 20,
					ProtocolFeatures: []string{"mq", "reply_ack"}, LastEnd: "front end disconnected", LastEndAt: &end,
				},
				Queues: []control.Queue{
					{Index: 0, Kind: "rx", State: "running", Size: 256, Shard: -1, Packets: 12345678, Bytes: 99999999999, Calls: 17, Drops: map[string]uint64{"rx_full": 3, "rx_filter": 40}, Checksums: &control.Checksums{OuterIP: control.ChecksumStates{Good: 7, Bad: 1}, Transport: control.ChecksumStates{Good: 6, Bad: 1, NotChecked: 2}}, Coalescing: &control.Coalescing{Packets: 900, Octets: 1303200, Events: 20, Aborts: 3, UDPPackets: 4, UDPOctets: 400, UDPEvents: 2}},
					{Index: 1, Kind: "tx", State: "running", Size: 256, Shard: 1, Packets: 5, Bytes: 300, Kicks: 4, Calls: 1, Waited: 2},
					{Index: 2, Kind: "rx", State: "disabled", Size: 256, Shard: -1},
					{Index: 3, Kind: "tx", State: "broken", Reason: "descriptor index 300, want below 256", Size: 256, Shard: 0},
				},
			},
			{
				Name: "wire", FD: 5, Mode: "server", MAC: "02:00:00:00:00:01", QueuePairs: 1, ControlQueue: "front end",
				Offered: []string{"csum", "version_1"},
			},
			{
				Name: "up0", Kind: "tap", Place: "interface tap0", LinkUp: true, QueuePairs: 2, QueuePairsInUse: 1,
				Negotiated: []string{"csum", "guest_csum", "host_tso4"},
				Queues: []control.Queue{
					{Index: 0, Kind: "rx", State: "running", Size: 16, Shard: -1, Packets: 5, Bytes: 300, Drops: map[string]uint64{"wire_down": 2}},
					{Index: 1, Kind: "tx", State: "broken", Reason: "tap device tap0 is gone: file descriptor in bad state", Size: 128, Shard: 0, Kicks: 3},
				},
			},
		},
		MACTable: []control.MACEntry{
			{MAC: "36:94:c0:ee:51:4f", Port: "vm0", Age: 3},
			{MAC: "36:94:c0:ee:51:4f", VLAN: 100, Port: "vm0"},
			{MAC: "02:00:00:00:00:01", Port: "wire", Age: 299},
		},
	}
}

// TestShow compares what is printed with files that people have looked at.
// UPDATE=1 rewrites them.
func TestShow(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	raw, err := json.Marshal(example(now))
	if err != nil {
		t.Fatal(err)
	}
	for file, port := range map[string]string{"show.txt": "", "show-vm0.txt": "vm0", "show-wire.txt": "wire", "show-up0.txt": "up0"} {
		var b strings.Builder
		if err := writeText(&b, raw, port, now); err != nil {
			t.Fatal(err)
		}
		path := "testdata/" + file
		if os.Getenv("UPDATE") != "" {
			if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := b.String(); got != string(want) {
			t.Errorf("show %s:\n%s\nwant, as in %s:\n%s", port, got, path, want)
		}
	}
}

func TestShowUnknownPort(t *testing.T) {
	raw, err := json.Marshal(example(time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	const want = "port vm7: there is no such port"
	if err := writeText(&b, raw, "vm7", time.Now()); err == nil || err.Error() != want {
		t.Errorf("writeText: %v, want %q", err, want)
	}
	if err := writeJSON(&b, raw, "vm7"); err == nil || err.Error() != want {
		t.Errorf("writeJSON: %v, want %q", err, want)
	}
	if b.Len() != 0 {
		t.Errorf("something was printed: %q", b.String())
	}
}

// Programs get every field a daemon sends, also one of a later version.
func TestJSONKeepsUnknownFields(t *testing.T) {
	const raw = `{"version":"v9","news":[1],"ports":[{"name":"a","news":{"x":2}}]}`
	for port, want := range map[string]string{
		"":  "{\n  \"version\": \"v9\",\n  \"news\": [\n    1\n  ],\n  \"ports\": [\n    {\n      \"name\": \"a\",\n      \"news\": {\n        \"x\": 2\n      }\n    }\n  ]\n}\n",
		"a": "{\n  \"name\": \"a\",\n  \"news\": {\n    \"x\": 2\n  }\n}\n",
	} {
		var b strings.Builder
		if err := writeJSON(&b, []byte(raw), port); err != nil || b.String() != want {
			t.Errorf("port %q: %v\n%s\nwant\n%s", port, err, b.String(), want)
		}
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB", 512 << 20: "512 MiB", 5 << 30: "5 GiB", 1<<64 - 1: "16 EiB",
	} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestCount(t *testing.T) {
	for want, got := range map[string]string{"0 ports": count(0, "port"), "1 address": count(1, "address"), "2 addresses": count(2, "address")} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestFilterInWords(t *testing.T) {
	many := make([]int, 17)
	for _, tt := range []struct {
		f    *control.RXFilter
		want string
	}{
		{nil, ""},
		{&control.RXFilter{Source: "none"}, "  rx filter  not known, so all frames are taken\n"},
		{&control.RXFilter{Source: "none", Error: "no NIC"}, "  rx filter  not known, so all frames are taken\n  qmp        no NIC\n"},
		{
			&control.RXFilter{Source: "control queue", Unicast: "listed", Multicast: "listed", Broadcast: true, VLANFilter: true},
			"  rx filter  by the control queue: its own address, no multicast, broadcast, no VLANs\n",
		},
		{
			&control.RXFilter{Source: "qmp", NIC: "n", Unicast: "listed", UnicastTable: []string{"x"}, Multicast: "all", VLANFilter: true, VLANs: many},
			"  rx filter  by QMP from n: its own address and 1 more, all multicast, no broadcast, 17 VLANs\n",
		},
		{
			&control.RXFilter{Source: "qmp", NIC: "n", Unicast: "none", Multicast: "none", Broadcast: true},
			"  rx filter  by QMP from n: no unicast, no multicast, broadcast, all VLANs\n",
		},
		{
			&control.RXFilter{Source: "qmp", NIC: "n", Unicast: "all", Multicast: "listed", MulticastTable: []string{"x"}, Broadcast: true},
			"  rx filter  by QMP from n: all unicast, 1 multicast address, broadcast, all VLANs\n",
		},
		{&control.RXFilter{Source: "qmp", NIC: "n", Promiscuous: true, Unicast: "none"}, "  rx filter  by QMP from n: all frames (promiscuous)\n"},
	} {
		var b strings.Builder
		renderFilter(&b, tt.f)
		if b.String() != tt.want {
			t.Errorf("renderFilter(%+v) = %q, want %q", tt.f, b.String(), tt.want)
		}
	}
}
