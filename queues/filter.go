package queues

import (
	"errors"
	"fmt"

	"vhost-user-nvgre/queues/rxfilter"
	"vhost-user-nvgre/virtio"
)

// Whom a port has its receive filter from, in PortStatus.
const (
	FilterByDriver   = "control queue" // the driver, over the control queue
	FilterByFrontEnd = "front end"     // SetFilter
	FilterByNobody   = ""              // it takes every address
)

// SetFilter puts a receive filter into force that the driver has set at the
// front end, which keeps the control queue for itself; nil ends that, and every
// address is accepted again. It lasts until the driver begins anew. The address
// in it becomes that of the port.
//
// restarts is Driver.Restarts at a moment before f was made. When another
// driver has begun since, f is not its filter and there is no effect;
// PortConfig.AskFilter is called in that case. An error means that nothing has
// changed.
func (p *Port) SetFilter(f *rxfilter.Filter, restarts uint64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.ctrlIndex() >= 0:
		return fmt.Errorf("port %s: %w", p.name, ErrControlQueue)
	case f != nil && f.State().MAC.IsMulticast():
		return fmt.Errorf("port %s: %s is no address of a single station", p.name, f.State().MAC)
	case p.restarts != restarts:
		return nil
	}
	p.net.MAC = p.cfg.MAC
	p.guest.filterSet = f != nil
	if f == nil {
		f = rxfilter.New(p.cfg.MAC, p.settable())
	} else if mac := f.State().MAC; mac != (virtio.MAC{}) {
		p.net.MAC = mac
	}
	p.guest.filter = f
	p.compile()
	return nil
}

// ErrControlQueue is the reason not to take a filter from elsewhere.
var ErrControlQueue = errors.New("the driver sets its receive filter over the control queue, which this device serves")

// askFilter has PortConfig.AskFilter called. The caller holds mu.
func (p *Port) askFilter() {
	if p.cfg.AskFilter != nil {
		p.asking.start(p.cfg.AskFilter)
	}
}

// filterSource says whom the filter came from. The caller holds mu.
func (p *Port) filterSource() string {
	switch {
	case p.ctrlIndex() >= 0:
		return FilterByDriver
	case p.guest.filterSet:
		return FilterByFrontEnd
	}
	return FilterByNobody
}
