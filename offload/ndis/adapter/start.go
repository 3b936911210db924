package adapter

import (
	"errors"
	"maps"

	"vhost-user-nvgre/offload/ndis"
)

// Start says what is on after start beyond what NDIS wants to be.
type Start struct {
	Framing  bool // OID_OFFLOAD_ENCAPSULATION for both IP versions
	NVGRE    bool // encapsulated task offload of type GRE_MAC, with the framing for it
	RSC, URO bool // coalescing of TCP segments of both IP versions, and of UDP datagrams
	// NoLSO and NoUSO say what large send and UDP segmentation are where no
	// keyword says it.
	NoLSO, NoUSO bool
}

// SetStart changes Config.Start. What differs from before is put into force as
// if a protocol driver had set it; the rest stays as it was set last. An error
// means that nothing has changed.
func (a *Adapter) SetStart(s Start) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.Follow()
	was := a.cfg.Start
	if s == was {
		return nil
	}
	var resp Response
	c := &call{Response: &resp, a: a, s: a.state.clone()}
	a.cfg.Start = s
	c.change(was, s)
	if c.commit() != ndis.StatusSuccess {
		a.cfg.Start = was
		return errors.New(resp.Detail)
	}
	return nil
}

// frame gives an IP version the framing after start.
func (s *state) frame(st *Start, family int) {
	set := ndis.OffloadEncapsulation{}
	if s.framingSet != nil {
		set = *s.framingSet
	}
	said := []*ndis.FamilyFraming{&set.IPv4, &set.IPv6}[family]
	switch {
	case st.Framing:
		*said = ndis.FamilyFraming{Enabled: ndis.SetOn, Encapsulation: ndis.FramingIEEE8023, HeaderSize: ethernetHeader}
		s.framing[family] = framingOn
	case st.NVGRE:
		*said, s.framing[family] = ndis.FamilyFraming{}, framingTunnels
	default:
		*said, s.framing[family] = ndis.FamilyFraming{}, framingUnset
	}
	s.framingSet = &set
	if set == (ndis.OffloadEncapsulation{}) {
		s.framingSet = nil
	}
}

// change carries out the differences between what an administrator wanted at
// the start and wants now.
func (c *call) change(was, want Start) {
	s := c.s
	kw := maps.Clone(c.a.keywords)
	if was.NoLSO != want.NoLSO {
		// The keywords would overrule it at the next start.
		delete(kw, keyLSOv4)
		delete(kw, keyLSOv6)
		s.conf.lso = [2]bool{!want.NoLSO, !want.NoLSO}
	}
	if was.NoUSO != want.NoUSO {
		delete(kw, keyUSOv4)
		delete(kw, keyUSOv6)
		s.conf.uso = [2]bool{!want.NoUSO, !want.NoUSO}
	}
	if !was.Framing && want.Framing {
		// Which means all receive checksums.
		for _, name := range []string{keyIPv4, keyTCPv4, keyTCPv6, keyUDPv4, keyUDPv6, keyTCPUDPv4, keyTCPUDPv6} {
			if v, set := kw[name]; set {
				kw[name] = v | 2
			}
		}
		for _, p := range []*pair{&s.conf.ipv4, &s.conf.tcp[v4], &s.conf.tcp[v6], &s.conf.udp[v4], &s.conf.udp[v6]} {
			p.rx = true
		}
	}
	if !maps.Equal(kw, c.a.keywords) {
		c.keywords = kw
	}
	if was.NVGRE != want.NVGRE {
		s.encap, s.conf.tunnel = 0, kw.tunnel()
		if want.NVGRE {
			s.encap, s.conf.tunnel = ndis.EncapsulationGREMAC, true
		}
	}
	if was.RSC != want.RSC {
		s.conf.rsc = [2]bool{want.RSC, want.RSC}
	}
	if was.URO != want.URO {
		s.conf.uro = want.URO
	}
	for i := range s.framing {
		switch on := s.framing[i] == framingOn; {
		case was.Framing != want.Framing:
			s.frame(&want, i)
		case was.NVGRE != want.NVGRE && !on && (want.NVGRE || s.framing[i] == framingTunnels):
			s.frame(&want, i)
		}
	}
	current := c.a.current(s)
	c.indicate(ndis.StatusTaskOffloadCurrentConfig, &current)
}
