package main

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/guest-tests/agentproto"
)

// host is the other end of an agent's port.
type host struct {
	t      *testing.T
	port   *os.File
	events *bufio.Scanner
	lastID uint64
}

// newHost starts an agent in this process.
func newHost(t *testing.T) *host {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "host"), os.NewFile(uintptr(fds[1]), "agent")
	a := &agent{out: theirs, procs: newProcesses()}
	stop, reaped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(reaped)
		a.procs.reap(stop)
	}()
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = a.serve(theirs) // Ends when the port is closed.
	}()
	t.Cleanup(func() {
		// A close alone would not wake a blocked read.
		_ = unix.Shutdown(fds[0], unix.SHUT_RDWR)
		<-served
		// It would take the children of the next test.
		close(stop)
		<-reaped
		ours.Close()
		theirs.Close()
	})
	if err := unix.SetsockoptTimeval(fds[0], unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}); err != nil {
		t.Fatal(err)
	}
	h := &host{t: t, port: ours, events: bufio.NewScanner(ours)}
	h.events.Buffer(nil, agentproto.MaxLine)
	return h
}

// ask sends a request and returns its ID.
func (h *host) ask(r agentproto.Request) uint64 {
	h.t.Helper()
	h.lastID++
	r.ID = h.lastID
	line, err := agentproto.Encode(r)
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := h.port.Write(line); err != nil {
		h.t.Fatal(err)
	}
	return r.ID
}

func (h *host) next() agentproto.Event {
	h.t.Helper()
	if !h.events.Scan() {
		h.t.Fatalf("no event came: %v", h.events.Err())
	}
	var e agentproto.Event
	if err := json.Unmarshal(h.events.Bytes(), &e); err != nil {
		h.t.Fatalf("event %q: %v", h.events.Bytes(), err)
	}
	return e
}

// outcome collects the events of a request up to its end.
func (h *host) outcome(id uint64) (stdout, stderr string, end agentproto.Event) {
	h.t.Helper()
	for {
		e := h.next()
		if e.ID != id {
			h.t.Fatalf("event %+v, want one of request %d", e, id)
		}
		switch e.Kind {
		case agentproto.Stdout, agentproto.Data:
			stdout += string(e.Data)
		case agentproto.Stderr:
			stderr += string(e.Data)
		case agentproto.Done, agentproto.Error:
			return stdout, stderr, e
		}
	}
}

func TestStart(t *testing.T) {
	h := newHost(t)
	tests := []struct {
		name           string
		request        agentproto.Request
		stdout, stderr string
		code, signal   int
	}{
		{"exit code", agentproto.Request{Argv: []string{"sh", "-c", "echo a; echo b >&2; exit 3"}}, "a\n", "b\n", 3, 0},
		{"environment and folder", agentproto.Request{Argv: []string{"sh", "-c", "echo $V; pwd"}, Env: []string{"V=x"}, Dir: "/"}, "x\n/\n", "", 0, 0},
		{"no input", agentproto.Request{Argv: []string{"cat"}}, "", "", 0, 0},
		{"signal", agentproto.Request{Argv: []string{"sh", "-c", "kill -9 $$"}}, "", "", 0, 9},
		{"much output", agentproto.Request{Argv: []string{"sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x"}}, strings.Repeat("x", 100000), "", 0, 0},
		{"ends while a child holds its output", agentproto.Request{Argv: []string{"sh", "-c", "echo a; sleep 5 &"}}, "a\n", "", 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.request.Op = agentproto.Start
			stdout, stderr, end := h.outcome(h.ask(tt.request))
			if stdout != tt.stdout || stderr != tt.stderr || end.Kind != agentproto.Done || end.Code != tt.code || end.Signal != tt.signal {
				t.Errorf("%q: stdout %.40q, stderr %q, end %+v; want %.40q, %q, code %d, signal %d",
					tt.request.Argv, stdout, stderr, end, tt.stdout, tt.stderr, tt.code, tt.signal)
			}
		})
	}
}

func TestInputAndKill(t *testing.T) {
	h := newHost(t)
	cat := h.ask(agentproto.Request{Op: agentproto.Start, Argv: []string{"cat"}, Input: true})
	if e := h.next(); e.Kind != agentproto.Started || e.Pid == 0 {
		t.Fatalf("first event of cat = %+v, want it started", e)
	}
	in := h.ask(agentproto.Request{Op: agentproto.Stdin, Target: cat, Data: []byte("one")})
	got := map[uint64]agentproto.Event{}
	for range 2 {
		e := h.next()
		got[e.ID] = e
	}
	if got[in].Kind != agentproto.Done || string(got[cat].Data) != "one" {
		t.Errorf("after input: %+v, want the request done and cat's echo", got)
	}
	kill := h.ask(agentproto.Request{Op: agentproto.Kill, Target: cat, Signal: int(unix.SIGTERM)})
	for range 2 {
		e := h.next()
		got[e.ID] = e
	}
	if got[kill].Kind != agentproto.Done || got[cat].Signal != int(unix.SIGTERM) {
		t.Errorf("after SIGTERM: %+v, want the request done and cat ended by it", got)
	}
	for _, op := range []agentproto.Op{agentproto.Stdin, agentproto.Kill} {
		if _, _, e := h.outcome(h.ask(agentproto.Request{Op: op, Target: cat})); e.Kind != agentproto.Error {
			t.Errorf("%s for a process that has ended: %+v, want an error", op, e)
		}
	}
}

func TestFiles(t *testing.T) {
	h := newHost(t)
	path := filepath.Join(t.TempDir(), "sub", "file")
	for _, r := range []agentproto.Request{
		{Op: agentproto.Write, Path: path, Mode: 0o600, Truncate: true, Data: []byte("hello ")},
		{Op: agentproto.Write, Path: path, Offset: 6, Data: []byte("world")},
	} {
		if _, _, e := h.outcome(h.ask(r)); e.Kind != agentproto.Done {
			t.Fatalf("write at %d: %+v", r.Offset, e)
		}
	}
	if got, _, e := h.outcome(h.ask(agentproto.Request{Op: agentproto.Read, Path: path})); got != "hello world" || e.Kind != agentproto.Done {
		t.Errorf("read: %q, %+v", got, e)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("Stat() = %v, %v, want mode 600", st, err)
	}
}

func TestRefused(t *testing.T) {
	h := newHost(t)
	for _, r := range []agentproto.Request{
		{Op: agentproto.Start},
		{Op: agentproto.Start, Argv: []string{"/no/such/program"}},
		{Op: agentproto.Start, Argv: []string{"cat"}, Dir: "/no/such/folder"},
		{Op: agentproto.Read, Path: "/no/such/file"},
		{Op: agentproto.Write, Path: "/no/such/file"},
		{Op: agentproto.Modprobe, Names: []string{"no_such_module"}},
		{Op: "dance"},
	} {
		if _, _, e := h.outcome(h.ask(r)); e.Kind != agentproto.Error || e.Message == "" {
			t.Errorf("%+v: %+v, want an error", r, e)
		}
	}
	if _, err := h.port.WriteString("garbage\n\n"); err != nil {
		t.Fatal(err)
	}
	if e := h.next(); e.Kind != agentproto.Error || e.ID != 0 {
		t.Errorf("after garbage: %+v, want an error without an ID", e)
	}
	if _, _, e := h.outcome(h.ask(agentproto.Request{Op: agentproto.Ping})); e.Kind != agentproto.Done {
		t.Errorf("ping after garbage: %+v", e)
	}
}

// Orphans are waited for too.
func TestReap(t *testing.T) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	h := newHost(t)
	out, _, _ := h.outcome(h.ask(agentproto.Request{Op: agentproto.Start, Argv: []string{"sh", "-c", "(sleep 0.05 & echo $!)"}}))
	orphan := filepath.Join("/proc", strings.TrimSpace(out))
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(orphan); os.IsNotExist(err) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s is still there", orphan)
		}
	}
}

func TestNICs(t *testing.T) {
	sys := t.TempDir()
	link := func(target string, path ...string) {
		t.Helper()
		p := filepath.Join(append([]string{sys}, path...)...)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(sys, target), p); err != nil {
			t.Fatal(err)
		}
	}
	pci := "devices/pci0000:00/0000:00:10.0/virtio0"
	if err := os.MkdirAll(filepath.Join(sys, pci), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, iface := range []string{"eth0", "gre0"} {
		dir := filepath.Join(sys, "net", iface)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "address"), []byte("52:54:00:00:00:01\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	link(pci, "net", "eth0", "device")
	link("bus/virtio/drivers/virtio_net", pci, "driver")
	got, err := nics(filepath.Join(sys, "net"))
	want := []agentproto.NIC{{Name: "eth0", MAC: "52:54:00:00:00:01", PCI: "0000:00:10.0", Driver: "virtio_net"}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("nics() = %+v, %v, want %+v", got, err, want)
	}
}

func TestDependencies(t *testing.T) {
	dep := filepath.Join(t.TempDir(), "modules.dep")
	text := "kernel/a.ko:\nkernel/net/ip_gre.ko: kernel/gre.ko kernel/ip_tunnel.ko\nkernel/virtio-rng.ko: kernel/a.ko\n"
	if err := os.WriteFile(dep, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"a":          {"kernel/a.ko"},
		"ip_gre":     {"kernel/ip_tunnel.ko", "kernel/gre.ko", "kernel/net/ip_gre.ko"},
		"ip-gre":     {"kernel/ip_tunnel.ko", "kernel/gre.ko", "kernel/net/ip_gre.ko"},
		"virtio_rng": {"kernel/a.ko", "kernel/virtio-rng.ko"},
	} {
		if got, err := dependencies(dep, name); err != nil || !slices.Equal(got, want) {
			t.Errorf("dependencies(%s) = %q, %v, want %q", name, got, err, want)
		}
	}
	if _, err := dependencies(dep, "gre"); err == nil {
		t.Error("dependencies(gre) = nil error, want one: it is only a dependency")
	}
}
