package adapter

import (
	"fmt"
	"maps"
	"sync"

	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/offload/ndis"
	"vhost-user-nvgre/virtio"
)

// Setting is what the data path is to do. It is immutable.
type Setting struct {
	Offload offload.State
	RSS     *RSS  // nil: no RSS parameters are set
	Hash    *Hash // nil: hashes are not reported, other than those of RSS
	Filters *Filters
}

// Hash says how received frames are hashed.
type Hash struct {
	Key   [ndis.HashKeySize]byte
	Types offload.HashTypes
	// ByDriver says that the driver chose it by a command of its own.
	ByDriver bool
}

// RSS says to which queue pair a received frame goes.
type RSS struct {
	Hash
	Table   []uint16 // queue pairs by the low bits of the hash; a power of two of them
	Default uint16   // for frames without a hash
}

// Target is the adapter's data path and its memory. It is called with the
// adapter locked: it is not to call the adapter.
type Target interface {
	// Driver returns how often a driver began anew so far, and what the one that
	// is there negotiated.
	Driver() (restarts uint64, f virtio.Features)
	// Apply puts now into force, of which unchanged parts are the same pointers
	// as before, and makes initial what comes into force when a driver begins
	// anew. It returns when nothing works by the old setting any more and what
	// was held in partial processing has been delivered. An error means that
	// nothing has changed.
	Apply(now, initial *Setting) error
	// Persist remembers the keywords for the next start, in place of all that
	// were remembered before.
	Persist(Keywords) error
	// Moderation reports whether interrupts can be delayed, and whether they
	// are. Moderate has them delayed or not, until the driver says otherwise by
	// commands of its own.
	Moderation() (can, on bool)
	Moderate(on bool)
	// Statistics returns the counters of frames. It need not fill Supported in.
	Statistics() ndis.Statistics
	// RSCStatistics returns the counters of receive coalescing.
	RSCStatistics() ndis.RSCStatistics
	// Indicate tells those who listen of a change. It does not block; body is
	// theirs to keep.
	Indicate(status ndis.Status, body []byte)
}

// Config describes an adapter.
type Config struct {
	QueuePairs int
	Limits     offload.Limits
	// Coalescing says that the data path can coalesce received segments.
	Coalescing bool
	// VMQueues is how many receive queues there are for receive filters,
	// besides the default queue; 0: the data path has none.
	VMQueues int
	// RSSv2 makes the adapter one that takes RSS parameters by the OIDs of RSS
	// version 2, and by no others.
	RSSv2 bool
	// Keywords are those remembered; what is absent has its default.
	Keywords Keywords
	// Start is what an administrator turns on at every start, in the place of
	// a protocol driver.
	Start Start
}

// Adapter is the state of one port's adapter. Its methods may be called by any
// goroutine; requests are carried out one at a time.
type Adapter struct {
	cfg    Config
	target Target

	mu       sync.Mutex
	restarts uint64
	features virtio.Features
	keywords Keywords
	state    *state
	setting  *Setting // what state means
	first    *Setting // what a driver begins with
}

// New returns an adapter as it is after start, before a driver negotiated
// anything. It does not call target.
func New(cfg Config, target Target) (*Adapter, error) {
	if err := cfg.Keywords.Check(); err != nil {
		return nil, err
	}
	if cfg.QueuePairs < 1 || cfg.VMQueues < 0 || cfg.VMQueues >= max(cfg.QueuePairs, 2) {
		return nil, fmt.Errorf("%d queue pairs with %d receive queues for filters, want 1 or more pairs and fewer queues than pairs", cfg.QueuePairs, cfg.VMQueues)
	}
	a := &Adapter{cfg: cfg, target: target, keywords: maps.Clone(cfg.Keywords)}
	a.start()
	return a, nil
}

// start brings the adapter into the state after start with the keywords as
// they are.
func (a *Adapter) start() {
	a.first = a.compileFirst(a.keywords)
	a.state, a.setting = a.initial(a.keywords), a.first
}

// Lock keeps requests from being carried out until Unlock, for the methods
// that say so.
func (a *Adapter) Lock() { a.mu.Lock() }

// Unlock is described at Lock.
func (a *Adapter) Unlock() { a.mu.Unlock() }

// Follow finds out from the target whether a driver began anew. If so all but
// the keywords is forgotten, and the capabilities and the configuration are
// indicated. Every request begins with it. It returns the number of restarts
// that the target reported. The caller has locked the adapter.
func (a *Adapter) Follow() uint64 {
	restarts, f := a.target.Driver()
	if restarts == a.restarts && f == a.features {
		return restarts
	}
	before := a.hardware()
	a.restarts, a.features = restarts, f
	a.start()
	// It is in force already, unless a request for the driver before came in
	// between. Then it was in force once, so that there is nothing to refuse.
	_ = a.target.Apply(a.setting, a.first)
	if now := a.hardware(); now != before {
		a.target.Indicate(ndis.StatusTaskOffloadHardwareCapabilities, now.Encode())
	}
	a.indicateCurrent()
	return restarts
}

func (a *Adapter) indicateCurrent() {
	current := a.current(a.state)
	a.target.Indicate(ndis.StatusTaskOffloadCurrentConfig, current.Encode())
}

// Setting returns what the data path is to do.
func (a *Adapter) Setting() *Setting {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.setting
}

// Keywords returns a copy of the keywords that are set.
func (a *Adapter) Keywords() Keywords {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.keywords)
}

// Overview is what there is of offloads, for people.
type Overview struct {
	Hardware    ndis.Offload  // what can be
	Current     ndis.Offload  // what is configured
	Operational offload.State // what frames get, as far as the driver negotiated it
}

// Overview returns the three in one consistent view.
func (a *Adapter) Overview() Overview {
	a.mu.Lock()
	defer a.mu.Unlock()
	return Overview{a.hardware(), a.current(a.state), a.setting.Offload}
}

// Handle carries out a request and completes it. It returns when its effects
// are in force and indicated.
func (a *Adapter) Handle(r Request) Response {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.Follow()
	var resp Response
	c := &call{Request: &r, Response: &resp, a: a, s: a.state}
	o, known := table[r.OID]
	h := o.of(r.Type)
	switch {
	case !known:
		resp.Status = c.fail(ndis.StatusNotSupported, "there is no %s here", r.OID)
		return resp
	case h == nil:
		resp.Status = c.fail(ndis.StatusNotSupported, "%s takes no %s", r.OID, r.Type)
		return resp
	}
	if r.Type != Query {
		c.s = a.state.clone()
	}
	resp.Status = h(c)
	if resp.Status == ndis.StatusSuccess && r.Type != Query {
		resp.Status = c.commit()
	}
	if resp.Status != ndis.StatusSuccess {
		resp.Output = nil
		resp.BytesRead = 0
		resp.SupportedRevision = 0
	}
	return resp
}

// commit makes the copy that was worked on the state.
func (c *call) commit() ndis.Status {
	a := c.a
	if c.keywords != nil {
		// Before the change, so that what is in force is what a restart finds.
		if err := a.target.Persist(c.keywords); err != nil {
			return c.fail(ndis.StatusFailure, "keywords: %v", err)
		}
	}
	kw := a.keywords
	if c.keywords != nil {
		kw = c.keywords
	}
	next, first := a.compile(c.s, a.setting), a.compileFirst(kw)
	if *next == *a.setting {
		next = a.setting
	}
	if *first == *a.first {
		first = a.first
	}
	if next == a.setting && first == a.first {
		// Nothing is to be done.
	} else if err := a.target.Apply(next, first); err != nil {
		if c.keywords != nil {
			_ = a.target.Persist(a.keywords) // as well as possible
		}
		return c.fail(ndis.StatusFailure, "%v", err)
	}
	a.keywords, a.state, a.setting, a.first = kw, c.s, next, first
	for _, i := range c.indications {
		a.target.Indicate(i.status, i.body)
	}
	return ndis.StatusSuccess
}
