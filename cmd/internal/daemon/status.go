package daemon

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/cmd/internal/control"
	"vhost-user-nvgre/cmd/internal/version"
	"vhost-user-nvgre/offload/gro"
	"vhost-user-nvgre/queues"
	"vhost-user-nvgre/vhostuser"
	"vhost-user-nvgre/virtio"
)

// Status returns what the control socket shows.
func (d *Daemon) Status() control.Status {
	s := control.Status{
		Version: version.String(), PID: os.Getpid(), StartedAt: d.started,
		UptimeNS: uint64(time.Since(d.started)), CPUNS: cpuTime(),
		Shards: d.shards, ShardLoad: []control.Shard{}, MACCapacity: d.capacity(),
		Ports: []control.Port{}, MACTable: []control.MACEntry{},
	}
	for _, st := range d.engine.Shards() {
		s.ShardLoad = append(s.ShardLoad, control.Shard{
			ID: st.ID, CPU: st.CPU, BusyNS: uint64(st.Busy), PollingNS: uint64(st.Polling), AsleepNS: uint64(st.Asleep),
			Wakeups: st.Wakeups, Frames: st.Frames,
		})
	}
	for _, p := range d.list() {
		s.Ports = append(s.Ports, p.status())
	}
	for _, m := range d.engine.MACTable() {
		s.MACTable = append(s.MACTable, control.MACEntry{
			MAC: m.MAC.String(), VLAN: int(m.VLAN), Port: m.Port, Age: int(m.Age / time.Second),
		})
	}
	return s
}

// cpuTime returns the processor time of all threads in nanoseconds.
func cpuTime() uint64 {
	var r unix.Rusage
	// It fails for a bad argument only.
	_ = unix.Getrusage(unix.RUSAGE_SELF, &r)
	return uint64(r.Utime.Nano() + r.Stime.Nano())
}

func (d *Daemon) capacity() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.settings.MACTable
}

func (p *port) status() control.Port {
	if p.wire != nil {
		return p.wireStatus()
	}
	st := p.device.Snapshot()
	out := control.Port{
		Name: st.Name, Kind: st.Kind, Place: p.cfg.Endpoint(), Socket: p.cfg.Socket, Mode: string(p.cfg.Mode),
		LinkUp: st.LinkUp, MAC: st.MAC.String(), MTU: st.MTU, Speed: p.cfg.Speed,
		QueuePairs: st.MaxPairs, QueuePairsInUse: st.Pairs, ControlQueue: st.ControlQueue,
		Offered: st.Offered.Names(), Negotiated: st.Features.Names(),
		FrontEnd: frontEnd(p.endpoint.Snapshot()),
		Queues:   controlQueues(st.Queues),
		Offloads: st.Offloads.Names(),
		RXFilter: p.rxFilter(&st),
	}
	if p.cfg.Socket == "" {
		out.FD = p.cfg.FD
	}
	if !st.Connected {
		out.QueuePairsInUse = 0 // whatever the next driver will begin with
	}
	return out
}

func controlQueues(all []queues.QueueStatus) []control.Queue {
	out := make([]control.Queue, len(all))
	for i, q := range all {
		out[i] = queue(q)
	}
	return out
}

func queue(q queues.QueueStatus) control.Queue {
	out := control.Queue{
		Index: q.Index, Kind: q.Kind, State: q.State, Reason: q.Reason, Size: q.Size, Shard: q.Shard,
		Packets: q.Packets, Bytes: q.Bytes, Kicks: q.Kicks, Calls: q.Calls, Waited: q.Waited, Drops: q.Drops,
	}
	if c := q.Checksums; c != (queues.ChecksumCounts{}) {
		of := func(s queues.StateCounts) control.ChecksumStates {
			return control.ChecksumStates{Good: s.Good, Bad: s.Bad, NotChecked: s.NotChecked}
		}
		out.Checksums = &control.Checksums{OuterIP: of(c.OuterIP), InnerIP: of(c.InnerIP), Transport: of(c.Transport)}
	}
	if c := q.Coalescing; c != (gro.Stats{}) {
		out.Coalescing = &control.Coalescing{
			Packets: c.CoalescedPkts, Octets: c.CoalescedOctets, Events: c.CoalesceEvents, Aborts: c.Aborts,
			UDPPackets: c.URODatagrams, UDPOctets: c.UROOctets, UDPEvents: c.UROUnits,
		}
	}
	return out
}

func frontEnd(s vhostuser.Snapshot) control.FrontEnd {
	return control.FrontEnd{
		Connected: s.Connected, PID: int(s.PeerPID), ConnectedAt: timeOrNil(s.Since),
		Sessions: s.Sessions, ProtocolFeatures: s.Protocol.Names(),
		MemoryRegions: s.MemoryRegions, MemoryBytes: s.MemoryBytes,
		LastEnd: s.LastEnd, LastEndAt: timeOrNil(s.LastEndAt),
	}
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// SetLink sets the link of a port up or down.
func (d *Daemon) SetLink(name string, up bool) error {
	p := d.port(name)
	if p == nil {
		return fmt.Errorf("port %s: %w", name, control.ErrNoPort)
	}
	p.setLink(up)
	return nil
}

// Announce asks the driver of a port to announce its addresses.
func (d *Daemon) Announce(name string) error {
	p := d.port(name)
	if p == nil {
		return fmt.Errorf("port %s: %w", name, control.ErrNoPort)
	}
	if p.wire != nil {
		return fmt.Errorf("port %s: %w: there is no driver behind a port of kind %s", name, control.ErrState, p.cfg.Kind)
	}
	st := p.device.Snapshot()
	switch {
	case !st.Connected:
		return fmt.Errorf("port %s: %w: no front end is connected", name, control.ErrState)
	case !st.Features.Has(virtio.FeatureGuestAnnounce | virtio.FeatureCtrlVQ):
		return fmt.Errorf("port %s: %w: the driver has not negotiated guest_announce with this device", name, control.ErrState)
	}
	p.device.Announce()
	return nil
}
