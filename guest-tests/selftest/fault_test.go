package selftest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vhost-user-nvgre/guest-tests/harness"
)

// A guest whose QEMU is killed says so, and shows how far it had come.
func TestKilledQEMU(t *testing.T) {
	harness.CheckLeaks(t)
	vm, err := harness.Boot(t.Context(), harness.Lab(t), harness.Guest{Name: "killed"})
	if err != nil {
		t.Fatal(err)
	}
	defer vm.Close()
	if _, err := vm.Shell(t.Context(), "echo last words > /dev/console"); err != nil {
		t.Fatal(err)
	}
	p, err := vm.Start(t.Context(), harness.Command{Argv: []string{"sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	vm.Process().Kill()
	_, err = p.Wait(t.Context())
	if err == nil || !strings.Contains(err.Error(), "signal: killed") || !strings.Contains(err.Error(), "last words") {
		t.Errorf("Wait() after QEMU was killed = %v, want an error with the signal and the console's end", err)
	}
	if err := vm.Crashed(); err == nil {
		t.Error("Crashed() after QEMU was killed = nil")
	}
}

// A kernel that panics restarts; that must not pass for health.
func TestPanic(t *testing.T) {
	harness.CheckLeaks(t)
	vm, err := harness.Boot(t.Context(), harness.Lab(t), harness.Guest{Name: "panic"})
	if err != nil {
		t.Fatal(err)
	}
	defer vm.Close()
	_, err = vm.Shell(t.Context(), "echo c > /proc/sysrq-trigger; sleep 1000")
	if !errors.Is(err, harness.ErrRebooted) {
		t.Errorf("Shell(panic) = %v, want %v", err, harness.ErrRebooted)
	}
	if err := vm.Crashed(); err == nil || !strings.Contains(err.Error(), "sysrq") {
		t.Errorf("Crashed() after a panic = %v, want an error with the console's end", err)
	}
}

// QEMU refuses to start: the error holds its reason.
func TestBadArgument(t *testing.T) {
	harness.CheckLeaks(t)
	_, err := harness.Boot(t.Context(), harness.Lab(t), harness.Guest{Name: "bad", Args: []string{"-device", "no-such-device"}})
	if err == nil || !strings.Contains(err.Error(), "no-such-device") {
		t.Errorf("Boot() with a device that does not exist = %v, want QEMU's words", err)
	}
}

// QEMU waits for a back end that never answers, deaf to SIGTERM and QMP. Giving
// up must still leave nothing.
func TestMuteBackEnd(t *testing.T) {
	harness.CheckLeaks(t)
	dir := harness.TempDir(t)
	sock, err := dir.Socket("mute.sock")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err = harness.Boot(ctx, harness.Lab(t), harness.Guest{Name: "mute", NICs: []harness.NIC{{Link: harness.VhostUser{Socket: sock, Server: true}}}})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Boot() with a mute back end = %v, want %v", err, context.DeadlineExceeded)
	}
}

// Folders whose owner is gone are swept; those in use are not.
func TestSweep(t *testing.T) {
	mine := harness.TempDir(t)
	orphan, err := os.MkdirTemp(filepath.Dir(mine.Path("")), "nvgre-")
	if err != nil {
		t.Fatal(err)
	}
	harness.TempDir(t)
	if _, err := os.Stat(orphan); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Stat(orphan) after a sweep = %v, want %v", err, os.ErrNotExist)
	}
	if _, err := os.Stat(mine.Path("")); err != nil {
		t.Errorf("a folder in use was swept: %v", err)
	}
}
