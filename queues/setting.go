package queues

import (
	"fmt"

	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/queues/vmq"
)

// Setting is what a port does apart from what its driver negotiated and
// filters by. What it points to is not changed.
type Setting struct {
	// Offloads are operational as far as the driver negotiated them and has
	// them switched on.
	Offloads offload.State
	// RSS says how received frames are spread; nil: evenly over the queue pairs
	// in use, with a key of the port's own.
	RSS *RSS
	// Hash is reported in packet headers if the driver negotiated that; nil:
	// none. It does not count where there is RSS, whose own is reported.
	Hash *Hash
	VMQ  *VMQ // nil: there are no receive filters
}

// reported returns the hash that packet headers report, nil for none.
func (s *Setting) reported() *Hash {
	if s.RSS != nil {
		return &s.RSS.Hash
	}
	return s.Hash
}

// setting is a Setting with what was made of its filters.
type setting struct {
	Setting
	filters *vmq.Table // nil without VMQ
}

// prepare checks a setting for the port. What was made of the same filters
// before is in like.
func (p *Port) prepare(s *Setting, like *setting) (out setting, err error) {
	out = setting{Setting: *s}
	err = s.Offloads.Check()
	if err == nil && s.RSS != nil {
		err = s.RSS.check(p.cfg.QueuePairs)
	}
	if err == nil && s.Hash != nil {
		err = s.Hash.check()
	}
	if err == nil && s.VMQ != nil {
		if out.filters = like.filters; s.VMQ != like.VMQ {
			out.filters, err = s.VMQ.table(p.cfg.QueuePairs)
		}
	}
	if err != nil {
		return out, fmt.Errorf("port %s: %w", p.name, err)
	}
	return out, nil
}

// Configure puts now into force, and makes initial what the port returns to
// when the driver resets the device or another one comes. What the driver has
// not negotiated stays off whatever they say; queue pairs that it does not use
// are stood in for by those it does. When Configure returns, every shard has
// finished what it had begun before, frames are delivered as now says, and
// nothing is held back in between.
//
// It may be called at any time, with or without a driver. RSS and hash hold
// until the driver sets others (see Keeper); where they replace what the driver
// had set, it is told by a change of its configuration. An error means that
// nothing has changed.
func (p *Port) Configure(now, initial Setting) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	next, err := p.prepare(&now, &p.now)
	if err != nil {
		return err
	}
	first, err := p.prepare(&initial, &p.initial)
	if err != nil {
		return err
	}
	was := p.now.reported()
	p.now, p.initial = next, first
	p.compile()
	if was != nil && was.ByDriver && p.now.reported() != was {
		p.configChanged()
	}
	return nil
}

// Setting returns what is in force.
func (p *Port) Setting() Setting {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now.Setting
}
