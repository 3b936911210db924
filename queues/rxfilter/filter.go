// Package rxfilter decides which frames a port's guest wants: by destination
// address, receive modes and VLAN, as the driver set them over the control
// queue (specification "Virtual I/O Device (VIRTIO)" version 1.4, sections
// "Packet Receive Filtering", "Setting MAC Address Filtering" and "VLAN
// Filtering").
package rxfilter

import (
	"slices"

	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/ctrl"
)

// MaxAddresses bounds each of the two address tables. A longer one is not
// stored; all addresses of its kind are accepted instead (VNET-119).
const MaxAddresses = 1024

// Filter is an immutable receive filter. Any number of goroutines may use it;
// the With methods return a changed copy.
type Filter struct {
	state State

	// What the above amounts to, for Accept.
	everything bool
	unicast    verdict
	multicast  verdict
	broadcast  bool
	vlans      *vlanSet // nil: frames of every VLAN are accepted
	mac        uint64
	listed     set // own address and tables
}

// State is what a filter consists of. Its slices must not be changed.
type State struct {
	// AnyAddress: the driver cannot set addresses, so all are accepted, but for
	// what the modes suppress.
	AnyAddress                         bool
	MAC                                virtio.MAC
	Modes                              [ctrl.RXModes]bool // by ctrl.RXMode
	Unicast, Multicast                 []virtio.MAC
	UnicastOverflow, MulticastOverflow bool     // the table was too long
	VLANFilter                         bool     // VLANs counts
	VLANs                              []uint16 // ascending
}

// verdict is what becomes of frames to one kind of address.
type verdict uint8

const (
	dropAll verdict = iota
	acceptListed
	acceptAll
)

// vlanSet has a bit for each VLAN id.
type vlanSet [ctrl.VLANs / 64]uint64

func (s *vlanSet) has(id uint16) bool { return s[id/64%uint16(len(s))]>>(id%64)&1 != 0 }

// list returns the ids, ascending.
func (s *vlanSet) list() (ids []uint16) {
	for id := range uint16(ctrl.VLANs) {
		if s.has(id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// New returns the filter of a port with the given address after a reset, when
// the driver negotiated f.
//
// With CTRL_RX that is: own address and broadcast, until the driver sets modes
// and tables (VNET-114, VNET-117). Without it every address is accepted, for
// the driver has no way to ask for more. With CTRL_VLAN no tagged frame is
// accepted until the driver names VLANs, without it every one is (VNET-121,
// VNET-122).
func New(mac virtio.MAC, f virtio.Features) *Filter {
	n := &Filter{state: State{MAC: mac, AnyAddress: !f.Has(virtio.FeatureCtrlRX)}}
	if f.Has(virtio.FeatureCtrlVLAN) {
		n.state.VLANFilter = true
		n.vlans = new(vlanSet)
	}
	return n.compile()
}

// Of returns the filter that consists of s; State is the inverse. A table that
// is too long counts as one that overflowed. VLAN ids from ctrl.VLANs up are
// left out, and VLANs may come in any order. The filter keeps none of s's
// slices.
func Of(s State) *Filter {
	n := &Filter{state: s}
	var over [2]bool
	n.state.Unicast, over[0] = bounded(s.Unicast)
	n.state.Multicast, over[1] = bounded(s.Multicast)
	n.state.UnicastOverflow = s.UnicastOverflow || over[0]
	n.state.MulticastOverflow = s.MulticastOverflow || over[1]
	n.state.VLANs = nil
	if s.VLANFilter {
		n.vlans = new(vlanSet)
		for _, id := range s.VLANs {
			if id < ctrl.VLANs {
				n.vlans[id/64] |= 1 << (id % 64)
			}
		}
		n.state.VLANs = n.vlans.list()
	}
	return n.compile()
}

// WithMode returns a filter that has a mode on or off. Unknown modes change
// nothing.
func (f *Filter) WithMode(m ctrl.RXMode, on bool) *Filter {
	n := *f
	if int(m) < len(n.state.Modes) {
		n.state.Modes[m] = on
	}
	return n.compile()
}

// WithMAC returns a filter with another own address.
func (f *Filter) WithMAC(mac virtio.MAC) *Filter {
	n := *f
	n.state.MAC = mac
	return n.compile()
}

// WithTables returns a filter whose address tables hold the given addresses
// in place of all earlier ones. Addresses in the table of the other kind have
// no effect.
func (f *Filter) WithTables(unicast, multicast []virtio.MAC) *Filter {
	n := *f
	n.state.Unicast, n.state.UnicastOverflow = bounded(unicast)
	n.state.Multicast, n.state.MulticastOverflow = bounded(multicast)
	return n.compile()
}

func bounded(list []virtio.MAC) (kept []virtio.MAC, overflow bool) {
	if len(list) > MaxAddresses {
		return nil, true
	}
	return slices.Clone(list), false
}

// WithVLAN returns a filter that accepts frames of a VLAN, or does not. Ids
// from ctrl.VLANs up change nothing.
func (f *Filter) WithVLAN(id uint16, accept bool) *Filter {
	if f.vlans == nil || id >= ctrl.VLANs {
		return f
	}
	n, vlans := *f, *f.vlans
	if accept {
		vlans[id/64] |= 1 << (id % 64)
	} else {
		vlans[id/64] &^= 1 << (id % 64)
	}
	n.vlans = &vlans
	n.state.VLANs = vlans.list()
	return &n
}

// State returns what the filter consists of.
func (f *Filter) State() State { return f.state }

// compile derives from the state what Accept uses, and returns f.
//
// PROMISC wins over everything, also over the VLAN filter, as in QEMU: a
// guest's bridge or capture wants what it did not ask for by name. Of the
// other modes those that suppress win over those that admit (VNET-112).
func (f *Filter) compile() *Filter {
	s := &f.state
	f.everything = s.Modes[ctrl.Promisc]
	f.unicast, f.multicast = acceptListed, acceptListed
	if s.AnyAddress || s.Modes[ctrl.AllUni] || s.UnicastOverflow {
		f.unicast = acceptAll
	}
	if s.Modes[ctrl.NoUni] {
		f.unicast = dropAll
	}
	if s.AnyAddress || s.Modes[ctrl.AllMulti] || s.MulticastOverflow {
		f.multicast = acceptAll
	}
	if s.Modes[ctrl.NoMulti] {
		f.multicast = dropAll
	}
	f.broadcast = !s.Modes[ctrl.NoBcast]

	f.mac = keyOf(s.MAC)
	var keys []uint64
	for _, m := range s.Unicast {
		if !m.IsMulticast() {
			keys = append(keys, keyOf(m))
		}
	}
	for _, m := range s.Multicast {
		if m.IsMulticast() {
			keys = append(keys, keyOf(m))
		}
	}
	f.listed = newSet(keys)
	return f
}

// Accept reports whether the guest wants a frame to dst. tagged frames carry a
// VLAN tag with the given tag control information, of which only the VLAN id
// matters.
func (f *Filter) Accept(dst virtio.MAC, tci uint16, tagged bool) bool {
	if f.everything {
		return true
	}
	if tagged && f.vlans != nil && !f.vlans.has(tci%ctrl.VLANs) {
		return false
	}
	key := keyOf(dst)
	v := f.unicast
	if key&groupBit != 0 {
		if key == broadcastKey {
			return f.broadcast
		}
		v = f.multicast
	}
	return v == acceptAll || v == acceptListed && (key == f.mac || f.listed.has(key))
}
