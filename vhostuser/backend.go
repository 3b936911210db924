package vhostuser

import (
	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/eventfd"
	"vhost-user-nvgre/virtio/guestmem"
	"vhost-user-nvgre/virtio/vring"
)

// Backend is the device behind a session. The session is the only caller and
// calls one method at a time; every method returns after its effect is
// complete. What a method is handed (memory maps, eventfds) stays owned by the
// session and is borrowed until the call that replaces it, or Detach, returns.
//
// Ring indices are below NumQueues; the session checks them.
type Backend interface {
	// Features returns the virtio feature bits on offer, without those that
	// vhost-user itself defines (26 and 30).
	Features() virtio.Features
	// NumQueues returns the number of virtqueues, the control queue included.
	NumQueues() int
	// QueuePairs returns the number of queue pairs (GET_QUEUE_NUM).
	QueuePairs() int

	// Attach begins a session: no features, no memory, all rings stopped and
	// disabled. fe is valid until Detach returns.
	Attach(fe Frontend)
	// Detach ends the session; nothing borrowed is touched after it.
	Detach()

	// SetFeatures tells what the driver acknowledged. An error means that the
	// set is inconsistent; the device then stays without features.
	SetFeatures(f virtio.Features) error
	// SetMemory replaces the memory map. A running ring whose areas the new
	// map lacks is broken by it.
	SetMemory(m *guestmem.Map)

	// StartQueue starts ring i. kick is nil when the front end asked for
	// polling. An error leaves the ring stopped.
	StartQueue(i int, c vring.Config, kick *eventfd.FD) error
	// StopQueue stops ring i and returns the position to resume from in the
	// format of SET_VRING_BASE. No memory is touched and nothing is signalled
	// on behalf of the ring afterwards. Stopping a stopped ring returns the
	// position it was stopped at.
	StopQueue(i int) (base uint32)
	// SetQueueEnabled may come in any state of the ring and is remembered.
	SetQueueEnabled(i int, on bool)
	// SetQueueKick replaces the kick eventfd of a started ring.
	SetQueueKick(i int, kick *eventfd.FD)
	// SetQueueCall sets the eventfd that interrupts the driver, in any state;
	// nil means that the driver polls.
	SetQueueCall(i int, call *eventfd.FD)
	// SetQueueErr sets the eventfd that is signalled when the ring breaks.
	SetQueueErr(i int, err *eventfd.FD)

	// ReadConfig fills b from the configuration space at offset off. Bytes
	// beyond the end read as zero.
	ReadConfig(b []byte, off uint32)
	// WriteConfig is called for a write by the driver or by a migration.
	WriteConfig(b []byte, off uint32) error

	// SetMTU returns an error when the device cannot carry the size.
	SetMTU(mtu uint64) error
	// SetStatus takes the virtio status byte; 0 resets the device.
	SetStatus(status uint8)
	// Status returns it as the device sees it.
	Status() uint8
	// Reset returns the device to its initial state: rings disabled, filters
	// and offload settings forgotten. Memory and features stay.
	Reset()
}

// Frontend is what a session lets its Backend ask of the other side. Its
// methods may be called by any goroutine and do not block.
//
// ConfigChanged tells the driver to read the configuration space again; it
// does nothing when the front end did not ask for such messages. An alias, so
// that a Backend need not import this package.
type Frontend = interface{ ConfigChanged() }

// Logger is what a session logs to; logrus loggers satisfy it.
type Logger interface {
	Debugf(format string, args ...any)
	Infof(format string, args ...any)
	Warnf(format string, args ...any)
}
