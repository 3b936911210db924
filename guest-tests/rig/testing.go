package rig

import (
	"context"
	"strings"
	"time"

	"vhost-user-nvgre/guest-tests/harness"
)

// stopPatience is how long a daemon may take to end, with guests gone.
const stopPatience = 30 * time.Second

// Run starts a daemon that lives as long as the test. The test fails if the
// daemon ends by itself or, at the end, not with code 0. What it logged last is
// in the log of a test that failed.
func Run(t harness.T, c Config) *Daemon {
	t.Helper()
	dir := harness.TempDir(t)
	d, err := Start(t.Context(), harness.Lab(t), dir, c)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if err := d.Crashed(); err != nil {
			t.Errorf("%v", err)
		} else if !d.stopped() {
			ctx, cancel := context.WithTimeout(context.Background(), stopPatience)
			defer cancel()
			if err := d.Stop(ctx); err != nil {
				t.Errorf("%v", err)
			}
		}
		if t.Failed() {
			t.Logf("end of the daemon's log:\n%s", d.Log())
		}
	})
	return d
}

// CheckQuiet fails the test if a queue of the daemon is broken or the daemon
// has logged a warning or an error.
func (d *Daemon) CheckQuiet(t harness.T) {
	t.Helper()
	s, err := d.Status(t.Context())
	if err != nil {
		t.Errorf("%v", err)
		return
	}
	if b := s.Broken(); len(b) > 0 {
		t.Errorf("broken queues: %s", strings.Join(b, ", "))
	}
	if c := d.Complaints(); len(c) > 0 {
		t.Errorf("the daemon complained:\n%s", strings.Join(c, "\n"))
	}
}

// MustStatus is Status for tests.
func (d *Daemon) MustStatus(t harness.T) *Status {
	t.Helper()
	s, err := d.Status(t.Context())
	if err != nil {
		t.Fatalf("%v", err)
	}
	return s
}

// testPatience bounds everything a test waits for, so that one that hangs still
// says what it waits for and shows the consoles.
const testPatience = 15 * time.Minute

// Context returns a context that lives as long as the test, but not for ever.
func Context(t harness.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), testPatience)
	t.Cleanup(cancel)
	return ctx
}
