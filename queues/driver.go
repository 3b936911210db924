package queues

import "vhost-user-nvgre/virtio"

// Driver is what the driver of a port negotiated and configured.
type Driver struct {
	Attached bool // a front end is there
	// Restarts counts how often a driver began anew. Everything below was
	// forgotten then, and the port's Setting became the initial one.
	Restarts uint64
	Features virtio.Features // negotiated
	Off      virtio.Features // receive offloads of these that it switched off
	// InnerHash says that it has NVGRE packets hashed by their inner headers
	// (HASH_TUNNEL).
	InnerHash bool
	// RSS and Hash are those of the Setting in force, whoever set them.
	RSS  *RSS
	Hash *Hash
}

// Driver returns what the port's driver negotiated and configured.
func (p *Port) Driver() Driver {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.driver()
}

// driver is Driver for callers that hold mu.
func (p *Port) driver() Driver {
	g := &p.guest
	return Driver{
		Attached: p.frontend != nil,
		Restarts: p.restarts, Features: p.features, Off: g.off & p.features, InnerHash: g.innerHash,
		RSS: p.now.RSS, Hash: p.now.Hash,
	}
}
