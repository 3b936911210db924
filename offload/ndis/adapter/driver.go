package adapter

import (
	"slices"

	"vhost-user-nvgre/offload/ndis"
	"vhost-user-nvgre/virtio"
)

// DriverState is what a NIC's driver says by commands of its own, and no OID
// changes.
type DriverState struct {
	// Off are the receive offloads that it negotiated and does not take at the
	// moment. What was configured of them is remembered.
	Off virtio.Features
	// InnerHash says that it has NVGRE packets hashed by their inner headers
	// whatever the configuration is.
	InnerHash bool
}

// Adopt makes what a driver did by commands of its own part of the state: RSS
// and hash as they are in force now, in place of those set before, and what
// else it said. The target has put it into force. Those that are the same as
// in Setting are the same pointers. If something has become different the
// current configuration is indicated, with which whoever listens begins to ask
// what it is. The caller has locked the adapter.
func (a *Adapter) Adopt(d DriverState, r *RSS, h *Hash) {
	s, setting := a.state.clone(), *a.setting
	differs := d != s.driver
	s.driver = d
	if r != setting.RSS || h != setting.Hash {
		differs = differs || !r.equal(setting.RSS) || !h.equal(setting.Hash)
		s.steeringEpoch++
		s.endRSS()
		if r != nil {
			a.adoptRSS(s, r)
		}
		s.adoptHash(h)
		setting.RSS, setting.Hash = r, h
		a.setting = &setting
	}
	a.state = s
	if differs {
		a.indicateCurrent()
	}
}

// refused returns the receive features that the driver does not take: those
// that it switched off and those that depend on them (VNET-142).
func (s *state) refused() virtio.Features {
	f := s.driver.Off
	if f.Has(virtio.FeatureGuestCSUM) {
		f |= virtio.FeatureGuestTSO4 | virtio.FeatureGuestTSO6 | virtio.FeatureGuestUSO4 | virtio.FeatureGuestUSO6
	}
	return f
}

// endRSS turns RSS off for those that exclude it.
func (s *state) endRSS() {
	s.rss = rss{}
	s.rssV2.enabled, s.rssV2.byDriver, s.rssV2.used = false, false, false
}

// adoptRSS takes over RSS that the driver set, as RSS of the version whose OIDs
// there are. A queue pair is the processor of that number.
func (a *Adapter) adoptRSS(s *state, r *RSS) {
	processor := func(pair uint16) ndis.ProcessorNumber { return ndis.ProcessorNumber{Number: uint8(pair)} }
	v := rss{enabled: true, byDriver: true, info: infoOf(&r.Hash), key: r.Key, other: processor(r.Default)}
	for _, pair := range r.Table {
		v.table = append(v.table, processor(pair))
	}
	if !a.cfg.RSSv2 {
		s.rss = v
		return
	}
	s.rssV2 = rssV2{
		enabled: true, byDriver: true, used: true, info: v.info, key: v.key, queues: uint32(a.cfg.QueuePairs),
		primary: s.rssV2.primary, other: v.other, entries: v.table,
	}
}

// adoptHash takes over the hash that the driver set, nil for none.
func (s *state) adoptHash(h *Hash) {
	s.hash = hash{}
	if h != nil && h.Types != 0 {
		s.hash = hash{enabled: true, byDriver: true, info: infoOf(h), key: h.Key}
	}
}

// infoOf returns a hash's function and types as NDIS has them.
func infoOf(h *Hash) ndis.HashInformation {
	info := ndis.HashToeplitz
	for _, t := range hashTypes {
		if h.Types&t.path != 0 {
			info |= t.ndis
		}
	}
	return info
}

// equal reports whether frames get the same by both.
func (h *Hash) equal(other *Hash) bool {
	if h == nil || other == nil {
		return h == other
	}
	return *h == *other
}

// equal is described at Hash.equal.
func (r *RSS) equal(other *RSS) bool {
	if r == nil || other == nil {
		return r == other
	}
	return r.Hash == other.Hash && r.Default == other.Default && slices.Equal(r.Table, other.Table)
}
