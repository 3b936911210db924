package queues

import (
	"runtime/debug"
	"time"

	"vhost-user-nvgre/virtio/ctrl"
)

// coalescing delays the interrupts of a virtqueue (virtio: NOTF_COAL). It is
// guarded by the queue's mu.
type coalescing struct {
	ctrl.CoalParams
	timer   *time.Timer // nil until needed
	packets uint64      // completed without an interrupt
	counted uint64      // of count.packets, as far as they are in packets
	waiting bool        // the timer runs
}

// on reports whether interrupts are delayed at all (VNET-151).
func (c *coalescing) on() bool { return delays(c.CoalParams) }

func delays(p ctrl.CoalParams) bool { return p.MaxPackets != 0 && p.MaxUsecs != 0 }

// hold reports whether the interrupt for n buffers that were just completed is
// to wait. It comes when MaxPackets packets are there, or MaxUsecs after the
// first of them. The caller holds v.mu.
func (v *virtqueue) hold(n int) bool {
	c := &v.coal
	if v.index%2 == 0 {
		// A received packet may take several buffers.
		c.packets += v.count.packets - c.counted
		c.counted = v.count.packets
	} else {
		c.packets += uint64(n)
	}
	if c.packets >= uint64(c.MaxPackets) {
		return false
	}
	if !c.waiting {
		c.waiting = true
		d := time.Duration(c.MaxUsecs) * time.Microsecond
		if c.timer == nil {
			c.timer = time.AfterFunc(d, v.overdue)
		} else {
			c.timer.Reset(d)
		}
	}
	return true
}

// cancel ends a delay without an interrupt.
func (c *coalescing) cancel() {
	if c.waiting {
		c.timer.Stop()
		c.waiting = false
	}
}

// release ends a delay, if there is one, and interrupts the driver. The caller
// holds v.mu.
func (v *virtqueue) release() {
	if v.coal.waiting {
		v.interrupt()
	}
}

// overdue is what the timer calls.
func (v *virtqueue) overdue() {
	debug.SetPanicOnFault(true)
	defer func() {
		if r := recover(); r != nil {
			v.port.engine.fault(v, r)
		}
	}()
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.running() {
		v.release()
	}
}

// interrupt tells the driver of what was completed, unless it does not want to
// know. The caller holds mu.
func (v *virtqueue) interrupt() {
	c := &v.coal
	c.cancel()
	c.packets, c.counted = 0, v.count.packets
	if v.ring.NeedNotify() && v.call != nil {
		_ = v.call.Signal()
		v.count.calls++
	}
}

// setCoalescing gives the queue other parameters, which hold at once: what
// waits is no longer delayed (VNET-153).
func (v *virtqueue) setCoalescing(p ctrl.CoalParams) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.coal.CoalParams = p
	if v.running() {
		// The driver's memory may be gone.
		_ = guarded(func() error { v.release(); return nil })
	}
}

// coalesce carries out NOTF_COAL_RX_SET and NOTF_COAL_TX_SET: the parameters
// are those of all queues of a kind, also of those that start later. The
// caller holds mu.
func (p *Port) coalesce(c ctrl.Coal) {
	g := &p.guest
	if c.Receive {
		g.coalRX = c.CoalParams
		for _, q := range p.rx {
			q.setCoalescing(c.CoalParams)
		}
		return
	}
	g.coalTX = c.CoalParams
	for _, q := range p.tx {
		q.setCoalescing(c.CoalParams)
	}
}

// dataQueue returns the receive or transmit queue of an index if it is enabled
// (VNET-155). The caller holds mu.
func (p *Port) dataQueue(i uint16) (*virtqueue, error) {
	q := p.queue(int(i))
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.running() || !q.enabled {
		return nil, errQueueOff
	}
	return q, nil
}

// freshCoalescing gives queue i the parameters of its kind, as a queue has
// them that was enabled anew (VNET-158). The caller holds mu.
func (p *Port) freshCoalescing(i int) {
	if i%2 == 0 {
		p.rx[i/2].setCoalescing(p.guest.coalRX)
	} else {
		p.tx[i/2].setCoalescing(p.guest.coalTX)
	}
}

// forgetCoalescing returns to an interrupt for each batch (VNET-159). The
// caller holds mu.
func (p *Port) forgetCoalescing() {
	for i := range 2 * p.cfg.QueuePairs {
		p.freshCoalescing(i)
	}
}
