package queues

import (
	"sync/atomic"

	"vhost-user-nvgre/queues/fdb"
	"vhost-user-nvgre/virtio/guestmem"
)

// switchPort is what the switch knows of a port, whatever is behind it.
type switchPort struct {
	engine *Engine
	id     fdb.Port
	name   string

	rx    []*rxQueue // by queue pair
	tx    []*txQueue
	other []*virtqueue // whatever else there is

	state atomic.Pointer[portState]
	// memory is what the port's rings and buffers lie in, as far as it is
	// shared with somebody who may take it away; never nil. While it is being
	// replaced, former is what it was, else nil.
	memory, former atomic.Pointer[guestmem.Map]
	// broke is told, in a goroutine of its own, of a queue that broke.
	broke func(q *virtqueue, err error)
}

// init makes a port with the given number of queue pairs, spreading its
// transmit queues over the shards. Neighbours begin with different ones: many
// guests use only their first pair. The caller holds Engine.mu.
func (p *switchPort) init(e *Engine, id fdb.Port, name string, pairs int) {
	p.engine, p.id, p.name = e, id, name
	p.memory.Store(&guestmem.Map{})
	p.state.Store(&portState{port: p})
	for i := range pairs {
		rx := &rxQueue{id: e.nextRx}
		rx.port, rx.index = p, 2*i
		e.nextRx++
		tx := &txQueue{pair: i, shard: e.shards[(int(id)+i)%len(e.shards)]}
		tx.port, tx.index = p, 2*i+1
		tx.letGo = tx.dropParked
		tx.token = tx.shard.adopt(tx)
		p.rx, p.tx = append(p.rx, rx), append(p.tx, tx)
	}
}

// Name returns the port's name.
func (p *switchPort) Name() string { return p.name }

func (p *switchPort) base() *switchPort { return p }

// owns reports whether an address of this process lies in the port's memory.
func (p *switchPort) owns(addr uintptr) bool {
	if p.memory.Load().Contains(addr) {
		return true
	}
	former := p.former.Load() // after memory, which is replaced after it is set
	return former != nil && former.Contains(addr)
}

// replaceMemory makes m the port's memory and calls move, which moves the queues
// there. A shard that meets a fault in the old memory on the way finds out whose
// it was, and does not blame the queue that it is working for.
func (p *switchPort) replaceMemory(m *guestmem.Map, move func()) {
	p.former.Store(p.memory.Load())
	p.memory.Store(m)
	move()
	p.engine.quiesce()
	p.former.Store(nil)
}

// fail breaks every queue of the port. It takes no lock of the port's own, so
// that a shard may call it.
func (p *switchPort) fail(err error) {
	for _, q := range p.tx {
		q.breakDown(err)
	}
	for _, q := range p.rx {
		q.breakDown(err)
	}
	for _, q := range p.other {
		q.breakDown(err)
	}
}
