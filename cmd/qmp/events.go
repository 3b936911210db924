package qmp

import (
	"context"
	"sync/atomic"

	"github.com/digitalocean/go-qemu/qmp"
)

// Subscription is one listener's view of QEMU's events.
type Subscription struct {
	c       *Client
	ch      chan qmp.Event
	dropped atomic.Uint64
	closed  bool // guarded by c.mu
}

// Subscribe starts to collect events. Those from before it returns are not
// seen, so subscribe before sending the command whose event matters. Close
// ends it.
func (c *Client) Subscribe() (*Subscription, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, c.err
	}
	s := &Subscription{c: c, ch: make(chan qmp.Event, c.opts.EventBuffer)}
	c.subs[s] = struct{}{}
	return s, nil
}

// C delivers the events in the order they happened. It is closed by Close and
// when the connection ends.
func (s *Subscription) C() <-chan qmp.Event { return s.ch }

// Dropped returns how many events found the buffer full and were lost.
func (s *Subscription) Dropped() uint64 { return s.dropped.Load() }

// Close ends the subscription. It may be called more than once.
func (s *Subscription) Close() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	delete(s.c.subs, s)
	s.closeLocked()
}

func (s *Subscription) closeLocked() {
	if !s.closed {
		s.closed = true
		close(s.ch)
	}
}

// Events subscribes until ctx or the connection ends; then the channel is
// closed. Subscribe is for those who want to know how many events were lost.
func (c *Client) Events(ctx context.Context) (<-chan qmp.Event, error) {
	s, err := c.Subscribe()
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, s.Close)
	return s.ch, nil
}

// publish hands an event to every subscriber that has room for it.
func (c *Client) publish(e qmp.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.subs {
		select {
		case s.ch <- e:
		default:
			s.dropped.Add(1)
		}
	}
}
