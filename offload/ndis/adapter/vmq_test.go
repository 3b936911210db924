package adapter_test

import (
	"slices"
	"testing"

	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/offload/ndis"
	"vhost-user-nvgre/offload/ndis/adapter"
	"vhost-user-nvgre/virtio"
)

func vmqConfig() adapter.Config {
	c := config()
	c.Keywords = adapter.Keywords{"*RssOrVmqPreference": 1}
	return c
}

func (r *rig) allocate(want ndis.Status) uint32 {
	r.Helper()
	p := ndis.ReceiveQueueParameters{Type: ndis.QueueTypeVMQueue, Affinity: ndis.Affinity{Mask: 1}, VMName: "vm", QueueName: "q"}
	r.method(ndis.OIDFilterAllocateQueue, &p, want)
	return p.QueueID
}

// complete completes the allocation of queues and checks each one's status.
func (r *rig) complete(queues []uint32, want ...ndis.Status) {
	r.Helper()
	a := ndis.AllocationCompleteArray{}
	for _, q := range queues {
		a.Queues = append(a.Queues, ndis.AllocationComplete{QueueID: q, Status: ndis.StatusPending})
	}
	r.method(ndis.OIDFilterAllocationComplete, &a, ndis.StatusSuccess)
	var got []ndis.Status
	for _, q := range a.Queues {
		got = append(got, q.Status)
	}
	if !slices.Equal(got, want) {
		r.Errorf("completing %v: %v, want %v", queues, got, want)
	}
}

func (r *rig) filter(queue uint32, want ndis.Status, fields ...ndis.FilterField) uint32 {
	r.Helper()
	p := ndis.ReceiveFilterParameters{Type: ndis.FilterVMQueue, QueueID: queue, Fields: fields}
	r.method(ndis.OIDFilterSetFilter, &p, want)
	return p.FilterID
}

func (r *rig) clear(queue, filter uint32, want ndis.Status) {
	r.Helper()
	r.set(ndis.OIDFilterClearFilter, &ndis.ReceiveFilterClearParameters{QueueID: queue, FilterID: filter}, want)
}

func (r *rig) free(queue uint32, want ndis.Status) {
	r.Helper()
	r.set(ndis.OIDFilterFreeQueue, &ndis.ReceiveQueueFreeParameters{QueueID: queue}, want)
}

// states returns the states of the caller's queues, by id.
func (r *rig) states() map[uint32]ndis.QueueState {
	r.Helper()
	var a ndis.ReceiveQueueInfoArray
	r.query(ndis.OIDFilterEnumQueues, &a)
	m := map[uint32]ndis.QueueState{}
	for _, q := range a.Queues {
		m[q.QueueID] = q.State
	}
	return m
}

func mac(n byte) [6]byte { return [6]byte{2, 0, 0, 0, 0, n} }

const ok, bad = ndis.StatusSuccess, ndis.StatusInvalidParameter

// Both ways from allocation to running, and back.
//
// Shows: NDIS-205, NDIS-208, NDIS-209, NDIS-210, NDIS-211, NDIS-212, NDIS-213, NDIS-214, NDIS-215, NDIS-217, NDIS-218
func TestQueueLifeCycle(t *testing.T) {
	r := newRig(t, vmqConfig())
	if f := r.Setting().Filters; f == nil || len(f.List) != 0 {
		t.Errorf("filters after start: %+v, want none in force", f)
	}
	q1, q2 := r.allocate(ok), r.allocate(ok)
	if q1 != 1 || q2 != 2 {
		t.Errorf("queues %d and %d, want 1 and 2", q1, q2)
	}
	f1 := r.filter(q1, ok, ndis.DestinationIs(mac(1), 0)) // Allocated -> Set
	if got := r.Setting().Filters.List; len(got) != 0 {
		t.Errorf("filters in force before the allocation is complete: %v", got)
	}
	r.complete([]uint32{q1, q2, 7, 0}, ok, ok, bad, bad) // Set -> Running, Allocated -> Paused
	r.complete([]uint32{q1, q2}, bad, bad)
	want := []adapter.Filter{{Match: adapter.Match{MAC: virtio.MAC(mac(1))}, Pair: 1}}
	if got := r.Setting().Filters.List; !slices.Equal(got, want) {
		t.Errorf("filters in force %v, want %v", got, want)
	}
	if s := r.states(); s[q1] != ndis.QueueStateRunning || s[q2] != ndis.QueueStatePaused {
		t.Errorf("states %v, want running and paused", s)
	}
	f2 := r.filter(q2, ok, ndis.DestinationIs(mac(2), 0)) // Paused -> Running
	if f1 != 1 || f2 != 2 {
		t.Errorf("filters %d and %d, want 1 and 2", f1, f2)
	}
	f3 := r.filter(q2, ok, ndis.DestinationIs(mac(3), 0))
	if got := r.Setting().Filters.List; len(got) != 3 || got[2].Pair != 2 {
		t.Errorf("filters in force %v, want 3", got)
	}
	r.free(q2, bad)
	r.take()
	r.clear(q2, f2, ok)
	if s := r.states(); s[q2] != ndis.QueueStateRunning {
		t.Errorf("a filter is left, state %v", s[q2])
	}
	r.clear(q2, f3, ok) // Running -> Paused, silently
	r.expect("apply", "apply")
	if s := r.states(); s[q2] != ndis.QueueStatePaused {
		t.Errorf("no filter is left, state %v", s[q2])
	}
	r.free(q2, ok)
	r.expect("apply", queueStopped)
	var stopped ndis.ReceiveQueueStateIndication
	if err := stopped.Decode(r.bodies[len(r.bodies)-1]); err != nil || stopped.QueueID != q2 || stopped.State != ndis.QueueStateDMAStopped {
		t.Errorf("indicated %+v, %v, want queue %d stopped", stopped, err, q2)
	}
	r.free(q2, bad)
	r.complete([]uint32{q2}, bad)
	// Set -> Allocated -> Set -> Running.
	q2 = r.allocate(ok)
	f := r.filter(q2, ok, ndis.DestinationIs(mac(2), 0))
	r.clear(q2, f, ok)
	f = r.filter(q2, ok, ndis.DestinationIs(mac(2), 0))
	r.clear(q2, f, ok)
	r.complete([]uint32{q2}, ok)
	if s := r.states(); q2 != 2 || s[q2] != ndis.QueueStatePaused {
		t.Errorf("queue %d without filters completed, state %v, want queue 2 paused", q2, s[q2])
	}
}

// The default queue is there for everybody and for ever.
//
// Shows: NDIS-204, NDIS-226
func TestDefaultQueue(t *testing.T) {
	r := newRig(t, vmqConfig())
	r.free(0, bad)
	id := r.filter(0, ok, ndis.DestinationIs(mac(1), 0))
	want := []adapter.Filter{{Match: adapter.Match{MAC: virtio.MAC(mac(1))}}}
	if got := r.Setting().Filters.List; !slices.Equal(got, want) {
		t.Errorf("filters in force %v, want %v", got, want)
	}
	// Another driver may set filters there, but not clear this one.
	other := func(typ adapter.RequestType, oid ndis.OID, s ndis.Structure, want ndis.Status) adapter.Response {
		t.Helper()
		return r.do(adapter.Request{Type: typ, OID: oid, Binding: 2, Input: s.Encode()}, want)
	}
	p := ndis.ReceiveFilterParameters{Type: ndis.FilterVMQueue, Fields: []ndis.FilterField{ndis.DestinationIs(mac(2), 0)}}
	other(adapter.Method, ndis.OIDFilterSetFilter, &p, ok)
	other(adapter.Set, ndis.OIDFilterClearFilter, &ndis.ReceiveFilterClearParameters{FilterID: id}, ndis.StatusFileNotFound)

	q := r.allocate(ok)
	p.QueueID, p.Fields = q, []ndis.FilterField{ndis.DestinationIs(mac(3), 0)}
	other(adapter.Method, ndis.OIDFilterSetFilter, &p, bad)
	other(adapter.Set, ndis.OIDFilterQueueParameters, &ndis.ReceiveQueueParameters{QueueID: q}, bad)
	other(adapter.Set, ndis.OIDFilterFreeQueue, &ndis.ReceiveQueueFreeParameters{QueueID: q}, bad)
	r.set(ndis.OIDFilterQueueParameters, &ndis.ReceiveQueueParameters{QueueID: 0}, bad)
	r.clear(0, id, ok)
	r.free(q, ok)
}

// Who is asked for which queues and filters.
//
// Shows: NDIS-236, NDIS-237
func TestEnumerations(t *testing.T) {
	r := newRig(t, vmqConfig())
	q := r.allocate(ok)
	f := r.filter(q, ok, ndis.DestinationIs(mac(1), ndis.FieldUntaggedOrZero))
	for binding, want := range map[uint32][]uint32{1: {1}, 2: nil, adapter.UserMode: {0, 1}} {
		resp := r.do(adapter.Request{Type: adapter.Query, OID: ndis.OIDFilterEnumQueues, Binding: binding}, ok)
		var a ndis.ReceiveQueueInfoArray
		if err := a.Decode(resp.Output); err != nil {
			t.Fatal(err)
		}
		var got []uint32
		for _, info := range a.Queues {
			got = append(got, info.QueueID)
			if info.QueueID == q && (info.NumFilters != 1 || info.VMName != "vm" || info.Affinity.Mask != 1) {
				t.Errorf("queue info %+v", info)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("binding %d: queues %v, want %v", binding, got, want)
		}
	}
	list := ndis.ReceiveFilterInfoArray{QueueID: q}
	r.method(ndis.OIDFilterEnumFilters, &list, ok)
	if len(list.Filters) != 1 || list.Filters[0].FilterID != f {
		t.Errorf("filters %+v, want filter %d", list.Filters, f)
	}
	r.method(ndis.OIDFilterEnumFilters, &ndis.ReceiveFilterInfoArray{QueueID: 9}, ndis.StatusFailure)
	p := ndis.ReceiveFilterParameters{FilterID: f}
	r.method(ndis.OIDFilterParameters, &p, ok)
	if len(p.Fields) != 1 || p.Fields[0].Flags != ndis.FieldUntaggedOrZero || p.QueueID != q {
		t.Errorf("filter %d: %+v", f, p)
	}
	for _, id := range []uint32{0, 99} {
		r.method(ndis.OIDFilterParameters, &ndis.ReceiveFilterParameters{FilterID: id}, bad)
	}
}

// What filters claim, and which there cannot be.
//
// Shows: NDIS-070, NDIS-219, NDIS-220, NDIS-222, NDIS-223, NDIS-225, NDIS-227
func TestFilters(t *testing.T) {
	r := newRig(t, vmqConfig())
	field := func(change func(*ndis.FilterField)) ndis.FilterField {
		f := ndis.DestinationIs(mac(9), 0)
		change(&f)
		return f
	}
	for _, fields := range [][]ndis.FilterField{
		nil,
		{ndis.VLANIs(7)},
		{ndis.DestinationIs(mac(1), 0), ndis.DestinationIs(mac(2), 0)},
		{ndis.DestinationIs(mac(1), ndis.FieldUntaggedOrZero), ndis.VLANIs(7)},
		{ndis.DestinationIs(mac(1), 2)},
		{ndis.DestinationIs(mac(1), 0), ndis.VLANIs(0)},
		{ndis.DestinationIs(mac(1), 0), ndis.VLANIs(4096)},
		{field(func(f *ndis.FilterField) { f.Field = ndis.MACSource })},
		{field(func(f *ndis.FilterField) { f.Test = ndis.TestMaskEqual })},
		{field(func(f *ndis.FilterField) { f.Test = ndis.TestNotEqual })},
		{field(func(f *ndis.FilterField) { f.Header = ndis.FrameHeaderIPv4 })},
	} {
		r.filter(0, bad, fields...)
	}
	r.filter(0, ok, ndis.DestinationIs(mac(1), 0))
	r.filter(0, bad, ndis.DestinationIs(mac(1), 0)) // the same again
	r.filter(0, ok, ndis.DestinationIs(mac(1), ndis.FieldUntaggedOrZero))
	r.filter(0, ok, ndis.VLANIs(0x123), ndis.DestinationIs(mac(1), 0))
	inner := ndis.ReceiveFilterParameters{Type: ndis.FilterVMQueue, Flags: ndis.FilterPacketEncapsulation, Fields: []ndis.FilterField{ndis.DestinationIs(mac(1), 0)}}
	r.method(ndis.OIDFilterSetFilter, &inner, ok)
	m := virtio.MAC(mac(1))
	want := []adapter.Filter{
		{Match: adapter.Match{MAC: m}},
		{Match: adapter.Match{MAC: m, VLAN: adapter.VLANNone}},
		{Match: adapter.Match{MAC: m, VLAN: adapter.VLANIDEquals, ID: 0x123}},
		{Match: adapter.Match{MAC: m, Inner: true}},
	}
	if got := r.Setting().Filters.List; !slices.Equal(got, want) {
		t.Errorf("filters in force %+v, want %+v", got, want)
	}
	for _, change := range []func(*ndis.ReceiveFilterParameters){
		func(p *ndis.ReceiveFilterParameters) { p.Type = ndis.FilterPacketCoalescing },
		func(p *ndis.ReceiveFilterParameters) { p.QueueID = 3 },
		func(p *ndis.ReceiveFilterParameters) { p.FilterID = 1 },
		func(p *ndis.ReceiveFilterParameters) { p.VPortID = 1 },
		func(p *ndis.ReceiveFilterParameters) { p.Flags = 1 },
	} {
		p := ndis.ReceiveFilterParameters{Type: ndis.FilterVMQueue, Fields: []ndis.FilterField{ndis.DestinationIs(mac(8), 0)}}
		change(&p)
		r.method(ndis.OIDFilterSetFilter, &p, bad)
	}
	r.clear(0, 99, ndis.StatusFileNotFound)
	r.clear(1, 1, ndis.StatusFileNotFound)
	r.set(ndis.OIDFilterMoveFilter, &ndis.ReceiveFilterMoveParameters{FilterID: 1}, ndis.StatusNotSupported)
}

// Shows: NDIS-206, NDIS-233, NDIS-234, NDIS-238, NDIS-239
func TestFilterCapabilities(t *testing.T) {
	hardware := func(r *rig) (c ndis.ReceiveFilterCapabilities) {
		r.query(ndis.OIDFilterHardwareCapabilities, &c)
		return c
	}
	on := newRig(t, vmqConfig())
	full := hardware(on)
	if full.NumQueues != 3 || full.MaxMACHeaderFilters < full.NumQueues || full.FilterTests != ndis.TestsEqual || full.Headers != ndis.HeadersMAC ||
		full.MACFields&ndis.FieldsDestination == 0 || full.QueueProperties&(ndis.QueueMSIX|ndis.QueueVMQueue) != ndis.QueueMSIX|ndis.QueueVMQueue ||
		full.MinLookaheadSplit != 0 || full.MaxLookaheadSplit != 0 || full.QueueProperties&ndis.QueueLookaheadSplit != 0 {
		t.Errorf("hardware capabilities %+v", full)
	}
	var now ndis.ReceiveFilterCapabilities
	on.query(ndis.OIDFilterCurrentCapabilities, &now)
	var global ndis.ReceiveFilterGlobalParameters
	on.query(ndis.OIDFilterGlobalParameters, &global)
	if now != full || global.EnabledFilterTypes != ndis.FiltersVMQ {
		t.Errorf("current capabilities %+v, enabled %+v, want the hardware's", now, global)
	}
	if v := on.operational().NVGRE.VMQ; v != 0 {
		t.Errorf("NVGRE off: filters look through tunnels of %s", v)
	}
	on.parameters(nvgreOn, ok)
	if v := on.operational().NVGRE.VMQ; v != offload.AllFamilies {
		t.Errorf("NVGRE on: filters look through tunnels of %s, want all", v)
	}
	// With RSS preferred everything is reported and nothing is allowed.
	off := newRig(t, config())
	if c := hardware(off); c != full {
		t.Errorf("hardware capabilities with RSS preferred: %+v, want %+v", c, full)
	}
	off.query(ndis.OIDFilterCurrentCapabilities, &now)
	if now.EnabledFilterTypes != 0 || now.NumQueues != 0 || off.Setting().Filters != nil {
		t.Errorf("current capabilities with RSS preferred: %+v, want none", now)
	}
	off.allocate(ndis.StatusNotSupported)
	off.filter(0, ndis.StatusNotSupported, ndis.DestinationIs(mac(1), 0))
	// Without filter hardware there is nothing to report.
	none := vmqConfig()
	none.VMQueues = 0
	newRig(t, none).do(adapter.Request{Type: adapter.Query, OID: ndis.OIDFilterHardwareCapabilities}, ndis.StatusNotSupported)
	// VLAN ids can be switched off alone.
	noVLAN := vmqConfig()
	noVLAN.Keywords["*VMQVlanFiltering"] = 0
	r := newRig(t, noVLAN)
	r.filter(0, bad, ndis.DestinationIs(mac(1), 0), ndis.VLANIs(7))
	r.filter(0, ok, ndis.DestinationIs(mac(1), 0))
}

// Shows: NDIS-207, NDIS-232, NDIS-233
func TestQueueParameters(t *testing.T) {
	r := newRig(t, vmqConfig())
	for _, change := range []func(*ndis.ReceiveQueueParameters){
		func(p *ndis.ReceiveQueueParameters) { p.Affinity.Mask = 0 },
		func(p *ndis.ReceiveQueueParameters) { p.Type = ndis.QueueTypeUnspecified },
		func(p *ndis.ReceiveQueueParameters) { p.Flags = 4 },
	} {
		p := ndis.ReceiveQueueParameters{Type: ndis.QueueTypeVMQueue, Affinity: ndis.Affinity{Mask: 1}}
		change(&p)
		r.method(ndis.OIDFilterAllocateQueue, &p, bad)
	}
	p := ndis.ReceiveQueueParameters{
		Revision: 1, Type: ndis.QueueTypeVMQueue, Affinity: ndis.Affinity{Mask: 1}, VMName: "vm",
		Flags: ndis.QueueLookaheadSplitRequired, LookaheadSize: 100, SuggestedBuffers: 5,
	}
	r.method(ndis.OIDFilterAllocateQueue, &p, ok)
	if p.QueueID != 1 || p.LookaheadSize != 0 || p.Flags != 0 || p.MSIXTableEntry != 2 {
		t.Errorf("allocated %+v", p)
	}
	change := ndis.ReceiveQueueParameters{
		QueueID: 1, Flags: ndis.QueueNameChanged | ndis.QueueAffinityChanged, Affinity: ndis.Affinity{Mask: 2}, VMName: "other", SuggestedBuffers: 99,
	}
	r.set(ndis.OIDFilterQueueParameters, &change, ok)
	got := ndis.ReceiveQueueParameters{QueueID: 1}
	r.method(ndis.OIDFilterQueueParameters, &got, ok)
	if got.VMName != "other" || got.Affinity.Mask != 2 || got.SuggestedBuffers != 5 || got.Type != ndis.QueueTypeVMQueue {
		t.Errorf("after changing name and affinity: %+v", got)
	}
	change.Affinity.Mask = 0
	r.set(ndis.OIDFilterQueueParameters, &change, bad)
	r.set(ndis.OIDFilterQueueParameters, &ndis.ReceiveQueueParameters{QueueID: 1, Flags: 0x800000}, bad)
	r.set(ndis.OIDFilterQueueParameters, &ndis.ReceiveQueueParameters{QueueID: 1, Flags: ndis.QueueQosSQChanged, QosSQID: 1}, ndis.StatusNotSupported)
	r.set(ndis.OIDFilterQueueParameters, &ndis.ReceiveQueueParameters{QueueID: 2}, bad)
	r.method(ndis.OIDFilterQueueParameters, &ndis.ReceiveQueueParameters{QueueID: 2}, bad)
	r.allocate(ok)
	r.allocate(ok)
	r.allocate(ndis.StatusFailure) // there are three
}
