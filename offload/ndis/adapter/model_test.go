package adapter_test

import (
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"vhost-user-nvgre/offload/ndis"
	"vhost-user-nvgre/offload/ndis/adapter"
)

// model is the adapter as the documentation's tables have it, for a driver
// that negotiated everything: what each field of a parameters request last
// said, and the table of queue states.
type model struct {
	fields  map[string]int // by name of what is operational; 0 off, 1 on
	framing [2]int         // -1 not set, 0 off, 1 on
	nvgre   bool
	queues  map[uint32]*modelQueue
	filters map[uint32]uint32 // id -> queue
	macs    map[uint32]byte
}

type modelQueue struct {
	state   string
	filters int
}

// next is the documentation's table of receive queue states: what a state
// becomes, "" where the event is invalid.
var next = map[string]map[string]string{
	"set filter":      {"allocated": "set", "set": "set", "running": "running", "paused": "running"},
	"clear last":      {"set": "allocated", "running": "paused"},
	"clear not last":  {"set": "set", "running": "running"},
	"complete":        {"allocated": "paused", "set": "running"},
	"free":            {"allocated": "gone", "paused": "gone"},
	"query or change": {"allocated": "allocated", "set": "set", "running": "running", "paused": "paused"},
}

func newModel() *model {
	return &model{
		fields: map[string]int{
			"lso_ipv4": 1, "lso_ipv6": 1, "uso_ipv4": 1, "uso_ipv6": 1, "rsc_ipv4": 0, "rsc_ipv6": 0, "uro": 0,
			"rx_checksum_ipv4": 1, "rx_checksum_tcp_ipv4": 1, "rx_checksum_udp_ipv4": 1, "rx_checksum_tcp_ipv6": 1, "rx_checksum_udp_ipv6": 1,
		},
		framing: [2]int{-1, -1},
		queues:  map[uint32]*modelQueue{0: {state: "running"}},
		filters: map[uint32]uint32{}, macs: map[uint32]byte{},
	}
}

var order = []string{
	"lso_ipv4", "lso_ipv6", "uso_ipv4", "uso_ipv6",
	"rx_checksum_ipv4", "rx_checksum_tcp_ipv4", "rx_checksum_udp_ipv4", "rx_checksum_tcp_ipv6", "rx_checksum_udp_ipv6",
	"rsc_ipv4", "rsc_ipv6", "uro",
}

// operational returns the names of what is operational outside tunnels.
func (m *model) operational() (names []string) {
	for _, n := range order {
		family := 0
		if n[len(n)-1] == '6' {
			family = 1
		}
		framing := m.framing[family]
		switch {
		case n == "uro":
			if m.framing == [2]int{0, 0} {
				continue
			}
		case framing == 0, n[:2] == "rx" && framing != 1:
			continue
		}
		if m.fields[n] == 1 {
			names = append(names, n)
		}
	}
	return names
}

// step carries out a random request on both, and compares.
func (m *model) step(t *rapid.T, r *rig) {
	switch rapid.IntRange(0, 8).Draw(t, "request") {
	case 0:
		m.parameters(t, r)
	case 1:
		m.setFraming(t, r)
	case 3:
		if len(m.queues) == 4 {
			r.allocate(ndis.StatusFailure)
			return
		}
		m.queues[r.allocate(ok)] = &modelQueue{state: "allocated"}
	case 4:
		id, q, st := m.pick(t, "complete")
		r.complete([]uint32{id}, m.transit(q, "complete", st))
	case 5:
		id, q, st := m.pick(t, "free")
		if st == ok && q.filters > 0 {
			st = bad
		}
		r.free(id, m.transit(q, "free", st))
		maps.DeleteFunc(m.queues, func(_ uint32, q *modelQueue) bool { return q.state == "gone" })
	case 2, 6:
		m.setFilter(t, r)
	case 7:
		m.clearFilter(t, r)
	case 8:
		id, q, st := m.pick(t, "query or change")
		r.set(ndis.OIDFilterQueueParameters, &ndis.ReceiveQueueParameters{QueueID: id}, m.transit(q, "query or change", st))
	}
}

// pick chooses a queue, which may not exist. The default queue takes no part
// in these events.
func (m *model) pick(t *rapid.T, label string) (uint32, *modelQueue, ndis.Status) {
	id := rapid.Uint32Range(0, 4).Draw(t, label)
	if there := slices.Sorted(maps.Keys(m.queues)); rapid.Bool().Draw(t, "one that there is") {
		id = there[len(there)-1]
	}
	q := m.queues[id]
	if id == 0 || q == nil {
		return id, nil, bad
	}
	return id, q, ok
}

func (m *model) transit(q *modelQueue, event string, st ndis.Status) ndis.Status {
	if st != ok {
		return st
	}
	to := next[event][q.state]
	if to == "" {
		return bad
	}
	q.state = to
	return ok
}

func (m *model) setFilter(t *rapid.T, r *rig) {
	id := rapid.Uint32Range(0, 4).Draw(t, "queue")
	n := rapid.ByteRange(0, 9).Draw(t, "mac")
	q := m.queues[id]
	want := ok
	if q == nil || slices.Contains(slices.Collect(maps.Values(m.macs)), n) {
		want = bad
	}
	f := r.filter(id, want, ndis.DestinationIs(mac(n), 0))
	if want == ok {
		q.filters++
		if id != 0 {
			m.transit(q, "set filter", ok)
		}
		m.filters[f], m.macs[f] = id, n
	}
}

func (m *model) clearFilter(t *rapid.T, r *rig) {
	f, id := rapid.Uint32Range(0, 10).Draw(t, "filter"), rapid.Uint32Range(0, 4).Draw(t, "of queue")
	if set := slices.Sorted(maps.Keys(m.filters)); len(set) > 0 && rapid.IntRange(0, 3).Draw(t, "one that is set") > 0 {
		f = rapid.SampledFrom(set).Draw(t, "filter that is set")
		id = m.filters[f]
	}
	if of, set := m.filters[f]; !set || of != id {
		r.clear(id, f, ndis.StatusFileNotFound)
		return
	}
	r.clear(id, f, ok)
	q := m.queues[id]
	q.filters--
	if id != 0 {
		m.transit(q, map[bool]string{true: "clear last", false: "clear not last"}[q.filters == 0], ok)
	}
	delete(m.filters, f)
	delete(m.macs, f)
}

func (m *model) parameters(t *rapid.T, r *rig) {
	value := func(label string, most int) int {
		// Mostly no change, now and then one too many.
		return rapid.SampledFrom([]int{0, 0, 0, 0, 1, 2, most, rapid.IntRange(0, most+1).Draw(t, label+" any")}).Draw(t, label)
	}
	changed := maps.Clone(m.fields)
	want := ok
	fault := func(st ndis.Status) {
		if want == ok {
			want = st
		}
	}
	sw := func(name string) ndis.Switch {
		switch v := value(name, 2); v {
		case 0:
			return 0
		case 1, 2:
			changed[name] = v - 1
			return ndis.Switch(v)
		default:
			fault(ndis.StatusInvalidData)
			return ndis.Switch(v)
		}
	}
	sum := func(name string) ndis.ChecksumSwitch {
		v := value(name, 4)
		if v > 4 {
			fault(ndis.StatusInvalidData)
		} else if v > 0 {
			changed[name] = map[int]int{1: 0, 2: 0, 3: 1, 4: 1}[v]
		}
		return ndis.ChecksumSwitch(v)
	}
	nvgre := m.nvgre
	p := ndis.OffloadParameters{
		LSOv2IPv4: sw("lso_ipv4"), LSOv2IPv6: sw("lso_ipv6"), USOIPv4: sw("uso_ipv4"), USOIPv6: sw("uso_ipv6"),
		RSCIPv4: sw("rsc_ipv4"), RSCIPv6: sw("rsc_ipv6"), UDPRSC: sw("uro"),
		IPv4Checksum: sum("rx_checksum_ipv4"), TCPIPv4Checksum: sum("rx_checksum_tcp_ipv4"), UDPIPv4Checksum: sum("rx_checksum_udp_ipv4"),
		TCPIPv6Checksum: sum("rx_checksum_tcp_ipv6"), UDPIPv6Checksum: sum("rx_checksum_udp_ipv6"),
	}
	p.EncapsulatedTaskOffload = ndis.Toggle(rapid.IntRange(0, 3).Draw(t, "encapsulation"))
	types := rapid.SampledFrom([]ndis.EncapsulationTypes{0, 0, 1, 1, 2, 3, 4}).Draw(t, "types")
	if p.EncapsulatedTaskOffload != 1 && rapid.Bool().Draw(t, "no types") {
		types = 0
	}
	p.EncapsulationTypes = types
	switch p.EncapsulatedTaskOffload {
	case 1:
		nvgre = true
		if types == 0 || types > 3 {
			fault(ndis.StatusInvalidData)
		} else if types != 1 {
			fault(ndis.StatusInvalidParameter)
		}
	case 2:
		nvgre = false
		fallthrough
	case 0:
		if types != 0 {
			fault(ndis.StatusInvalidData)
		}
	default:
		fault(ndis.StatusInvalidData)
	}
	if want == ok {
		m.fields, m.nvgre = changed, nvgre
	}
	r.parameters(p, want)
}

func (m *model) setFraming(t *rapid.T, r *rig) {
	var e ndis.OffloadEncapsulation
	now, want := m.framing, ok
	for i, f := range []*ndis.FamilyFraming{&e.IPv4, &e.IPv6} {
		f.Enabled = ndis.Toggle(rapid.SampledFrom([]int{0, 1, 1, 1, 2, 2, 3}).Draw(t, "enabled"))
		switch f.Enabled {
		case 1:
			f.HeaderSize = 14
			f.Encapsulation = rapid.SampledFrom([]ndis.Framing{2, 2, 2, 2, 2, 0, 6, 16}).Draw(t, "framing")
			if f.Encapsulation != 2 {
				want = bad
			}
			now[i] = 1
		case 2:
			now[i] = 0
		case 3:
			want = bad
		}
	}
	if want == ok {
		m.framing = now
	}
	r.set(ndis.OIDOffloadEncapsulation, &e, want)
}

// check compares what can be seen of both.
func (m *model) check(t *rapid.T, r *rig) {
	st := r.operational()
	nvgre := st.NVGRE
	st.NVGRE = newRig(r.T, config()).operational().NVGRE
	if got, want := st.Names(), m.operational(); !slices.Equal(got, want) {
		t.Fatalf("operational %v, want %v", got, want)
	}
	if on := m.nvgre && m.framing != [2]int{0, 0}; (nvgre.RSS != 0) != on {
		t.Fatalf("NVGRE %+v, want operational: %t", nvgre, on)
	}
	var inForce []byte
	for _, f := range slices.Sorted(maps.Keys(m.filters)) {
		if m.queues[m.filters[f]].state == "running" {
			inForce = append(inForce, m.macs[f])
		}
	}
	var got []byte
	for _, f := range r.Setting().Filters.List {
		got = append(got, f.MAC[5])
	}
	if !slices.Equal(got, inForce) {
		t.Fatalf("filters in force %v, want %v", got, inForce)
	}
	states := map[uint32]ndis.QueueState{}
	for id, q := range m.queues {
		if id != 0 {
			states[id] = map[bool]ndis.QueueState{true: ndis.QueueStateRunning, false: ndis.QueueStatePaused}[q.state == "running"]
		}
	}
	if got := r.states(); !maps.Equal(got, states) {
		t.Fatalf("queue states %v, want %v", got, states)
	}
}

// Random requests, valid and not, in any order.
//
// Shows: NDIS-209, NDIS-033, NDIS-094
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r, m := newRig(t, vmqConfig()), newModel()
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			m.step(rt, r)
			m.check(rt, r)
			if t.Failed() {
				rt.FailNow()
			}
		}
	})
}

// Four clients send requests at once, most of them nonsense. What was put into
// force last is the state, and what was indicated last is the configuration.
//
// Shows: NDIS-105
func TestConcurrentRequests(t *testing.T) {
	r := newRig(t, vmqConfig())
	oids := ndis.OIDs()
	var clients sync.WaitGroup
	for n := range 4 {
		clients.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(n), 7))
			inputs := [][]byte{
				nil, (&ndis.OffloadParameters{LSOv2IPv4: ndis.Switch(n)}).Encode(), nvgreOn.Encode(), nvgreOff.Encode(),
				framed(ndis.SetOn).Encode(), framed(ndis.SetOff).Encode(),
				(&ndis.ReceiveQueueParameters{Type: ndis.QueueTypeVMQueue, Affinity: ndis.Affinity{Mask: 1}}).Encode(),
				(&ndis.ReceiveFilterParameters{Type: ndis.FilterVMQueue, Fields: []ndis.FilterField{ndis.DestinationIs(mac(byte(n)), 0)}}).Encode(),
				(&ndis.AllocationCompleteArray{Queues: []ndis.AllocationComplete{{QueueID: uint32(n)}}}).Encode(),
				(&ndis.ReceiveQueueFreeParameters{QueueID: uint32(n)}).Encode(),
				(&ndis.ReceiveFilterClearParameters{QueueID: uint32(n), FilterID: 1}).Encode(),
			}
			for range 2500 {
				b := slices.Clone(inputs[rnd.IntN(len(inputs))])
				if len(b) > 0 && rnd.IntN(4) == 0 {
					b[rnd.IntN(len(b))] = byte(rnd.Uint32())
				}
				r.Handle(adapter.Request{
					Type: adapter.RequestType(1 + rnd.IntN(3)), OID: oids[rnd.IntN(len(oids))], Binding: uint32(n), Input: b, OutputLength: rnd.IntN(roomy),
				})
			}
		})
	}
	clients.Wait()
	if n := len(r.settings); n == 0 || r.settings[n-1] != r.Setting() {
		t.Errorf("the last of %d settings put into force is not that of the state", n)
	}
	for i := len(r.bodies) - 1; i >= 0; i-- {
		var o ndis.Offload
		if o.Decode(r.bodies[i]) == nil {
			if o != r.current() {
				t.Errorf("indicated last %+v, want the current configuration %+v", o, r.current())
			}
			break
		}
	}
}

// FuzzHandle: no input brings the adapter down, and a refused one changes
// nothing.
func FuzzHandle(f *testing.F) {
	f.Add(uint8(2), uint32(ndis.OIDTCPOffloadParameters), nvgreOn.Encode(), 100)
	f.Add(uint8(3), uint32(ndis.OIDFilterAllocateQueue), (&ndis.ReceiveQueueParameters{Type: 1, Affinity: ndis.Affinity{Mask: 1}}).Encode(), roomy-1)
	f.Add(uint8(3), uint32(ndis.OIDFilterSetFilter), (&ndis.ReceiveFilterParameters{Type: 1, Fields: []ndis.FilterField{ndis.DestinationIs(mac(1), 0)}}).Encode(), roomy-1)
	f.Fuzz(func(t *testing.T, typ uint8, oid uint32, b []byte, room int) {
		room &= roomy - 1
		r := newRig(t, vmqConfig())
		before := r.Setting()
		resp := r.Handle(adapter.Request{Type: adapter.RequestType(typ), OID: ndis.OID(oid), Input: b, OutputLength: room})
		if resp.Status != ok && (r.Setting() != before || len(resp.Output) != 0 || len(r.take()) != 0) {
			t.Errorf("refused with %s, but something changed", resp.Status)
		}
		if len(resp.Output) > room {
			t.Errorf("%d bytes of output, room for %d", len(resp.Output), room)
		}
	})
}
