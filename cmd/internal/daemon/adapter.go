package daemon

import (
	"errors"
	"fmt"
	"sync"

	"vhost-user-nvgre/cmd/internal/config"
	"vhost-user-nvgre/cmd/internal/oid"
	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/offload/ndis"
	"vhost-user-nvgre/offload/ndis/adapter"
	"vhost-user-nvgre/queues"
	"vhost-user-nvgre/queues/vmq"
	"vhost-user-nvgre/virtio"
)

// nic is a port's device together with the adapter that OIDs see. It is the
// adapter's Target.
type nic struct {
	device  *queues.Port
	adapter *adapter.Adapter
	hub     *oid.Hub
	file    string // of the keywords, "" for none
	warn    func(format string, args ...any)

	mu       sync.Mutex // held while a driver's restart is followed
	cfg      config.Port
	restarts uint64
	features virtio.Features
}

// newNIC makes a port's device and adapter.
func newNIC(e *queues.Engine, cfg *config.Port, pc queues.PortConfig, file string, warn func(string, ...any)) (*nic, error) {
	kept, err := readKeywords(file)
	if err != nil {
		return nil, fmt.Errorf("port %s: %w", cfg.Name, err)
	}
	n := &nic{file: file, warn: warn, cfg: *cfg}
	ac := adapter.Config{
		QueuePairs: cfg.QueuePairs, Limits: offload.DefaultLimits(), Coalescing: true,
		RSSv2: cfg.RSSVersion == 2, Keywords: keywordsOf(cfg, kept), Start: startOf(cfg),
	}
	if cfg.VMQ {
		ac.VMQueues = cfg.QueuePairs - 1
	}
	if n.adapter, err = adapter.New(ac, n); err != nil {
		return nil, fmt.Errorf("port %s: %w", cfg.Name, err)
	}
	n.hub = oid.NewHub(cfg.Name, n)
	n.mu.Lock() // the device may notify before it is known here
	defer n.mu.Unlock()
	pc.Notify = n.driverChanged
	if n.device, err = e.AddPort(pc); err != nil {
		return nil, err
	}
	if err := n.begin(); err != nil {
		e.RemovePort(n.device)
		return nil, err
	}
	return n, nil
}

// startOf returns what the settings turn on at every start, as a protocol
// driver would.
func startOf(cfg *config.Port) adapter.Start {
	return adapter.Start{Framing: cfg.RxChecksum || cfg.NVGRE, NVGRE: cfg.NVGRE, RSC: cfg.RSC, URO: cfg.URO}
}

// keywordsOf returns the keywords kept, and those that settings stand for
// where none is kept.
func keywordsOf(cfg *config.Port, kept adapter.Keywords) adapter.Keywords {
	k := adapter.Keywords{}
	if !cfg.LSO {
		k["*LsoV2IPv4"], k["*LsoV2IPv6"] = 0, 0
	}
	if !cfg.USO {
		k["*UsoIPv4"], k["*UsoIPv6"] = 0, 0
	}
	for name, v := range kept {
		k[name] = v
	}
	delete(k, "*RssOrVmqPreference")
	if cfg.VMQ {
		k["*RssOrVmqPreference"] = 1
	}
	return k
}

// Handle implements oid.Handler. A request meets the driver that is there now,
// also where the notification of it is still on its way.
func (n *nic) Handle(r adapter.Request) adapter.Response {
	n.driverChanged()
	return n.adapter.Handle(r)
}

// driverChanged follows what the driver does: when it began anew, the adapter
// begins anew.
func (n *nic) driverChanged() {
	n.mu.Lock()
	defer n.mu.Unlock()
	d := n.device.Driver()
	if d.Restarts == n.restarts && d.Features == n.features {
		return
	}
	n.restarts, n.features = d.Restarts, d.Features
	n.adapter.Restart(d.Features)
	if err := n.begin(); err != nil {
		n.warn("%v", err)
	}
}

// begin puts into force what the adapter starts with. The caller holds mu.
func (n *nic) begin() error {
	s := n.adapter.Setting()
	st := s.Offload
	if !n.cfg.RxChecksum {
		// NVGRE needs the framing on, which the setting does not mean.
		st.Receive = offload.Validation{}
	}
	if n.cfg.NVGRE {
		st.NVGRE.VMQ = offload.AllFamilies // as the setting says; it takes filters to matter
	}
	return errors.Join(n.device.SetOffloads(st), n.device.SetVMQ(filtersOf(s.Filters)))
}

// reload brings changed offload settings into force.
func (n *nic) reload(cfg *config.Port) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cfg = *cfg
	n.adapter.SetStart(startOf(cfg))
	return n.device.SetOffloads(cfg.Offloads())
}

// Apply implements adapter.Target.
func (n *nic) Apply(old, next *adapter.Setting) error {
	before := n.device.Offloads()
	if err := n.device.SetOffloads(changed(before, old.Offload, next.Offload)); err != nil {
		return err
	}
	err := n.steer(old, next)
	if err != nil {
		err = errors.Join(err, n.device.SetOffloads(before))
	}
	return err
}

// changed returns what is in force with what differs between an adapter's old
// and next state: the rest may have been set otherwise, by the port's settings.
func changed(inForce, old, next offload.State) offload.State {
	take(&inForce.LSOv4, old.LSOv4, next.LSOv4)
	take(&inForce.LSOv6, old.LSOv6, next.LSOv6)
	take(&inForce.USOv4, old.USOv4, next.USOv4)
	take(&inForce.USOv6, old.USOv6, next.USOv6)
	take(&inForce.Limits, old.Limits, next.Limits)
	take(&inForce.Receive, old.Receive, next.Receive)
	take(&inForce.RSCv4, old.RSCv4, next.RSCv4)
	take(&inForce.RSCv6, old.RSCv6, next.RSCv6)
	take(&inForce.URO, old.URO, next.URO)
	take(&inForce.NVGRE, old.NVGRE, next.NVGRE)
	return inForce
}

func take[T comparable](to *T, old, next T) {
	if next != old {
		*to = next
	}
}

// steer puts RSS, hash and filters into force where they are others.
func (n *nic) steer(old, next *adapter.Setting) error {
	if next.Filters != old.Filters {
		if err := n.device.SetVMQ(filtersOf(next.Filters)); err != nil {
			return err
		}
	}
	switch {
	case next.RSS == old.RSS && next.Hash == old.Hash:
		return nil
	case next.RSS != nil:
		return n.device.SetRSS(&queues.RSS{Hash: queues.Hash(next.RSS.Hash), Table: next.RSS.Table, Default: next.RSS.Default})
	case next.Hash != nil:
		h := queues.Hash(*next.Hash)
		return n.device.SetHash(&h)
	}
	return n.device.SetRSS(nil)
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
