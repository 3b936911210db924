package rxwatch

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/digitalocean/go-qemu/qmp"

	"vhost-user-nvgre/cmd/qmp/qmptest"
	"vhost-user-nvgre/queues/rxfilter"
	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/ctrl"
)

func version(major, minor int) (v qmp.Version) {
	v.QEMU.Major, v.QEMU.Minor = major, minor
	return v
}

// text returns query-rx-filter's result with a filter for NIC n.
func text(t testing.TB, f qmptest.Filter) []byte {
	t.Helper()
	b, err := json.Marshal([]qmptest.Filter{{"name": "other"}, f.With(qmptest.Filter{"name": "n"})})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func modesOf(on ...ctrl.RXMode) (m [ctrl.RXModes]bool) {
	for _, mode := range on {
		m[mode] = true
	}
	return m
}

func TestDecode(t *testing.T) {
	mac := virtio.MAC{0x52, 0x54, 0, 0, 0, 1}
	station, group := virtio.MAC{2, 0, 0, 0, 0, 9}, virtio.MAC{0x33, 0x33, 0, 0, 0, 1}
	plain := qmptest.Filter{"promiscuous": false, "vlan": "none"}
	for _, tt := range []struct {
		name    string
		version qmp.Version
		change  qmptest.Filter
		want    rxfilter.State
	}{
		{"after a reset", version(11, 1), nil, rxfilter.State{MAC: mac, Modes: modesOf(ctrl.Promisc)}},
		{"own address", version(11, 1), plain, rxfilter.State{MAC: mac, VLANFilter: true}},
		{"tables", version(7, 2), qmptest.Filter{
			"promiscuous": false, "main-mac": "02:00:00:00:00:09",
			"unicast-table": []string{"02:00:00:00:00:09"}, "multicast-table": []string{"33:33:00:00:00:01"},
			"vlan": "normal", "vlan-table": []int{4095, 5, 0},
		}, rxfilter.State{MAC: station, Unicast: []virtio.MAC{station}, Multicast: []virtio.MAC{group}, VLANFilter: true, VLANs: []uint16{0, 5, 4095}}},
		{
			"all", version(11, 1),
			qmptest.Filter{"promiscuous": false, "unicast": "all", "multicast": "all", "vlan": "all", "vlan-table": []int{1, 2}},
			rxfilter.State{MAC: mac, Modes: modesOf(ctrl.AllUni, ctrl.AllMulti)},
		},
		{
			"none", version(11, 1), plain.With(qmptest.Filter{"unicast": "none", "multicast": "none"}),
			rxfilter.State{MAC: mac, Modes: modesOf(ctrl.NoUni, ctrl.NoMulti), VLANFilter: true},
		},
		{
			"overflow", version(11, 1), plain.With(qmptest.Filter{"unicast-overflow": true, "multicast-overflow": true}),
			rxfilter.State{MAC: mac, UnicastOverflow: true, MulticastOverflow: true, VLANFilter: true},
		},
		{
			"NOBCAST", version(11, 1), plain.With(qmptest.Filter{"broadcast-allowed": true}),
			rxfilter.State{MAC: mac, Modes: modesOf(ctrl.NoBcast), VLANFilter: true},
		},
		{
			"broadcast-allowed of an unknown QEMU, true", version(11, 2), plain.With(qmptest.Filter{"broadcast-allowed": true}),
			rxfilter.State{MAC: mac, VLANFilter: true},
		},
		{"broadcast-allowed of an unknown QEMU, false", version(12, 0), plain, rxfilter.State{MAC: mac, VLANFilter: true}},
	} {
		f, err := decode(text(t, qmptest.ResetFilter().With(tt.change)), "n", tt.version)
		if err != nil {
			t.Errorf("%s: decode() = %v, want nil", tt.name, err)
			continue
		}
		if got := f.State(); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: decode() = %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestDecodeErrors(t *testing.T) {
	base := qmptest.ResetFilter()
	for _, tt := range []struct {
		raw  []byte
		want string
	}{
		{[]byte(`{}`), "cannot unmarshal"},
		{[]byte(`[]`), `nothing about "n"`},
		{text(t, base.With(qmptest.Filter{"main-mac": "52:54"})), `main-mac is "52:54", want a MAC address`},
		{text(t, base.With(qmptest.Filter{"unicast": "some"})), `unicast is "some", want normal, none or all`},
		{text(t, base.With(qmptest.Filter{"multicast": ""})), "multicast is"},
		{text(t, base.With(qmptest.Filter{"vlan": "?"})), "vlan is"},
		{text(t, base.With(qmptest.Filter{"unicast-table": []string{"x"}})), `unicast-table has "x"`},
		{text(t, base.With(qmptest.Filter{"multicast-table": []string{strings.Repeat("y", 1000)}})), "multicast-table has"},
		{text(t, base.With(qmptest.Filter{"vlan": "normal", "vlan-table": []int{4096}})), "vlan-table has 4096, want 0 to 4095"},
		{text(t, base.With(qmptest.Filter{"vlan": "normal", "vlan-table": []int{-1}})), "vlan-table has -1"},
	} {
		_, err := decode(tt.raw, "n", version(11, 1))
		if err == nil || !strings.Contains(err.Error(), tt.want) || len(err.Error()) > 200 {
			t.Errorf("decode(%.100s) = %v, want a short error with %q", tt.raw, err, tt.want)
		}
	}
}

// Whatever a QEMU says, it is an error or a filter within bounds.
func FuzzDecode(f *testing.F) {
	f.Add(text(f, qmptest.ResetFilter()))
	f.Add(text(f, qmptest.ResetFilter().With(qmptest.Filter{"promiscuous": false, "vlan": "normal", "vlan-table": []int{7}, "unicast-table": []string{"02:00:00:00:00:09"}})))
	f.Add([]byte(`[{"name": "n"}]`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		filter, err := decode(raw, "n", version(11, 1))
		if err != nil {
			return
		}
		s := filter.State()
		if len(s.Unicast) > rxfilter.MaxAddresses || len(s.Multicast) > rxfilter.MaxAddresses || len(s.VLANs) > ctrl.VLANs {
			t.Errorf("decode(%.100s): %d, %d addresses, %d VLANs", raw, len(s.Unicast), len(s.Multicast), len(s.VLANs))
		}
		filter.Accept(virtio.MAC{2}, 7, true)
	})
}
