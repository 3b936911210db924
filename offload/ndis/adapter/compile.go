package adapter

import (
	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/offload/ndis"
)

// compile returns what a state means for the data path. Parts that are those
// of the previous setting are the same pointers.
//
// It does not look at the driver's features: the data path does, which knows
// sooner when they change.
func (a *Adapter) compile(s *state, previous *Setting) *Setting {
	next := &Setting{Offload: a.operational(s)}
	if previous != nil && s.steeringEpoch == a.state.steeringEpoch {
		next.RSS, next.Hash = previous.RSS, previous.Hash
	} else {
		next.RSS, next.Hash = a.compileSteering(s)
	}
	if previous != nil && s.filterEpoch == a.state.filterEpoch {
		next.Filters = previous.Filters
	} else {
		next.Filters = a.compileFilters(s)
	}
	return next
}

// compileFirst returns what the state after start means with the given
// keywords. Its parts are those of the one before.
func (a *Adapter) compileFirst(k Keywords) *Setting {
	first := a.compile(a.initial(k), nil)
	if a.first != nil {
		first.RSS, first.Hash, first.Filters = a.first.RSS, a.first.Hash, a.first.Filters
	}
	return first
}

// operational returns what of the offloads is operational.
func (a *Adapter) operational(s *state) offload.State {
	o := a.capable(everything)
	narrow(&o, s)
	on4, on6 := s.framing[v4] == framingOn, s.framing[v6] == framingOn
	in4, in6 := on4 || s.framing[v4] == framingTunnels, on6 || s.framing[v6] == framingTunnels
	c := &o.Checksum
	st := offload.State{
		LSOv4: o.LSOv2.IPv4.Encapsulation != 0, LSOv6: o.LSOv2.IPv6.Encapsulation != 0,
		USOv4: o.USO.IPv4.Encapsulation != 0, USOv6: o.USO.IPv6.Encapsulation != 0,
		Limits: a.cfg.Limits,
		Receive: offload.Validation{
			IPv4:  on4 && c.IPv4Receive.IPChecksum.On(),
			TCPv4: on4 && c.IPv4Receive.TCPChecksum.On(), UDPv4: on4 && c.IPv4Receive.UDPChecksum.On(),
			TCPv6: on6 && c.IPv6Receive.TCPChecksum.On(), UDPv6: on6 && c.IPv6Receive.UDPChecksum.On(),
		},
		RSCv4: o.RSC.IPv4, RSCv6: o.RSC.IPv6, URO: o.UDPRSC,
	}
	if s.encap&ndis.EncapsulationGREMAC == 0 || !o.GRE.Any() {
		return st
	}
	// Receive checksums wait for the framing of both headers.
	rx := o.GRE.ReceiveChecksum
	if !in4 {
		rx &^= ndis.InnerIPv4 | ndis.OuterIPv4
	}
	if !in6 {
		rx &^= ndis.InnerIPv6 | ndis.OuterIPv6
	}
	if rx&(ndis.InnerIPv4|ndis.InnerIPv6) == 0 || rx&(ndis.OuterIPv4|ndis.OuterIPv6) == 0 {
		rx = 0
	}
	vmq := o.GRE.VMQ
	if !a.keywords.vmq() {
		vmq = 0
	}
	// The bits have the same numbers in both packages.
	st.NVGRE = offload.Tunnel{
		TxChecksum: offload.Families(o.GRE.TransmitChecksum), RxChecksum: offload.Families(rx),
		LSO: offload.Families(o.GRE.LSOv2), USO: offload.Families(o.GRE.USO),
		RSS: offload.Families(o.GRE.RSS), VMQ: offload.Families(vmq),
		MaxHeader: int(o.GRE.MaxHeaderSize),
	}
	return st
}
