package adapter

import (
	"maps"
	"slices"

	"vhost-user-nvgre/offload/ndis"
)

// defaultQueue is the queue that takes what no filter claims. It is always
// there and has no owner.
const defaultQueue = 0

// queueState is a state of the receive queue state machine, of those that
// last.
type queueState uint8

const (
	queueAllocated queueState = iota
	queueSet                  // has filters, but its allocation is not complete
	queueRunning
	queuePaused // its allocation is complete, but it has no filters
)

// shown returns the state as NDIS numbers it, which has no names for queues
// whose allocation is not complete.
func (s queueState) shown() ndis.QueueState {
	if s == queueRunning {
		return ndis.QueueStateRunning
	}
	return ndis.QueueStatePaused
}

type queue struct {
	owner   uint32
	state   queueState
	params  ndis.ReceiveQueueParameters
	filters uint32 // that are set
}

// filterCapabilities returns what there is of receive filters.
func (a *Adapter) filterCapabilities() ndis.ReceiveFilterCapabilities {
	return ndis.ReceiveFilterCapabilities{
		EnabledFilterTypes: ndis.FiltersVMQ, EnabledQueueTypes: ndis.QueuesVMQ,
		NumQueues:       uint32(a.cfg.VMQueues),
		QueueProperties: ndis.QueueMSIX | ndis.QueueVMQueue | ndis.QueueDynamicAffinity | ndis.QueueAnyVLAN,
		FilterTests:     ndis.TestsEqual, Headers: ndis.HeadersMAC,
		MACFields:           ndis.FieldsDestination | ndis.FieldsVLANID,
		MaxMACHeaderFilters: maxFilters,
	}
}

// filtersThere reports whether the hardware has receive filters, filtersUsable
// whether they are in use.
func (c *call) filtersThere() ndis.Status {
	if c.a.cfg.VMQueues == 0 {
		return c.fail(ndis.StatusNotSupported, "there are no receive filters: the port has none without the setting vmq and a second queue pair")
	}
	return ndis.StatusSuccess
}

func (c *call) filtersUsable() ndis.Status {
	if st := c.filtersThere(); st != ndis.StatusSuccess {
		return st
	}
	if !c.a.keywords.vmq() {
		return c.fail(ndis.StatusNotSupported, "the keywords have receive filters off: want %s 1 and %s 1", keyPrefer, keyVMQ)
	}
	return ndis.StatusSuccess
}

func queryFilterHardware(c *call) ndis.Status {
	if st := c.filtersThere(); st != ndis.StatusSuccess {
		return st
	}
	caps := c.a.filterCapabilities()
	return c.answer(caps.Encode(), ndis.StatusInvalidLength)
}

func queryFilterCurrent(c *call) ndis.Status {
	if st := c.filtersThere(); st != ndis.StatusSuccess {
		return st
	}
	var caps ndis.ReceiveFilterCapabilities
	if c.a.keywords.vmq() {
		caps = c.a.filterCapabilities()
		if c.a.keywords.get(keyVMQVLAN) == 0 {
			caps.MACFields &^= ndis.FieldsVLANID
		}
	}
	return c.answer(caps.Encode(), ndis.StatusInvalidLength)
}

func queryFilterGlobal(c *call) ndis.Status {
	if st := c.filtersThere(); st != ndis.StatusSuccess {
		return st
	}
	var p ndis.ReceiveFilterGlobalParameters
	if c.a.keywords.vmq() {
		p.EnabledFilterTypes, p.EnabledQueueTypes = ndis.FiltersVMQ, ndis.QueuesVMQ
	}
	return c.answer(p.Encode(), ndis.StatusInvalidLength)
}

// ownQueue returns a queue of the caller, other than the default queue.
func (c *call) ownQueue(id uint32) (queue, ndis.Status) {
	q, ok := c.s.queues[id]
	switch {
	case id == defaultQueue:
		return q, c.fail(ndis.StatusInvalidParameter, "queue 0 is the default queue, which belongs to nobody")
	case !ok:
		return q, c.fail(ndis.StatusInvalidParameter, "there is no queue %d", id)
	case q.owner != c.Binding:
		return q, c.fail(ndis.StatusInvalidParameter, "queue %d belongs to binding %d, not to %d", id, q.owner, c.Binding)
	}
	return q, ndis.StatusSuccess
}

// queueFlags are those of a queue that are remembered; lookahead split is
// ignored.
const queueFlags = ndis.QueuePerQueueIndication | ndis.QueueLookaheadSplitRequired

func allocateQueue(c *call) ndis.Status {
	if st := c.filtersUsable(); st != ndis.StatusSuccess {
		return st
	}
	const bad = ndis.StatusInvalidParameter
	var p ndis.ReceiveQueueParameters
	if st := c.decode(&p, bad); st != ndis.StatusSuccess {
		return st
	}
	switch {
	case p.Type != ndis.QueueTypeVMQueue:
		return c.fail(bad, "queue type %s, want %s", p.Type, ndis.QueueTypeVMQueue)
	case p.Affinity.Mask == 0:
		return c.fail(bad, "processor affinity 0, want a processor")
	case p.Flags&^(queueFlags|ndis.QueueChangeMask) != 0:
		return c.fail(bad, "flags %s, want a subset of %s", p.Flags, queueFlags)
	}
	id := uint32(1)
	for ; int(id) <= c.a.cfg.VMQueues; id++ {
		if _, taken := c.s.queues[id]; !taken {
			break
		}
	}
	if int(id) > c.a.cfg.VMQueues {
		return c.fail(ndis.StatusFailure, "all of the %d queues are allocated", c.a.cfg.VMQueues)
	}
	p.QueueID, p.Flags, p.LookaheadSize = id, p.Flags&ndis.QueuePerQueueIndication, 0
	p.MSIXTableEntry = 2 * id // the virtqueue; the driver alone knows its vector
	c.s.queues[id] = queue{owner: c.Binding, params: p}
	return c.answer(p.Encode(), ndis.StatusInvalidLength)
}

// completeAllocation ends the allocation of queues: those with filters run.
func completeAllocation(c *call) ndis.Status {
	if st := c.filtersUsable(); st != ndis.StatusSuccess {
		return st
	}
	var p ndis.AllocationCompleteArray
	if st := c.decode(&p, ndis.StatusInvalidParameter); st != ndis.StatusSuccess {
		return st
	}
	if len(c.Input) > c.OutputLength {
		c.BytesNeeded = len(c.Input)
		return c.fail(ndis.StatusInvalidLength, "room for %d bytes, want %d", c.OutputLength, len(c.Input))
	}
	for i := range p.Queues {
		e := &p.Queues[i]
		q, st := c.ownQueue(e.QueueID)
		switch {
		case st != ndis.StatusSuccess:
		case q.state == queueAllocated:
			q.state = queuePaused
		case q.state == queueSet:
			q.state = queueRunning
			c.s.filterEpoch++
		default:
			st = ndis.StatusInvalidParameter
		}
		if e.Status = st; st == ndis.StatusSuccess {
			c.s.queues[e.QueueID] = q
		}
	}
	c.Detail = ""
	c.Output = p.PutStatuses(c.Input)
	return ndis.StatusSuccess
}

// freeQueue gives a queue back. The target has delivered what it held for the
// queue when the indication that its DMA stopped is made.
func freeQueue(c *call) ndis.Status {
	if st := c.filtersUsable(); st != ndis.StatusSuccess {
		return st
	}
	var p ndis.ReceiveQueueFreeParameters
	if st := c.decode(&p, ndis.StatusInvalidParameter); st != ndis.StatusSuccess {
		return st
	}
	q, st := c.ownQueue(p.QueueID)
	if st != ndis.StatusSuccess {
		return st
	}
	if q.filters > 0 {
		return c.fail(ndis.StatusInvalidParameter, "queue %d has %d filters; clear them first", p.QueueID, q.filters)
	}
	c.SupportedRevision = 1
	delete(c.s.queues, p.QueueID)
	c.s.filterEpoch++
	c.indicate(ndis.StatusReceiveQueueState, &ndis.ReceiveQueueStateIndication{QueueID: p.QueueID, State: ndis.QueueStateDMAStopped})
	return ndis.StatusSuccess
}

// enumQueues lists the caller's queues; who is no driver sees all.
func enumQueues(c *call) ndis.Status {
	if st := c.filtersUsable(); st != ndis.StatusSuccess {
		return st
	}
	var a ndis.ReceiveQueueInfoArray
	for _, id := range slices.Sorted(maps.Keys(c.s.queues)) {
		q := c.s.queues[id]
		if c.Binding != UserMode && (id == defaultQueue || q.owner != c.Binding) {
			continue
		}
		p := &q.params
		a.Queues = append(a.Queues, ndis.ReceiveQueueInfo{
			Flags: p.Flags, Type: p.Type, QueueID: id, GroupID: p.GroupID, State: q.state.shown(),
			Affinity: p.Affinity, SuggestedBuffers: p.SuggestedBuffers, MSIXTableEntry: p.MSIXTableEntry,
			VMName: p.VMName, QueueName: p.QueueName, NumFilters: q.filters, CoalescingDomain: p.CoalescingDomain,
		})
	}
	return c.answer(a.Encode(), ndis.StatusInvalidLength)
}

func queryQueue(c *call) ndis.Status {
	if st := c.filtersUsable(); st != ndis.StatusSuccess {
		return st
	}
	var p ndis.ReceiveQueueParameters
	if st := c.decode(&p, ndis.StatusInvalidParameter); st != ndis.StatusSuccess {
		return st
	}
	q, ok := c.s.queues[p.QueueID]
	if !ok {
		return c.fail(ndis.StatusInvalidParameter, "there is no queue %d", p.QueueID)
	}
	q.params.Revision = p.Revision // what the caller knows
	return c.answer(q.params.Encode(), ndis.StatusInvalidLength)
}

// setQueue changes the parameters of a queue for which there is a flag.
func setQueue(c *call) ndis.Status {
	if st := c.filtersUsable(); st != ndis.StatusSuccess {
		return st
	}
	const bad = ndis.StatusInvalidParameter
	var p ndis.ReceiveQueueParameters
	if st := c.decode(&p, bad); st != ndis.StatusSuccess {
		return st
	}
	q, st := c.ownQueue(p.QueueID)
	if st != ndis.StatusSuccess {
		return st
	}
	const known = queueFlags | ndis.QueueFlagsChanged | ndis.QueueAffinityChanged | ndis.QueueBuffersChanged |
		ndis.QueueNameChanged | ndis.QueueCoalescingDomainChanged | ndis.QueueQosSQChanged
	changed := func(f ndis.QueueFlags) bool { return p.Flags&f != 0 }
	switch {
	case p.Flags&^known != 0:
		return c.fail(bad, "flags %s, want a subset of %s", p.Flags, known)
	case changed(ndis.QueueAffinityChanged) && p.Affinity.Mask == 0:
		return c.fail(bad, "processor affinity 0, want a processor")
	case changed(ndis.QueueQosSQChanged) && p.QosSQID != 0:
		return c.fail(ndis.StatusNotSupported, "scheduler queue %d, there is only 0", p.QosSQID)
	}
	if changed(ndis.QueueFlagsChanged) {
		q.params.Flags = p.Flags & ndis.QueuePerQueueIndication
	}
	if changed(ndis.QueueAffinityChanged) {
		q.params.Affinity = p.Affinity
	}
	if changed(ndis.QueueBuffersChanged) {
		q.params.SuggestedBuffers = p.SuggestedBuffers
	}
	if changed(ndis.QueueNameChanged) {
		q.params.VMName, q.params.QueueName = p.VMName, p.QueueName
	}
	if changed(ndis.QueueCoalescingDomainChanged) {
		q.params.CoalescingDomain = p.CoalescingDomain
	}
	c.SupportedRevision = p.Revision
	c.s.queues[p.QueueID] = q
	return ndis.StatusSuccess
}
