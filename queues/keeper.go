package queues

import (
	"sync"
	"sync/atomic"
)

// Keeper keeps the state that others see a port in and that its Setting is
// made of. What a driver does to a port by commands becomes part of that
// state, so that whoever set something last has set it for all.
//
// The lock is taken before any of the port's (all locks: docs/architecture.md).
// Whoever calls Port.Configure with a setting that depends on the one in force
// holds it.
type Keeper interface {
	sync.Locker
	// Follow is called with the Keeper locked, before commands are carried out
	// and after every new beginning of a driver (Driver.Restarts). The Keeper is
	// to find out what there is to know of the driver. It may call the port. It
	// returns the Restarts that it knows of.
	Follow() uint64
	// Commanded is called with the Keeper and the port locked, after a command
	// has taken effect and before the driver learns that: the setting in force
	// has the RSS and the hash that d has, unless they are the same as before.
	// It is not to call the port.
	Commanded(d Driver)
}

// lockForCommands locks the port and its Keeper, who knows the driver that is
// there. It returns what unlocks both.
func (p *Port) lockForCommands() (unlock func()) {
	k := p.cfg.Keeper
	if k == nil {
		p.mu.Lock()
		return p.mu.Unlock
	}
	k.Lock()
	for {
		known := k.Follow()
		p.mu.Lock()
		if known == p.restarts {
			return func() {
				p.mu.Unlock()
				k.Unlock()
			}
		}
		p.mu.Unlock()
	}
}

// commanded tells the Keeper of a command. The caller holds mu and the
// Keeper's lock.
func (p *Port) commanded() {
	if k := p.cfg.Keeper; k != nil {
		k.Commanded(p.driver())
	}
}

// driverChanged has the Keeper follow the driver. The caller holds mu.
func (p *Port) driverChanged() {
	k := p.cfg.Keeper
	if k == nil {
		return
	}
	p.following.start(func() {
		k.Lock()
		defer k.Unlock()
		k.Follow()
	})
}

// errand is something to do in a goroutine of its own, for which whoever wants
// it done cannot wait. However often that is, two goroutines are there at most:
// one that does it, and one that is going to.
type errand struct {
	waiting atomic.Bool
	doing   sync.Mutex
}

// start has do called after now, once for all calls of start until then.
func (e *errand) start(do func()) {
	if e.waiting.Swap(true) {
		return
	}
	go func() {
		e.doing.Lock()
		defer e.doing.Unlock()
		e.waiting.Store(false)
		do()
	}()
}
