// Package vmq matches frames against receive filters, as NDIS has them for
// virtual machine queues ("Setting a VMQ Filter"): by destination MAC address
// and optionally VLAN, of the outer Ethernet header or of the one within an
// NVGRE tunnel, and as an extension by the tunnel's virtual subnet id.
//
// A Table has a hash table for each combination of tests. Matching asks those
// that hold a filter, two of the outer header and four of the inner one at
// most, however many filters there are.
package vmq

import (
	"encoding/binary"
	"fmt"

	"vhost-user-nvgre/virtio"
)

// VLANTest is what a filter says of the VLAN.
type VLANTest uint8

// Tests of the VLAN.
const (
	AnyVLAN        VLANTest = iota
	UntaggedOrZero          // no tag, or one with VLAN id 0
	VLANEqual               // a tag with the filter's VLAN id, not 0
)

// Filter sends frames for a station to a queue. All its tests must hold.
type Filter struct {
	MAC  virtio.MAC // destination
	Test VLANTest
	VLAN uint16 // with VLANEqual: 1 to 4094
	// Encapsulated has MAC and VLAN mean the Ethernet header within the tunnel.
	// The filter matches NVGRE packets only, and a filter without it none that
	// such a filter matches (NDIS_RECEIVE_FILTER_PACKET_ENCAPSULATION).
	Encapsulated bool
	// MatchVSID has the filter match packets of one virtual subnet only. NDIS
	// has no such test; two tenants may have the same MAC address. It needs
	// Encapsulated.
	MatchVSID bool
	VSID      uint32 // 24 bits
	Queue     uint16 // what Match returns
}

func (f *Filter) check() error {
	switch {
	case f.MAC == virtio.MAC{}:
		return fmt.Errorf("%s is no address of a station", f.MAC)
	case f.Test > VLANEqual:
		return fmt.Errorf("VLAN test %d, want 0 to %d", f.Test, VLANEqual)
	case f.Test == VLANEqual && (f.VLAN == 0 || f.VLAN > 4094):
		return fmt.Errorf("VLAN %d, want 1 to 4094", f.VLAN)
	case f.Test != VLANEqual && f.VLAN != 0:
		return fmt.Errorf("VLAN %d without a test for it", f.VLAN)
	case f.MatchVSID && !f.Encapsulated:
		return fmt.Errorf("VSID %d of packets that are in no tunnel", f.VSID)
	case f.VSID >= 1<<24 || !f.MatchVSID && f.VSID != 0:
		return fmt.Errorf("VSID %d, want 0 to %d with a test for it, else 0", f.VSID, 1<<24-1)
	}
	return nil
}

// Header is what filters look at of an Ethernet header.
type Header struct {
	Dst  uint64 // destination in the upper 48 bits, first byte uppermost; the lower 16 are ignored
	VLAN uint16 // of the first tag, 0 without one
	VSID uint32 // of the tunnel that the header is in
}

// The groups of sets in a Table.
const (
	outer     = 0                  // plus a VLANTest: filters of the outer header
	inner     = int(VLANEqual) + 1 // of the inner header
	innerVSID = 2 * inner          // of the inner header and the VSID
	numSets   = 3 * inner
)

// Table is an immutable set of filters.
type Table struct {
	sets [numSets]set
	len  int
}

// New returns the table of the filters. Two filters with the same tests are an
// error.
func New(filters []Filter) (*Table, error) {
	t := &Table{len: len(filters)}
	var sizes [numSets]int
	for i := range filters {
		if err := filters[i].check(); err != nil {
			return nil, fmt.Errorf("filter %d: %w", i, err)
		}
		sizes[filters[i].set()]++
	}
	for i, n := range sizes {
		t.sets[i] = newSet(n)
	}
	for i := range filters {
		f := &filters[i]
		var mac [8]byte
		copy(mac[:], f.MAC[:])
		key := binary.BigEndian.Uint64(mac[:]) | uint64(f.VLAN)
		if other := t.sets[f.set()].add(slot{key: key, vsid: f.VSID, queue: f.Queue}); other != nil {
			return nil, fmt.Errorf("filter %d: there is one with the same tests, for queue %d", i, other.queue)
		}
	}
	return t, nil
}

// set returns the number of the set that the filter is in.
func (f *Filter) set() int {
	switch {
	case f.MatchVSID:
		return innerVSID + int(f.Test)
	case f.Encapsulated:
		return inner + int(f.Test)
	}
	return outer + int(f.Test)
}

// Len returns the number of filters.
func (t *Table) Len() int { return t.len }

// Inner reports whether there are filters that look into tunnels.
func (t *Table) Inner() bool {
	for i := inner; i < numSets; i++ {
		if t.sets[i].slots != nil {
			return true
		}
	}
	return false
}

// MatchOuter returns the queue of the filter that matches an outer Ethernet
// header, if there is one. Of several the one with a test of the VLAN wins.
func (t *Table) MatchOuter(h Header) (queue uint16, ok bool) {
	return t.match(outer, h.Dst, h.VLAN, 0)
}

// MatchInner is MatchOuter for the header in a tunnel. Filters with a test of
// the VSID win over those without.
func (t *Table) MatchInner(h Header) (queue uint16, ok bool) {
	if q, ok := t.match(innerVSID, h.Dst, h.VLAN, h.VSID); ok {
		return q, true
	}
	return t.match(inner, h.Dst, h.VLAN, 0)
}

// match asks a group of sets for a header, by its VLAN first.
func (t *Table) match(group int, dst uint64, vlan uint16, vsid uint32) (uint16, bool) {
	key := dst &^ 0xffff
	vlan &= 0xfff
	tagged := group + int(UntaggedOrZero)
	if vlan != 0 {
		tagged = group + int(VLANEqual)
	}
	if f := t.sets[tagged].find(key|uint64(vlan), vsid); f != nil {
		return f.queue, true
	}
	if f := t.sets[group+int(AnyVLAN)].find(key, vsid); f != nil {
		return f.queue, true
	}
	return 0, false
}
