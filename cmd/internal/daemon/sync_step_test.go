package daemon

import (
	"pgregory.net/rapid"

	"vhost-user-nvgre/offload/ndis"
	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/ctrl"
)

// step has one of the writers do something.
func (s *syncRig) step(t *rapid.T, w *world) {
	types := func(label string) uint32 { return rapid.Uint32Range(0, 3).Draw(t, label) }
	key := func() (k [ndis.HashKeySize]byte) {
		copy(k[:], rapid.SliceOfN(rapid.Byte(), len(k), len(k)).Draw(t, "key"))
		return k
	}
	table := func() []uint16 {
		n := 1 << rapid.IntRange(0, 7).Draw(t, "bits")
		return rapid.SliceOfN(rapid.Uint16Range(0, syncPairs-1), n, n).Draw(t, "table")
	}
	pair := func(label string) uint16 { return rapid.Uint16Range(0, syncPairs-1).Draw(t, label) }
	toggle := func() (bool, ndis.Toggle) {
		on := rapid.Bool().Draw(t, "on")
		return on, map[bool]ndis.Toggle{true: ndis.SetOn, false: ndis.SetOff}[on]
	}
	switch what := rapid.SampledFrom([]string{
		"RSS_CONFIG", "HASH_CONFIG", "VQ_PAIRS_SET", "HASH_TUNNEL", "GUEST_OFFLOADS_SET",
		"OID RSS", "OID RSS key", "OID RSS off", "OID hash", "OID NVGRE", "OID framing", "settings", "restart",
	}).Draw(t, "what"); what {
	case "RSS_CONFIG":
		h := hashes{key(), types("types")}
		w.rss, w.byDriver, w.hash, w.table, w.rest, w.pairs = &h, true, nil, table(), pair("unclassified"), int(1+pair("pairs"))
		s.command(t, ctrl.RSS{HashTypes: h.types, Table: w.table, Unclassified: w.rest, MaxTxVQ: uint16(w.pairs), Key: h.key[:]})
	case "HASH_CONFIG":
		h := hashes{key(), types("types")}
		w.rss, w.hash, w.hashByDriver = nil, &h, true
		s.command(t, ctrl.HashConfig{HashTypes: h.types, Key: h.key[:]})
	case "VQ_PAIRS_SET":
		if w.rss != nil {
			w.rss, w.hash, w.hashByDriver = nil, w.rss, true
		}
		w.pairs = int(1 + pair("pairs"))
		s.command(t, ctrl.Pairs{N: uint16(w.pairs)})
	case "HASH_TUNNEL":
		w.inner = rapid.Bool().Draw(t, "inner")
		s.command(t, ctrl.HashTunnel{Types: map[bool]uint32{true: ctrl.TunnelNVGRE}[w.inner]})
	case "GUEST_OFFLOADS_SET":
		w.noSums = rapid.Bool().Draw(t, "without checksums")
		s.command(t, ctrl.GuestOffloads{On: map[bool]virtio.Features{false: virtio.FeatureGuestCSUM}[w.noSums]})
	case "OID RSS", "OID RSS key":
		p := ndis.ReceiveScaleParameters{Revision: 3, DefaultProcessor: ndis.ProcessorNumber{Number: uint8(w.rest)}}
		h := hashes{key: key()}
		if what == "OID RSS key" && w.rss != nil && w.rss.types != 0 {
			p.Flags = ndis.RSSHashInfoUnchanged | ndis.RSSTableUnchanged | ndis.RSSDefaultProcessorUnchanged
			h.types = w.rss.types
		} else {
			h.types = 1 + types("types")%3
			w.table, w.rest = table(), pair("default")
			p.HashInformation, p.DefaultProcessor.Number = infoOf(h.types), uint8(w.rest)
			for _, n := range w.table {
				p.Table = append(p.Table, ndis.ProcessorNumber{Number: uint8(n)})
			}
		}
		p.Key = h.key[:]
		if w.rss == nil && w.hash != nil && !w.hashByDriver {
			// It excludes RSS.
			s.set(t, ndis.OIDReceiveHash, &ndis.ReceiveHashParameters{})
		}
		w.rss, w.byDriver, w.hash = &h, false, nil
		s.set(t, ndis.OIDReceiveScaleParameters, &p)
	case "OID RSS off":
		w.rss = nil
		s.set(t, ndis.OIDReceiveScaleParameters, &ndis.ReceiveScaleParameters{Flags: ndis.RSSDisable})
	case "OID hash":
		if w.rss != nil && !w.byDriver {
			return // which excludes it
		}
		h := hashes{key(), 1 + types("types")%3}
		w.rss, w.hash, w.hashByDriver = nil, &h, false
		s.set(t, ndis.OIDReceiveHash, &ndis.ReceiveHashParameters{Flags: ndis.ReceiveHashEnable, HashInformation: infoOf(h.types), Key: h.key[:]})
	case "OID NVGRE":
		on, v := toggle()
		p := ndis.OffloadParameters{EncapsulatedTaskOffload: v, Flags: ndis.SkipRegistryUpdate}
		if w.nvgre = on; on {
			p.EncapsulationTypes = ndis.EncapsulationGREMAC
		}
		s.set(t, ndis.OIDTCPOffloadParameters, &p)
	case "OID framing":
		on, v := toggle()
		f := ndis.FamilyFraming{Enabled: v}
		if w.framing = "off"; on {
			w.framing, f.Encapsulation, f.HeaderSize = "on", ndis.FramingIEEE8023, 14
		}
		s.set(t, ndis.OIDOffloadEncapsulation, &ndis.OffloadEncapsulation{IPv4: f, IPv6: f})
	case "settings":
		nvgre, rx := rapid.Bool().Draw(t, "nvgre"), rapid.Bool().Draw(t, "rx-checksum")
		fresh := start(nvgre, rx)
		switch {
		case rx != w.rxSet:
			w.framing = fresh.framing
		case nvgre != w.nvgreSet && w.framing != "on" && (nvgre || w.framing == "tunnels"):
			w.framing = fresh.framing
		}
		if nvgre != w.nvgreSet {
			w.nvgre = nvgre
		}
		w.nvgreSet, w.rxSet = nvgre, rx
		s.settings(t, nvgre, rx)
	case "restart":
		*w = start(w.nvgreSet, w.rxSet)
		s.connect()
	}
}
