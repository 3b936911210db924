package queues

import "vhost-user-nvgre/virtio/ctrl"

// statTypes are the statistics that are kept for drivers.
const statTypes = ctrl.StatRXBasic | ctrl.StatTXBasic | ctrl.StatCVQ

// statistics answers STATS_GET. The caller holds mu.
func (p *Port) statistics(c ctrl.StatsGet) []byte {
	var b []byte
	for _, r := range c.Requests {
		for typ := uint64(1); typ != 0; typ <<= 1 {
			if r.Types&typ != 0 {
				b = ctrl.AppendStats(b, r.VQ, typ, p.counters(int(r.VQ), typ)...)
			}
		}
	}
	return b
}

// counters returns those of one type in the order of ctrl.AppendStats. The
// caller holds mu.
func (p *Port) counters(i int, typ uint64) []uint64 {
	q := p.queue(i)
	q.mu.Lock()
	defer q.mu.Unlock()
	c := &q.count
	if typ == ctrl.StatCVQ {
		return []uint64{c.packets, p.ctrl.accepted}
	}
	kicks, last := c.kicks, c.drops[dropRxFull]
	if typ == ctrl.StatTXBasic {
		kicks += p.tx[i/2].kicks.Load()
		last = 0 // malformed
		for _, n := range c.drops[dropFrame:] {
			last += n
		}
	}
	var drops uint64
	for _, n := range c.drops {
		drops += n
	}
	return []uint64{kicks, c.packets, c.bytes, c.calls, drops, last}
}
