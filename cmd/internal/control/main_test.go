package control

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeDaemon has two ports and remembers what was asked of it.
type fakeDaemon struct {
	mu    sync.Mutex
	calls []string
}

func (d *fakeDaemon) note(call string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls = append(d.calls, call)
}

func (d *fakeDaemon) took() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.calls)
}

func (d *fakeDaemon) Status() Status {
	return Status{
		Version: "v1", PID: 7, Shards: 2, MACCapacity: 8192,
		Ports: []Port{{
			Name: "vm0", Socket: "/run/vm0.sock", Mode: "server", LinkUp: true,
			FrontEnd: FrontEnd{Connected: true, PID: 99},
			Queues:   []Queue{{Kind: "rx", State: "running", Packets: 1 << 60, Drops: map[string]uint64{"rx_full": 3}}},
		}},
		MACTable: []MACEntry{{MAC: "02:00:00:00:00:01", VLAN: 5, Port: "vm0", Age: 9}},
	}
}

func (d *fakeDaemon) SetLink(port string, up bool) error {
	d.note(fmt.Sprintf("link %s %v", port, up))
	if port != "vm0" {
		return fmt.Errorf("port %s: %w", port, ErrNoPort)
	}
	return nil
}

func (d *fakeDaemon) Announce(port string) error {
	d.note("announce " + port)
	return fmt.Errorf("port %s: the driver cannot: %w", port, ErrState)
}

// testLogger hands log lines to the test.
type testLogger struct{ t *testing.T }

func (l testLogger) Debugf(format string, args ...any) { l.t.Logf("debug: "+format, args...) }
func (l testLogger) Infof(format string, args ...any)  { l.t.Logf("info: "+format, args...) }
func (l testLogger) Warnf(format string, args ...any)  { l.t.Logf("warn: "+format, args...) }

// start serves a fakeDaemon until the test ends and returns the socket's path.
func start(t *testing.T, times timing, connections int) (string, *fakeDaemon) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "control.sock")
	l, err := Listen(path, 0o660, -1)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	d := &fakeDaemon{}
	done := make(chan error, 1)
	go func() { done <- serve(ctx, l, d, testLogger{t}, times, connections) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Serve did not return within 10 s of its context's end")
		}
	})
	return path, d
}

// dial connects to a socket; the connection gives up after a few seconds.
func dial(t *testing.T, path string) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}
