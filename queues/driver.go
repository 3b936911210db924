package queues

import "vhost-user-nvgre/virtio"

// Driver is what the driver of a port negotiated and configured.
type Driver struct {
	// Restarts counts how often a driver began anew. Everything below was
	// forgotten then, and what SetRSS, SetHash and SetVMQ had set.
	Restarts uint64
	Features virtio.Features // negotiated
	Off      virtio.Features // receive offloads of these that it switched off
	// RSS and Hash are what Port.RSS returns; ByDriver says that RSS came from
	// the driver.
	RSS      *RSS
	Hash     *Hash
	ByDriver bool
}

// Driver returns what the port's driver negotiated and configured.
func (p *Port) Driver() Driver {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := &p.guest
	return Driver{
		Restarts: p.restarts, Features: p.features, Off: g.off & p.features,
		RSS: g.rss, Hash: g.hash, ByDriver: g.rssByDriver,
	}
}

// driverChanged has PortConfig.Notify called. The caller holds mu.
func (p *Port) driverChanged() {
	if p.cfg.Notify != nil {
		go p.cfg.Notify()
	}
}
