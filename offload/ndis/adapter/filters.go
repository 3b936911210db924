package adapter

import (
	"encoding/binary"
	"maps"
	"slices"

	"vhost-user-nvgre/offload/ndis"
	"vhost-user-nvgre/virtio"
)

// maxFilters bounds the filters of an adapter.
const maxFilters = 16384

// VLANMatch says which tags a filter takes.
type VLANMatch uint8

// Values of VLANMatch.
const (
	VLANAny      VLANMatch = iota // tagged or not
	VLANNone                      // untagged, or with VLAN id 0
	VLANIDEquals                  // tagged with the filter's VLAN id
)

// Match says which frames a filter claims.
type Match struct {
	MAC  virtio.MAC // destination
	VLAN VLANMatch
	ID   uint16 // VLAN id for VLANIDEquals, 1 to 4094
	// Inner says that the inner Ethernet header of NVGRE packets is looked at,
	// and only that; else the outermost one.
	Inner bool
}

// Filter leads frames to a queue pair.
type Filter struct {
	Match
	Pair uint16
}

// Filters are the receive filters in force. What no filter claims goes to
// queue pair 0.
type Filters struct {
	List []Filter // ascending by the ids of the filters
}

// filter is a filter that is set.
type filter struct {
	owner, queue uint32
	params       ndis.ReceiveFilterParameters
	match        Match
}

// compileFilters returns the filters whose queues run, nil while receive
// filters are not in use.
func (a *Adapter) compileFilters(s *state) *Filters {
	if a.cfg.VMQueues == 0 || !a.keywords.vmq() {
		return nil
	}
	f := &Filters{}
	for _, id := range slices.Sorted(maps.Keys(s.filters)) {
		if v := s.filters[id]; s.queues[v.queue].state == queueRunning {
			f.List = append(f.List, Filter{v.match, uint16(v.queue)})
		}
	}
	return f
}

func setFilter(c *call) ndis.Status {
	if st := c.filtersUsable(); st != ndis.StatusSuccess {
		return st
	}
	const bad = ndis.StatusInvalidParameter
	var p ndis.ReceiveFilterParameters
	if st := c.decode(&p, bad); st != ndis.StatusSuccess {
		return st
	}
	q, ok := c.s.queues[p.QueueID]
	hw := c.a.hardware()
	switch {
	case p.Type != ndis.FilterVMQueue:
		return c.fail(bad, "filter type %s, want %s", p.Type, ndis.FilterVMQueue)
	case p.FilterID != 0:
		return c.fail(bad, "filter id %d, want 0 for a new filter", p.FilterID)
	case p.VPortID != 0:
		return c.fail(bad, "virtual port %d, there is only 0", p.VPortID)
	case !ok:
		return c.fail(bad, "there is no queue %d", p.QueueID)
	case p.QueueID != defaultQueue && q.owner != c.Binding:
		return c.fail(bad, "queue %d belongs to binding %d, not to %d", p.QueueID, q.owner, c.Binding)
	case p.Flags&^ndis.FilterPacketEncapsulation != 0:
		return c.fail(bad, "flags %s, want 0 or %s", p.Flags, ndis.FilterPacketEncapsulation)
	case p.Flags != 0 && hw.GRE.VMQ == 0:
		return c.fail(bad, "flags %s: the hardware has no filters for encapsulated packets for this driver", p.Flags)
	}
	m, st := c.match(&p)
	if st != ndis.StatusSuccess {
		return st
	}
	id := uint32(1)
	for other, f := range c.s.filters {
		if f.match == m {
			return c.fail(bad, "filter %d of queue %d claims the same frames", other, f.queue)
		}
	}
	for _, taken := c.s.filters[id]; taken; _, taken = c.s.filters[id] {
		id++
	}
	if len(c.s.filters) >= maxFilters {
		return c.fail(ndis.StatusFailure, "there are %d filters, which is all there is room for", maxFilters)
	}
	if len(c.Input) > c.OutputLength {
		c.BytesNeeded = len(c.Input)
		return c.fail(ndis.StatusInvalidLength, "room for %d bytes, want %d", c.OutputLength, len(c.Input))
	}
	p.FilterID = id
	c.s.filters[id] = filter{c.Binding, p.QueueID, p, m}
	q.filters++
	switch q.state {
	case queueAllocated:
		q.state = queueSet
	case queuePaused:
		q.state = queueRunning
	}
	c.s.queues[p.QueueID] = q
	c.s.filterEpoch++
	c.Output = p.PutID(c.Input)
	return ndis.StatusSuccess
}

// match returns what the field tests of a filter claim.
func (c *call) match(p *ndis.ReceiveFilterParameters) (m Match, st ndis.Status) {
	const bad = ndis.StatusInvalidParameter
	m.Inner = p.Flags&ndis.FilterPacketEncapsulation != 0
	var mac, vlan *ndis.FilterField
	for i := range p.Fields {
		f := &p.Fields[i]
		if f.Header != ndis.FrameHeaderMAC || f.Test != ndis.TestEqual {
			return m, c.fail(bad, "test %d: %s of header %s, want %s of %s", i, f.Test, f.Header, ndis.TestEqual, ndis.FrameHeaderMAC)
		}
		to := &mac
		switch f.Field {
		case ndis.MACDestination:
		case ndis.MACVLANID:
			to = &vlan
		default:
			return m, c.fail(bad, "test %d: field %s, want %s or %s", i, f.Field, ndis.MACDestination, ndis.MACVLANID)
		}
		if *to != nil {
			return m, c.fail(bad, "test %d: field %s for a second time", i, f.Field)
		}
		*to = f
	}
	if mac == nil {
		return m, c.fail(bad, "there is no test for %s", ndis.MACDestination)
	}
	if mac.Flags&^ndis.FieldUntaggedOrZero != 0 || vlan != nil && vlan.Flags != 0 {
		return m, c.fail(bad, "flags %s of a test, want 0 or, for the address, %s", mac.Flags, ndis.FieldUntaggedOrZero)
	}
	m.MAC = virtio.MAC(mac.Value[:6])
	if mac.Flags != 0 {
		m.VLAN = VLANNone
	}
	if vlan == nil {
		return m, ndis.StatusSuccess
	}
	id := binary.BigEndian.Uint16(vlan.Value[:])
	switch {
	case c.a.keywords.get(keyVMQVLAN) == 0:
		return m, c.fail(bad, "test for %s: the keyword %s has that off", ndis.MACVLANID, keyVMQVLAN)
	case mac.Flags != 0:
		return m, c.fail(bad, "test for %s together with the flag %s", ndis.MACVLANID, ndis.FieldUntaggedOrZero)
	case id < 1 || id > 4094:
		return m, c.fail(bad, "VLAN id %d, want 1 to 4094", id)
	}
	m.VLAN, m.ID = VLANIDEquals, id
	return m, ndis.StatusSuccess
}

func clearFilter(c *call) ndis.Status {
	if st := c.filtersUsable(); st != ndis.StatusSuccess {
		return st
	}
	const unknown = ndis.StatusFileNotFound
	var p ndis.ReceiveFilterClearParameters
	if st := c.decode(&p, unknown); st != ndis.StatusSuccess {
		return st
	}
	f, ok := c.s.filters[p.FilterID]
	switch {
	case !ok || f.queue != p.QueueID:
		return c.fail(unknown, "there is no filter %d on queue %d", p.FilterID, p.QueueID)
	case f.owner != c.Binding:
		return c.fail(unknown, "filter %d belongs to binding %d, not to %d", p.FilterID, f.owner, c.Binding)
	}
	delete(c.s.filters, p.FilterID)
	q := c.s.queues[f.queue]
	q.filters--
	if q.filters == 0 && f.queue != defaultQueue {
		// The queue stops silently; only freeing it is indicated.
		if q.state == queueRunning {
			q.state = queuePaused
		} else {
			q.state = queueAllocated
		}
	}
	c.s.queues[f.queue] = q
	c.s.filterEpoch++
	c.SupportedRevision = 1
	return ndis.StatusSuccess
}

func enumFilters(c *call) ndis.Status {
	if st := c.filtersUsable(); st != ndis.StatusSuccess {
		return st
	}
	var a ndis.ReceiveFilterInfoArray
	if st := c.decode(&a, ndis.StatusFailure); st != ndis.StatusSuccess {
		return st
	}
	if _, ok := c.s.queues[a.QueueID]; !ok {
		return c.fail(ndis.StatusFailure, "there is no queue %d", a.QueueID)
	}
	a.Filters = nil
	for _, id := range slices.Sorted(maps.Keys(c.s.filters)) {
		if f := c.s.filters[id]; f.queue == a.QueueID {
			a.Filters = append(a.Filters, ndis.ReceiveFilterInfo{Flags: f.params.Flags, Type: f.params.Type, FilterID: id})
		}
	}
	return c.answer(a.Encode(), ndis.StatusInvalidLength)
}

func queryFilter(c *call) ndis.Status {
	if st := c.filtersUsable(); st != ndis.StatusSuccess {
		return st
	}
	var p ndis.ReceiveFilterParameters
	if st := c.decode(&p, ndis.StatusInvalidParameter); st != ndis.StatusSuccess {
		return st
	}
	f, ok := c.s.filters[p.FilterID]
	if !ok {
		return c.fail(ndis.StatusInvalidParameter, "there is no filter %d", p.FilterID)
	}
	return c.answer(f.params.Encode(), ndis.StatusInvalidLength)
}

// moveFilter would move a filter between virtual ports, which only SR-IOV has.
func moveFilter(c *call) ndis.Status {
	var p ndis.ReceiveFilterMoveParameters
	if st := c.decode(&p, ndis.StatusInvalidParameter); st != ndis.StatusSuccess {
		return st
	}
	return c.fail(ndis.StatusNotSupported, "there are no virtual ports to move filter %d between", p.FilterID)
}
