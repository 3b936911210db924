package daemon

import (
	"fmt"
	"maps"
	"sync/atomic"

	"vhost-user-nvgre/cmd/internal/config"
	"vhost-user-nvgre/cmd/internal/oid"
	"vhost-user-nvgre/cmd/internal/rxwatch"
	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/offload/ndis"
	"vhost-user-nvgre/offload/ndis/adapter"
	"vhost-user-nvgre/queues"
	"vhost-user-nvgre/queues/vmq"
	"vhost-user-nvgre/virtio"
)

// nic is a port's device together with the adapter that OIDs see. It is the
// adapter's Target and the device's Keeper: whatever changes the port, an OID, a
// command of its driver or a setting, changes the adapter's state, and what
// that means is put into force as a whole.
type nic struct {
	*adapter.Adapter // for its lock, and Follow
	device           *queues.Port
	hub              *oid.Hub
	file             string // of the keywords, "" for none
	warn             func(format string, args ...any)

	// watched follows the filter that the front end keeps; nil: nobody does.
	watched atomic.Pointer[rxwatch.Follower]

	// What was put into force last, and what comes into force when the driver
	// begins anew. Guarded by the adapter's lock.
	now, initial compiled
}

// compiled is an adapter's setting and what it is as a device's.
type compiled struct {
	of     adapter.Setting
	device queues.Setting
}

// newNIC makes a port's device and adapter.
func newNIC(e *queues.Engine, cfg *config.Port, pc queues.PortConfig, file string, warn func(string, ...any)) (*nic, error) {
	kept, err := readKeywords(file)
	if err != nil {
		return nil, fmt.Errorf("port %s: %w", cfg.Name, err)
	}
	n := &nic{file: file, warn: warn}
	ac := adapter.Config{
		QueuePairs: cfg.QueuePairs, Limits: offload.DefaultLimits(), Coalescing: true,
		RSSv2: cfg.RSSVersion == 2, Keywords: keywordsOf(cfg, kept), Start: startOf(cfg),
	}
	if cfg.VMQ {
		ac.VMQueues = cfg.QueuePairs - 1
	}
	if n.Adapter, err = adapter.New(ac, n); err != nil {
		return nil, fmt.Errorf("port %s: %w", cfg.Name, err)
	}
	n.hub = oid.NewHub(cfg.Name, n)
	n.Lock() // the device may want to be followed before it is known here
	defer n.Unlock()
	pc.Keeper, pc.AskFilter = n, n.askFilter
	if n.device, err = e.AddPort(pc); err != nil {
		return nil, err
	}
	n.Follow()
	return n, nil
}

// startOf returns what the settings turn on at every start, as a protocol
// driver would.
func startOf(cfg *config.Port) adapter.Start {
	return adapter.Start{Framing: cfg.RxChecksum, NVGRE: cfg.NVGRE, RSC: cfg.RSC, URO: cfg.URO, NoLSO: !cfg.LSO, NoUSO: !cfg.USO}
}

// keywordsOf returns the keywords kept, and those that settings stand for.
func keywordsOf(cfg *config.Port, kept adapter.Keywords) adapter.Keywords {
	k := adapter.Keywords{}
	maps.Copy(k, kept)
	delete(k, "*RssOrVmqPreference")
	if cfg.VMQ {
		k["*RssOrVmqPreference"] = 1
	}
	return k
}

// Driver implements adapter.Target.
func (n *nic) Driver() (restarts uint64, f virtio.Features) {
	d := n.device.Driver()
	return d.Restarts, d.Features
}

// Apply implements adapter.Target.
func (n *nic) Apply(now, initial *adapter.Setting) error {
	next, first := compile(now, &n.now), compile(initial, &n.initial)
	if err := n.device.Configure(next.device, first.device); err != nil {
		n.warn("%v", err)
		return err
	}
	n.now, n.initial = next, first
	return nil
}

// compile returns an adapter's setting as a device's. Parts that are the same
// as before are the same pointers.
func compile(s *adapter.Setting, before *compiled) compiled {
	c := compiled{*s, before.device}
	c.device.Offloads = s.Offload
	if s.RSS != before.of.RSS || s.Hash != before.of.Hash {
		c.device.RSS, c.device.Hash = nil, nil
		if s.RSS != nil {
			c.device.RSS = &queues.RSS{Hash: queues.Hash(s.RSS.Hash), Table: s.RSS.Table, Default: s.RSS.Default}
		} else if s.Hash != nil {
			h := queues.Hash(*s.Hash)
			c.device.Hash = &h
		}
	}
	if s.Filters != before.of.Filters {
		c.device.VMQ = filtersOf(s.Filters)
	}
	return c
}

// Commanded implements queues.Keeper.
func (n *nic) Commanded(d queues.Driver) {
	now := &n.now
	if d.RSS != now.device.RSS || d.Hash != now.device.Hash {
		now.device.RSS, now.device.Hash = d.RSS, d.Hash
		now.of.RSS, now.of.Hash = nil, nil
		if d.RSS != nil {
			now.of.RSS = &adapter.RSS{Hash: adapter.Hash(d.RSS.Hash), Table: d.RSS.Table, Default: d.RSS.Default}
		}
		if d.Hash != nil {
			h := adapter.Hash(*d.Hash)
			now.of.Hash = &h
		}
	}
	n.Adopt(adapter.DriverState{Off: d.Off, InnerHash: d.InnerHash}, now.of.RSS, now.of.Hash)
}

// filtersOf returns receive filters as the data path has them.
func filtersOf(f *adapter.Filters) *queues.VMQ {
	if f == nil {
		return nil
	}
	v := &queues.VMQ{}
	for _, m := range f.List {
		out := vmq.Filter{MAC: m.MAC, Encapsulated: m.Inner, Queue: m.Pair}
		switch m.VLAN {
		case adapter.VLANNone:
			out.Test = vmq.UntaggedOrZero
		case adapter.VLANIDEquals:
			out.Test, out.VLAN = vmq.VLANEqual, m.ID
		}
		v.Filters = append(v.Filters, out)
	}
	return v
}

// Persist implements adapter.Target.
func (n *nic) Persist(k adapter.Keywords) error { return writeKeywords(n.file, k) }

// Moderation implements adapter.Target.
func (n *nic) Moderation() (can, on bool) { return n.device.Moderation() }

// Moderate implements adapter.Target.
func (n *nic) Moderate(on bool) { n.device.Moderate(on) }

// Statistics implements adapter.Target.
func (n *nic) Statistics() ndis.Statistics {
	in, out := n.device.Received(), n.device.Sent()
	octets := func(t *queues.Traffic) uint64 { return t.Unicast.Bytes + t.Multicast.Bytes + t.Broadcast.Bytes }
	return ndis.Statistics{
		InDiscards: in.Discards, InErrors: in.Errors, InOctets: octets(&in),
		InUcastPkts: in.Unicast.Packets, InMulticastPkts: in.Multicast.Packets, InBroadcastPkts: in.Broadcast.Packets,
		OutOctets: octets(&out), OutUcastPkts: out.Unicast.Packets, OutMulticastPkts: out.Multicast.Packets, OutBroadcastPkts: out.Broadcast.Packets,
		OutErrors: out.Errors, OutDiscards: out.Discards,
		InUcastOctets: in.Unicast.Bytes, InMulticastOctets: in.Multicast.Bytes, InBroadcastOctets: in.Broadcast.Bytes,
		OutUcastOctets: out.Unicast.Bytes, OutMulticastOctets: out.Multicast.Bytes, OutBroadcastOctets: out.Broadcast.Bytes,
	}
}

// RSCStatistics implements adapter.Target.
func (n *nic) RSCStatistics() ndis.RSCStatistics {
	var s ndis.RSCStatistics
	for _, q := range n.device.Snapshot().Queues {
		c := &q.Coalescing
		s.CoalescedPackets += c.CoalescedPkts
		s.CoalescedOctets += c.CoalescedOctets
		s.CoalesceEvents += c.CoalesceEvents
		s.Aborts += c.Aborts
	}
	return s
}

// Indicate implements adapter.Target.
func (n *nic) Indicate(status ndis.Status, body []byte) { n.hub.Indicate(status, body) }
