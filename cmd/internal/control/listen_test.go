package control

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestListenPermissions(t *testing.T) {
	// The umask must not take anything away.
	defer unix.Umask(unix.Umask(0o077))
	path := filepath.Join(t.TempDir(), "made", "for", "it", "control.sock")
	gid := os.Getgid()
	l, err := Listen(path, 0o620, gid)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := info.Mode(), fs.ModeSocket|0o620; got != want {
		t.Errorf("mode %v, want %v", got, want)
	}
	if got := int(info.Sys().(*syscall.Stat_t).Gid); got != gid {
		t.Errorf("group %d, want %d", got, gid)
	}
	l.Close()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is there after Close: %v", err)
	}
}

func TestListenGroupNotAllowed(t *testing.T) {
	if os.Geteuid() == 0 {
		// root may give files away to any group.
		path := filepath.Join(t.TempDir(), "control.sock")
		l, err := Listen(path, 0o660, 54321)
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		return
	}
	path := filepath.Join(t.TempDir(), "control.sock")
	if _, err := Listen(path, 0o660, 0); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Listen with root's group: %v, want a lack of permission", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket was left behind: %v", err)
	}
}

func TestListenWhereSomethingIs(t *testing.T) {
	dir := t.TempDir()
	served := filepath.Join(dir, "served.sock")
	l, err := Listen(served, 0o600, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := Listen(served, 0o600, -1); !errors.Is(err, unix.EADDRINUSE) || !strings.Contains(err.Error(), served) {
		t.Errorf("a second daemon: %v, want EADDRINUSE with the path", err)
	}

	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(file, 0o600, -1); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("a file in the way: %v, want EADDRINUSE", err)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "x" {
		t.Errorf("the file was touched: %q, %v", b, err)
	}

	stale := filepath.Join(dir, "stale.sock")
	old, err := Listen(stale, 0o600, -1)
	if err != nil {
		t.Fatal(err)
	}
	old.SetUnlinkOnClose(false)
	old.Close()
	again, err := Listen(stale, 0o600, -1)
	if err != nil {
		t.Fatalf("a socket left behind: %v", err)
	}
	again.Close()
}

func TestListenPathTooLong(t *testing.T) {
	path := filepath.Join(t.TempDir(), strings.Repeat("x", 120))
	if l, err := Listen(path, 0o600, -1); err == nil {
		l.Close()
		t.Error("a path no socket can have was taken")
	}
}
