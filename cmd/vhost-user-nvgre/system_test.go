package main_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"vhost-user-nvgre/vhostuser/frontendtest"
)

func daemonPath() string { return filepath.Join(binaries, "vhost-user-nvgre") }

// A listening socket that is inherited, as from systemd or a test program.
func TestInheritedListener(t *testing.T) {
	dir := t.TempDir()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "x.sock"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p, err := startProcess(processOptions{
		program: daemonPath(), args: []string{"--fd=3", "--control-socket=none"}, dir: dir,
		notify: filepath.Join(dir, "notify"), files: []*os.File{f},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { t.Log(p.kill()) }()
	if err := p.waitNotified("READY=1"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the socket survives its client
		c := frontendtest.MustDial(t, filepath.Join(dir, "x.sock"))
		front := frontendtest.MustConnect(t, c, frontendtest.Options{})
		front.Close()
	}
	if err := p.waitLogged(regexp.MustCompile("port0 at fd 3")); err != nil {
		t.Error(err)
	}
}

func TestDescriptorThatIsNoSocket(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, files := range map[string][]*os.File{"a file": {f}, "none": nil} {
		c := exec.Command(daemonPath(), "--fd=3", "--control-socket=none")
		c.ExtraFiles = files
		out, err := c.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "port port0: inherited descriptor 3") {
			t.Errorf("%s as descriptor 3: %v, %s", name, err, out)
		}
	}
}

// Without the right to write where the socket should be: exit code 4.
func TestNoPermission(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{binaries, dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	closed := filepath.Join(dir, "closed")
	secret := filepath.Join(dir, "secret.toml")
	if err := os.Mkdir(closed, 0o500); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(secret, nil, 0o000); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"--socket-path=" + filepath.Join(closed, "x.sock"), "--control-socket=none"},
		{"--socket-path=" + filepath.Join(dir, "y.sock"), "--control-socket=" + filepath.Join(closed, "ctl.sock")},
		{"--config=" + secret},
	} {
		c := exec.Command(daemonPath(), args...)
		if os.Geteuid() == 0 {
			// root may do anything; let someone try who owns the folder for
			// sockets that works.
			const nobody = 65534
			if err := os.Chown(dir, nobody, nobody); err != nil {
				t.Fatal(err)
			}
			c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		}
		out, err := c.CombinedOutput()
		if c.ProcessState == nil || c.ProcessState.ExitCode() != 4 || !strings.Contains(string(out), "permission denied") {
			t.Errorf("%q: %v, %s; want exit code 4", args, err, out)
		}
	}
}

// A port of 64 queue pairs needs more descriptors than a low limit allows: the
// limit is raised, or there is a warning.
func TestDescriptorLimit(t *testing.T) {
	dir := t.TempDir()
	const limit = 300
	p, err := startProcess(processOptions{
		program: "/bin/sh", args: []string{
			"-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, limit), daemonPath(),
			"--port=name=a,socket=a.sock,queue-pairs=64", "--control-socket=none",
		},
		dir: dir, notify: filepath.Join(dir, "notify"), env: os.Environ(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { t.Log(p.kill()) }()
	if err := p.waitNotified("READY=1"); err != nil {
		t.Fatal(err)
	}
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`Max open files +(\d+)`).FindSubmatch(limits)
	if m == nil {
		t.Fatalf("no limit on open files in %s", limits)
	}
	now, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	const need = 3 * (2*64 + 1)
	warned := regexp.MustCompile("300 open files are allowed, but the ports can need")
	if now >= need {
		return
	}
	if err := p.waitLogged(warned); err != nil {
		t.Errorf("the limit is %d, and there is no warning: %v", now, err)
	}
}
