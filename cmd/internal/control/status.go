package control

import "time"

// Status is the answer to GET /v1/status. Fields are only ever added to it.
type Status struct {
	Version     string     `json:"version"`
	PID         int        `json:"pid"`
	StartedAt   time.Time  `json:"started_at"`
	UptimeNS    uint64     `json:"uptime_ns"` // when this was read, monotonic
	CPUNS       uint64     `json:"cpu_ns"`    // processor time of the process, all threads
	Shards      int        `json:"shards"`
	ShardLoad   []Shard    `json:"shard_load"`   // ascending by id
	Ports       []Port     `json:"ports"`        // in the order they were made
	MACCapacity int        `json:"mac_capacity"` // addresses the table has room for
	MACTable    []MACEntry `json:"mac_table"`    // ascending by VLAN and address
}

// Port is a port of the switch.
type Port struct {
	Name            string   `json:"name"`
	Kind            string   `json:"kind"`             // what it leads to: vhost-user, or a wire's kind
	Place           string   `json:"place"`            // where that is, in words
	Socket          string   `json:"socket,omitempty"` // path; absent with an inherited one
	FD              int      `json:"fd,omitempty"`     // number of an inherited one
	Mode            string   `json:"mode"`             // server or client; "" for a wire
	LinkUp          bool     `json:"link_up"`
	MAC             string   `json:"mac"`   // as the driver set it last
	MTU             int      `json:"mtu"`   // 0: the driver is told none
	Speed           int      `json:"speed"` // Mbit/s; 0: unknown
	QueuePairs      int      `json:"queue_pairs"`
	QueuePairsInUse int      `json:"queue_pairs_in_use"`
	ControlQueue    string   `json:"control_queue"` // who serves it: device or front end
	Offered         []string `json:"features_offered"`
	Negotiated      []string `json:"features_negotiated"`
	Offloads        []string `json:"offloads"`  // operational, as far as negotiated
	FrontEnd        FrontEnd `json:"front_end"` // of a wire: none
	Queues          []Queue  `json:"queues"`    // ascending by index, those never used left out

	// RXFilter is which frames the driver wants; absent for a wire.
	RXFilter *RXFilter `json:"rx_filter,omitempty"`
}

// Shard is a worker thread. Its nanoseconds are of the clock on the wall since
// the daemon started, and never get less.
type Shard struct {
	ID        int    `json:"id"`
	CPU       int    `json:"cpu"`        // pinned to, or -1
	BusyNS    uint64 `json:"busy_ns"`    // moving frames
	PollingNS uint64 `json:"polling_ns"` // looking for frames in vain
	AsleepNS  uint64 `json:"asleep_ns"`
	Wakeups   uint64 `json:"wakeups"` // from sleep, by work
	Frames    uint64 `json:"frames"`  // taken from transmit queues
}

// RXFilter is which frames the driver of a port wants to receive.
type RXFilter struct {
	Source         string   `json:"source"`        // whom it came from: control queue, qmp, or none
	NIC            string   `json:"nic,omitempty"` // id of the device in QEMU
	Error          string   `json:"error,omitempty"`
	Promiscuous    bool     `json:"promiscuous"` // all frames, whatever the rest says
	Unicast        string   `json:"unicast"`     // listed (and its own address), all or none
	Multicast      string   `json:"multicast"`   // listed, all or none
	Broadcast      bool     `json:"broadcast"`
	UnicastTable   []string `json:"unicast_table"`
	MulticastTable []string `json:"multicast_table"`
	VLANFilter     bool     `json:"vlan_filter"` // tagged frames of VLANs only; otherwise of all
	VLANs          []int    `json:"vlans"`       // ascending
}

// FrontEnd is the other side of a port's socket.
type FrontEnd struct {
	Connected        bool       `json:"connected"`
	PID              int        `json:"pid,omitempty"`          // 0: not known
	ConnectedAt      *time.Time `json:"connected_at,omitempty"` // absent while there is none
	Sessions         uint64     `json:"sessions"`               // connections so far
	ProtocolFeatures []string   `json:"protocol_features,omitempty"`
	MemoryRegions    int        `json:"memory_regions"`
	MemoryBytes      uint64     `json:"memory_bytes"`
	LastEnd          string     `json:"last_end,omitempty"` // why the session before ended
	LastEndAt        *time.Time `json:"last_end_at,omitempty"`
}

// Queue is a virtqueue.
type Queue struct {
	Index   int               `json:"index"`
	Kind    string            `json:"kind"`             // rx, tx (both as the driver sees it) or ctrl
	State   string            `json:"state"`            // stopped, disabled, running or broken
	Reason  string            `json:"reason,omitempty"` // why it is broken
	Size    int               `json:"size"`             // descriptors; 0 while stopped
	Shard   int               `json:"shard"`            // that polls it, -1 for none
	Packets uint64            `json:"packets"`
	Bytes   uint64            `json:"bytes"`
	Kicks   uint64            `json:"kicks"`           // wake-ups by the driver
	Calls   uint64            `json:"calls"`           // interrupts of the driver
	Waited  uint64            `json:"waited"`          // frames that had to wait for receive buffers
	Drops   map[string]uint64 `json:"drops,omitempty"` // by reason

	// Checksums is absent when none were looked at.
	Checksums *Checksums `json:"checksums,omitempty"`

	// Coalescing is absent when nothing came of it.
	Coalescing *Coalescing `json:"coalescing,omitempty"`
}

// Coalescing counts what was coalesced of the frames received: TCP by the
// statistics that NDIS defines, and UDP likewise. Queue.Packets and Bytes count
// what came of it.
type Coalescing struct {
	Packets uint64 `json:"packets"` // TCP segments that went into units
	Octets  uint64 `json:"octets"`  // of their payload
	Events  uint64 `json:"events"`  // units
	// Aborts counts exceptions that ended a unit or kept a segment out of one.
	Aborts uint64 `json:"aborts"`

	UDPPackets uint64 `json:"udp_packets"`
	UDPOctets  uint64 `json:"udp_octets"`
	UDPEvents  uint64 `json:"udp_events"`
}

// Checksums counts received frames by what was found out of each of their
// checksums.
type Checksums struct {
	OuterIP   ChecksumStates `json:"outer_ip"`  // of the IPv4 header, of the outer one in a tunnel
	InnerIP   ChecksumStates `json:"inner_ip"`  // of the IPv4 header in the tunnel
	Transport ChecksumStates `json:"transport"` // of TCP or UDP, in the tunnel if there is one
}

// ChecksumStates counts checksums by state.
type ChecksumStates struct {
	Good       uint64 `json:"good"`
	Bad        uint64 `json:"bad"`
	NotChecked uint64 `json:"not_checked"` // there is none, or it cannot be checked
}

// MACEntry is an address the switch has learned.
type MACEntry struct {
	MAC  string `json:"mac"`
	VLAN int    `json:"vlan"` // 0: untagged
	Port string `json:"port"`
	Age  int    `json:"age"` // seconds since it was last seen
}

// linkRequest is the body of POST /v1/ports/{name}/link.
type linkRequest struct {
	Up *bool `json:"up"`
}

// errorReply is the body of every answer that is no success.
type errorReply struct {
	Error string `json:"error"`
}
