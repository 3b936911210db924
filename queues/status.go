package queues

import (
	"cmp"
	"slices"
	"time"

	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/offload/gro"
	"vhost-user-nvgre/queues/rxfilter"
	"vhost-user-nvgre/virtio"
)

// KindNIC is the kind of ports that lead to guests.
const KindNIC = "vhost-user"

// PortStatus is what an operator sees of a port.
type PortStatus struct {
	Name     string
	Kind     string // KindNIC, or a wire's
	LinkUp   bool
	MTU      int // 0: not told to the driver; of a wire: not limited
	Pairs    int // queue pairs that receive
	MaxPairs int
	Queues   []QueueStatus   // ascending by index, those never started left out
	Features virtio.Features // negotiated; of a wire: its offloads
	// Offloads are those that are operational, as far as the driver negotiated
	// them or the wire has them.
	Offloads offload.State

	// Of a guest's port.
	Connected bool       // a front end is attached
	MAC       virtio.MAC // as the driver set it last
	Offered   virtio.Features
	// ControlQueue says who serves the control queue: "device" when the front
	// end hands it over, else "front end".
	ControlQueue string
	// Filter is the receive filter, FilterBy whom it came from: one of the
	// FilterBy constants.
	Filter   rxfilter.State
	FilterBy string

	Place string // where a wire leads
}

// QueueStatus is what an operator sees of a virtqueue, or of a wire's ring that
// stands for one: a wire receives (rx) what goes out.
type QueueStatus struct {
	Index   int
	Kind    string // rx, tx or ctrl
	State   string // stopped, disabled, running or broken
	Reason  string // why it is broken
	Size    int    // of the ring, 0 while stopped
	Shard   int    // that polls it, -1 for none
	Packets uint64
	Bytes   uint64 // of frames, without packet headers
	Kicks   uint64 // wake-ups by the driver
	Calls   uint64 // interrupts of the driver
	// Waited counts frames that had to wait for receive buffers: of a transmit
	// queue those sent on it, of a receive queue those that it had no room for.
	// What became of them later is in Packets and Drops.
	Waited uint64
	Drops  map[string]uint64 // by reason; "wire_" is before those of a LossyRing
	// Checksums counts received frames by what was found out of each of their
	// checksums; frames that nothing was to be found out of are in none.
	Checksums ChecksumCounts
	// Coalescing counts what was coalesced of the frames received. Packets and
	// Bytes count what came of it.
	Coalescing gro.Stats
}

// ChecksumCounts counts validated frames for each checksum a frame can have:
// the outer and the inner IPv4 header's, and that of TCP or UDP, the inner one
// where the tunnel was looked into.
type ChecksumCounts struct {
	OuterIP, InnerIP, Transport StateCounts
}

// StateCounts counts checksums by their state.
type StateCounts struct {
	NotChecked, Good, Bad uint64
}

// MACEntry is a row of the switch's address table.
type MACEntry struct {
	MAC  virtio.MAC
	VLAN uint16
	Port string
	Age  time.Duration // since last seen
}

// Snapshot returns the state of the port. Counters of one queue belong together;
// those of different queues are read one after the other.
func (p *Port) Snapshot() PortStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := PortStatus{
		Name:         p.name,
		Kind:         KindNIC,
		Connected:    p.frontend != nil,
		LinkUp:       p.linkUp,
		MAC:          p.net.MAC,
		MTU:          p.cfg.MTU,
		Offered:      p.cfg.features(),
		Features:     p.features,
		Pairs:        len(p.state.Load().rx),
		MaxPairs:     p.cfg.QueuePairs,
		ControlQueue: "front end",
		Queues:       p.queueStatus(),
		Offloads:     p.operational(),
		Filter:       p.guest.filter.State(),
		FilterBy:     p.filterSource(),
	}
	if p.ctrlIndex() >= 0 {
		st.ControlQueue = "device"
	}
	if p.ctrlIndex() >= 0 {
		ctrl := p.ctrl.status("ctrl", -1)
		ctrl.Index = p.ctrlIndex()
		if ctrl.used() {
			st.Queues = append(st.Queues, ctrl)
		}
	}
	slices.SortStableFunc(st.Queues, func(a, b QueueStatus) int { return cmp.Compare(a.Index, b.Index) })
	return st
}

// operational returns the offloads that are in operation. The caller holds mu.
func (p *Port) operational() offload.State {
	st := p.now.Offloads.Without(p.guest.off | ^p.features)
	if p.guest.innerHash {
		st.NVGRE.RSS = offload.AllFamilies
	}
	return st
}

// queueStatus returns the state of the port's queue pairs, ascending by index,
// those never started left out.
func (p *switchPort) queueStatus() []QueueStatus {
	var all []QueueStatus
	for i, q := range p.tx {
		rx, tx := p.rx[i].status("rx", -1), q.status("tx", q.shard.id)
		tx.Kicks += q.kicks.Load()
		all = append(all, rx, tx)
	}
	return slices.DeleteFunc(all, func(q QueueStatus) bool { return !q.used() })
}

// used reports whether there is anything to see of the queue.
func (q *QueueStatus) used() bool { return q.State != "stopped" || q.Packets != 0 || len(q.Drops) != 0 }

func (v *virtqueue) status(kind string, shard int) QueueStatus {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := QueueStatus{
		Index: v.index, Kind: kind, State: "running", Shard: shard,
		Packets: v.count.packets, Bytes: v.count.bytes,
		Kicks: v.count.kicks, Calls: v.count.calls, Waited: v.count.waited,
		Drops: v.count.drops.byName(), Checksums: v.count.checksums.counts(),
		Coalescing: v.count.coalescing,
	}
	switch {
	case v.broken != nil:
		s.State, s.Reason = "broken", v.broken.Error()
	case v.ring == nil:
		s.State = "stopped"
	case !v.enabled && kind != "ctrl":
		s.State = "disabled"
	}
	if v.ring != nil {
		s.Size = v.ring.Size()
	}
	if l, ok := v.ring.(LossyRing); ok {
		l.Lost(func(reason string, frames, bytes uint64) {
			if frames == 0 {
				return
			}
			s.Drops["wire_"+reason] += frames
			if kind == "rx" {
				// They were counted as received when they were completed.
				s.Packets -= frames
				s.Bytes -= bytes
			}
		})
	}
	return s
}

// MACTable returns the live rows of the switch's address table, ascending by
// VLAN and address.
func (e *Engine) MACTable() []MACEntry {
	ports := *e.ports.Load()
	var out []MACEntry
	for _, r := range e.fdb.Entries(e.second()) {
		if int(r.Port) >= len(ports) || ports[r.Port] == nil {
			continue
		}
		out = append(out, MACEntry{
			MAC: r.Key.MAC(), VLAN: r.Key.VLAN(), Port: ports[r.Port].Name(),
			Age: time.Duration(r.Age) * time.Second,
		})
	}
	slices.SortFunc(out, func(a, b MACEntry) int {
		return cmp.Or(cmp.Compare(a.VLAN, b.VLAN), slices.Compare(a.MAC[:], b.MAC[:]))
	})
	return out
}
