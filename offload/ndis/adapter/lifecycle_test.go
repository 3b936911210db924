package adapter_test

import (
	"errors"
	"maps"
	"testing"

	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/offload/ndis"
	"vhost-user-nvgre/offload/ndis/adapter"
	"vhost-user-nvgre/virtio"
)

// The life cycle from start to restart: advertised but not active, framing on,
// NVGRE on, off, framing off, restart.
//
// Shows: NDIS-026, NDIS-027, NDIS-030, NDIS-035, NDIS-036, NDIS-057, NDIS-069, NDIS-078, NDIS-080, NDIS-082, NDIS-086, NDIS-088, NDIS-096, NDIS-097
func TestLifeCycle(t *testing.T) {
	r := newRig(t, config())

	// Advertised: the masks are enabled, no type is active.
	if o := r.current(); !o.GRE.Any() || o.EncapsulationTypes != 0 || !o.Checksum.IPv4Receive.TCPChecksum.On() {
		t.Errorf("current configuration after start: GRE %+v, types %s, receive %+v; want enabled masks, no type, checksums", o.GRE, o.EncapsulationTypes, o.Checksum.IPv4Receive)
	}
	if st := r.operational(); st.NVGRE != (offload.Tunnel{}) || st.Receive != (offload.Validation{}) || !st.LSOv4 || !st.USOv6 {
		t.Errorf("operational after start: %v, want large send and no more", st.Names())
	}

	// NVGRE before framing: large send and RSS look through, receive checksums
	// wait.
	r.parameters(nvgreOn, ndis.StatusSuccess)
	r.expect("persist", "apply", currentConfig)
	if st := r.operational().NVGRE; st.LSO != offload.AllFamilies || st.RSS != offload.AllFamilies || st.RxChecksum != 0 {
		t.Errorf("operational with NVGRE on: %+v, want all but receive checksums", st)
	}

	r.set(ndis.OIDOffloadEncapsulation, framed(ndis.SetOn), ndis.StatusSuccess)
	r.expect("apply", currentConfig)
	if st := r.operational(); st.NVGRE.RxChecksum != offload.AllFamilies || !st.Receive.TCPv4 || !st.Receive.UDPv6 || !st.Receive.IPv4 {
		t.Errorf("operational with framing on: %v, want receive checksums", st.Names())
	}
	if o := r.indicated(); o != r.current() || o.EncapsulationTypes != ndis.EncapsulationGREMAC {
		t.Errorf("indicated %+v, want the current configuration with %s", o, ndis.EncapsulationGREMAC)
	}

	r.parameters(nvgreOff, ndis.StatusSuccess)
	r.expect("persist", "apply", currentConfig)
	if st := r.operational(); st.NVGRE != (offload.Tunnel{}) || !st.Receive.TCPv4 {
		t.Errorf("operational with NVGRE off: %v, want what is outside tunnels", st.Names())
	}
	if o := r.indicated(); o.EncapsulationTypes != 0 || o.GRE.Any() || o.VXLAN.Any() {
		t.Errorf("indicated with NVGRE off: GRE %+v, types %s, want none", o.GRE, o.EncapsulationTypes)
	}

	r.parameters(nvgreOn, ndis.StatusSuccess)
	r.take()
	r.set(ndis.OIDOffloadEncapsulation, framed(ndis.SetOff), ndis.StatusSuccess)
	r.expect("apply", currentConfig)
	none := offload.State{Limits: offload.DefaultLimits()}
	if st := r.operational(); st != none {
		t.Errorf("operational with framing off: %v, want nothing", st.Names())
	}
	if o := r.current(); o.Checksum != (ndis.ChecksumOffload{}) || o.LSOv2 != (ndis.LSOv2{}) || o.USO != (ndis.UDPSegmentation{}) || o.GRE.Any() {
		t.Errorf("current configuration with framing off: %+v, want nothing", o)
	}
	// The setting of NVGRE was remembered.
	r.set(ndis.OIDOffloadEncapsulation, framed(ndis.SetOn), ndis.StatusSuccess)
	if st := r.operational(); st.NVGRE.LSO != offload.AllFamilies {
		t.Errorf("operational with framing on again: %v, want NVGRE", st.Names())
	}

	r.parameters(ndis.OffloadParameters{LSOv2IPv4: ndis.SwitchDisabled}, ndis.StatusSuccess)
	r.take()
	r.Restart(all)
	r.expect("apply", currentConfig)
	if st := r.operational(); st.NVGRE != (offload.Tunnel{}) || st.Receive.TCPv4 || st.LSOv4 || !st.LSOv6 {
		t.Errorf("operational after restart: %v, want what the keywords left of large send", st.Names())
	}
	again := config()
	again.Keywords = r.keywords
	if st := newRig(t, again).operational(); st.LSOv4 || !st.LSOv6 {
		t.Errorf("operational after a start with the keywords %v: %v, want no lso_ipv4", r.keywords, st.Names())
	}
}

// A supplement counts only with what it supplements.
//
// Shows: NDIS-036, NDIS-056
func TestEffective(t *testing.T) {
	const v4 = offload.InnerIPv4 | offload.OuterIPv4 | offload.OuterIPv6
	const v6 = offload.InnerIPv6 | offload.OuterIPv4 | offload.OuterIPv6
	for _, tt := range []struct {
		name string
		p    ndis.OffloadParameters
		want func(*offload.Tunnel)
	}{
		{"LSOv2 IPv4 off", ndis.OffloadParameters{LSOv2IPv4: ndis.SwitchDisabled}, func(t *offload.Tunnel) { t.LSO = v6 }},
		{"LSOv2 off", ndis.OffloadParameters{LSOv2IPv4: ndis.SwitchDisabled, LSOv2IPv6: ndis.SwitchDisabled}, func(t *offload.Tunnel) { t.LSO = 0 }},
		{"USO IPv6 off", ndis.OffloadParameters{USOIPv6: ndis.SwitchDisabled}, func(t *offload.Tunnel) { t.USO = v4 }},
		{"UDP IPv6 receive off", ndis.OffloadParameters{UDPIPv6Checksum: ndis.ChecksumTx}, func(t *offload.Tunnel) { t.RxChecksum = v4 }},
		{"IPv4 receive off", ndis.OffloadParameters{IPv4Checksum: ndis.ChecksumTx}, func(t *offload.Tunnel) { t.RxChecksum = offload.InnerIPv6 | offload.OuterIPv6 }},
		{
			"transmit off",
			ndis.OffloadParameters{
				IPv4Checksum: ndis.ChecksumRx, TCPIPv4Checksum: ndis.ChecksumRx, UDPIPv4Checksum: ndis.ChecksumRx,
				TCPIPv6Checksum: ndis.ChecksumRx, UDPIPv6Checksum: ndis.ChecksumRx,
			},
			func(t *offload.Tunnel) { t.TxChecksum = 0 },
		},
	} {
		r := newRig(t, config())
		r.set(ndis.OIDOffloadEncapsulation, framed(ndis.SetOn), ndis.StatusSuccess)
		r.parameters(nvgreOn, ndis.StatusSuccess)
		want := r.operational().NVGRE
		tt.want(&want)
		r.parameters(tt.p, ndis.StatusSuccess)
		if got := r.operational().NVGRE; got != want {
			t.Errorf("%s: NVGRE %+v, want %+v", tt.name, got, want)
		}
	}
}

// What the driver did not negotiate is no capability, and the driver is told
// when that changes.
//
// Shows: NDIS-081, NDIS-093, NDIS-102, NDIS-103, NDIS-139
func TestFeaturesBoundHardware(t *testing.T) {
	r := newRig(t, config())
	var hw ndis.Offload
	for _, tt := range []struct {
		f     virtio.Features
		check func(*ndis.Offload) bool
	}{
		{all, func(o *ndis.Offload) bool {
			return o.LSOv2.IPv4.MaxOffLoadSize == 65535 && o.GRE.LSOv2 == ndis.AllFamilies && o.GRE.MaxHeaderSize == 256 &&
				o.RSC == (ndis.RSC{IPv4: true, IPv6: true}) && o.UDPRSC && o.USO.IPv4.SubMSSFinal
		}},
		{all &^ virtio.FeatureHostTSO6, func(o *ndis.Offload) bool {
			return o.LSOv2.IPv6 == (ndis.LSOv2Family{}) && o.GRE.LSOv2 == ndis.AllFamilies&^ndis.InnerIPv6
		}},
		{virtio.FeatureGuestCSUM, func(o *ndis.Offload) bool {
			return !o.Checksum.IPv4Transmit.Any() && o.Checksum.IPv6Receive.Any() && o.GRE.ReceiveChecksum == ndis.AllFamilies && o.GRE.LSOv2 == 0
		}},
		{virtio.FeatureCSUM | virtio.FeatureHostTSO4, func(o *ndis.Offload) bool {
			c := &o.Checksum.IPv4Transmit
			return o.LSOv2.IPv4.Encapsulation&ndis.FramingIEEE8023 != 0 && c.TCPChecksum.On() && c.IPChecksum.On() && c.IPOptions.On() && c.TCPOptions.On()
		}},
	} {
		r.take()
		r.Restart(tt.f)
		if tt.f != all {
			r.expect("apply", hardwareCaps, currentConfig)
		}
		r.query(ndis.OIDTCPOffloadHardwareCaps, &hw)
		if !tt.check(&hw) {
			t.Errorf("hardware for features %s: %+v", tt.f, hw)
		}
	}
	r.Restart(0)
	r.set(ndis.OIDOffloadEncapsulation, framed(ndis.SetOn), ndis.StatusNotSupported)
	r.parameters(nvgreOn, ndis.StatusNotSupported)
	r.Restart(virtio.FeatureGuestCSUM)
	r.parameters(ndis.OffloadParameters{LSOv2IPv4: ndis.SwitchEnabled}, ndis.StatusInvalidParameter)
	r.parameters(ndis.OffloadParameters{TCPIPv4Checksum: ndis.ChecksumTxRx}, ndis.StatusInvalidParameter)
	r.parameters(ndis.OffloadParameters{TCPIPv4Checksum: ndis.ChecksumRx}, ndis.StatusSuccess)
}

// Keywords take capabilities out of the current configuration but not out of
// the hardware's, and a request can bring them back.
//
// Shows: NDIS-037, NDIS-038, NDIS-098, NDIS-100, NDIS-104
func TestKeywords(t *testing.T) {
	cfg := config()
	cfg.Keywords = adapter.Keywords{
		"*EncapsulatedPacketTaskOffload": 0, "*LsoV2IPv6": 0, "*TCPChecksumOffloadIPv4": 1, "*TCPUDPChecksumOffloadIPv6": 2, "*UDPChecksumOffloadIPv6": 3,
	}
	r := newRig(t, cfg)
	var hw ndis.Offload
	r.query(ndis.OIDTCPOffloadHardwareCaps, &hw)
	if !hw.GRE.Any() || hw.LSOv2.IPv6.Encapsulation == 0 || !hw.Checksum.IPv4Receive.TCPChecksum.On() {
		t.Errorf("hardware with keywords %v: %+v, want everything", cfg.Keywords, hw)
	}
	o := r.current()
	if o.GRE.Any() || o.LSOv2.IPv6.Encapsulation != 0 || o.Checksum.IPv4Receive.TCPChecksum.On() || !o.Checksum.IPv4Transmit.TCPChecksum.On() ||
		o.Checksum.IPv6Transmit.TCPChecksum.On() || !o.Checksum.IPv6Receive.TCPChecksum.On() || !o.Checksum.IPv6Transmit.UDPChecksum.On() {
		t.Errorf("current configuration with keywords %v: %+v", cfg.Keywords, o)
	}
	on := nvgreOn
	on.LSOv2IPv6, on.TCPIPv4Checksum = ndis.SwitchEnabled, ndis.ChecksumTxRx
	r.parameters(on, ndis.StatusSuccess)
	if o := r.current(); o.GRE.LSOv2 != ndis.AllFamilies || o.LSOv2.IPv6.Encapsulation == 0 || !o.Checksum.IPv4Receive.TCPChecksum.On() {
		t.Errorf("current configuration after turning on: %+v", o)
	}
	want := adapter.Keywords{
		"*EncapsulatedPacketTaskOffload": 1, "*LsoV2IPv6": 1, "*TCPChecksumOffloadIPv4": 3, "*TCPUDPChecksumOffloadIPv6": 2, "*UDPChecksumOffloadIPv6": 3,
	}
	if !maps.Equal(r.keywords, want) {
		t.Errorf("persisted %v, want %v", r.keywords, want)
	}
	r.take()
	r.parameters(ndis.OffloadParameters{LSOv2IPv6: ndis.SwitchDisabled, Flags: ndis.SkipRegistryUpdate}, ndis.StatusSuccess)
	r.expect("apply", currentConfig)

	for _, k := range []adapter.Keywords{{"*LsoV2IPv4": 2}, {"*VxlanUDPPortNumber": 0}, {"*NoSuch": 1}} {
		cfg.Keywords = k
		if _, err := adapter.New(cfg, &target{}); err == nil {
			t.Errorf("New with keywords %v: no error", k)
		}
	}
}

// Coalescing waits for a request, and its statistics for coalescing.
//
// Shows: NDIS-153, NDIS-155
func TestCoalescing(t *testing.T) {
	r := newRig(t, config())
	if o, st := r.current(), r.operational(); o.RSC != (ndis.RSC{}) || o.UDPRSC || st.RSCv4 || st.URO {
		t.Errorf("after start: %+v, operational %v, want no coalescing", o.RSC, st.Names())
	}
	r.parameters(ndis.OffloadParameters{RSCIPv4: ndis.SwitchEnabled, UDPRSC: ndis.SwitchEnabled}, ndis.StatusSuccess)
	r.expect("persist", "apply", currentConfig)
	if o, st := r.indicated(), r.operational(); o.RSC != (ndis.RSC{IPv4: true}) || !o.UDPRSC || !st.RSCv4 || st.RSCv6 || !st.URO {
		t.Errorf("enabled: indicated %+v, operational %v, want IPv4 and UDP", o.RSC, st.Names())
	}
	var stats ndis.RSCStatistics
	r.query(ndis.OIDTCPRSCStatistics, &stats)
	if stats != (ndis.RSCStatistics{CoalescedPackets: 1, CoalescedOctets: 2, CoalesceEvents: 3, Aborts: 4}) {
		t.Errorf("statistics %+v, want those of the data path", stats)
	}
	r.parameters(ndis.OffloadParameters{RSCIPv4: ndis.SwitchDisabled}, ndis.StatusSuccess)
	if st := r.operational(); st.RSCv4 || !st.URO {
		t.Errorf("disabled: operational %v, want uro alone", st.Names())
	}
	none := config()
	none.Coalescing = false
	r = newRig(t, none)
	r.parameters(ndis.OffloadParameters{RSCIPv4: ndis.SwitchEnabled}, ndis.StatusInvalidParameter)
	r.do(adapter.Request{Type: adapter.Query, OID: ndis.OIDTCPRSCStatistics}, ndis.StatusNotSupported)
}

// What an administrator turns on at start is on after every restart.
func TestStart(t *testing.T) {
	cfg := config()
	cfg.Start = adapter.Start{Framing: true, NVGRE: true, RSC: true, URO: true}
	r := newRig(t, cfg)
	if st := r.operational(); st.NVGRE.RxChecksum != offload.AllFamilies || !st.Receive.TCPv6 || !st.RSCv4 || !st.RSCv6 || !st.URO {
		t.Errorf("operational: %v, want NVGRE, receive checksums and coalescing", st.Names())
	}
	r.parameters(nvgreOff, ndis.StatusSuccess)
	r.Restart(all)
	if st := r.operational(); st.NVGRE.LSO != offload.AllFamilies {
		t.Errorf("operational after restart: %v, want NVGRE", st.Names())
	}
	if err := r.SetStart(adapter.Start{}); err != nil {
		t.Error(err)
	}
	if st := r.operational(); st.NVGRE != (offload.Tunnel{}) || st.Receive != (offload.Validation{}) {
		t.Errorf("operational after SetStart(Start{}): %v", st.Names())
	}
	r.Restart(all)
	if st := r.operational(); st.NVGRE != (offload.Tunnel{}) || st.Receive != (offload.Validation{}) {
		t.Errorf("operational after SetStart(Start{}) and a restart: %v", st.Names())
	}
}

// Where the data path or the keywords fail, nothing changes.
func TestFailures(t *testing.T) {
	r := newRig(t, config())
	before, setting := r.current(), r.Setting()
	r.failApply = errors.New("no")
	r.parameters(ndis.OffloadParameters{LSOv2IPv4: ndis.SwitchDisabled}, ndis.StatusFailure)
	r.expect("persist", "apply", "persist")
	r.failApply, r.failPersist = nil, errors.New("disk full")
	r.parameters(ndis.OffloadParameters{LSOv2IPv4: ndis.SwitchDisabled}, ndis.StatusFailure)
	r.expect("persist")
	if r.current() != before || r.Setting() != setting || len(r.Keywords()) != 0 {
		t.Errorf("after failures: %+v, keywords %v, want what was before", r.current(), r.Keywords())
	}
}
