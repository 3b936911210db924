package queues

import (
	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/ctrl"
)

// moderate are the parameters of all queues when interrupts are to be delayed
// and the driver has said nothing of how long.
var moderate = ctrl.CoalParams{MaxPackets: 32, MaxUsecs: 64}

// Moderation reports whether the port's interrupts can be delayed, which the
// driver has to negotiate, and whether those of any queue are.
func (p *Port) Moderation() (can, on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.canModerate(), p.moderated()
}

// canModerate reports whether the driver has negotiated that interrupts can be
// delayed. The caller holds mu.
func (p *Port) canModerate() bool {
	return p.features&(virtio.FeatureNotfCoal|virtio.FeatureVQNotfCoal) != 0
}

// moderated reports whether the interrupts of any queue are delayed, or would
// be if it started. The caller holds mu.
func (p *Port) moderated() bool {
	g := &p.guest
	if delays(g.coalRX) || delays(g.coalTX) {
		return true
	}
	for i := range 2 * p.cfg.QueuePairs {
		q := p.queue(i)
		q.mu.Lock()
		on := q.coal.on()
		q.mu.Unlock()
		if on {
			return true
		}
	}
	return false
}

// Moderate has the interrupts of all queues delayed, if none are yet, or those
// of none. It does nothing where they cannot be, as when another driver has come
// since that was asked. It sets what the driver sets by NOTF_COAL, until the driver does so
// again or starts anew; VQ_NOTF_COAL_GET tells the driver, and a change of its
// configuration that there is something to ask for.
func (p *Port) Moderate(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.canModerate() || on == p.moderated() {
		return
	}
	var c ctrl.CoalParams
	if on {
		c = moderate
	}
	p.coalesce(ctrl.Coal{Receive: true, CoalParams: c})
	p.coalesce(ctrl.Coal{CoalParams: c})
	p.configChanged()
}
