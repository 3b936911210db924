package adapter_test

import (
	"testing"

	"vhost-user-nvgre/offload/ndis"
	"vhost-user-nvgre/offload/ndis/adapter"
)

// Every fault has its status, changes nothing and indicates nothing.
//
// Shows: NDIS-031, NDIS-032, NDIS-033, NDIS-092, NDIS-106
func TestParameterFaults(t *testing.T) {
	r := newRig(t, config())
	before, setting := r.current(), r.Setting()
	for _, tt := range []struct {
		name string
		p    ndis.OffloadParameters
		want ndis.Status
	}{
		{"checksum 5", ndis.OffloadParameters{TCPIPv4Checksum: 5}, ndis.StatusInvalidData},
		{"LSO 3", ndis.OffloadParameters{LSOv2IPv6: 3}, ndis.StatusInvalidData},
		{"USO 255", ndis.OffloadParameters{USOIPv4: 255}, ndis.StatusInvalidData},
		{"encapsulation 3", ndis.OffloadParameters{EncapsulatedTaskOffload: 3}, ndis.StatusInvalidData},
		{"on without types", ndis.OffloadParameters{EncapsulatedTaskOffload: ndis.SetOn}, ndis.StatusInvalidData},
		{"on with an unknown type", ndis.OffloadParameters{EncapsulatedTaskOffload: ndis.SetOn, EncapsulationTypes: 5}, ndis.StatusInvalidData},
		{"on with a type there is not", ndis.OffloadParameters{EncapsulatedTaskOffload: ndis.SetOn, EncapsulationTypes: 3}, ndis.StatusInvalidParameter},
		{"off with a type", ndis.OffloadParameters{EncapsulatedTaskOffload: ndis.SetOff, EncapsulationTypes: 1}, ndis.StatusInvalidData},
		{"no change with a type", ndis.OffloadParameters{EncapsulationTypes: 1}, ndis.StatusInvalidData},
		{"IPsec", ndis.OffloadParameters{IPsecV1: 1}, ndis.StatusInvalidData},
		{"IPsec 2", ndis.OffloadParameters{IPsecV2: 1}, ndis.StatusInvalidData},
		{"TCP connections", ndis.OffloadParameters{TCPConnectionIPv6: 1}, ndis.StatusInvalidData},
		{"flags", ndis.OffloadParameters{Flags: 2}, ndis.StatusInvalidData},
		{"LSO of version 1", ndis.OffloadParameters{LSOv1: ndis.SwitchEnabled}, ndis.StatusInvalidParameter},
		{"the last field is wrong", ndis.OffloadParameters{LSOv2IPv4: ndis.SwitchDisabled, EncapsulatedTaskOffload: ndis.SetOn, EncapsulationTypes: 2}, ndis.StatusInvalidParameter},
	} {
		r.parameters(tt.p, tt.want)
		if r.current() != before || r.Setting() != setting {
			t.Errorf("%s: the configuration changed", tt.name)
		}
		r.expect()
	}
	p := ndis.OffloadParameters{}
	b := p.Encode()
	if resp := r.do(adapter.Request{Type: adapter.Set, OID: ndis.OIDTCPOffloadParameters, Input: b[:len(b)-1]}, ndis.StatusInvalidLength); resp.BytesNeeded != len(b) {
		t.Errorf("short buffer: %d bytes needed, want %d", resp.BytesNeeded, len(b))
	}
	b[0]++
	r.do(adapter.Request{Type: adapter.Set, OID: ndis.OIDTCPOffloadParameters, Input: b}, ndis.StatusInvalidData)
	// A wrong value beyond the revision's size does not count.
	old := ndis.OffloadParameters{Revision: 2, LSOv2IPv4: ndis.SwitchDisabled}
	b = append(old.Encode(), 7, 7, 7, 7, 7, 7, 7, 7)
	resp := r.do(adapter.Request{Type: adapter.Set, OID: ndis.OIDTCPOffloadParameters, Input: b}, ndis.StatusSuccess)
	if resp.SupportedRevision != 2 || r.operational().LSOv4 {
		t.Errorf("revision 2: supported %d, operational %v, want revision 2 and no lso_ipv4", resp.SupportedRevision, r.Setting().Offload.Names())
	}
}

// Every field by itself changes what it names and nothing else.
//
// Shows: NDIS-028, NDIS-089, NDIS-090, NDIS-094, NDIS-095, NDIS-029
func TestParameterFields(t *testing.T) {
	for _, framing := range []bool{false, true} {
		for _, tt := range []struct {
			name   string
			p      ndis.OffloadParameters
			config func(*ndis.Offload)
			off    []string // of what is operational
		}{
			{"nothing", ndis.OffloadParameters{}, func(*ndis.Offload) {}, nil},
			{
				"TCP IPv4 off",
				ndis.OffloadParameters{TCPIPv4Checksum: ndis.ChecksumOff},
				func(o *ndis.Offload) {
					o.Checksum.IPv4Transmit.TCPChecksum, o.Checksum.IPv4Receive.TCPChecksum = 0, 0
				},
				[]string{"rx_checksum_tcp_ipv4"},
			},
			{
				"TCP IPv6 transmit",
				ndis.OffloadParameters{TCPIPv6Checksum: ndis.ChecksumTx},
				func(o *ndis.Offload) { o.Checksum.IPv6Receive.TCPChecksum = 0 },
				[]string{"rx_checksum_tcp_ipv6"},
			},
			{
				"UDP IPv4 receive",
				ndis.OffloadParameters{UDPIPv4Checksum: ndis.ChecksumRx},
				func(o *ndis.Offload) { o.Checksum.IPv4Transmit.UDPChecksum = 0 },
				nil,
			},
			{
				"UDP IPv6 both",
				ndis.OffloadParameters{UDPIPv6Checksum: ndis.ChecksumTxRx},
				func(*ndis.Offload) {},
				nil,
			},
			{
				"IPv4 transmit",
				ndis.OffloadParameters{IPv4Checksum: ndis.ChecksumTx},
				func(o *ndis.Offload) { o.Checksum.IPv4Receive.IPChecksum = 0 },
				[]string{"rx_checksum_ipv4"},
			},
			{
				"LSO IPv4",
				ndis.OffloadParameters{LSOv2IPv4: ndis.SwitchDisabled},
				func(o *ndis.Offload) { o.LSOv2.IPv4 = ndis.LSOv2Family{} },
				[]string{"lso_ipv4"},
			},
			{
				"USO IPv6",
				ndis.OffloadParameters{USOIPv6: ndis.SwitchDisabled},
				func(o *ndis.Offload) { o.USO.IPv6 = ndis.USOFamily{} },
				[]string{"uso_ipv6"},
			},
			{"LSO of version 1 off", ndis.OffloadParameters{LSOv1: ndis.SwitchDisabled}, func(*ndis.Offload) {}, nil},
		} {
			r := newRig(t, config())
			if framing {
				r.set(ndis.OIDOffloadEncapsulation, framed(ndis.SetOn), ndis.StatusSuccess)
			}
			want, on := r.current(), r.operational()
			tt.config(&want)
			r.parameters(tt.p, ndis.StatusSuccess)
			got := r.current()
			got.GRE, want.GRE = ndis.EncapsulatedTaskOffload{}, ndis.EncapsulatedTaskOffload{} // see TestEffective
			if got != want {
				t.Errorf("%s: current configuration %+v, want %+v", tt.name, got, want)
			}
			names := map[string]bool{}
			for _, n := range on.Names() {
				names[n] = true
			}
			for _, n := range tt.off {
				delete(names, n)
			}
			now := r.operational()
			left := now.Names()
			for _, n := range left {
				if !names[n] {
					t.Errorf("%s, framing %t: %s is operational", tt.name, framing, n)
				}
			}
			if len(left) != len(names) {
				t.Errorf("%s, framing %t: operational %v, want %v", tt.name, framing, left, names)
			}
		}
	}
}

// Shows: NDIS-080, NDIS-083, NDIS-084, NDIS-085, NDIS-087
func TestFraming(t *testing.T) {
	r := newRig(t, config())
	r.do(adapter.Request{Type: adapter.Query, OID: ndis.OIDOffloadEncapsulation}, ndis.StatusFailure)
	on := ndis.FamilyFraming{Enabled: ndis.SetOn, Encapsulation: ndis.FramingIEEE8023, HeaderSize: 14}
	for _, f := range []ndis.FamilyFraming{
		{Enabled: 3},
		{Enabled: ndis.SetOff, HeaderSize: 14},
		{Enabled: ndis.SetOff, Encapsulation: ndis.FramingIEEE8023},
		{Enabled: ndis.NoChange, HeaderSize: 14},
		{Enabled: ndis.SetOn, HeaderSize: 14},
		{Enabled: ndis.SetOn, Encapsulation: ndis.FramingIEEE8023 | ndis.FramingIEEE8023PQ, HeaderSize: 14},
		{Enabled: ndis.SetOn, Encapsulation: ndis.FramingIEEELLCSNAPRouted, HeaderSize: 22},
		{Enabled: ndis.SetOn, Encapsulation: ndis.FramingIEEE8023, HeaderSize: 0},
		{Enabled: ndis.SetOn, Encapsulation: ndis.FramingIEEE8023, HeaderSize: 100},
	} {
		r.set(ndis.OIDOffloadEncapsulation, &ndis.OffloadEncapsulation{IPv4: on, IPv6: f}, ndis.StatusInvalidParameter)
		r.expect()
		if st := r.operational(); st.Receive.TCPv4 {
			t.Errorf("%+v refused, but IPv4 was turned on", f)
		}
	}
	r.set(ndis.OIDOffloadEncapsulation, &ndis.OffloadEncapsulation{IPv4: on}, ndis.StatusSuccess)
	if st := r.operational().Receive; !st.TCPv4 || st.TCPv6 {
		t.Errorf("IPv4 on: receive %+v, want IPv4 alone", st)
	}
	r.set(ndis.OIDOffloadEncapsulation, &ndis.OffloadEncapsulation{IPv6: ndis.FamilyFraming{Enabled: ndis.SetOff}}, ndis.StatusSuccess)
	if st := r.operational(); !st.Receive.TCPv4 || !st.LSOv4 || st.LSOv6 {
		t.Errorf("IPv6 off: %v, want IPv4 untouched", st.Names())
	}
	var got ndis.OffloadEncapsulation
	r.query(ndis.OIDOffloadEncapsulation, &got)
	if want := (ndis.OffloadEncapsulation{IPv4: on, IPv6: ndis.FamilyFraming{Enabled: ndis.SetOff}}); got != want {
		t.Errorf("query: %+v, want %+v", got, want)
	}
	// Tunnels are looked into where the framing of both headers is on.
	r.parameters(nvgreOn, ndis.StatusSuccess)
	if got := r.operational().NVGRE.LSO.String(); got != "inner_ipv4+outer_ipv4" {
		t.Errorf("NVGRE large send with IPv6 off: %s, want IPv4 in IPv4", got)
	}
}

// Which requests an object takes, and what is answered where the room is too
// small.
//
// Shows: NDIS-091, NDIS-099, NDIS-101, NDIS-235
func TestRequestTypes(t *testing.T) {
	cfg := config()
	cfg.Keywords = adapter.Keywords{"*RssOrVmqPreference": 1}
	r := newRig(t, cfg)
	for _, tt := range []struct {
		typ  adapter.RequestType
		oid  ndis.OID
		room int
		want ndis.Status
		need int
	}{
		{adapter.Query, ndis.OIDTCPOffloadParameters, 1000, ndis.StatusNotSupported, 0},
		{adapter.Method, ndis.OIDTCPOffloadParameters, 1000, ndis.StatusNotSupported, 0},
		{adapter.Set, ndis.OIDTCPOffloadCurrentConfig, 1000, ndis.StatusNotSupported, 0},
		{adapter.Set, ndis.OIDTCPOffloadHardwareCaps, 1000, ndis.StatusNotSupported, 0},
		{adapter.RequestType(9), ndis.OIDTCPOffloadHardwareCaps, 1000, ndis.StatusNotSupported, 0},
		{adapter.Query, 0x12345678, 1000, ndis.StatusNotSupported, 0},
		{adapter.Query, ndis.OIDTCPOffloadHardwareCaps, 216, ndis.StatusBufferTooShort, 217},
		{adapter.Query, ndis.OIDTCPOffloadCurrentConfig, 216, ndis.StatusInvalidLength, 217},
		{adapter.Query, ndis.OIDFilterHardwareCapabilities, 83, ndis.StatusInvalidLength, 84},
		{adapter.Query, ndis.OIDFilterCurrentCapabilities, 83, ndis.StatusInvalidLength, 84},
		{adapter.Query, ndis.OIDReceiveScaleCapabilities, 17, ndis.StatusInvalidLength, 18},
		{adapter.Query, ndis.OIDTCPRSCStatistics, 39, ndis.StatusInvalidLength, 40},
		{adapter.Query, ndis.OIDStatistics, 151, ndis.StatusInvalidLength, 152},
		{adapter.Query, ndis.OIDFilterEnumQueues, 15, ndis.StatusInvalidLength, 16},
	} {
		resp := r.do(adapter.Request{Type: tt.typ, OID: tt.oid, Binding: 1, OutputLength: tt.room}, tt.want)
		if resp.BytesNeeded != tt.need {
			t.Errorf("%s of %s with room for %d: %d bytes needed, want %d", tt.typ, tt.oid, tt.room, resp.BytesNeeded, tt.need)
		}
	}
}
