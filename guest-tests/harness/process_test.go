package harness

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func shell(script string) *exec.Cmd { return exec.Command("sh", "-c", script) }

func start(t *testing.T, script string) *Process {
	t.Helper()
	p, err := StartProcess("test", shell(script), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

func timeout(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestProcessOutputAndExit(t *testing.T) {
	var log bytes.Buffer
	p, err := StartProcess("test", shell("echo out; echo err >&2; exit 4"), &log)
	if err != nil {
		t.Fatal(err)
	}
	code, err := p.Wait(timeout(t, 10*time.Second))
	if err != nil || code != 4 || p.Stdout.String() != "out\n" || p.Stderr.String() != "err\n" {
		t.Errorf("Wait() = %d, %v, output %q, %q; want 4, out, err", code, err, p.Stdout, p.Stderr)
	}
	if err := p.errEnded(); !strings.Contains(err.Error(), "exit status 4") || !strings.Contains(err.Error(), "err") {
		t.Errorf("errEnded() = %v, want the status and the output", err)
	}
	if _, err := StartProcess("none", exec.Command("/no/such/program"), nil); err == nil {
		t.Error("StartProcess(none) = nil error")
	}
}

func TestProcessWaitOutput(t *testing.T) {
	p := start(t, "echo a; sleep 0.05; echo ready >&2; exec sleep 1000")
	if err := p.WaitOutput(timeout(t, 10*time.Second), "ready"); err != nil {
		t.Error(err)
	}
	if err := p.WaitOutput(timeout(t, 20*time.Millisecond), "never"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("WaitOutput(never) = %v, want %v", err, context.DeadlineExceeded)
	}
	if err := start(t, "echo no luck; exit 1").WaitOutput(timeout(t, 10*time.Second), "ready"); err == nil || !strings.Contains(err.Error(), "no luck") {
		t.Errorf("WaitOutput() of a process that ends = %v, want what it said", err)
	}
	if err := start(t, "echo ready").WaitOutput(timeout(t, 10*time.Second), "ready"); err != nil {
		t.Errorf("WaitOutput() of a process that says so and ends = %v", err)
	}
}

func TestProcessStop(t *testing.T) {
	p := start(t, "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done")
	if err := p.WaitOutput(timeout(t, 10*time.Second), "ready"); err != nil {
		t.Fatal(err)
	}
	if code, err := p.Stop(timeout(t, 10*time.Second)); err != nil || code != 7 {
		t.Errorf("Stop() = %d, %v, want 7", code, err)
	}
	p = start(t, "trap '' TERM; echo ready; while :; do sleep 0.01; done")
	if err := p.WaitOutput(timeout(t, 10*time.Second), "ready"); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Stop(timeout(t, 50*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Stop() of a process that ignores it = %v, want %v", err, context.DeadlineExceeded)
	}
	select {
	case <-p.Done():
	default:
		t.Error("a process that ignored Stop() lives on")
	}
}

// What a process started dies with it.
func TestProcessKillsItsGroup(t *testing.T) {
	p := start(t, "sleep 1000 & echo $!; wait")
	if err := p.WaitOutput(timeout(t, 10*time.Second), "\n"); err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(p.Stdout.String()))
	if err != nil {
		t.Fatal(err)
	}
	p.Kill()
	for end := time.Now().Add(5 * time.Second); alive(child); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("process %d lives on", child)
		}
	}
}

func alive(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(b), ") Z ")
}

func TestUsage(t *testing.T) {
	p := start(t, "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; echo ready; sleep 1000")
	if err := p.WaitOutput(timeout(t, 20*time.Second), "ready"); err != nil {
		t.Fatal(err)
	}
	u, err := p.Usage()
	if err != nil || u.CPU <= 0 || u.FDs < 3 || u.Mappings < 3 || u.RSS <= 0 {
		t.Errorf("Usage() = %+v, %v, want all of them positive", u, err)
	}
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if u, err := p.Usage(); err == nil {
		t.Errorf("Usage() of a process that has ended = %+v, want an error", u)
	}
}

// When the process that used the harness is killed, what it started dies, and
// its folder is swept by the next one.
func TestKilledOwner(t *testing.T) {
	base := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), ownerEnv+"=1", "TMPDIR="+base)
	p, err := StartProcess("owner", cmd, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	if err := p.WaitOutput(timeout(t, 10*time.Second), "\n"); err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(p.Stdout.String()))
	if err != nil {
		t.Fatal(err)
	}
	// Not the group: the child is in one of its own anyway.
	if err := syscall.Kill(p.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	for end := time.Now().Add(5 * time.Second); alive(child); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("process %d outlived the one that started it", child)
		}
	}
	t.Setenv("TMPDIR", base)
	TempDir(t)
	if dirs, err := os.ReadDir(base); err != nil || len(dirs) != 1 {
		t.Errorf("folders after the next NewDir(): %v, %v, want its own only", dirs, err)
	}
}

func TestDirSocket(t *testing.T) {
	d := TempDir(t)
	p, err := d.Socket("a.sock")
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: p}); err != nil {
		t.Errorf("bind(%s) = %v", p, err)
	}
	if p, err := d.Socket(strings.Repeat("x", 100)); err == nil {
		t.Errorf("Socket() of %d bytes = nil error", len(p))
	}
	t.Setenv("TMPDIR", t.TempDir()+strings.Repeat("/x", 50))
	if _, err := TempDir(t).Socket("a.sock"); err != nil {
		t.Errorf("Socket() with a long TMPDIR = %v", err)
	}
}
