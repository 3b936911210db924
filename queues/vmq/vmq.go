// Package vmq matches frames against receive filters, as NDIS has them for
// virtual machine queues ("Setting a VMQ Filter"): by destination MAC address
// and optionally VLAN, of the outer Ethernet header or of the one within an
// NVGRE tunnel, and as an extension by the tunnel's virtual subnet id.
//
// A Table is a hash table over all filters. Matching asks it once for each
// combination of tests that some filter has, two of the outer header and four
// of the inner one at most, however many filters there are.
package vmq

import (
	"fmt"
	"math/bits"
	"math/rand/v2"

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

// Bits of a key besides the address.
const (
	keyVLAN     = 1 << 12 // lower 12 bits: the VLAN
	keyUntagged = 2 << 12
	keyVSID     = 4 << 12
	keyInner    = 8 << 12
	keyBits     = 1<<16 - 1
)

// shape is a set of tests of the VLAN that filters have; those of filters with
// a test of the VSID are shifted by vsidShift.
type shape uint8

const (
	hasAny shape = 1 << iota
	hasUntagged
	hasVLAN

	vsidShift = 3
)

// slot is an entry of the hash table. A key of 0 marks an empty one: of the
// address 00:00:00:00:00:00 there are no filters.
type slot struct {
	key   uint64
	vsid  uint32
	queue uint16
}

// Table is an immutable set of filters.
type Table struct {
	slots []slot // a power of two, at most half full
	shift uint8
	seed  [2]uint64 // odd, so that who sends frames cannot know which collide
	outer shape     // tests of filters that look at the outer header
	inner shape     // of those that look into the tunnel
	len   int
}

// New returns the table of the filters. Two filters with the same tests are an
// error.
func New(filters []Filter) (*Table, error) {
	size := max(8, 1<<bits.Len(uint(2*len(filters))))
	t := &Table{
		slots: make([]slot, size), shift: uint8(64 - bits.TrailingZeros(uint(size))),
		seed: [2]uint64{rand.Uint64() | 1, rand.Uint64() | 1}, len: len(filters),
	}
	for i := range filters {
		f := &filters[i]
		if err := f.check(); err != nil {
			return nil, fmt.Errorf("filter %d: %w", i, err)
		}
		if f.MAC == (virtio.MAC{}) {
			return nil, fmt.Errorf("filter %d: %s is no address of a station", i, f.MAC)
		}
		s := t.find(f.key(), f.VSID)
		if s.key != 0 {
			return nil, fmt.Errorf("filter %d: there is one with the same tests, for queue %d", i, s.queue)
		}
		*s = slot{key: f.key(), vsid: f.VSID, queue: f.Queue}
		t.note(f)
	}
	return t, nil
}

// note adds what f tests to the combinations that are asked for.
func (t *Table) note(f *Filter) {
	s := [...]shape{AnyVLAN: hasAny, UntaggedOrZero: hasUntagged, VLANEqual: hasVLAN}[f.Test]
	switch {
	case f.MatchVSID:
		t.inner |= s << vsidShift
	case f.Encapsulated:
		t.inner |= s
	default:
		t.outer |= s
	}
}

func (f *Filter) key() uint64 {
	var k uint64
	for _, b := range f.MAC {
		k = k<<8 | uint64(b)
	}
	k = k<<16 | uint64(f.VLAN)
	switch f.Test {
	case UntaggedOrZero:
		k |= keyUntagged
	case VLANEqual:
		k |= keyVLAN
	}
	if f.Encapsulated {
		k |= keyInner
	}
	if f.MatchVSID {
		k |= keyVSID
	}
	return k
}

// find returns the slot of a key, or the empty one where it belongs.
func (t *Table) find(key uint64, vsid uint32) *slot {
	h := (key ^ uint64(vsid)*t.seed[1]) * t.seed[0]
	mask := len(t.slots) - 1
	for i := int(h >> t.shift); ; i++ {
		s := &t.slots[i&mask]
		if s.key == key && s.vsid == vsid || s.key == 0 {
			return s
		}
	}
}

// Len returns the number of filters.
func (t *Table) Len() int { return t.len }

// Inner reports whether there are filters that look into tunnels.
func (t *Table) Inner() bool { return t.inner != 0 }

// MatchOuter returns the queue of the filter that matches an outer Ethernet
// header, if there is one. Of several the one with a test of the VLAN wins.
func (t *Table) MatchOuter(h Header) (queue uint16, ok bool) {
	return t.match(h.Dst&^keyBits, h.VLAN&0xfff, 0, t.outer)
}

// MatchInner is MatchOuter for the header in a tunnel. Filters with a test of
// the VSID win over those without.
func (t *Table) MatchInner(h Header) (queue uint16, ok bool) {
	key, vlan := h.Dst&^keyBits|keyInner, h.VLAN&0xfff
	if s := t.inner >> vsidShift; s != 0 {
		if q, ok := t.match(key|keyVSID, vlan, h.VSID, s); ok {
			return q, true
		}
	}
	return t.match(key, vlan, 0, t.inner&(1<<vsidShift-1))
}

// match asks for a header by its VLAN, then without.
func (t *Table) match(key uint64, vlan uint16, vsid uint32, s shape) (uint16, bool) {
	switch {
	case vlan != 0 && s&hasVLAN != 0:
		if f := t.find(key|keyVLAN|uint64(vlan), vsid); f.key != 0 {
			return f.queue, true
		}
	case vlan == 0 && s&hasUntagged != 0:
		if f := t.find(key|keyUntagged, vsid); f.key != 0 {
			return f.queue, true
		}
	}
	if s&hasAny != 0 {
		if f := t.find(key, vsid); f.key != 0 {
			return f.queue, true
		}
	}
	return 0, false
}
