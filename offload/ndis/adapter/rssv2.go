package adapter

import (
	"slices"

	"vhost-user-nvgre/offload/ndis"
)

// rssV2 is what the OIDs of RSS version 2 set. With RSS off the primary
// processor steers and the others are remembered; with RSS on it is the other
// way round.
type rssV2 struct {
	enabled  bool
	byDriver bool // the driver set it by a command of its own
	used     bool // something was set since start
	info     ndis.HashInformation
	key      [ndis.HashKeySize]byte
	queues   uint32
	primary  ndis.ProcessorNumber
	other    ndis.ProcessorNumber // the default processor
	entries  []ndis.ProcessorNumber
}

// Indices by which prose names parameters that the flags of an entry name.
const (
	aliasPrimary = 0xfffe
	aliasDefault = 0xffff
)

func (a *Adapter) initialRSSV2() rssV2 {
	return rssV2{queues: uint32(a.cfg.QueuePairs), entries: make([]ndis.ProcessorNumber, 1)}
}

// asV1 returns what steers in terms of version 1. With RSS off that is a
// table of the primary processor alone.
func (r *rssV2) asV1() rss {
	v := rss{enabled: r.enabled, byDriver: r.byDriver, info: r.info, key: r.key, table: r.entries, other: r.other}
	if !r.enabled {
		v = rss{enabled: r.used, info: ndis.HashToeplitz | ndis.HashIPv4, table: []ndis.ProcessorNumber{r.primary}, other: r.primary}
	}
	return v
}

// isProcessor reports whether a processor is in the RSS processor set: one for
// each queue pair.
func (a *Adapter) isProcessor(p ndis.ProcessorNumber) bool {
	return p.Group == 0 && int(p.Number) < a.cfg.QueuePairs
}

// distinct returns how many processors the entries name.
func (r *rssV2) distinct() int {
	seen := map[ndis.ProcessorNumber]bool{}
	for _, p := range r.entries {
		seen[p] = true
	}
	return len(seen)
}

func queryRSSV2(c *call) ndis.Status {
	if !c.a.cfg.RSSv2 || c.a.cfg.QueuePairs == 1 {
		return c.rssUsable(true)
	}
	r := &c.s.rssV2
	p := ndis.ReceiveScaleParametersV2{HashInformation: r.info, Key: r.key[:], Queues: r.queues, Entries: uint32(len(r.entries))}
	if r.enabled {
		p.Flags = ndis.RSSV2Enable
	}
	return c.answer(p.Encode(), ndis.StatusInvalidLength)
}

func setRSSV2(c *call) ndis.Status {
	if st := c.rssUsable(true); st != ndis.StatusSuccess {
		return st
	}
	var p ndis.ReceiveScaleParametersV2
	if st := c.decode(&p, ndis.StatusInvalidLength); st != ndis.StatusSuccess {
		return st
	}
	const bad = ndis.StatusInvalidParameter
	const known = ndis.RSSV2Enable | ndis.RSSV2HashInfoChanged | ndis.RSSV2HashKeyChanged | ndis.RSSV2QueuesChanged | ndis.RSSV2EntriesChanged
	if p.Flags&^known != 0 {
		return c.fail(bad, "flags %s, want a subset of %s", p.Flags, known)
	}
	c.SupportedRevision = 1
	c.s.steeringEpoch++
	r := &c.s.rssV2
	r.used = true
	was, on := r.enabled, p.Flags&ndis.RSSV2Enable != 0
	if on {
		if st := c.endHash(); st != ndis.StatusSuccess {
			return st
		}
	}
	if p.Flags&ndis.RSSV2EntriesChanged != 0 {
		if st := c.resize(r, p.Entries); st != ndis.StatusSuccess {
			return st
		}
	}
	if p.Flags&ndis.RSSV2QueuesChanged != 0 {
		if p.Queues < 1 || int64(p.Queues) > int64(c.a.cfg.QueuePairs) {
			return c.fail(bad, "%d queues, want 1 to %d", p.Queues, c.a.cfg.QueuePairs)
		}
		r.queues = p.Queues
	}
	if on { // with RSS off the hash fields do not count
		if p.Flags&ndis.RSSV2HashInfoChanged != 0 {
			r.info = p.HashInformation
		}
		if p.Flags&ndis.RSSV2HashKeyChanged != 0 {
			if st := c.takeKey(&r.key, p.Key); st != ndis.StatusSuccess {
				return st
			}
		}
		if st := c.checkHash(r.info); st != ndis.StatusSuccess {
			return st
		}
	}
	r.enabled, r.byDriver = on, false
	return c.checkActive(r, was != on)
}

// checkActive checks the parameters that steer, which includes, when RSS was
// just turned on or off, those that were only remembered so far.
func (c *call) checkActive(r *rssV2, turned bool) ndis.Status {
	active := []ndis.ProcessorNumber{r.primary}
	if r.enabled {
		active = append(slices.Clone(r.entries), r.other)
	}
	for _, p := range active {
		if turned && !c.a.isProcessor(p) {
			return c.fail(ndis.StatusInvalidData, "processor %d of group %d, which becomes active, is not in the RSS processor set of %d", p.Number, p.Group, c.a.cfg.QueuePairs)
		}
	}
	if n := r.distinct(); r.enabled && n > int(r.queues) {
		return c.fail(ndis.StatusNoQueues, "the indirection table names %d processors, there are %d queues", n, r.queues)
	}
	return ndis.StatusSuccess
}

// resize makes the table longer by repeating it, or shorter if what is cut off
// repeats what is left.
func (c *call) resize(r *rssV2, n uint32) ndis.Status {
	if n < 1 || n > ndis.MaxIndirectionEntries || n&(n-1) != 0 {
		return c.fail(ndis.StatusInvalidParameter, "indirection table of %d entries, want a power of two up to %d", n, ndis.MaxIndirectionEntries)
	}
	for i, p := range r.entries {
		if i >= int(n) && p != r.entries[i%int(n)] {
			return c.fail(ndis.StatusInvalidData, "entry %d of the indirection table is no repetition, so that the table cannot shrink to %d entries", i, n)
		}
	}
	grown := make([]ndis.ProcessorNumber, n)
	for i := range grown {
		grown[i] = r.entries[i%len(r.entries)]
	}
	r.entries = grown
	return ndis.StatusSuccess
}

// moveEntries carries out OID_GEN_RSS_SET_INDIRECTION_TABLE_ENTRIES. Entries
// next to each other that are for the same virtual port succeed or fail
// together. The request itself succeeds once it is well-formed.
func moveEntries(c *call) ndis.Status {
	if st := c.rssUsable(true); st != ndis.StatusSuccess {
		return st
	}
	var p ndis.RSSSetIndirectionEntries
	if st := c.decode(&p, ndis.StatusInvalidParameter); st != ndis.StatusSuccess {
		return st
	}
	if p.Flags != 0 {
		return c.fail(ndis.StatusInvalidParameter, "flags 0x%x, want 0", p.Flags)
	}
	if len(c.Input) > c.OutputLength {
		c.BytesNeeded = len(c.Input)
		return c.fail(ndis.StatusInvalidLength, "room for %d bytes, want %d", c.OutputLength, len(c.Input))
	}
	c.s.steeringEpoch++
	c.s.rssV2.used, c.s.rssV2.byDriver = true, false
	for rest := p.Entries; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].SwitchID == rest[0].SwitchID && rest[n].VPortID == rest[0].VPortID {
			n++
		}
		status := c.moveGroup(rest[:n])
		for i := range rest[:n] {
			rest[i].Status = status
		}
		rest = rest[n:]
	}
	c.Output = p.PutStatuses(c.Input)
	return ndis.StatusSuccess
}

// moveGroup moves entries of one port, all or none.
func (c *call) moveGroup(group []ndis.RSSSetIndirectionEntry) ndis.Status {
	r := c.s.rssV2
	r.entries = slices.Clone(r.entries)
	for i := range group {
		if st := c.moveEntry(&r, &group[i]); st != ndis.StatusSuccess {
			return st
		}
	}
	if r.enabled && r.distinct() > int(r.queues) {
		return ndis.StatusNoQueues
	}
	c.s.rssV2 = r
	return ndis.StatusSuccess
}

func (c *call) moveEntry(r *rssV2, e *ndis.RSSSetIndirectionEntry) ndis.Status {
	const bad = ndis.StatusInvalidParameter
	if e.SwitchID != 0 || e.VPortID != 0 {
		return bad // the adapter itself is the only port
	}
	to, active := (*ndis.ProcessorNumber)(nil), r.enabled
	switch {
	case e.Flags == ndis.EntryPrimary && e.Index != aliasDefault, e.Flags == 0 && e.Index == aliasPrimary:
		to, active = &r.primary, !r.enabled
	case e.Flags == ndis.EntryDefault && e.Index != aliasPrimary, e.Flags == 0 && e.Index == aliasDefault:
		to = &r.other
	case e.Flags == 0 && int(e.Index) < len(r.entries):
		to = &r.entries[e.Index]
	default:
		return bad
	}
	if active && !c.a.isProcessor(e.Target) {
		return ndis.StatusInvalidData
	}
	*to = e.Target
	return ndis.StatusSuccess
}
