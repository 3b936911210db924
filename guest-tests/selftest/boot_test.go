package selftest

import (
	"bytes"
	"crypto/rand"
	"errors"
	"strings"
	"syscall"
	"testing"

	"vhost-user-nvgre/guest-tests/harness"
	"vhost-user-nvgre/guest-tests/initramfs"
)

// One guest is enough for all of these; each leaves it as it found it.
func TestGuest(t *testing.T) {
	harness.CheckLeaks(t)
	vm := harness.Start(t, harness.Guest{
		Name: "one", CPUs: 2,
		Files: []initramfs.File{{Name: "/etc/greeting", Mode: 0o644, Data: []byte("hello\n")}},
	})
	t.Run("Boot", func(t *testing.T) {
		if vm.Boot.CPUs != 2 || !strings.HasSuffix(vm.Boot.Kernel, "-cloud-amd64") {
			t.Errorf("Boot = %+v, want 2 processors and a cloud kernel", vm.Boot)
		}
		out, err := vm.Output(t.Context(), "hostname")
		if err != nil || out != "one\n" {
			t.Errorf("hostname = %q, %v, want one", out, err)
		}
	})
	t.Run("Run", func(t *testing.T) {
		r, err := vm.Run(t.Context(), "sh", "-c", "echo out; echo err >&2; exit 7")
		if err != nil || r.Stdout != "out\n" || r.Stderr != "err\n" || r.Code != 7 {
			t.Errorf("Run() = %+v, %v, want out, err, 7", r, err)
		}
		if r.Err() == nil {
			t.Error("Result.Err() with exit code 7 = nil")
		}
		if _, err := vm.Run(t.Context(), "no-such-program"); err == nil {
			t.Error("Run(no-such-program) = nil error")
		}
	})
	t.Run("Programs", func(t *testing.T) {
		for _, argv := range [][]string{{"ip", "-V"}, {"tc", "-V"}, {"ethtool", "--version"}, {"iperf3", "--version"}, {"cat", "/etc/greeting"}} {
			if _, err := vm.Output(t.Context(), argv...); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("Files", func(t *testing.T) {
		for _, size := range []int{0, 1, 300, 50_000} {
			want := make([]byte, size)
			_, _ = rand.Read(want) // Never fails.
			if err := vm.WriteFile(t.Context(), "/tmp/dir/file", want, 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := vm.ReadFile(t.Context(), "/tmp/dir/file")
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("ReadFile() after WriteFile() of %d bytes = %d bytes, %v", size, len(got), err)
			}
		}
		if _, err := vm.ReadFile(t.Context(), "/none"); err == nil {
			t.Error("ReadFile(/none) = nil error")
		}
	})
	t.Run("Processes", func(t *testing.T) { testProcesses(t, vm) })
	t.Run("Modules", func(t *testing.T) {
		if err := vm.Modprobe(t.Context(), "ip_gre", "8021q"); err != nil {
			t.Fatal(err)
		}
		if err := vm.Rmmod(t.Context(), "8021q"); err != nil {
			t.Error(err)
		}
		if err := vm.Modprobe(t.Context(), "no_such_module"); err == nil {
			t.Error("Modprobe(no_such_module) = nil error")
		}
		if list, err := vm.NICs(t.Context()); err != nil || len(list) != 0 {
			t.Errorf("NICs() of a guest without any, ip_gre loaded = %+v, %v, want none", list, err)
		}
	})
	t.Run("Pause", func(t *testing.T) {
		if err := vm.Pause(t.Context()); err != nil {
			t.Fatal(err)
		}
		var status struct{ Status string }
		if err := vm.QMP().Execute(t.Context(), "query-status", nil, &status); err != nil || status.Status != "paused" {
			t.Errorf("query-status = %+v, %v, want paused", status, err)
		}
		if err := vm.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := vm.PingAgent(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("Restarts", func(t *testing.T) { testRestarts(t, vm) })
	t.Run("Shutdown", func(t *testing.T) {
		if err := vm.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func testProcesses(t *testing.T, vm *harness.VM) {
	ctx := t.Context()
	cat, err := vm.Start(ctx, harness.Command{Argv: []string{"cat"}, Input: true})
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Repeat("0123456789abcde\n", 4000)
	if err := cat.Write(ctx, []byte(want)); err != nil {
		t.Fatal(err)
	}
	if err := cat.CloseInput(ctx); err != nil {
		t.Fatal(err)
	}
	if r, err := cat.Wait(ctx); err != nil || r.Stdout != want || r.Code != 0 {
		t.Errorf("cat of %d bytes: %v, %d bytes came back", len(want), err, len(cat.Stdout.Bytes()))
	}
	// The signal reaches what the process started.
	sh, err := vm.Start(ctx, harness.Command{Argv: []string{"sh", "-c", "echo $X; sleep 1000 & wait"}, Env: []string{"X=set"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := sh.WaitOutput(ctx, "set"); err != nil {
		t.Fatal(err)
	}
	if err := sh.Kill(ctx, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if r, err := sh.Wait(ctx); err != nil || r.Code != -1 || r.Signal != syscall.SIGTERM {
		t.Errorf("after SIGTERM: %+v, %v", r, err)
	}
	if out, err := vm.Shell(ctx, "pgrep sleep || echo none"); err != nil || out != "none\n" {
		t.Errorf("pgrep sleep = %q, %v, want none", out, err)
	}
	// An orphan is the agent's to wait for.
	if _, err := vm.Shell(ctx, "(sleep 0.01 &) ; exit 0"); err != nil {
		t.Error(err)
	}
	if out, err := vm.Shell(ctx, "sleep 0.1; ps -o stat,args | grep '^Z' || echo none"); err != nil || out != "none\n" {
		t.Errorf("zombies: %q, %v", out, err)
	}
}

func testRestarts(t *testing.T, vm *harness.VM) {
	ctx := t.Context()
	p, err := vm.Start(ctx, harness.Command{Argv: []string{"sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := vm.Reset(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(ctx); !errors.Is(err, harness.ErrRebooted) {
		t.Errorf("Wait() of a process the reset ended = %v, want %v", err, harness.ErrRebooted)
	}
	if err := vm.Reboot(ctx); err != nil {
		t.Fatal(err)
	}
	if err := vm.PingAgent(ctx); err != nil {
		t.Error(err)
	}
	if err := vm.Crashed(); err != nil {
		t.Errorf("Crashed() after restarts asked for = %v, want nil", err)
	}
}
