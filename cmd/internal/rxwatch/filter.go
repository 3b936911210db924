package rxwatch

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/digitalocean/go-qemu/qmp"

	"vhost-user-nvgre/queues/rxfilter"
	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/ctrl"
)

// The states of a receive mode (RxState in qapi/net.json of QEMU).
const (
	stateNormal = "normal" // the table decides
	stateNone   = "none"
	stateAll    = "all"
)

// rxFilterInfo is an element of query-rx-filter's result. All of it but the
// name is what a guest's driver has set.
type rxFilterInfo struct {
	Name              string   `json:"name"`
	Promiscuous       bool     `json:"promiscuous"`
	Unicast           string   `json:"unicast"`
	Multicast         string   `json:"multicast"`
	BroadcastAllowed  bool     `json:"broadcast-allowed"`
	UnicastOverflow   bool     `json:"unicast-overflow"`
	MulticastOverflow bool     `json:"multicast-overflow"`
	MainMAC           string   `json:"main-mac"`
	UnicastTable      []string `json:"unicast-table"`
	MulticastTable    []string `json:"multicast-table"`
	VLAN              string   `json:"vlan"`
	VLANTable         []int    `json:"vlan-table"`
}

// filter translates what QEMU of a version says into a receive filter. What it
// cannot mean is an error.
func (i *rxFilterInfo) filter(v qmp.Version) (*rxfilter.Filter, error) {
	s := rxfilter.State{UnicastOverflow: i.UnicastOverflow, MulticastOverflow: i.MulticastOverflow}
	s.Modes[ctrl.Promisc] = i.Promiscuous
	var err error
	if s.MAC, err = virtio.ParseMAC(i.MainMAC); err != nil {
		return nil, fmt.Errorf("main-mac is %.40q, want a MAC address", i.MainMAC)
	}
	if s.Modes[ctrl.NoUni], s.Modes[ctrl.AllUni], err = modes("unicast", i.Unicast); err != nil {
		return nil, err
	}
	if s.Modes[ctrl.NoMulti], s.Modes[ctrl.AllMulti], err = modes("multicast", i.Multicast); err != nil {
		return nil, err
	}
	s.Modes[ctrl.NoBcast] = broadcastInverted(v) && i.BroadcastAllowed
	if s.Unicast, err = addresses("unicast-table", i.UnicastTable); err != nil {
		return nil, err
	}
	if s.Multicast, err = addresses("multicast-table", i.MulticastTable); err != nil {
		return nil, err
	}
	none, all, err := modes("vlan", i.VLAN)
	if err != nil {
		return nil, err
	}
	if s.VLANFilter = !all; s.VLANFilter && !none {
		if s.VLANs, err = vlans(i.VLANTable); err != nil {
			return nil, err
		}
	}
	return rxfilter.Of(s), nil
}

// broadcastInverted tells whether broadcast-allowed is the driver's NOBCAST,
// which is the opposite of its name (virtio_net_query_rxfilter). So it is from
// 1.6, the first version with it, to 11.1. What later ones say is not known,
// and a guest without broadcasts is worse off than one with some too many.
func broadcastInverted(v qmp.Version) bool {
	return v.QEMU.Major < 11 || v.QEMU.Major == 11 && v.QEMU.Minor <= 1
}

func modes(what, state string) (none, all bool, err error) {
	switch state {
	case stateNormal, stateNone, stateAll:
		return state == stateNone, state == stateAll, nil
	}
	return false, false, fmt.Errorf("%s is %.40q, want %s, %s or %s", what, state, stateNormal, stateNone, stateAll)
}

func addresses(what string, table []string) ([]virtio.MAC, error) {
	var out []virtio.MAC
	for _, text := range table {
		m, err := virtio.ParseMAC(text)
		if err != nil {
			return nil, fmt.Errorf("%s has %.40q, want MAC addresses", what, text)
		}
		out = append(out, m)
	}
	return out, nil
}

func vlans(table []int) ([]uint16, error) {
	var out []uint16
	for _, id := range table {
		if id < 0 || id >= ctrl.VLANs {
			return nil, fmt.Errorf("vlan-table has %d, want 0 to %d", id, ctrl.VLANs-1)
		}
		out = append(out, uint16(id))
	}
	return out, nil
}

// client is what a query needs of a connection to QEMU.
type client interface {
	Execute(ctx context.Context, name string, args, result any) error
	Version() qmp.Version
}

// query returns the receive filter of a NIC, and makes QEMU send
// NIC_RX_FILTER_CHANGED at the next change.
func query(ctx context.Context, c client, nic string) (*rxfilter.Filter, error) {
	var raw json.RawMessage
	if err := c.Execute(ctx, "query-rx-filter", map[string]string{"name": nic}, &raw); err != nil {
		return nil, err
	}
	f, err := decode(raw, nic, c.Version())
	if err != nil {
		return nil, fmt.Errorf("query-rx-filter: %w", err)
	}
	return f, nil
}

// decode reads the result of query-rx-filter.
func decode(raw []byte, nic string, v qmp.Version) (*rxfilter.Filter, error) {
	var all []rxFilterInfo
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].Name == nic {
			return all[i].filter(v)
		}
	}
	return nil, fmt.Errorf("nothing about %q in the answer", nic)
}
