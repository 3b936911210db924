package adapter_test

import (
	"bytes"
	"slices"
	"testing"

	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/offload/ndis"
	"vhost-user-nvgre/offload/ndis/adapter"
)

func processors(numbers ...uint8) (list []ndis.ProcessorNumber) {
	for _, n := range numbers {
		list = append(list, ndis.ProcessorNumber{Number: n})
	}
	return list
}

func key(seed byte) ndis.Bytes {
	b := make([]byte, ndis.HashKeySize)
	for i := range b {
		b[i] = seed + byte(i)
	}
	return b
}

func scale() ndis.ReceiveScaleParameters {
	return ndis.ReceiveScaleParameters{
		HashInformation: ndis.HashToeplitz | ndis.HashIPv4 | ndis.HashTCPIPv4 | ndis.HashUDPIPv6Ex,
		Table:           processors(0, 1, 2, 3), Key: key(1), DefaultProcessor: ndis.ProcessorNumber{Number: 2},
	}
}

// Shows: NDIS-181, NDIS-188, NDIS-189, NDIS-190, NDIS-191, NDIS-194
func TestRSS(t *testing.T) {
	r := newRig(t, config())
	var caps ndis.ReceiveScaleCapabilities
	r.query(ndis.OIDReceiveScaleCapabilities, &caps)
	if caps.ReceiveQueues != 4 || caps.IndirectionEntries != 128 || caps.Flags&ndis.RSSToeplitz == 0 || caps.Flags&ndis.RSSIndependentEntryMove != 0 {
		t.Errorf("capabilities %+v", caps)
	}
	var got ndis.ReceiveScaleParameters
	r.query(ndis.OIDReceiveScaleParameters, &got)
	if got.HashInformation != 0 || len(got.Table) != 0 || r.Setting().RSS != nil {
		t.Errorf("after start: %+v, want RSS off", got)
	}

	p := scale()
	r.set(ndis.OIDReceiveScaleParameters, &p, ndis.StatusSuccess)
	r.expect("apply")
	s := r.Setting().RSS
	if want := offload.HashIPv4 | offload.HashTCPv4 | offload.HashUDPv6Ex; s == nil || s.Types != want || !bytes.Equal(s.Key[:], p.Key) || !slices.Equal(s.Table, []uint16{0, 1, 2, 3}) || s.Default != 2 {
		t.Errorf("setting %+v, want types %b, table 0 to 3, default 2", s, want)
	}
	r.query(ndis.OIDReceiveScaleParameters, &got)
	if got.HashInformation != p.HashInformation || !slices.Equal(got.Table, p.Table) || !bytes.Equal(got.Key, p.Key) || got.Flags != 0 || got.DefaultProcessor != p.DefaultProcessor {
		t.Errorf("query: %+v, want %+v", got, p)
	}

	// What is marked unchanged stays, whatever is sent.
	change := ndis.ReceiveScaleParameters{
		Flags:           ndis.RSSHashInfoUnchanged | ndis.RSSHashKeyUnchanged | ndis.RSSDefaultProcessorUnchanged,
		HashInformation: 0xffffffff, Table: processors(3, 2),
	}
	r.set(ndis.OIDReceiveScaleParameters, &change, ndis.StatusSuccess)
	if n := r.Setting().RSS; n.Types != s.Types || n.Key != s.Key || n.Default != 2 || !slices.Equal(n.Table, []uint16{3, 2}) {
		t.Errorf("table changed: %+v, want the rest of %+v", n, s)
	}
	change = ndis.ReceiveScaleParameters{
		Flags:           ndis.RSSTableUnchanged | ndis.RSSHashKeyUnchanged | ndis.RSSDefaultProcessorUnchanged,
		HashInformation: ndis.HashToeplitz | ndis.HashIPv6,
	}
	r.set(ndis.OIDReceiveScaleParameters, &change, ndis.StatusSuccess)
	if n := r.Setting().RSS; n.Types != offload.HashIPv6 || len(n.Table) != 2 {
		t.Errorf("hash information changed: %+v, want IPv6 alone", n)
	}

	// An unrelated change leaves the very same parameters.
	s = r.Setting().RSS
	r.parameters(ndis.OffloadParameters{LSOv2IPv4: ndis.SwitchDisabled}, ndis.StatusSuccess)
	if r.Setting().RSS != s {
		t.Error("a change of large send made other RSS parameters")
	}

	for _, off := range []ndis.ReceiveScaleParameters{
		{Flags: ndis.RSSDisable | ndis.RSSTableUnchanged, HashInformation: ndis.HashToeplitz | ndis.HashIPv4},
		{HashInformation: ndis.HashIPv4, Table: processors(1), Key: key(2)},
		{},
	} {
		p := scale()
		r.set(ndis.OIDReceiveScaleParameters, &p, ndis.StatusSuccess)
		r.set(ndis.OIDReceiveScaleParameters, &off, ndis.StatusSuccess)
		if r.Setting().RSS != nil {
			t.Errorf("%+v: RSS is on, want off", off)
		}
	}
	// Nothing of the former parameters is there to be unchanged.
	change = scale()
	change.Flags = ndis.RSSTableUnchanged
	r.set(ndis.OIDReceiveScaleParameters, &change, ndis.StatusInvalidParameter)
}

// Shows: NDIS-182, NDIS-181
func TestRSSFaults(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*ndis.ReceiveScaleParameters)
	}{
		{"key of 16 bytes", func(p *ndis.ReceiveScaleParameters) { p.Key = p.Key[:16] }},
		{"no key", func(p *ndis.ReceiveScaleParameters) { p.Key = nil }},
		{"table of 3", func(p *ndis.ReceiveScaleParameters) { p.Table = p.Table[:3] }},
		{"table of 256", func(p *ndis.ReceiveScaleParameters) { p.Table = make([]ndis.ProcessorNumber, 256) }},
		{"no table", func(p *ndis.ReceiveScaleParameters) { p.Table = nil }},
		{"another function", func(p *ndis.ReceiveScaleParameters) { p.HashInformation++ }},
		{"no types", func(p *ndis.ReceiveScaleParameters) { p.HashInformation = ndis.HashToeplitz }},
		{"an unknown type", func(p *ndis.ReceiveScaleParameters) { p.HashInformation |= 0x20000 }},
		{"a bit beyond the types", func(p *ndis.ReceiveScaleParameters) { p.HashInformation |= 0x1000000 }},
	} {
		r := newRig(t, config())
		p := scale()
		tt.change(&p)
		r.set(ndis.OIDReceiveScaleParameters, &p, ndis.StatusInvalidParameter)
		if r.expect(); r.Setting().RSS != nil {
			t.Errorf("%s: RSS is on", tt.name)
		}
	}
	r := newRig(t, config())
	p := scale()
	b := p.Encode()
	r.do(adapter.Request{Type: adapter.Set, OID: ndis.OIDReceiveScaleParameters, Input: b[:len(b)-1]}, ndis.StatusInvalidLength)
	p.Table = make([]ndis.ProcessorNumber, 128)
	r.set(ndis.OIDReceiveScaleParameters, &p, ndis.StatusSuccess)
	// Without the types for fragments there is TCP and UDP alone, too.
	p.HashInformation = ndis.HashToeplitz | ndis.HashTCPIPv4 | ndis.HashUDPIPv4
	r.set(ndis.OIDReceiveScaleParameters, &p, ndis.StatusSuccess)
	p.Revision, p.Table = 1, processors(1, 0)
	r.set(ndis.OIDReceiveScaleParameters, &p, ndis.StatusSuccess)
	if s := r.Setting().RSS; !slices.Equal(s.Table, []uint16{1, 0}) {
		t.Errorf("revision 1 with processors 1, 0: table %v", s.Table)
	}
}

// More processors than queues are spread over all queues.
//
// Shows: NDIS-193
func TestMoreProcessorsThanQueues(t *testing.T) {
	for _, list := range [][]ndis.ProcessorNumber{
		processors(0, 4, 8, 12, 16, 20, 24, 28),
		{{Group: 1, Number: 0}, {Group: 1, Number: 1}, {Group: 2, Number: 0}, {Group: 3, Number: 7}},
		processors(4, 5, 6, 7),
	} {
		r := newRig(t, config())
		p := scale()
		p.Table, p.DefaultProcessor = list, list[0]
		r.set(ndis.OIDReceiveScaleParameters, &p, ndis.StatusSuccess)
		used := map[uint16]int{}
		for _, pair := range r.Setting().RSS.Table {
			used[pair]++
		}
		if len(used) != 4 || used[0] != len(list)/4 {
			t.Errorf("processors %v: queue pairs %v, want all four evenly", list, r.Setting().RSS.Table)
		}
	}
}

// Shows: NDIS-192
func TestReceiveHash(t *testing.T) {
	r := newRig(t, config())
	h := ndis.ReceiveHashParameters{Flags: ndis.ReceiveHashEnable, HashInformation: ndis.HashToeplitz | ndis.HashTCPIPv6, Key: key(3)}
	r.set(ndis.OIDReceiveHash, &h, ndis.StatusSuccess)
	if s := r.Setting(); s.Hash == nil || s.Hash.Types != offload.HashTCPv6 || !bytes.Equal(s.Hash.Key[:], h.Key) || s.RSS != nil {
		t.Errorf("setting %+v, want a hash and no RSS", s.Hash)
	}
	p := scale()
	r.set(ndis.OIDReceiveScaleParameters, &p, ndis.StatusInvalidOID)
	var got ndis.ReceiveHashParameters
	r.query(ndis.OIDReceiveHash, &got)
	if got.Flags != h.Flags || got.HashInformation != h.HashInformation || !bytes.Equal(got.Key, h.Key) {
		t.Errorf("query: %+v, want %+v", got, h)
	}
	keep := ndis.ReceiveHashParameters{Flags: ndis.ReceiveHashEnable | ndis.ReceiveHashKeyUnchanged, HashInformation: ndis.HashToeplitz | ndis.HashIPv4}
	r.set(ndis.OIDReceiveHash, &keep, ndis.StatusSuccess)
	if s := r.Setting().Hash; s.Types != offload.HashIPv4 || !bytes.Equal(s.Key[:], h.Key) {
		t.Errorf("hash information changed: %+v", s)
	}
	for _, bad := range []ndis.ReceiveHashParameters{
		{Flags: 8},
		{Flags: ndis.ReceiveHashEnable, HashInformation: ndis.HashIPv4, Key: key(1)},
		{Flags: ndis.ReceiveHashEnable, HashInformation: ndis.HashToeplitz | ndis.HashIPv4},
	} {
		r.set(ndis.OIDReceiveHash, &bad, ndis.StatusInvalidParameter)
	}
	r.set(ndis.OIDReceiveHash, &ndis.ReceiveHashParameters{}, ndis.StatusSuccess)
	r.set(ndis.OIDReceiveScaleParameters, &p, ndis.StatusSuccess)
	r.set(ndis.OIDReceiveHash, &h, ndis.StatusInvalidOID)
	if s := r.Setting(); s.Hash != nil || s.RSS == nil {
		t.Error("receive hashing refused, but RSS is gone")
	}
}

// Shows: NDIS-238
func TestRSSOff(t *testing.T) {
	for _, tt := range []struct {
		name string
		cfg  func(*adapter.Config)
	}{
		{"keyword", func(c *adapter.Config) { c.Keywords = adapter.Keywords{"*RSS": 0} }},
		{"filters preferred", func(c *adapter.Config) { c.Keywords = adapter.Keywords{"*RssOrVmqPreference": 1} }},
		{"filters preferred, but off", func(c *adapter.Config) {
			c.Keywords = adapter.Keywords{"*RssOrVmqPreference": 1, "*VMQ": 0}
		}},
		{"version 2", func(c *adapter.Config) { c.RSSv2 = true }},
		{"one queue", func(c *adapter.Config) { c.QueuePairs, c.VMQueues = 1, 0 }},
	} {
		cfg := config()
		tt.cfg(&cfg)
		r := newRig(t, cfg)
		p := scale()
		r.set(ndis.OIDReceiveScaleParameters, &p, ndis.StatusNotSupported)
		r.set(ndis.OIDReceiveScaleParametersV2, &ndis.ReceiveScaleParametersV2{}, map[bool]ndis.Status{true: ndis.StatusSuccess, false: ndis.StatusNotSupported}[cfg.RSSv2])
	}
}
