package queues

import (
	"fmt"

	"vhost-user-nvgre/offload"
)

// SetOffloads replaces what is operational of the port's offloads. What the
// driver has not negotiated stays off whatever st says. When it returns every
// shard has finished what it had begun under the old state, frames are
// delivered as the new one says, and nothing is held back in between.
//
// It may be called at any time, with or without a driver. It fails, and
// changes nothing, if st is no state that a device can be in.
func (p *Port) SetOffloads(st offload.State) error {
	if err := st.Check(); err != nil {
		return fmt.Errorf("port %s: %w", p.name, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.offloads = st
	p.compile()
	return nil
}

// Offloads returns what SetOffloads set last.
func (p *Port) Offloads() offload.State {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.offloads
}

// SetOffloads is Port.SetOffloads for a wire: what the wire hands over or
// takes is the bound that a driver's features are there.
func (p *WirePort) SetOffloads(st offload.State) error {
	if err := st.Check(); err != nil {
		return fmt.Errorf("port %s: %w", p.name, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.offloads = st
	if !p.removed {
		p.compile()
	}
	return nil
}
