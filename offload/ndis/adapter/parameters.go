package adapter

import (
	"maps"

	"vhost-user-nvgre/offload/ndis"
)

// queryHardware answers with everything there could be.
func queryHardware(c *call) ndis.Status {
	o := c.a.hardware()
	return c.answer(o.Encode(), ndis.StatusBufferTooShort)
}

// queryCurrent answers with what is turned on.
func queryCurrent(c *call) ndis.Status {
	o := c.a.current(c.s)
	return c.answer(o.Encode(), ndis.StatusInvalidLength)
}

// queryStatistics answers with what went over the port since it was made: the
// counters do not start over with a driver, as those of hardware do not.
func queryStatistics(c *call) ndis.Status {
	s := c.a.target.Statistics()
	s.Supported = ndis.AllStatistics
	return c.answer(s.Encode(), ndis.StatusInvalidLength)
}

func queryRSCStatistics(c *call) ndis.Status {
	if hw := c.a.hardware(); hw.RSC == (ndis.RSC{}) {
		return c.fail(ndis.StatusNotSupported, "received segments are not coalesced for this driver")
	}
	s := c.a.target.RSCStatistics()
	return c.answer(s.Encode(), ndis.StatusInvalidLength)
}

// setParameters turns single offloads on and off.
func setParameters(c *call) ndis.Status {
	var p ndis.OffloadParameters
	if st := c.decode(&p, ndis.StatusInvalidData); st != ndis.StatusSuccess {
		return st
	}
	c.SupportedRevision = p.Revision
	hw := c.a.hardware()
	if !anyOffload(&hw) && hw.RSC == (ndis.RSC{}) && !hw.UDPRSC {
		return c.fail(ndis.StatusNotSupported, "the driver has negotiated no offload")
	}
	if st := c.checkParameters(&p); st != ndis.StatusSuccess {
		return st
	}
	kw := maps.Clone(c.a.keywords)
	if kw == nil {
		kw = Keywords{}
	}
	if st := c.applyChecksums(&p, &hw, kw); st != ndis.StatusSuccess {
		return st
	}
	if st := c.applySwitches(&p, &hw, kw); st != ndis.StatusSuccess {
		return st
	}
	if st := c.applyTunnel(&p, &hw, kw); st != ndis.StatusSuccess {
		return st
	}
	if p.Flags&ndis.SkipRegistryUpdate == 0 && !maps.Equal(kw, c.a.keywords) {
		c.keywords = kw
	}
	current := c.a.current(c.s)
	c.indicate(ndis.StatusTaskOffloadCurrentConfig, &current)
	return ndis.StatusSuccess
}

// checkParameters checks what holds whatever the hardware is.
func (c *call) checkParameters(p *ndis.OffloadParameters) ndis.Status {
	const bad = ndis.StatusInvalidData
	for _, f := range []struct {
		name  string
		value ndis.Switch
	}{
		{"IPsecV1", p.IPsecV1},
		{"IPsecV2", p.IPsecV2},
		{"IPsecV2IPv4", p.IPsecV2IPv4},
		{"TcpConnectionIPv4", p.TCPConnectionIPv4},
		{"TcpConnectionIPv6", p.TCPConnectionIPv6},
	} {
		if f.value != 0 {
			return c.fail(bad, "%s is %d, want 0", f.name, uint8(f.value))
		}
	}
	if extra := p.Flags &^ ndis.SkipRegistryUpdate; extra != 0 {
		return c.fail(bad, "flags %s, want 0 or %s", p.Flags, ndis.SkipRegistryUpdate)
	}
	switch {
	case p.EncapsulatedTaskOffload > ndis.SetOff:
		return c.fail(bad, "EncapsulatedPacketTaskOffload is %d, want 0, 1 or 2", uint32(p.EncapsulatedTaskOffload))
	case p.EncapsulatedTaskOffload != ndis.SetOn && p.EncapsulationTypes != 0:
		return c.fail(bad, "EncapsulationTypes %s with EncapsulatedPacketTaskOffload %s, want 0", p.EncapsulationTypes, p.EncapsulatedTaskOffload)
	case p.EncapsulatedTaskOffload == ndis.SetOn && (p.EncapsulationTypes == 0 || !p.EncapsulationTypes.Known()):
		return c.fail(bad, "EncapsulationTypes %s, want one or both of %s and %s", p.EncapsulationTypes, ndis.EncapsulationGREMAC, ndis.EncapsulationVXLAN)
	}
	return ndis.StatusSuccess
}

// applyChecksums carries out the checksum switches on c.s and kw.
func (c *call) applyChecksums(p *ndis.OffloadParameters, hw *ndis.Offload, kw Keywords) ndis.Status {
	h := &hw.Checksum
	conf := &c.s.conf
	for _, f := range []struct {
		name    string
		value   ndis.ChecksumSwitch
		tx, rx  ndis.Support
		conf    *pair
		keyword string
	}{
		{"IPv4Checksum", p.IPv4Checksum, h.IPv4Transmit.IPChecksum, h.IPv4Receive.IPChecksum, &conf.ipv4, keyIPv4},
		{"TCPIPv4Checksum", p.TCPIPv4Checksum, h.IPv4Transmit.TCPChecksum, h.IPv4Receive.TCPChecksum, &conf.tcp[v4], keyTCPv4},
		{"UDPIPv4Checksum", p.UDPIPv4Checksum, h.IPv4Transmit.UDPChecksum, h.IPv4Receive.UDPChecksum, &conf.udp[v4], keyUDPv4},
		{"TCPIPv6Checksum", p.TCPIPv6Checksum, h.IPv6Transmit.TCPChecksum, h.IPv6Receive.TCPChecksum, &conf.tcp[v6], keyTCPv6},
		{"UDPIPv6Checksum", p.UDPIPv6Checksum, h.IPv6Transmit.UDPChecksum, h.IPv6Receive.UDPChecksum, &conf.udp[v6], keyUDPv6},
	} {
		switch {
		case f.value == ndis.ChecksumNoChange:
			continue
		case f.value > ndis.ChecksumTxRx:
			return c.fail(ndis.StatusInvalidData, "%s is %d, want 0 to 4", f.name, uint8(f.value))
		case f.value.Tx() && !f.tx.On() || f.value.Rx() && !f.rx.On():
			return c.fail(ndis.StatusInvalidParameter, "%s: %s is more than the hardware has for this driver", f.name, f.value)
		}
		*f.conf = pair{f.value.Tx(), f.value.Rx()}
		kw[f.keyword] = directions(*f.conf)
	}
	return ndis.StatusSuccess
}

// directions returns the value of a checksum's keyword, whose encoding is not
// that of the OID.
func directions(p pair) (v uint32) {
	if p.tx {
		v |= 1
	}
	if p.rx {
		v |= 2
	}
	return v
}

// applySwitches carries out the switches of segmentation and coalescing.
func (c *call) applySwitches(p *ndis.OffloadParameters, hw *ndis.Offload, kw Keywords) ndis.Status {
	conf := &c.s.conf
	var lsoV1 bool // the hardware has none
	for _, f := range []struct {
		name    string
		value   ndis.Switch
		can     bool
		conf    *bool
		keyword string
	}{
		{"LsoV1", p.LSOv1, false, &lsoV1, keyLSOv1},
		{"LsoV2IPv4", p.LSOv2IPv4, hw.LSOv2.IPv4.Encapsulation != 0, &conf.lso[v4], keyLSOv4},
		{"LsoV2IPv6", p.LSOv2IPv6, hw.LSOv2.IPv6.Encapsulation != 0, &conf.lso[v6], keyLSOv6},
		{"UdpSegmentation.IPv4", p.USOIPv4, hw.USO.IPv4.Encapsulation != 0, &conf.uso[v4], keyUSOv4},
		{"UdpSegmentation.IPv6", p.USOIPv6, hw.USO.IPv6.Encapsulation != 0, &conf.uso[v6], keyUSOv6},
		{"RscIPv4", p.RSCIPv4, hw.RSC.IPv4, &conf.rsc[v4], keyRSCv4},
		{"RscIPv6", p.RSCIPv6, hw.RSC.IPv6, &conf.rsc[v6], keyRSCv6},
		{"UdpRsc", p.UDPRSC, hw.UDPRSC, &conf.uro, keyURO},
	} {
		switch {
		case f.value == ndis.SwitchNoChange:
			continue
		case f.value > ndis.SwitchEnabled:
			return c.fail(ndis.StatusInvalidData, "%s is %d, want 0, 1 or 2", f.name, uint8(f.value))
		case f.value == ndis.SwitchEnabled && !f.can:
			return c.fail(ndis.StatusInvalidParameter, "%s: the hardware has none for this driver", f.name)
		}
		*f.conf = f.value == ndis.SwitchEnabled
		kw[f.keyword] = 0
		if *f.conf {
			kw[f.keyword] = 1
		}
	}
	return ndis.StatusSuccess
}

// applyTunnel carries out EncapsulatedPacketTaskOffload.
func (c *call) applyTunnel(p *ndis.OffloadParameters, hw *ndis.Offload, kw Keywords) ndis.Status {
	switch p.EncapsulatedTaskOffload {
	case ndis.SetOff:
		c.s.encap, c.s.conf.tunnel = 0, false
		kw[keyTunnel] = 0
	case ndis.SetOn:
		if p.EncapsulationTypes&ndis.EncapsulationVXLAN != 0 && !hw.VXLAN.Any() ||
			p.EncapsulationTypes&ndis.EncapsulationGREMAC != 0 && !hw.GRE.Any() {
			return c.fail(ndis.StatusInvalidParameter, "encapsulation types %s: the hardware has not all of them for this driver", p.EncapsulationTypes)
		}
		c.s.encap, c.s.conf.tunnel = p.EncapsulationTypes, true
		kw[keyTunnel] = 1
		delete(kw, keyNVGRE) // or it would overrule
	}
	return ndis.StatusSuccess
}
