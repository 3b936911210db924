package adapter_test

import (
	"errors"
	"slices"
	"testing"

	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/offload/ndis"
	"vhost-user-nvgre/offload/ndis/adapter"
)

// Whoever sets something last, administrator or protocol driver, has set it,
// and what neither names stays. The next driver begins with what is left of
// both.
func TestSetStart(t *testing.T) {
	start := adapter.Start{}
	framing, lso := offload.Validation{IPv4: true, TCPv4: true, UDPv4: true, TCPv6: true, UDPv6: true}, ndis.OffloadParameters{LSOv2IPv4: ndis.SwitchDisabled}
	r := newRig(t, config())
	change := func(f func(*adapter.Start)) func() {
		return func() {
			f(&start)
			r.take()
			if err := r.SetStart(start); err != nil {
				t.Error(err)
			}
			if events := r.take(); len(events) < 2 || events[len(events)-1] != currentConfig || !slices.Contains(events, "apply") {
				t.Errorf("SetStart(%+v): events %v, want that it is applied and indicated", start, events)
			}
			if r.indicated() != r.current() {
				t.Errorf("SetStart(%+v): indicated %+v, want the current configuration", start, r.indicated())
			}
		}
	}
	for _, tt := range []struct {
		name string
		do   func()
		want func(st, first *offload.State) bool
	}{
		{"OID: no LSO of IPv4", func() { r.parameters(lso, ok) }, func(st, first *offload.State) bool {
			return !st.LSOv4 && st.LSOv6 && !first.LSOv4
		}},
		{"administrator: NVGRE", change(func(s *adapter.Start) { s.NVGRE = true }), func(st, first *offload.State) bool {
			return st.NVGRE.RxChecksum == offload.AllFamilies && st.Receive == offload.Validation{} && !st.LSOv4 && first.NVGRE == st.NVGRE
		}},
		{"OID: framing", func() { r.set(ndis.OIDOffloadEncapsulation, framed(ndis.SetOn), ok) }, func(st, first *offload.State) bool {
			return st.Receive == framing && st.NVGRE.RxChecksum == offload.AllFamilies && first.Receive == offload.Validation{}
		}},
		{"administrator: no USO", change(func(s *adapter.Start) { s.NoUSO = true }), func(st, first *offload.State) bool {
			return !st.USOv4 && !first.USOv6 && st.Receive == framing && !st.LSOv4 && st.NVGRE.USO == 0
		}},
		{"administrator: no LSO", change(func(s *adapter.Start) { s.NoLSO = true }), func(st, first *offload.State) bool {
			return !st.LSOv6 && !first.LSOv6
		}},
		{"administrator: LSO, also where an OID turned it off", change(func(s *adapter.Start) { s.NoLSO = false }), func(st, first *offload.State) bool {
			return st.LSOv4 && st.LSOv6 && first.LSOv4 && first.LSOv6
		}},
		{"OID: no receive checksum of TCP", func() { r.parameters(ndis.OffloadParameters{TCPIPv4Checksum: ndis.ChecksumTx}, ok) }, func(st, _ *offload.State) bool {
			return !st.Receive.TCPv4 && st.Receive.TCPv6
		}},
		{"administrator: receive checksums", change(func(s *adapter.Start) { s.Framing = true }), func(st, first *offload.State) bool {
			return st.Receive == framing && first.Receive == framing
		}},
		{"OID: NVGRE off", func() { r.parameters(nvgreOff, ok) }, func(st, first *offload.State) bool {
			return st.NVGRE == offload.Tunnel{} && first.NVGRE.LSO != 0
		}},
		{"administrator: coalescing", change(func(s *adapter.Start) { s.RSC, s.URO = true, true }), func(st, first *offload.State) bool {
			return st.RSCv4 && st.RSCv6 && st.URO && first.URO && st.NVGRE == offload.Tunnel{}
		}},
		{"OID: framing off", func() { r.set(ndis.OIDOffloadEncapsulation, framed(ndis.SetOff), ok) }, func(st, first *offload.State) bool {
			return !st.LSOv4 && first.LSOv4
		}},
		{"administrator: no receive checksums", change(func(s *adapter.Start) { s.Framing = false }), func(st, first *offload.State) bool {
			return st.Receive == offload.Validation{} && st.LSOv4 && first.Receive == offload.Validation{}
		}},
		{"administrator: no NVGRE", change(func(s *adapter.Start) { s.NVGRE = false }), func(st, first *offload.State) bool {
			return st.NVGRE == offload.Tunnel{} && first.NVGRE == offload.Tunnel{}
		}},
	} {
		tt.do()
		if st := r.operational(); !tt.want(&st, &r.initial.Offload) {
			t.Errorf("%s: operational %v, at the next start %v", tt.name, st.Names(), r.initial.Offload.Names())
		}
	}
	first := r.initial.Offload
	r.Restart(all)
	if st := r.operational(); st != first {
		t.Errorf("operational after a restart: %v, want %v", st.Names(), first.Names())
	}
	// What is the same changes nothing, what fails neither.
	r.take()
	if err := r.SetStart(start); err != nil || len(r.take()) != 0 {
		t.Errorf("SetStart of what there is: %v", err)
	}
	r.failApply = errors.New("no")
	if err := r.SetStart(adapter.Start{NVGRE: true}); err == nil || err.Error() != "no" {
		t.Errorf("SetStart that fails: %v", err)
	}
	r.failApply = nil
	if err := r.SetStart(adapter.Start{NVGRE: true}); err != nil || r.operational().NVGRE.LSO == 0 {
		t.Errorf("SetStart after one that failed: %v, operational %+v", err, r.operational())
	}
}
