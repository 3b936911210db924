package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"vhost-user-nvgre/cmd/internal/config"
	"vhost-user-nvgre/cmd/internal/control"
	"vhost-user-nvgre/cmd/internal/daemon"
	"vhost-user-nvgre/cmd/internal/rates"
	"vhost-user-nvgre/vhostuser/frontendtest"
	"vhost-user-nvgre/virtio"
)

// patience bounds what should take milliseconds.
const patience = 20 * time.Second

// topExample is a sample with one of everything.
func topExample() *rates.Sample {
	return &rates.Sample{
		At: time.Date(2026, 11, 21, 12, 0, 1, 0, time.UTC), Seconds: 1.0004, CPUs: 1.234,
		Ports: []rates.Port{
			{Name: "vm0", Queues: []rates.Queue{
				{Index: 0, Kind: "rx", Frames: 31250.4, Bits: 16.5e6, BytesPerFrame: 66, Calls: 5208, FramesPerCall: 6},
				{Index: 1, Kind: "tx", Frames: 2500, Bits: 1.2e9, BytesPerFrame: 60000, Kicks: 1000, FramesPerKick: 2.5, Calls: 0.5, FramesPerCall: 5000, Waited: 1200},
				{Index: 2, Kind: "rx"},
				{Index: 3, Kind: "tx", Restarted: true},
			}},
			{Name: "vm1", Queues: []rates.Queue{
				{Index: 0, Kind: "rx", Frames: 2500, Bits: 1.2e9, BytesPerFrame: 60000, Waited: 1200, Drops: map[string]float64{"rx_full": 0.25, "rx_filter": 12, "rx_mtu": 12}},
			}},
			{Name: "vm2", Queues: []rates.Queue{{Index: 0, Kind: "rx"}}},
			{Name: "vm3", Gone: true},
		},
		Shards: []rates.Shard{{ID: 0, Busy: 0.983, Polling: 0.01, Asleep: 0.007, Wakeups: 40, Frames: 33750, FramesPerWakeup: 843.75}, {ID: 1, Asleep: 1}},
		Hints:  []string{"vm1: frames wait for receive buffers", "another hint"},
	}
}

// TestRenderTop compares what is printed with a file that people have looked
// at. UPDATE=1 rewrites it.
func TestRenderTop(t *testing.T) {
	at := topExample().At
	var b bytes.Buffer
	for _, s := range []*rates.Sample{
		topExample(),
		{At: at.Add(time.Second), Seconds: 1, Error: "/run/c: no daemon is running there"},
		{At: at.Add(2 * time.Second), Seconds: 2, Restarted: true},
		{At: at.Add(3 * time.Second), Seconds: 1},
		topExample().Only("vm2"),
	} {
		if err := renderTop(&b, s); err != nil {
			t.Fatal(err)
		}
	}
	const path = "testdata/top.txt"
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.String(); got != string(want) {
		t.Errorf("top:\n%s\nwant, as in %s:\n%s", got, path, want)
	}
}

// scripted is a daemon whose status the test says.
type scripted struct {
	mu     sync.Mutex
	status control.Status
}

func (d *scripted) set(change func(*control.Status)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(&d.status)
}

// Status returns what was set. A second passes with every look.
func (d *scripted) Status() control.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.status.UptimeNS += 1e9
	return d.status
}

func (*scripted) SetLink(string, bool) error { return errors.ErrUnsupported }
func (*scripted) Announce(string) error      { return errors.ErrUnsupported }

// serve answers for d at path until stop is called.
func serve(t *testing.T, path string, d control.Daemon) (stop func()) {
	t.Helper()
	l, err := control.Listen(path, 0o600, -1)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := control.Serve(ctx, l, d, logrus.New()); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	var once sync.Once
	stop = func() { once.Do(func() { cancel(); serving.Wait() }) }
	t.Cleanup(stop)
	return stop
}

// watch runs top with a short interval; what it returns reads a sample. Top does
// not go on before somebody reads.
func watch(t *testing.T, path, port string) (next func() *rates.Sample, end func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	done := make(chan error, 1)
	go func() {
		tp := top{client: control.NewClient(path), port: port, interval: time.Millisecond, asJSON: true}
		err := tp.run(ctx, in)
		in.CloseWithError(io.EOF)
		done <- err
	}()
	lines := json.NewDecoder(out)
	lines.DisallowUnknownFields()
	next = func() *rates.Sample {
		t.Helper()
		s := new(rates.Sample)
		if err := lines.Decode(s); err != nil {
			t.Fatalf("no sample: %v", err)
		}
		return s
	}
	end = func() error {
		cancel()
		_, _ = io.Copy(io.Discard, out)
		return <-done
	}
	t.Cleanup(cancel)
	return next, end
}

// Top goes on when a daemon ends and another one comes, says so, and shows no
// rates of the time between.
func TestTopSurvivesDaemon(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.sock")
	d := &scripted{status: control.Status{PID: 1, Ports: []control.Port{{Name: "a", Queues: []control.Queue{{Kind: "rx", Packets: 100}}}, {Name: "b"}}}}
	stop := serve(t, path, d)
	next, end := watch(t, path, "a")
	if s := next(); len(s.Ports) != 1 || s.Ports[0].Queues[0].Frames != 0 || s.Seconds != 1 {
		t.Errorf("sample of an idle port: %+v", s)
	}
	d.set(func(s *control.Status) {
		s.Ports = []control.Port{{Name: "a", Queues: []control.Queue{{Kind: "rx", Packets: 150}}}}
	})
	frames := 0.0
	for end := time.Now().Add(patience); frames == 0 && time.Now().Before(end); {
		frames += next().Ports[0].Queues[0].Frames
	}
	if frames != 50 {
		t.Errorf("%v frames/s in a second, want 50", frames)
	}
	stop()
	s := next()
	none := func() bool { return strings.Contains(s.Error, "no daemon is running there") }
	for end := time.Now().Add(patience); !none() && time.Now().Before(end); {
		s = next() // perhaps of an exchange that the end of the daemon cut short
	}
	if !none() || len(s.Ports) != 0 {
		t.Errorf("sample without a daemon: %+v", s)
	}
	again := &scripted{status: control.Status{PID: 2, Ports: []control.Port{{Name: "a", Queues: []control.Queue{{Kind: "rx", Packets: 7}}}}}}
	serve(t, path, again)
	for end := time.Now().Add(patience); s.Error != "" && time.Now().Before(end); {
		s = next()
	}
	if !s.Restarted || len(s.Ports) != 0 {
		t.Errorf("first sample of another daemon: %+v, want restarted", s)
	}
	if s = next(); s.Restarted || len(s.Ports) != 1 || s.Ports[0].Queues[0].Frames != 0 {
		t.Errorf("second sample of another daemon: %+v", s)
	}
	if err := end(); err != nil {
		t.Errorf("top, interrupted: %v, want no error", err)
	}
}

func TestTopRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.sock")
	run := func(args ...string) (string, error) {
		c := newCommand()
		var out bytes.Buffer
		c.SetOut(&out)
		c.SetArgs(append([]string{"--socket", path, "top"}, args...))
		err := c.ExecuteContext(t.Context())
		return out.String(), err
	}
	if _, err := run(); !errors.Is(err, control.ErrNotRunning) {
		t.Errorf("top without a daemon: %v", err)
	}
	serve(t, path, &scripted{status: control.Status{Ports: []control.Port{{Name: "a"}}}})
	for _, tt := range []struct {
		args []string
		want string
		code int
	}{
		{[]string{"b"}, "port b: there is no such port", exitFailure},
		{[]string{"a", "b"}, "accepts at most 1 arg", exitUsage},
		{[]string{"--interval", "99ms"}, "interval 99ms: want 100ms to 1h0m0s", exitUsage},
		{[]string{"--interval", "2h"}, "interval 2h0m0s: want 100ms to 1h0m0s", exitUsage},
		{[]string{"--count", "-1"}, "count -1: want 0 or more", exitUsage},
	} {
		out, err := run(tt.args...)
		if err == nil || !strings.Contains(err.Error(), tt.want) || exitCode(err) != tt.code || out != "" {
			t.Errorf("top %q = %v, prints %q; want %q and exit code %d", tt.args, err, out, tt.want, tt.code)
		}
	}
	out, err := run("--interval", "100ms", "--count", "2", "a")
	if err != nil || strings.Count(out, "\na     ") != 2 || strings.Count(out, "idle") != 2 {
		t.Errorf("top --count 2 = %v, prints\n%s\nwant two tables", err, out)
	}
}

// Frames through a daemon show up as rates of its queues and of its shard.
func TestTopOfDaemon(t *testing.T) {
	dir := t.TempDir()
	s := config.Default()
	s.Shards, s.ControlSocket = 1, filepath.Join(dir, "control.sock")
	for _, name := range []string{"a", "b"} {
		p := config.DefaultPort()
		p.Name, p.Socket, p.Origin = name, filepath.Join(dir, name+".sock"), "test"
		s.Ports = append(s.Ports, p)
	}
	log := logrus.New()
	log.SetOutput(t.Output())
	signals, done := make(chan os.Signal, 1), make(chan error, 1)
	go func() {
		done <- daemon.Run(&s, func() (config.Settings, error) { return s, nil }, log, signals)
	}()
	t.Cleanup(func() {
		signals <- syscall.SIGTERM
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	cl := control.NewClient(s.ControlSocket)
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if _, err := cl.Status(t.Context()); err == nil {
			break
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	attach := func(port string) *frontendtest.Frontend {
		return frontendtest.MustConnect(t, frontendtest.MustDial(t, filepath.Join(dir, port+".sock")), frontendtest.Options{})
	}
	a, b := attach("a"), attach("b")
	next, end := watch(t, s.ControlSocket, "")
	next()
	const frames, size = 20, 500
	frame := make([]byte, size)
	src, dst := s.Ports[0].Address(), s.Ports[1].Address()
	copy(frame, dst[:])
	copy(frame[6:], src[:])
	for range frames {
		a.TX[0].MustSend(t, virtio.NetHdr{}, frame)
		b.RX[0].MustRecv(t)
	}
	// Whatever the intervals were that they fell into.
	var sent, received, taken, busy, asleep float64
	for until := time.Now().Add(patience); taken < frames-0.5 && time.Now().Before(until); {
		s := next()
		for _, p := range s.Ports {
			for _, q := range p.Queues {
				switch {
				case p.Name == "a" && q.Kind == "tx":
					sent += q.Frames * s.Seconds
				case p.Name == "b" && q.Kind == "rx":
					received += q.Frames * s.Seconds
				}
				if q.Frames > 0 && (q.BytesPerFrame != size || q.Bits < size) {
					t.Errorf("port %s queue %d: %+v, want frames of %d bytes", p.Name, q.Index, q, size)
				}
			}
		}
		for _, sh := range s.Shards {
			taken += sh.Frames * s.Seconds
			busy, asleep = busy+sh.Busy, asleep+sh.Asleep
		}
	}
	near := func(v float64) bool { return v > frames-0.01 && v < frames+0.01 }
	if !near(sent) || !near(received) || !near(taken) || busy <= 0 || asleep <= 0 {
		t.Errorf("rates add up to %v frames sent, %v received, %v taken by a shard that was busy for %v and asleep for %v intervals; want %d frames",
			sent, received, taken, busy, asleep, frames)
	}
	if err := end(); err != nil {
		t.Errorf("top, interrupted: %v, want no error", err)
	}
}
