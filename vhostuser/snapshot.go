package vhostuser

import (
	"time"

	"vhost-user-nvgre/vhostuser/wire"
	"vhost-user-nvgre/virtio"
)

// Snapshot is the state of an Endpoint at one moment. It is a copy; nobody
// changes it.
type Snapshot struct {
	Connected bool
	Since     time.Time // of the connection; zero while there is none
	PeerPID   int32     // process of the front end, 0 when not known
	Sessions  uint64    // connections so far, this one included

	LastEnd   string    // why the session before ended
	LastEndAt time.Time // zero if none has ended

	Features      virtio.Features       // acknowledged by the driver
	Protocol      wire.ProtocolFeatures // acknowledged by the front end
	MemoryRegions int
	MemoryBytes   uint64
	ConfigChannel bool // the front end takes messages about configuration changes
	Rings         []RingSnapshot
}

// RingSnapshot is the state of a ring as the front end set it.
type RingSnapshot struct {
	Size    uint32 // descriptors; 0 before SET_VRING_NUM
	Started bool
	Enabled bool
	Polled  bool   // started without a kick descriptor
	Fault   string // why a started ring is not running
}

// snapshot describes the session. The caller adds what concerns the endpoint.
func (s *session) snapshot() Snapshot {
	snap := Snapshot{
		Connected:     true,
		Features:      s.features,
		Protocol:      s.protocol,
		MemoryRegions: len(s.mem.Regions()),
		ConfigChannel: s.notifier.connected(),
		Rings:         make([]RingSnapshot, len(s.rings)),
	}
	for _, r := range s.mem.Regions() {
		snap.MemoryBytes += r.Size
	}
	for i := range s.rings {
		r := &s.rings[i]
		snap.Rings[i] = RingSnapshot{
			Size: r.size, Started: r.started, Enabled: r.enabled, Polled: r.started && r.kick == nil,
		}
		if r.fault != nil {
			snap.Rings[i].Fault = r.fault.Error()
		}
	}
	return snap
}
