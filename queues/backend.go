package queues

import (
	"fmt"

	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/eventfd"
	"vhost-user-nvgre/virtio/guestmem"
	"vhost-user-nvgre/virtio/vring"
)

// The methods in this file are what a vhost-user session asks of its device.
// It calls one at a time; what they are handed is borrowed.

// Features returns the virtio features the port offers.
func (p *Port) Features() virtio.Features { return p.cfg.features() }

// NumQueues returns the number of virtqueues, the control queue included.
func (p *Port) NumQueues() int { return len(p.slots) }

// QueuePairs returns the number of queue pairs.
func (p *Port) QueuePairs() int { return p.cfg.QueuePairs }

// Attach begins the use of the port by a front end.
func (p *Port) Attach(fe interface{ ConfigChanged() }) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frontend = fe
	p.askFilter()
}

// Detach ends the use of the port by a front end.
func (p *Port) Detach() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.replaceMemory(&guestmem.Map{}, func() {
		for i := range p.slots {
			p.stopQueue(i)
		}
	})
	p.frontend = nil
	p.features, p.status, p.needsReset = 0, 0, false
	p.slots = make([]slot, len(p.slots))
	p.ctrl.base = 0
	p.forget()
	p.compile()
	p.engine.fdb.Flush(p.id)
}

// SetFeatures takes the features the driver acknowledged. Repeating them while
// queues run is ordinary.
func (p *Port) SetFeatures(f virtio.Features) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.cfg.features().CheckAck(f); err != nil {
		return fmt.Errorf("port %s: %w", p.name, err)
	}
	if f == p.features {
		return nil
	}
	if was, will := p.ctrlIndex(), p.ctrlIndexWith(f); was != will {
		// A ring at either index would go on in another role.
		for _, i := range []int{was, will} {
			if i >= 0 {
				p.stopQueue(i)
			}
		}
	}
	p.features = f
	p.forget()
	p.compile()
	return nil
}

// SetMemory replaces the memory map.
func (p *Port) SetMemory(m *guestmem.Map) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.replaceMemory(m, func() {
		for i := range p.slots {
			q := p.queue(i)
			q.mu.Lock()
			q.remap(m)
			q.mu.Unlock()
		}
	})
}

// StartQueue starts a ring.
func (p *Port) StartQueue(i int, c vring.Config, kick *eventfd.FD) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopQueue(i)
	s := &p.slots[i]
	s.kick, s.started = kick, true
	err := p.startQueue(i, c)
	if err != nil {
		p.stopQueue(i) // kick is no longer ours, to watch or to unwatch
	}
	p.compile()
	if i == 0 && err == nil {
		p.askFilter() // a front end that began anew need not tell otherwise
	}
	return err
}

// startQueue is StartQueue for a stopped ring whose slot is filled. After an
// error stopQueue is to be called. The caller holds mu and compiles afterwards.
func (p *Port) startQueue(i int, c vring.Config) error {
	if i == p.ctrlIndex() {
		return p.startCtrl(i, c)
	}
	if i == 2*p.cfg.QueuePairs {
		return fmt.Errorf("port %s: queue %d is the control queue, whose feature was not acknowledged", p.name, i)
	}
	q, s := p.queue(i), &p.slots[i]
	q.mu.Lock()
	q.call, q.errfd, q.enabled = s.call, s.err, s.enabled
	resumed := c.Base == q.base // after a pause; see startCtrl
	err := q.start(p.memory.Load(), c)
	q.mu.Unlock()
	if err != nil {
		return fmt.Errorf("port %s queue %d: %w", p.name, i, err)
	}
	if !resumed {
		p.freshCoalescing(i)
	}
	if i%2 == 1 {
		return p.tx[i/2].watch(s.kick)
	}
	return nil
}

// StopQueue stops a ring and returns the position to resume from.
func (p *Port) StopQueue(i int) uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	base := p.stopQueue(i)
	p.compile()
	return base
}

// stopQueue is StopQueue for callers that hold mu and compile afterwards.
func (p *Port) stopQueue(i int) uint32 {
	s := &p.slots[i]
	q := p.queue(i)
	if s.started {
		switch {
		case q == &p.ctrl.virtqueue:
			p.ctrl.unwatch()
		case i%2 == 1:
			p.tx[i/2].unwatch(s.kick)
		}
		s.started, s.kick = false, nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.stop()
}

// SetQueueEnabled enables or disables a ring, running or not.
func (p *Port) SetQueueEnabled(i int, on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slots[i].enabled = on
	q := p.queue(i)
	q.mu.Lock()
	q.enabled = on
	q.mu.Unlock()
	p.compile()
}

// SetQueueKick replaces the kick eventfd of a started ring.
func (p *Port) SetQueueKick(i int, kick *eventfd.FD) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.slots[i]
	old := s.kick
	s.kick = kick
	var err error
	switch {
	case p.queue(i) == &p.ctrl.virtqueue:
		p.ctrl.unwatch()
		err = p.ctrl.watch(kick)
	case i%2 == 1:
		p.tx[i/2].unwatch(old)
		err = p.tx[i/2].watch(kick)
	}
	if err != nil {
		p.engine.log.Warnf("port %s queue %d: %v", p.name, i, err)
	}
}

// SetQueueCall sets the eventfd that interrupts the driver.
func (p *Port) SetQueueCall(i int, call *eventfd.FD) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slots[i].call = call
	q := p.queue(i)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.call = call
}

// SetQueueErr sets the eventfd that is signalled when the ring breaks.
func (p *Port) SetQueueErr(i int, err *eventfd.FD) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slots[i].err = err
	q := p.queue(i)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.errfd = err
}

// ReadConfig reads from the configuration space; beyond its end is zero.
func (p *Port) ReadConfig(b []byte, off uint32) {
	p.mu.Lock()
	image := p.net.Encode()
	p.mu.Unlock()
	clear(b)
	if off < uint32(len(image)) {
		copy(b, image[off:])
	}
}

// WriteConfig ignores writes: a modern driver makes none (VNET-008).
func (p *Port) WriteConfig([]byte, uint32) error { return nil }

// SetMTU takes the MTU that the front end's user wants the driver to be told.
func (p *Port) SetMTU(mtu uint64) error {
	if mtu < virtio.MinMTU || mtu > virtio.MaxMTU {
		return fmt.Errorf("port %s: MTU %d, want %d to %d", p.name, mtu, virtio.MinMTU, virtio.MaxMTU)
	}
	if p.cfg.MTU != 0 && mtu > uint64(p.cfg.MTU) {
		return fmt.Errorf("port %s: MTU %d is above the port's %d", p.name, mtu, p.cfg.MTU)
	}
	return nil
}

// statusNeedsReset is set in the status byte by a device that gave up.
const statusNeedsReset = 64

// SetStatus takes the driver's status byte. Zero does not forget what the
// driver configured, for front ends also send it when they pause.
func (p *Port) SetStatus(status uint8) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status = status
	if status == 0 {
		p.needsReset = false
	}
}

// Status returns the status byte.
func (p *Port) Status() uint8 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.needsReset {
		return p.status | statusNeedsReset
	}
	return p.status
}

// Reset returns the device to its initial state; memory and features stay.
func (p *Port) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.slots {
		p.slots[i].enabled = false
		q := p.queue(i)
		q.mu.Lock()
		q.enabled = false
		q.mu.Unlock()
	}
	p.needsReset = false
	p.forget()
	p.compile()
}
