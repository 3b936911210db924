package queues

import "vhost-user-nvgre/offload"

// The methods in this file change a part of a port's setting.

// SetOffloads changes the offloads, for later drivers too.
func (p *Port) SetOffloads(st offload.State) error {
	s, first := p.Setting(), p.first()
	s.Offloads, first.Offloads = st, st
	return p.Configure(s, first)
}

// Offloads returns what SetOffloads set last.
func (p *Port) Offloads() offload.State { return p.Setting().Offloads }

// SetRSS changes RSS; nil ends it. The hash that was reported is no longer.
func (p *Port) SetRSS(r *RSS) error {
	s := p.Setting()
	s.RSS, s.Hash = r, nil
	return p.Configure(s, p.first())
}

// SetHash changes the hash that is reported, and ends RSS.
func (p *Port) SetHash(h *Hash) error {
	s := p.Setting()
	s.RSS, s.Hash = nil, h
	return p.Configure(s, p.first())
}

// SetVMQ changes the receive filters.
func (p *Port) SetVMQ(v *VMQ) error {
	s := p.Setting()
	s.VMQ = v
	return p.Configure(s, p.first())
}

func (p *Port) first() Setting {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.initial.Setting
}
