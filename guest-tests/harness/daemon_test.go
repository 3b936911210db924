package harness

import (
	"os"
	"strings"
	"testing"
	"time"

	"vhost-user-nvgre/guest-tests/lab"
)

// script makes a daemon of a shell script.
func script(text string, ready Ready) Daemon {
	return Daemon{Path: "/bin/sh", Args: []string{"-c", text}, Ready: ready}
}

func TestStartDaemon(t *testing.T) {
	CheckLeaks(t)
	dir := TempDir(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	sock, err := dir.Socket("d.sock")
	if err != nil {
		t.Fatal(err)
	}
	listen := Daemon{Path: self, Env: []string{listenEnv + "=" + sock}, Ready: Ready{Socket: sock}}
	notify := Daemon{Path: self, Env: []string{notifyEnv + "=1"}, Ready: Ready{Notify: true}}
	for name, d := range map[string]Daemon{
		"line":   script("sleep 0.05; echo now ready; exec sleep 1000", Ready{Line: "ready"}),
		"socket": listen,
		"notify": notify,
	} {
		p, err := StartDaemon(timeout(t, 10*time.Second), nil, d)
		if err != nil {
			t.Errorf("%s: StartDaemon() = %v", name, err)
			continue
		}
		p.Kill()
	}
	for name, tt := range map[string]struct {
		d    Daemon
		want string
	}{
		"ends, line":   {script("echo why; exit 3", Ready{Line: "ready"}), "why"},
		"ends, socket": {script("echo why; exit 3", Ready{Socket: dir.Path("none")}), "why"},
		"ends, notify": {script("echo why; exit 3", Ready{Notify: true}), "why"},
		"mute":         {script("sleep 1000", Ready{Notify: true}), "READY=1"},
		"no socket":    {script("sleep 1000", Ready{Socket: dir.Path("none")}), "no such file"},
		"not asked":    {script("sleep 1000", Ready{}), "Ready"},
		"no program":   {Daemon{Ready: Ready{Line: "x"}}, "no program"},
	} {
		p, err := StartDaemon(timeout(t, 300*time.Millisecond), nil, tt.d)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: StartDaemon() = %v, %v, want an error with %q", name, p, err, tt.want)
		}
	}
}

func TestDaemonFromTool(t *testing.T) {
	p := RunDaemon(t, Daemon{
		Program: &lab.Program{Name: "tool", Path: "/bin/sh", Args: []string{"-c", `echo "$0 $X"; exec sleep 1000`}, Env: []string{"X=1"}},
		Args:    []string{"ready"},
		Ready:   Ready{Line: "ready 1"},
	})
	if p.Name != "tool" {
		t.Errorf("Name = %q, want tool", p.Name)
	}
}
