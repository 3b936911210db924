package oidcli

import (
	"bytes"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"vhost-user-nvgre/cmd/internal/oid"
	"vhost-user-nvgre/offload/ndis"
	"vhost-user-nvgre/offload/ndis/adapter"
)

// filtersInForce returns the filters that the data path is given.
func filtersInForce(a *adapter.Adapter) []adapter.Filter {
	if f := a.Setting().Filters; f != nil {
		return f.List
	}
	return nil
}

func TestFilters(t *testing.T) {
	c, a := connect(t)
	if err := SetOffloads(t.Context(), c, []string{"framing=on", "nvgre=on"}); err != nil {
		t.Fatal(err)
	}
	const mac = "02:00:00:00:00:09"
	station := [6]byte{2, 0, 0, 0, 0, 9}
	var out bytes.Buffer
	add := func(f Filter) {
		t.Helper()
		if err := AddFilter(t.Context(), c, &out, 5, f); err != nil {
			t.Fatal(err)
		}
	}
	add(Filter{MAC: mac, Queue: "2", Inner: true}) // not the lowest that is free
	add(Filter{MAC: mac, Queue: "0", VLAN: "7"})
	add(Filter{MAC: mac, Queue: "2", VLAN: "none"})
	if want := "filter 1 leads to queue 2\nfilter 2 leads to queue 0\nfilter 3 leads to queue 2\n"; out.String() != want {
		t.Errorf("AddFilter printed %q, want %q", out.String(), want)
	}
	want := []adapter.Filter{
		{Match: adapter.Match{MAC: station, Inner: true}, Pair: 2},
		{Match: adapter.Match{MAC: station, VLAN: adapter.VLANIDEquals, ID: 7}, Pair: 0},
		{Match: adapter.Match{MAC: station, VLAN: adapter.VLANNone}, Pair: 2},
	}
	if got := filtersInForce(a); !slices.Equal(got, want) {
		t.Errorf("filters in force: %+v, want %+v", got, want)
	}
	out.Reset()
	if err := ListFilters(t.Context(), c, &out, false); err != nil {
		t.Fatal(err)
	}
	table := "ID MAC VLAN HEADER QUEUE STATE\n1 " + mac + " any inner 2 RUNNING\n2 " + mac + " 7 outer 0 RUNNING\n3 " + mac + " none outer 2 RUNNING\n"
	if got := squeeze(out.String()); got != table {
		t.Errorf("ListFilters:\n%swant\n%s", got, table)
	}
	out.Reset()
	if err := ListFilters(t.Context(), c, &out, true); err != nil || !strings.Contains(out.String(), `"Flags": "PACKET_ENCAPSULATION"`) {
		t.Errorf("ListFilters as JSON: %s, %v", out.String(), err)
	}
	if ids, err := FilterIDs(t.Context(), c); err != nil || !slices.Equal(ids, []string{"1", "2", "3"}) {
		t.Errorf("FilterIDs() = %v, %v", ids, err)
	}
	for _, id := range []string{"3", "2", "1"} {
		if err := DeleteFilter(t.Context(), c, 5, id); err != nil {
			t.Errorf("DeleteFilter(%s): %v", id, err)
		}
	}
	checkOnlyDefault(t, c, a)
}

// checkOnlyDefault checks that no filters and no queues are left.
func checkOnlyDefault(t *testing.T, c *oid.Client, a *adapter.Adapter) {
	t.Helper()
	if got := filtersInForce(a); len(got) != 0 {
		t.Errorf("filters in force: %+v, want none", got)
	}
	if all, err := queues(t.Context(), c); err != nil || len(all) != 1 || all[0].QueueID != defaultQueue {
		t.Errorf("queues: %+v, %v, want the default queue", all, err)
	}
}

// squeeze makes columns be separated by one space.
func squeeze(s string) (out string) {
	for line := range strings.Lines(s) {
		out += strings.Join(strings.Fields(line), " ") + "\n"
	}
	return out
}

// A queue whose allocation another program left open is completed.
func TestFilterOnAllocatedQueue(t *testing.T) {
	c, a := connect(t)
	var out bytes.Buffer
	q := ndis.ReceiveQueueParameters{Type: ndis.QueueTypeVMQueue, Affinity: ndis.Affinity{Mask: 1}}
	if err := Set(t.Context(), c, &out, adapter.Method, 5, "RECEIVE_FILTER_ALLOCATE_QUEUE", hex.EncodeToString(q.Encode()), false); err != nil {
		t.Fatal(err)
	}
	if err := AddFilter(t.Context(), c, &out, 5, Filter{MAC: "02:00:00:00:00:09", Queue: "1"}); err != nil {
		t.Fatal(err)
	}
	if got := filtersInForce(a); len(got) != 1 || got[0].Pair != 1 {
		t.Errorf("filters in force: %+v, want one for queue 1", got)
	}
}

// What fails leaves nothing behind, and says what is wrong.
func TestFilterRefused(t *testing.T) {
	c, a := connect(t)
	const mac = "02:00:00:00:00:09"
	for _, tt := range []struct {
		filter Filter
		want   string
	}{
		{Filter{MAC: "nonsense", Queue: "1"}, "nonsense"},
		{Filter{MAC: "00:00:00:00:00:00", Queue: "1"}, "no address of a station"},
		{Filter{MAC: mac, Queue: "x"}, `"x" is no receive queue`},
		{Filter{MAC: mac, Queue: "4"}, "there is no queue 4; want 0 to 3"},
		{Filter{MAC: mac, Queue: "1", VLAN: "4095"}, `VLAN "4095"; want an id from 1 to 4094`},
		{Filter{MAC: mac, Queue: "1", VLAN: "zero"}, "want an id from 1 to 4094"},
	} {
		var out bytes.Buffer
		if err := AddFilter(t.Context(), c, &out, 5, tt.filter); err == nil || !strings.Contains(err.Error(), tt.want) || out.Len() > 0 {
			t.Errorf("AddFilter(%+v): %q, %v, want an error with %q", tt.filter, out.String(), err, tt.want)
		}
	}
	for id, want := range map[string]string{"x": "no id of a filter", "0": "no id of a filter", "3": "there is no filter 3"} {
		if err := DeleteFilter(t.Context(), c, 5, id); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("DeleteFilter(%s): %v, want an error with %q", id, err, want)
		}
	}
	checkOnlyDefault(t, c, a)

	var out bytes.Buffer
	if err := AddFilter(t.Context(), c, &out, 5, Filter{MAC: mac, Queue: "1"}); err != nil {
		t.Fatal(err)
	}
	if err := AddFilter(t.Context(), c, &out, 5, Filter{MAC: mac, Queue: "2"}); err == nil || !strings.Contains(err.Error(), "filter 1 of queue 1 claims the same frames") {
		t.Errorf("the same filter for another queue: %v", err)
	}
	if err := DeleteFilter(t.Context(), c, 6, "1"); err == nil || !strings.Contains(err.Error(), "belongs to binding 5") {
		t.Errorf("somebody else's filter: %v", err)
	}
	if err := AddFilter(t.Context(), c, &out, 6, Filter{MAC: "02:00:00:00:00:0a", Queue: "1"}); err == nil || !strings.Contains(err.Error(), "belongs to binding 5") {
		t.Errorf("somebody else's queue: %v", err)
	}
	if err := DeleteFilter(t.Context(), c, 5, "1"); err != nil {
		t.Error(err)
	}
	checkOnlyDefault(t, c, a)
}
