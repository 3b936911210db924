package adapter_test

import (
	"slices"
	"testing"

	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/offload/ndis"
	"vhost-user-nvgre/offload/ndis/adapter"
	"vhost-user-nvgre/virtio"
)

// theirs is RSS of a driver, for four queue pairs.
func theirs() *adapter.RSS {
	r := &adapter.RSS{
		Hash:  adapter.Hash{Types: offload.HashTCPv4 | offload.HashIPv6Ex, ByDriver: true},
		Table: []uint16{3, 0, 2, 1}, Default: 2,
	}
	for i := range r.Key {
		r.Key[i] = byte(3 * i)
	}
	return r
}

// What a driver sets by commands is what OIDs show, and gives way to what an
// OID sets later, as that does to the next command.
//
// Shows: NDIS-192, NDIS-194
func TestAdoptRSS(t *testing.T) {
	r := newRig(t, config())
	d := theirs()
	shown := func() (p ndis.ReceiveScaleParameters, h ndis.ReceiveHashParameters) {
		t.Helper()
		r.query(ndis.OIDReceiveScaleParameters, &p)
		r.query(ndis.OIDReceiveHash, &h)
		return p, h
	}
	r.adopt(adapter.DriverState{}, d, nil)
	r.expect(currentConfig)
	table := []ndis.ProcessorNumber{{Number: 3}, {}, {Number: 2}, {Number: 1}}
	p, h := shown()
	if p.HashInformation != ndis.HashToeplitz|ndis.HashTCPIPv4|ndis.HashIPv6Ex || !slices.Equal(p.Table, table) || !slices.Equal(p.Key, d.Key[:]) ||
		p.DefaultProcessor != (ndis.ProcessorNumber{Number: 2}) || h.Flags != 0 {
		t.Errorf("a driver's RSS %+v is shown as %+v with hash %+v", d, p, h)
	}
	r.adopt(adapter.DriverState{}, theirs(), nil) // the same once more
	r.expect()

	// A change elsewhere leaves it alone, also the pointers.
	inForce := r.Setting().RSS
	r.parameters(nvgreOn, ok)
	if got := r.Setting(); got.RSS != inForce || !got.RSS.ByDriver {
		t.Errorf("RSS %+v after another request, want that of the driver", got.RSS)
	}

	// An OID changes a part of it, and what is left of the driver's counts.
	r.take()
	r.set(ndis.OIDReceiveScaleParameters, &ndis.ReceiveScaleParameters{
		Flags: ndis.RSSHashKeyUnchanged | ndis.RSSTableUnchanged | ndis.RSSDefaultProcessorUnchanged, HashInformation: ndis.HashToeplitz | ndis.HashUDPIPv4,
	}, ok)
	r.expect("apply")
	if got := r.Setting().RSS; got.ByDriver || got.Key != d.Key || got.Types != offload.HashUDPv4 || !slices.Equal(got.Table, d.Table) || got.Default != 2 {
		t.Errorf("RSS %+v after the hash types were set by OID, want the driver's key and table", got)
	}

	// What protocol drivers set excludes each other, what the NIC's driver set
	// does not.
	hash := &ndis.ReceiveHashParameters{Flags: ndis.ReceiveHashEnable, HashInformation: ndis.HashToeplitz | ndis.HashIPv4, Key: d.Key[:]}
	rss := &ndis.ReceiveScaleParameters{HashInformation: ndis.HashToeplitz | ndis.HashIPv4, Key: d.Key[:], Table: table}
	r.set(ndis.OIDReceiveHash, hash, ndis.StatusInvalidOID)
	r.adopt(adapter.DriverState{}, theirs(), nil)
	r.set(ndis.OIDReceiveHash, hash, ok)
	if p, h := shown(); p.HashInformation != 0 || h.Flags != ndis.ReceiveHashEnable || r.Setting().RSS != nil || r.Setting().Hash == nil {
		t.Errorf("a hash by OID after RSS by the driver: %+v, %+v", p, h)
	}
	r.set(ndis.OIDReceiveScaleParameters, rss, ndis.StatusInvalidOID)
	r.take()
	r.adopt(adapter.DriverState{}, nil, &theirs().Hash)
	r.expect(currentConfig)
	if _, h := shown(); h.HashInformation != ndis.HashToeplitz|ndis.HashTCPIPv4|ndis.HashIPv6Ex || h.Flags != ndis.ReceiveHashEnable {
		t.Errorf("a driver's hash is shown as %+v", h)
	}
	r.set(ndis.OIDReceiveScaleParameters, rss, ok)
	if p, h := shown(); p.HashInformation == 0 || h.Flags != 0 || r.Setting().Hash != nil {
		t.Errorf("RSS by OID after a hash by the driver: %+v, %+v", p, h)
	}
	r.adopt(adapter.DriverState{}, nil, nil)
	if p, _ := shown(); p.HashInformation != 0 {
		t.Errorf("RSS %+v after the driver ended it", p)
	}
	r.adopt(adapter.DriverState{}, theirs(), nil)
	r.Restart(all)
	if p, _ := shown(); p.HashInformation != 0 {
		t.Errorf("RSS %+v of another driver", p)
	}
}

// The same with the OIDs of RSS version 2.
func TestAdoptRSSV2(t *testing.T) {
	cfg := config()
	cfg.RSSv2 = true
	r := newRig(t, cfg)
	d := theirs()
	r.adopt(adapter.DriverState{}, d, nil)
	var p ndis.ReceiveScaleParametersV2
	r.query(ndis.OIDReceiveScaleParametersV2, &p)
	if p.Flags != ndis.RSSV2Enable || p.Entries != 4 || p.Queues != 4 || !slices.Equal(p.Key, d.Key[:]) {
		t.Errorf("a driver's RSS is shown as %+v", p)
	}
	move := &ndis.RSSSetIndirectionEntries{Entries: []ndis.RSSSetIndirectionEntry{{Index: 1, Target: ndis.ProcessorNumber{Number: 3}}}}
	r.method(ndis.OIDRSSSetIndirectionEntries, move, ok)
	if got := r.Setting().RSS; got.ByDriver || !slices.Equal(got.Table, []uint16{3, 3, 2, 1}) || got.Key != d.Key {
		t.Errorf("after an entry was moved: %+v", got)
	}
	r.adopt(adapter.DriverState{}, nil, nil)
	if r.query(ndis.OIDReceiveScaleParametersV2, &p); p.Flags != 0 {
		t.Errorf("after the driver ended RSS: %+v", p)
	}
	r.set(ndis.OIDReceiveScaleParametersV2, &ndis.ReceiveScaleParametersV2{
		Flags: ndis.RSSV2Enable | ndis.RSSV2HashInfoChanged | ndis.RSSV2HashKeyChanged, HashInformation: ndis.HashToeplitz | ndis.HashIPv4, Key: d.Key[:],
	}, ok)
	if got := r.Setting().RSS; got == nil || got.ByDriver || got.Types != offload.HashIPv4 {
		t.Errorf("RSS by OID after that: %+v", got)
	}
}

// Receive offloads that the driver does not take at the moment are not in the
// current configuration, but in the hardware's, and come back as they were
// configured meanwhile.
//
// Shows: NDIS-098, NDIS-100
func TestAdoptOffloads(t *testing.T) {
	r := newRig(t, config())
	var hw ndis.Offload
	r.parameters(ndis.OffloadParameters{RSCIPv4: ndis.SwitchEnabled, RSCIPv6: ndis.SwitchEnabled, UDPRSC: ndis.SwitchEnabled}, ok)
	before := r.current()
	r.take()
	r.adopt(adapter.DriverState{Off: virtio.FeatureGuestTSO4}, nil, nil)
	r.expect(currentConfig)
	if o := r.indicated(); o.RSC != (ndis.RSC{IPv6: true}) || !o.UDPRSC || o.Checksum != before.Checksum || o != r.current() {
		t.Errorf("without TSO4: %+v", o)
	}
	r.adopt(adapter.DriverState{Off: virtio.FeatureGuestCSUM}, nil, nil)
	if o := r.indicated(); o.RSC != (ndis.RSC{}) || o.UDPRSC || o.Checksum.IPv4Receive.Any() || o.Checksum.IPv6Receive.Any() || o.GRE.ReceiveChecksum != 0 ||
		o.Checksum.IPv4Transmit != before.Checksum.IPv4Transmit || o.LSOv2 != before.LSOv2 {
		t.Errorf("without checksums: %+v", o)
	}
	if r.query(ndis.OIDTCPOffloadHardwareCaps, &hw); hw.RSC != (ndis.RSC{IPv4: true, IPv6: true}) || !hw.Checksum.IPv4Receive.Any() {
		t.Errorf("hardware: %+v, want everything", hw)
	}
	r.parameters(ndis.OffloadParameters{TCPIPv4Checksum: ndis.ChecksumTx, RSCIPv6: ndis.SwitchDisabled}, ok)
	r.adopt(adapter.DriverState{}, nil, nil)
	if o := r.current(); o.RSC != (ndis.RSC{IPv4: true}) || o.Checksum.IPv4Receive.TCPChecksum.On() || !o.Checksum.IPv4Receive.UDPChecksum.On() {
		t.Errorf("with everything again: %+v", o)
	}

	r.parameters(nvgreOff, ok)
	if o := r.current(); o.GRE.RSS != 0 {
		t.Errorf("NVGRE off: %+v", o.GRE)
	}
	r.take()
	r.adopt(adapter.DriverState{InnerHash: true}, nil, nil)
	r.expect(currentConfig)
	if o := r.current(); o.GRE.RSS != ndis.AllFamilies || o.GRE.LSOv2 != 0 || o.EncapsulationTypes != 0 {
		t.Errorf("with the inner hash: %+v, types %s", o.GRE, o.EncapsulationTypes)
	}
	r.parameters(nvgreOn, ok)
	r.set(ndis.OIDOffloadEncapsulation, framed(ndis.SetOff), ok)
	if o := r.current(); o.GRE.RSS != ndis.AllFamilies || o.EncapsulationTypes != 0 {
		t.Errorf("with the inner hash and framing off: %+v, types %s", o.GRE, o.EncapsulationTypes)
	}
	r.parameters(nvgreOff, ok)
	r.Restart(all)
	if o := r.current(); o.RSC.IPv6 || o.GRE.LSOv2 != 0 {
		t.Errorf("after a restart: %+v", o)
	}
}
