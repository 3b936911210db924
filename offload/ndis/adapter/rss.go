package adapter

import (
	"cmp"
	"slices"

	"vhost-user-nvgre/offload/ndis"
)

// rss is what OID_GEN_RECEIVE_SCALE_PARAMETERS set. The zero value is that
// after start.
type rss struct {
	enabled  bool
	byDriver bool // the driver set it by a command of its own
	info     ndis.HashInformation
	key      [ndis.HashKeySize]byte
	table    []ndis.ProcessorNumber
	other    ndis.ProcessorNumber // for packets without a hash
}

// rssUsable reports whether RSS parameters can be set by the OIDs of a
// version.
func (c *call) rssUsable(v2 bool) ndis.Status {
	switch {
	case c.a.cfg.QueuePairs == 1:
		return c.fail(ndis.StatusNotSupported, "there is one receive queue only")
	case c.a.cfg.RSSv2 != v2:
		return c.fail(ndis.StatusNotSupported, "this adapter takes RSS parameters by the OIDs of RSS version %d", map[bool]int{false: 2, true: 1}[v2])
	case !c.a.keywords.rss():
		return c.fail(ndis.StatusNotSupported, "the keywords have %s", map[bool]string{true: "receive filters in use, which exclude RSS", false: "RSS off"}[c.a.keywords.vmq()])
	}
	return ndis.StatusSuccess
}

func queryRSSCapabilities(c *call) ndis.Status {
	if c.a.cfg.QueuePairs == 1 {
		return c.fail(ndis.StatusNotSupported, "there is one receive queue only")
	}
	caps := ndis.ReceiveScaleCapabilities{
		Flags: ndis.RSSToeplitz | ndis.RSSHashTCPIPv4 | ndis.RSSHashTCPIPv6 | ndis.RSSHashTCPIPv6Ex |
			ndis.RSSHashUDPIPv4 | ndis.RSSHashUDPIPv6 | ndis.RSSHashUDPIPv6Ex |
			ndis.RSSMessageInterrupts | ndis.RSSClassifyAtISR | ndis.RSSSupportsMSIX | ndis.RSSUsingMSIX,
		InterruptMessages:  uint32(c.a.cfg.QueuePairs),
		ReceiveQueues:      uint32(c.a.cfg.QueuePairs),
		IndirectionEntries: ndis.MaxIndirectionEntries,
	}
	if c.a.cfg.RSSv2 {
		caps.Flags |= ndis.RSSIndependentEntryMove
	}
	return c.answer(caps.Encode(), ndis.StatusInvalidLength)
}

// queryRSS answers with the parameters in force, of whichever version.
func queryRSS(c *call) ndis.Status {
	if c.a.cfg.QueuePairs == 1 {
		return c.fail(ndis.StatusNotSupported, "there is one receive queue only")
	}
	r := c.s.rss
	if c.a.cfg.RSSv2 {
		r = c.s.rssV2.asV1()
		r.enabled = c.s.rssV2.enabled
	}
	var p ndis.ReceiveScaleParameters
	if r.enabled {
		p = ndis.ReceiveScaleParameters{HashInformation: r.info, Table: r.table, Key: r.key[:], DefaultProcessor: r.other}
	}
	return c.answer(p.Encode(), ndis.StatusInvalidLength)
}

func setRSS(c *call) ndis.Status {
	if st := c.rssUsable(false); st != ndis.StatusSuccess {
		return st
	}
	const bad = ndis.StatusInvalidParameter
	var p ndis.ReceiveScaleParameters
	if st := c.decode(&p, bad); st != ndis.StatusSuccess {
		return st
	}
	c.SupportedRevision = p.Revision
	c.s.steeringEpoch++
	r := &c.s.rss
	// Disabling overrules all other fields, and forgets everything.
	if p.Flags&ndis.RSSDisable != 0 {
		*r = rss{}
		return ndis.StatusSuccess
	}
	if p.Flags&ndis.RSSHashInfoUnchanged == 0 {
		if p.HashInformation.Function() == 0 {
			*r = rss{}
			return ndis.StatusSuccess
		}
		r.info = p.HashInformation
	}
	if st := c.endHash(); st != ndis.StatusSuccess {
		return st
	}
	if p.Flags&ndis.RSSHashKeyUnchanged == 0 {
		if st := c.takeKey(&r.key, p.Key); st != ndis.StatusSuccess {
			return st
		}
	}
	if p.Flags&ndis.RSSTableUnchanged == 0 {
		r.table = p.Table
	}
	if p.Revision >= 3 && p.Flags&ndis.RSSDefaultProcessorUnchanged == 0 {
		r.other = p.DefaultProcessor
	}
	if n := len(r.table); n < 1 || n > ndis.MaxIndirectionEntries || n&(n-1) != 0 {
		return c.fail(bad, "indirection table of %d entries, want a power of two up to %d", n, ndis.MaxIndirectionEntries)
	}
	r.enabled, r.byDriver = true, false
	return c.checkHash(r.info)
}

// compileSteering returns what the RSS and hash parameters mean.
func (a *Adapter) compileSteering(s *state) (*RSS, *Hash) {
	if s.hash.enabled {
		types, _ := typesOf(s.hash.info)
		return nil, &Hash{s.hash.key, types, s.hash.byDriver}
	}
	r := s.rss
	if a.cfg.RSSv2 {
		if !s.rssV2.enabled && !s.rssV2.used {
			return nil, nil
		}
		r = s.rssV2.asV1()
	}
	if !r.enabled {
		return nil, nil
	}
	types, _ := typesOf(r.info)
	out := &RSS{Hash: Hash{r.key, types, r.byDriver}}
	pairs := a.pairsOf(append(slices.Clone(r.table), r.other))
	out.Table, out.Default = pairs[:len(r.table)], pairs[len(r.table)]
	return out, nil
}

// pairsOf returns the queue pairs that stand for processors: pair n for
// processor n of group 0, as drivers bind them, unless there are processors
// beyond the pairs; then each processor by its rank among those named.
func (a *Adapter) pairsOf(processors []ndis.ProcessorNumber) []uint16 {
	order := slices.Clone(processors)
	slices.SortFunc(order, func(x, y ndis.ProcessorNumber) int {
		return cmp.Or(cmp.Compare(x.Group, y.Group), cmp.Compare(x.Number, y.Number))
	})
	order = slices.Compact(order)
	last := order[len(order)-1]
	direct := last.Group == 0 && int(last.Number) < a.cfg.QueuePairs
	pairs := make([]uint16, len(processors))
	for i, p := range processors {
		n := int(p.Number)
		if !direct {
			n = slices.Index(order, p) % a.cfg.QueuePairs
		}
		pairs[i] = uint16(n)
	}
	return pairs
}
