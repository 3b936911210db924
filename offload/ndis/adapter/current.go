package adapter

import "vhost-user-nvgre/offload/ndis"

// current returns the current configuration: what of the hardware is turned
// on, and that the driver takes. It never shows what only the hardware has.
func (a *Adapter) current(s *state) ndis.Offload {
	o := a.capable(a.features &^ s.refused())
	narrow(&o, s)
	o.EncapsulationTypes = 0
	if o.GRE.Any() {
		o.EncapsulationTypes = s.encap
	}
	if s.driver.InnerHash {
		hw := a.hardware()
		o.GRE.RSS, o.GRE.MaxHeaderSize = hw.GRE.RSS, hw.GRE.MaxHeaderSize
	}
	return o
}

// narrow takes away from capabilities what s turns off.
func narrow(o *ndis.Offload, s *state) {
	c := &s.conf
	narrowChecksums(&o.Checksum.IPv4Transmit, c.tcp[v4].tx, c.udp[v4].tx, c.ipv4.tx)
	narrowChecksums(&o.Checksum.IPv4Receive, c.tcp[v4].rx, c.udp[v4].rx, c.ipv4.rx)
	narrowChecksums(&o.Checksum.IPv6Transmit, c.tcp[v6].tx, c.udp[v6].tx, false)
	narrowChecksums(&o.Checksum.IPv6Receive, c.tcp[v6].rx, c.udp[v6].rx, false)
	clearUnless(&o.LSOv2.IPv4, c.lso[v4])
	clearUnless(&o.LSOv2.IPv6, c.lso[v6])
	clearUnless(&o.USO.IPv4, c.uso[v4])
	clearUnless(&o.USO.IPv6, c.uso[v6])
	o.RSC.IPv4 = o.RSC.IPv4 && c.rsc[v4]
	o.RSC.IPv6 = o.RSC.IPv6 && c.rsc[v6]
	o.UDPRSC = o.UDPRSC && c.uro
	if s.framing[v4] == framingOff {
		o.Checksum.IPv4Transmit, o.Checksum.IPv4Receive = ndis.ChecksumBlock{}, ndis.ChecksumBlock{}
		o.LSOv2.IPv4, o.USO.IPv4, o.RSC.IPv4 = ndis.LSOv2Family{}, ndis.USOFamily{}, false
	}
	if s.framing[v6] == framingOff {
		o.Checksum.IPv6Transmit, o.Checksum.IPv6Receive = ndis.ChecksumBlock{}, ndis.ChecksumBlock{}
		o.LSOv2.IPv6, o.USO.IPv6, o.RSC.IPv6 = ndis.LSOv2Family{}, ndis.USOFamily{}, false
	}
	if s.framing == [2]framing{framingOff, framingOff} {
		o.UDPRSC = false
	}
	narrowTunnel(o, s)
}

// narrowTunnel leaves of the tunnel's masks what the offloads outside tunnels
// allow; a supplement is worth nothing without what it supplements.
func narrowTunnel(o *ndis.Offload, s *state) {
	if !s.conf.tunnel || s.framing == [2]framing{framingOff, framingOff} {
		o.GRE = ndis.EncapsulatedTaskOffload{}
		return
	}
	var outer ndis.Families
	for i, bit := range []ndis.Families{ndis.OuterIPv4, ndis.OuterIPv6} {
		if s.framing[i] != framingOff {
			outer |= bit
		}
	}
	keep := func(m *ndis.Families, ipv4, ipv6 bool, outer ndis.Families) {
		var inner ndis.Families
		if ipv4 {
			inner |= ndis.InnerIPv4
		}
		if ipv6 {
			inner |= ndis.InnerIPv6
		}
		if inner &= *m; inner == 0 || outer&*m == 0 {
			*m = 0
			return
		}
		*m &= inner | outer
	}
	g, c := &o.GRE, &o.Checksum
	keep(&g.TransmitChecksum, c.IPv4Transmit.Any(), c.IPv6Transmit.Any(), outer)
	outerRx := outer
	if !c.IPv4Receive.IPChecksum.On() {
		outerRx &^= ndis.OuterIPv4 // whose header has a checksum
	}
	keep(&g.ReceiveChecksum, allOf(&c.IPv4Receive) && c.IPv4Receive.IPChecksum.On(), allOf(&c.IPv6Receive), outerRx)
	keep(&g.LSOv2, o.LSOv2.IPv4.Encapsulation != 0, o.LSOv2.IPv6.Encapsulation != 0, outer)
	keep(&g.USO, o.USO.IPv4.Encapsulation != 0, o.USO.IPv6.Encapsulation != 0, outer)
}

// allOf reports whether the checksums of both transports are there.
func allOf(c *ndis.ChecksumBlock) bool { return c.TCPChecksum.On() && c.UDPChecksum.On() }

func narrowChecksums(b *ndis.ChecksumBlock, tcp, udp, ip bool) {
	b.TCPChecksum = ndis.SupportOf(b.TCPChecksum.On() && tcp)
	b.UDPChecksum = ndis.SupportOf(b.UDPChecksum.On() && udp)
	b.IPChecksum = ndis.SupportOf(b.IPChecksum.On() && ip)
	clearUnless(b, b.Any())
}

// clearUnless zeroes what is not wanted.
func clearUnless[T any](v *T, wanted bool) {
	if !wanted {
		var zero T
		*v = zero
	}
}
