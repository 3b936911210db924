package rig

import (
	"maps"
	"slices"
)

// Status is what nvgrectl show --json prints, as far as tests need it;
// docs/control-socket.md describes the fields.
type Status struct {
	Shards   int          `json:"shards"`
	Ports    []PortStatus `json:"ports"`
	MACTable []MACEntry   `json:"mac_table"`
}

// PortStatus is a port in a Status.
type PortStatus struct {
	Name            string   `json:"name"`
	LinkUp          bool     `json:"link_up"`
	MAC             string   `json:"mac"`
	MTU             int      `json:"mtu"`
	QueuePairsInUse int      `json:"queue_pairs_in_use"`
	ControlQueue    string   `json:"control_queue"`
	Negotiated      []string `json:"features_negotiated"`
	FrontEnd        struct {
		Connected bool   `json:"connected"`
		Sessions  uint64 `json:"sessions"`
		LastEnd   string `json:"last_end"`
	} `json:"front_end"`
	Queues   []QueueStatus `json:"queues"`
	RXFilter RXFilter      `json:"rx_filter"`
}

// RXFilter is which frames a port's driver wants.
type RXFilter struct {
	Source         string   `json:"source"` // control queue, qmp or none
	NIC            string   `json:"nic"`
	Error          string   `json:"error"`
	Promiscuous    bool     `json:"promiscuous"`
	Unicast        string   `json:"unicast"`
	Multicast      string   `json:"multicast"`
	MulticastTable []string `json:"multicast_table"`
	VLANFilter     bool     `json:"vlan_filter"`
	VLANs          []int    `json:"vlans"`
}

// QueueStatus is a queue in a PortStatus.
type QueueStatus struct {
	Index   int               `json:"index"`
	Kind    string            `json:"kind"` // as the driver sees it
	State   string            `json:"state"`
	Reason  string            `json:"reason"`
	Packets uint64            `json:"packets"`
	Bytes   uint64            `json:"bytes"`
	Kicks   uint64            `json:"kicks"`
	Calls   uint64            `json:"calls"`
	Drops   map[string]uint64 `json:"drops"`
	// Coalescing has what was coalesced of the frames received.
	Coalescing map[string]uint64 `json:"coalescing"`

	// Checksums are those of received frames that were validated.
	Checksums struct {
		OuterIP   ChecksumStates `json:"outer_ip"`
		InnerIP   ChecksumStates `json:"inner_ip"`
		Transport ChecksumStates `json:"transport"`
	} `json:"checksums"`
}

// ChecksumStates counts one checksum's states.
type ChecksumStates struct {
	Good       uint64 `json:"good"`
	Bad        uint64 `json:"bad"`
	NotChecked uint64 `json:"not_checked"`
}

// MACEntry is an address the switch has learned.
type MACEntry struct {
	MAC  string `json:"mac"`
	VLAN int    `json:"vlan"`
	Port string `json:"port"`
}

// The kinds of queues.
const (
	RX = "rx"
	TX = "tx"
)

// Port returns the port of that name, nil if there is none.
func (s *Status) Port(name string) *PortStatus {
	for i := range s.Ports {
		if s.Ports[i].Name == name {
			return &s.Ports[i]
		}
	}
	return nil
}

// Since returns a copy of s with the counters of an earlier status taken off.
// What has not changed, queues and drop reasons, is left out.
func (s *Status) Since(before *Status) *Status {
	out := *s
	out.Ports = slices.Clone(s.Ports)
	for i := range out.Ports {
		p := &out.Ports[i]
		old := before.Port(p.Name)
		var queues []QueueStatus
		for _, q := range p.Queues {
			var o *QueueStatus
			if old != nil {
				o = old.queue(q.Index)
			}
			if q = q.since(o); q.Packets > 0 || q.Kicks > 0 || q.Calls > 0 || len(q.Drops) > 0 {
				queues = append(queues, q)
			}
		}
		p.Queues = queues
	}
	return &out
}

func (p *PortStatus) queue(index int) *QueueStatus {
	for i := range p.Queues {
		if p.Queues[i].Index == index {
			return &p.Queues[i]
		}
	}
	return nil
}

func (q QueueStatus) since(before *QueueStatus) QueueStatus {
	if before == nil {
		return q
	}
	q.Packets -= before.Packets
	q.Bytes -= before.Bytes
	q.Kicks -= before.Kicks
	q.Calls -= before.Calls
	q.Drops = minus(q.Drops, before.Drops)
	q.Coalescing = minus(q.Coalescing, before.Coalescing)
	return q
}

// minus returns counters less those of an earlier time, without those that have
// not changed.
func minus(now, before map[string]uint64) map[string]uint64 {
	now = maps.Clone(now)
	for what := range now {
		if now[what] -= before[what]; now[what] == 0 {
			delete(now, what)
		}
	}
	return now
}

// Total sums the queues of a kind.
func (p *PortStatus) Total(kind string) (sum QueueStatus) {
	sum = QueueStatus{Index: -1, Kind: kind, Drops: map[string]uint64{}, Coalescing: map[string]uint64{}}
	for _, q := range p.Queues {
		if q.Kind != kind {
			continue
		}
		sum.Packets += q.Packets
		sum.Bytes += q.Bytes
		sum.Kicks += q.Kicks
		sum.Calls += q.Calls
		for why, n := range q.Drops {
			sum.Drops[why] += n
		}
		for what, n := range q.Coalescing {
			sum.Coalescing[what] += n
		}
	}
	return sum
}

// Used returns how many queues of a kind moved at least least packets.
func (p *PortStatus) Used(kind string, least uint64) (n int) {
	for _, q := range p.Queues {
		if q.Kind == kind && q.Packets >= least {
			n++
		}
	}
	return n
}

// Drops sums the drops of all queues of all ports by reason.
func (s *Status) Drops() map[string]uint64 {
	sum := map[string]uint64{}
	for _, p := range s.Ports {
		for _, q := range p.Queues {
			for why, n := range q.Drops {
				sum[why] += n
			}
		}
	}
	return sum
}

// Broken returns a line for each queue that is broken.
func (s *Status) Broken() (list []string) {
	for _, p := range s.Ports {
		for _, q := range p.Queues {
			if q.State == "broken" {
				list = append(list, p.Name+" "+q.Kind+": "+q.Reason)
			}
		}
	}
	return list
}

// Has tells whether the driver negotiated a virtio feature.
func (p *PortStatus) Has(feature string) bool { return slices.Contains(p.Negotiated, feature) }
