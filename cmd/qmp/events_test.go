package qmp

import (
	"context"
	"testing"
)

// barrier makes sure the client has handled all lines sent before it.
func barrier(t *testing.T, s *server, c *Client) {
	t.Helper()
	go func() { s.reply(s.next(), `{}`) }()
	if err := c.Execute(testContext(t), "barrier", nil, nil); err != nil {
		t.Fatal(err)
	}
}

func TestEventsInOrderToEverySubscriber(t *testing.T) {
	s, c := connect(t, Options{})
	a, err := c.Subscribe()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	b, err := c.Events(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"STOP", "RESUME"} {
		s.say(`{"event": "%s", "data": {"n": 1}, "timestamp": {"seconds": 5, "microseconds": -1}}`, n)
	}
	barrier(t, s, c)
	for _, want := range []string{"STOP", "RESUME"} {
		if e := <-a.C(); e.Event != want || e.Timestamp.Seconds != 5 {
			t.Errorf("subscription: event %+v, want %s at 5 s", e, want)
		}
		if e := <-b; e.Event != want {
			t.Errorf("Events(): event %+v, want %s", e, want)
		}
	}
	cancel()
	if e, ok := <-b; ok {
		t.Errorf("Events(): %v after its context ended, want a closed channel", e)
	}
	a.Close()
	a.Close()
	if e, ok := <-a.C(); ok {
		t.Errorf("subscription: %v after Close, want a closed channel", e)
	}
}

// A subscriber that does not read costs itself events, never anyone a reply.
func TestUnreadEventsAreCountedNotWaitedFor(t *testing.T) {
	s, c := connect(t, Options{EventBuffer: 4})
	sub, err := c.Subscribe()
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		s.say(`{"event": "RTC_CHANGE", "timestamp": {"seconds": 1, "microseconds": 0}}`)
	}
	barrier(t, s, c)
	if got := sub.Dropped(); got != 6 {
		t.Errorf("Dropped() = %d after 10 events into room for 4, want 6", got)
	}
	if got := len(sub.C()); got != 4 {
		t.Errorf("%d events wait, want 4", got)
	}
}
