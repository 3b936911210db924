// Package rxwatch follows the receive filters that QEMU keeps for its NICs.
//
// With virtio-net-pci and a netdev of type vhost-user, QEMU serves the control
// queue itself, and what a guest's driver wants to receive reaches no back end.
// It does reach whoever asks with query-rx-filter, and the event
// NIC_RX_FILTER_CHANGED says when. QEMU sends that event once, and again only
// after the next query (rxfilter_notify in hw/net/virtio-net.c). A reset of the
// device changes the filter without the event, so whoever learns of one calls
// Follower.Look.
//
// While QEMU cannot be asked there is no filter: a guest had better receive too
// much than too little.
package rxwatch

import (
	"context"
	"slices"
	"sync"
	"time"

	"vhost-user-nvgre/queues/rxfilter"
)

// NIC says which NIC to follow, and on whose behalf.
type NIC struct {
	// Monitor is the path of a Unix socket of QEMU's with a QMP monitor, which
	// serves one client at a time.
	Monitor string
	// ID is that of the device; "" for the one whose chardev leads to Socket, an
	// absolute path.
	ID, Socket string

	// Target is told the filter.
	Target Target
}

// Target takes filters. Its methods are called by one goroutine at a time, and
// may block for a moment.
type Target interface {
	// Restarts counts the drivers so far; connected tells whether a front end is
	// there.
	Restarts() (n uint64, connected bool)
	// SetFilter takes a filter that was asked for when Restarts was n, nil when
	// there is none any more.
	SetFilter(f *rxfilter.Filter, n uint64) error
	// Report is told what has kept the filter from being known for a while
	// although a front end is there, and nil when that is over. It is not told
	// the same twice.
	Report(error)
}

// Status is how following a NIC goes.
type Status struct {
	NIC string // id of the device, "" while not known
	Err error  // why the filter is not known; nil: it is, or has not been asked for yet
}

// Watcher follows any number of NICs. NICs with the same monitor share a
// connection. Its methods and those of its followers may be called by any
// goroutine.
type Watcher struct {
	times times

	mu       sync.Mutex
	monitors map[string]*monitor
}

// times are what tests shorten.
type times struct {
	dial  time.Duration // for connecting and the greeting, which a QEMU that starts sends late
	retry time.Duration // between attempts of what failed
	grace time.Duration // until a failure is reported
	least time.Duration // between two queries, so that a guest cannot keep QEMU and us busy
}

var defaultTimes = times{dial: 20 * time.Second, retry: 5 * time.Second, grace: 10 * time.Second, least: 20 * time.Millisecond}

// New returns a watcher that follows nothing yet.
func New() *Watcher {
	return &Watcher{times: defaultTimes, monitors: map[string]*monitor{}}
}

// Follow begins to follow a NIC, also one that is not there yet.
func (w *Watcher) Follow(n NIC) *Follower {
	f := &Follower{watcher: w, nic: n, look: true}
	w.mu.Lock()
	defer w.mu.Unlock()
	m := w.monitors[n.Monitor]
	if m == nil {
		ctx, stop := context.WithCancel(context.Background())
		m = &monitor{path: n.Monitor, times: w.times, stop: stop, wake: make(chan struct{}, 1)}
		m.running.Go(func() { m.run(ctx) })
		w.monitors[n.Monitor] = m
	}
	f.monitor = m
	m.mu.Lock()
	m.followers = append(m.followers, f)
	m.mu.Unlock()
	m.nudge()
	return f
}

// Follower follows one NIC.
type Follower struct {
	watcher *Watcher
	monitor *monitor
	nic     NIC

	mu     sync.Mutex // guards what follows, and is held while Target is told
	closed bool
	look   bool // the NIC is to be found again
	stale  bool // the filter is to be asked for
	path   string
	client string // name in query-rx-filter
	status Status
	again  time.Time // when to try again what failed, zero: nothing did
	set    bool      // a filter is in force
	since  time.Time // of failing with a front end, zero: not failing
	told   string    // what was reported last, "" for nothing
}

// Look has QEMU asked again, as when a driver has begun anew. It does not wait
// for that.
func (f *Follower) Look() {
	f.mu.Lock()
	f.look = true
	f.mu.Unlock()
	f.monitor.nudge()
}

// Status returns how it goes.
func (f *Follower) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

// Close ends following, and the filter with it. Target is told nothing
// afterwards. It may be called once.
func (f *Follower) Close() {
	w, m := f.watcher, f.monitor
	w.mu.Lock()
	m.mu.Lock()
	m.followers = slices.DeleteFunc(m.followers, func(o *Follower) bool { return o == f })
	last := len(m.followers) == 0
	m.mu.Unlock()
	if last {
		delete(w.monitors, m.path)
		m.stop()
	}
	w.mu.Unlock()
	if last {
		m.running.Wait()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.clear()
}

// clear ends the filter. The caller holds mu.
func (f *Follower) clear() {
	if !f.set {
		return
	}
	f.set = false
	n, _ := f.nic.Target.Restarts()
	_ = f.nic.Target.SetFilter(nil, n) // It fails where there is none anyway.
}

// failed notes why the filter is not known.
func (f *Follower) failed(err error, t *times) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	now := time.Now()
	f.again = now.Add(t.retry)
	f.client, f.path, f.status = "", "", Status{Err: err}
	f.clear()
	_, connected := f.nic.Target.Restarts()
	switch {
	case !connected:
		f.since = time.Time{}
	case f.since.IsZero():
		f.since = now
	case now.Sub(f.since) >= t.grace && err.Error() != f.told:
		f.told = err.Error()
		f.nic.Target.Report(err)
	}
}

// succeeded puts a filter into force that was asked for when Target's restarts
// were n.
func (f *Follower) succeeded(filter *rxfilter.Filter, n uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	if err := f.nic.Target.SetFilter(filter, n); err != nil {
		return err
	}
	f.set, f.status.Err, f.since, f.again = true, nil, time.Time{}, time.Time{}
	if f.told != "" {
		f.told = ""
		f.nic.Target.Report(nil)
	}
	return nil
}
