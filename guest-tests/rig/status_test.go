package rig

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const before = `{"ports": [
	{"name": "vm0", "queues": [
		{"index": 0, "kind": "rx", "packets": 10, "bytes": 1000, "calls": 3, "drops": {"rx_full": 2, "rx_filter": 1}},
		{"index": 1, "kind": "tx", "packets": 5, "bytes": 500, "kicks": 4}
	]}
]}`

const after = `{"ports": [
	{"name": "vm0", "queues": [
		{"index": 0, "kind": "rx", "packets": 30, "bytes": 3000, "calls": 4, "drops": {"rx_full": 2, "rx_filter": 4}},
		{"index": 1, "kind": "tx", "packets": 5, "bytes": 500, "kicks": 4},
		{"index": 2, "kind": "rx", "packets": 1, "bytes": 60, "state": "broken", "reason": "why"}
	]},
	{"name": "vm1", "queues": [{"index": 0, "kind": "rx", "packets": 7, "bytes": 70}]}
]}`

func parse(t *testing.T, text string) *Status {
	t.Helper()
	s := &Status{}
	if err := json.Unmarshal([]byte(text), s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSince(t *testing.T) {
	now := parse(t, after)
	got := now.Since(parse(t, before))
	want := []QueueStatus{
		{Index: 0, Kind: RX, Packets: 20, Bytes: 2000, Calls: 1, Drops: map[string]uint64{"rx_filter": 3}},
		{Index: 2, Kind: RX, Packets: 1, Bytes: 60, State: "broken", Reason: "why"},
	}
	if diff := cmp.Diff(want, got.Port("vm0").Queues); diff != "" {
		t.Errorf("Since(): queues of a port that was there (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]QueueStatus{{Kind: RX, Packets: 7, Bytes: 70}}, got.Port("vm1").Queues); diff != "" {
		t.Errorf("Since(): queues of a new port (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(parse(t, after), now); diff != "" {
		t.Errorf("Since() changed its receiver (-want +got):\n%s", diff)
	}
	if got.Port("vm2") != nil {
		t.Error("Port() of a name that is not there is not nil")
	}
}

func TestSums(t *testing.T) {
	s := parse(t, after)
	p := s.Port("vm0")
	if sum := p.Total(RX); sum.Packets != 31 || sum.Bytes != 3060 || sum.Drops["rx_filter"] != 4 {
		t.Errorf("Total(rx) = %+v, want 31 packets, 3060 bytes, 4 filtered", sum)
	}
	if n := p.Used(RX, 2); n != 1 {
		t.Errorf("Used(rx, 2) = %d, want 1", n)
	}
	if n := p.Used(RX, 1); n != 2 {
		t.Errorf("Used(rx, 1) = %d, want 2", n)
	}
	if diff := cmp.Diff(map[string]uint64{"rx_full": 2, "rx_filter": 4}, s.Drops()); diff != "" {
		t.Errorf("Drops() (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"vm0 rx: why"}, s.Broken()); diff != "" {
		t.Errorf("Broken() (-want +got):\n%s", diff)
	}
}
