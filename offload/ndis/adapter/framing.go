package adapter

import "vhost-user-nvgre/offload/ndis"

// Link-layer headers that OID_OFFLOAD_ENCAPSULATION can name, in bytes: from a
// plain Ethernet header to one with two tags and an LLC SNAP header.
const (
	leastHeader = ethernetHeader
	mostHeader  = ethernetHeader + 2*4 + 8
)

// queryFraming answers with what was set last.
func queryFraming(c *call) ndis.Status {
	if c.s.framingSet == nil {
		return c.fail(ndis.StatusFailure, "%s was not set yet", c.OID)
	}
	return c.answer(c.s.framingSet.Encode(), ndis.StatusInvalidLength)
}

// setFraming activates or deactivates all that is configured, by IP version.
func setFraming(c *call) ndis.Status {
	var e ndis.OffloadEncapsulation
	if st := c.decode(&e, ndis.StatusInvalidParameter); st != ndis.StatusSuccess {
		return st
	}
	c.SupportedRevision = 1
	if hw := c.a.hardware(); !anyOffload(&hw) {
		return c.fail(ndis.StatusNotSupported, "the driver has negotiated no offload")
	}
	set := ndis.OffloadEncapsulation{}
	if c.s.framingSet != nil {
		set = *c.s.framingSet
	}
	for i, f := range []*ndis.FamilyFraming{&e.IPv4, &e.IPv6} {
		if st := c.checkFraming(i, f); st != ndis.StatusSuccess {
			return st
		}
		was := []*ndis.FamilyFraming{&set.IPv4, &set.IPv6}[i]
		switch f.Enabled {
		case ndis.SetOn:
			c.s.framing[i], *was = framingOn, *f
		case ndis.SetOff:
			c.s.framing[i], *was = framingOff, *f
		}
	}
	c.s.framingSet = &set
	current := c.a.current(c.s)
	c.indicate(ndis.StatusTaskOffloadCurrentConfig, &current)
	return ndis.StatusSuccess
}

// checkFraming checks what a request says of an IP version.
func (c *call) checkFraming(family int, f *ndis.FamilyFraming) ndis.Status {
	name := [...]string{v4: "IPv4", v6: "IPv6"}[family]
	const bad = ndis.StatusInvalidParameter
	switch f.Enabled {
	case ndis.NoChange, ndis.SetOff:
		if f.Encapsulation != 0 || f.HeaderSize != 0 {
			return c.fail(bad, "%s: %s with encapsulation %s and header size %d, want 0 for both", name, f.Enabled, f.Encapsulation, f.HeaderSize)
		}
		return ndis.StatusSuccess
	case ndis.SetOn:
	default:
		return c.fail(bad, "%s.Enabled is %d, want %d, %d or %d", name, uint32(f.Enabled), ndis.NoChange, ndis.SetOn, ndis.SetOff)
	}
	switch {
	case f.Encapsulation != ndis.FramingIEEE8023 && f.Encapsulation != ndis.FramingIEEELLCSNAPRouted:
		return c.fail(bad, "%s: encapsulation %s, want either %s or %s", name, f.Encapsulation, ndis.FramingIEEE8023, ndis.FramingIEEELLCSNAPRouted)
	case f.Encapsulation&framings == 0:
		return c.fail(bad, "%s: no offload supports encapsulation %s", name, f.Encapsulation)
	case f.HeaderSize < leastHeader || f.HeaderSize > mostHeader:
		return c.fail(bad, "%s: header of %d bytes, want %d to %d", name, f.HeaderSize, leastHeader, mostHeader)
	}
	return ndis.StatusSuccess
}

// anyOffload reports whether there is any task offload that a framing could
// be for.
func anyOffload(o *ndis.Offload) bool {
	c := &o.Checksum
	return c.IPv4Transmit.Any() || c.IPv4Receive.Any() || c.IPv6Transmit.Any() || c.IPv6Receive.Any() ||
		o.LSOv2.IPv4.Encapsulation != 0 || o.LSOv2.IPv6.Encapsulation != 0 ||
		o.USO.IPv4.Encapsulation != 0 || o.USO.IPv6.Encapsulation != 0
}
