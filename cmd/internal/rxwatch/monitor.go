package rxwatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	goqmp "github.com/digitalocean/go-qemu/qmp"

	"vhost-user-nvgre/cmd/internal/hotplug"
	"vhost-user-nvgre/cmd/qmp"
)

// maxLine bounds what QEMU may say at a time. A filter with everything in it has
// less than 30 KiB.
const maxLine = 1 << 20

// monitor is a connection to a QEMU, made again whenever it ends.
type monitor struct {
	path    string
	times   times
	stop    context.CancelFunc
	running sync.WaitGroup
	wake    chan struct{} // something is to be looked at

	mu        sync.Mutex
	followers []*Follower
}

// nudge wakes the monitor's goroutine.
func (m *monitor) nudge() {
	select {
	case m.wake <- struct{}{}:
	default: // It is going to look anyway.
	}
}

func (m *monitor) list() []*Follower {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.followers)
}

// run connects and serves again and again until ctx ends.
func (m *monitor) run(ctx context.Context) {
	for {
		err := m.connect(ctx)
		if ctx.Err() != nil {
			return
		}
		for _, f := range m.list() {
			f.failed(err, &m.times)
		}
		m.rest(ctx)
	}
}

// rest waits until it is time to try again. It is at once when a front end
// comes, since then QEMU is there.
func (m *monitor) rest(ctx context.Context) {
	select { // Not by what failing itself has caused.
	case <-time.After(m.times.least):
	case <-ctx.Done():
		return
	}
	select {
	case <-m.wake:
	case <-time.After(m.times.retry):
	case <-ctx.Done():
	}
}

// connect makes a connection and serves until it ends.
func (m *monitor) connect(ctx context.Context) error {
	dialing, cancel := context.WithTimeout(ctx, m.times.dial)
	defer cancel()
	c, err := qmp.Dial(dialing, "unix", m.path, qmp.Options{MaxLine: maxLine})
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: QEMU does not answer: is another client connected? A monitor socket serves one at a time (%w)", m.path, err)
	case err != nil:
		return err
	}
	defer c.Disconnect() //nolint:errcheck // The connection is given up.
	// A command under way ends with ctx.
	defer context.AfterFunc(ctx, func() { _ = c.Disconnect() })()
	events, err := c.Subscribe()
	if err != nil {
		return err
	}
	defer events.Close()
	for _, f := range m.list() {
		f.Look()
	}
	return m.serve(ctx, c, events)
}

// serve asks for filters whenever there is reason to.
func (m *monitor) serve(ctx context.Context, c *qmp.Client, events *qmp.Subscription) error {
	q, lost := hotplug.New(c), events.Dropped()
	for {
		began, failing := time.Now(), false
		for _, f := range m.list() {
			failing = !m.sync(ctx, f, c, q) || failing
		}
		if c.Err() != nil || ctx.Err() != nil {
			return c.Err()
		}
		// A slow QEMU, whose devices wait while it answers, is asked no more
		// than half of the time.
		next := began.Add(max(m.times.least, 2*time.Since(began)))
		var again <-chan time.Time
		if failing {
			again = time.After(m.times.retry)
		}
		select {
		case e, ok := <-events.C():
			if !ok {
				return c.Err()
			}
			m.event(e)
		case <-m.wake:
		case <-again:
		case <-ctx.Done():
			return nil
		}
		if n := events.Dropped(); n != lost {
			lost = n
			for _, f := range m.list() {
				f.Look()
			}
		}
		select {
		case <-time.After(time.Until(next)):
		case <-ctx.Done():
			return nil
		}
	}
}

// event notes whom an event concerns.
func (m *monitor) event(e goqmp.Event) {
	path, _ := e.Data["path"].(string)
	for _, f := range m.list() {
		f.mu.Lock()
		switch own := f.path != "" && (path == f.path || strings.HasPrefix(path, f.path+"/")); {
		case own && e.Event == "NIC_RX_FILTER_CHANGED":
			f.stale = true
		case own && e.Event == "DEVICE_DELETED":
			f.look = true
		}
		f.mu.Unlock()
	}
}

// sync brings a follower up to date, and reports whether it is.
func (m *monitor) sync(ctx context.Context, f *Follower, c *qmp.Client, q *hotplug.QEMU) bool {
	f.mu.Lock()
	failing := !f.again.IsZero()
	look := f.look || failing && !time.Now().Before(f.again)
	due := look || f.stale && !failing
	f.look, f.stale = false, false
	f.mu.Unlock()
	if !due {
		return !failing
	}
	err := m.ask(ctx, f, c, q, look)
	if err != nil {
		f.failed(err, &m.times)
	}
	return err == nil
}

// ask finds the NIC, unless that is known, and puts its filter into force.
func (m *monitor) ask(ctx context.Context, f *Follower, c *qmp.Client, q *hotplug.QEMU, look bool) error {
	restarts, _ := f.nic.Target.Restarts() // before QEMU is asked, see SetFilter
	if look {
		a, err := find(ctx, q, &f.nic)
		if err != nil {
			return err
		}
		f.mu.Lock()
		f.path, f.client, f.status.NIC = a.Path, a.Client, a.ID
		f.mu.Unlock()
	}
	f.mu.Lock()
	name := f.client
	f.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, m.times.dial)
	defer cancel()
	filter, err := query(ctx, c, name)
	if err != nil {
		return err
	}
	return f.succeeded(filter, restarts)
}
