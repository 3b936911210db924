package lab

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func open(t *testing.T) *Lab {
	t.Helper()
	l, err := Open(Options{Dir: t.TempDir(), Mirror: "http://mirror.invalid/debian", Logf: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestOpen(t *testing.T) {
	t.Setenv(EnvCache, filepath.Join(t.TempDir(), "from-env"))
	l, err := Open(Options{})
	if err != nil {
		t.Fatal(err)
	}
	if l.Dir() != os.Getenv(EnvCache) || !isDir(l.Dir()) {
		t.Errorf("Open() with %s uses %s, want %s, made", EnvCache, l.Dir(), os.Getenv(EnvCache))
	}
	t.Setenv(EnvCache, "")
	dir := t.TempDir()
	t.Chdir(dir)
	if l, err := Open(Options{}); err == nil {
		t.Errorf("Open() outside a repository = %s, want an error", l.Dir())
	}
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	l, err = Open(Options{})
	if err != nil || l.Dir() != filepath.Join(dir, ".cache", "lab") {
		t.Errorf("Open() in a repository = %v, %v, want .cache/lab in it", l, err)
	}
}

func TestToolUnknown(t *testing.T) {
	if _, err := open(t).Tool(t.Context(), "dance"); err == nil || !strings.Contains(err.Error(), "dpdk-testpmd") {
		t.Errorf("Tool(dance) = %v, want an error that lists the tools", err)
	}
}

func TestLock(t *testing.T) {
	l := open(t)
	unlock, err := l.lock(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := l.lock(ctx, "x"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a second lock = %v, want %v", err, context.DeadlineExceeded)
	}
	other, err := l.lock(t.Context(), "y")
	if err != nil {
		t.Fatalf("lock of another name: %v", err)
	}
	other()
	unlock()
	again, err := l.lock(t.Context(), "x")
	if err != nil {
		t.Fatalf("lock after unlock: %v", err)
	}
	again()
}

func TestPickMirror(t *testing.T) {
	tests := []struct{ name, targets, want string }{
		{"first whole release", "oldstable bookworm http://a/debian/\nstable trixie http://b/debian/\n", "http://a/debian"},
		{"security and updates hold parts only", "oldstable-security bookworm-security http://s/\nstable-updates trixie-updates http://u/\nstable trixie http://b/\n", "http://b"},
		{"media do not count", "stable trixie cdrom:[Debian]/\n", ""},
		{"nothing", "", ""},
		{"other formats", "one two\n", ""},
	}
	for _, tt := range tests {
		if got := pickMirror(tt.targets); got != tt.want {
			t.Errorf("%s: pickMirror(%q) = %q, want %q", tt.name, tt.targets, got, tt.want)
		}
	}
}

func TestPickKernel(t *testing.T) {
	tests := []struct {
		name     string
		packages []string
		want     string
	}{
		{
			"newest of the preferred series, by number",
			[]string{"linux-binary-7.2.9+deb13-cloud-amd64", "linux-binary-7.2.12+deb13-cloud-amd64", "linux-binary-7.3.4+deb13-cloud-amd64"},
			"7.2.12+deb13-cloud-amd64",
		},
		{
			"newest of all without that series",
			[]string{"linux-binary-6.19.14+deb13-cloud-amd64", "linux-binary-7.10.1+deb13-cloud-amd64", "linux-binary-7.3.4+deb13-cloud-amd64"},
			"7.10.1+deb13-cloud-amd64",
		},
		{
			"other flavours, architectures and unsigned images do not count",
			[]string{"linux-binary-7.2.12+deb13-amd64", "linux-binary-7.2.12+deb13-rt-amd64", "linux-binary-unsigned-7.2.12+deb13-cloud-amd64", "linux-binary-7.2.12+deb13-cloud-arm64"},
			"",
		},
	}
	for _, tt := range tests {
		if got := pickKernel(tt.packages); got != tt.want {
			t.Errorf("%s: pickKernel(%q) = %q, want %q", tt.name, tt.packages, got, tt.want)
		}
	}
}

func TestDebName(t *testing.T) {
	for file, want := range map[string][2]string{
		"/x/libc6_2.41-12+deb13u1_amd64.deb":        {"libc6", "2.41-12+deb13u1"},
		"qemu-system-x86_1%3a11.1.3+ds-1_amd64.deb": {"qemu-system-x86", "1:11.1.3+ds-1"},
		"odd.deb": {"odd", ""},
	} {
		if name, version := debName(file); name != want[0] || version != want[1] {
			t.Errorf("debName(%s) = %s, %s, want %s, %s", file, name, version, want[0], want[1])
		}
	}
}

// Roots of different contents must never share a folder.
func TestRootIDs(t *testing.T) {
	base := rootSpec{name: "r", release: Trixie, packages: []string{"a", "b"}}
	variants := map[string]rootSpec{
		"base":     base,
		"packages": {name: "r", release: Trixie, packages: []string{"a", "c"}},
		"joined":   {name: "r", release: Trixie, packages: []string{"a b"}},
		"release":  {name: "r", release: Bookworm, packages: []string{"a", "b"}},
		"target":   {name: "r", release: Trixie, packages: []string{"a", "b"}, target: "trixie-backports"},
		"bare":     {name: "r", release: Trixie, packages: []string{"a", "b"}, noDependencies: true},
		"patched":  {name: "r", release: Trixie, packages: []string{"a", "b"}, patches: []patch{{"f", "a", "b"}}},
	}
	seen := map[string]string{}
	for name, s := range variants {
		if other, ok := seen[s.id()]; ok {
			t.Errorf("%s and %s share the folder %s", name, other, s.id())
		}
		seen[s.id()] = name
	}
}

func TestPatch(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	if err := os.WriteFile(file, []byte("a/path and /path"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := (&patch{"f", "/path", "/none"}).apply(dir); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "a/none and /none" {
		t.Errorf("after the patch: %q, %v", b, err)
	}
	for _, p := range []patch{{"f", "/path", "/none"}, {"f", "/none", "/x"}, {"g", "a", "b"}} {
		if err := p.apply(dir); err == nil {
			t.Errorf("apply(%+v) = nil error", p)
		}
	}
}

func TestQEMUAtLeast(t *testing.T) {
	q := QEMU{Major: 10, Minor: 0}
	for v, want := range map[[2]int]bool{{9, 2}: true, {10, 0}: true, {10, 2}: false, {11, 0}: false} {
		if got := q.AtLeast(v[0], v[1]); got != want {
			t.Errorf("10.0 AtLeast(%d, %d) = %v, want %v", v[0], v[1], got, want)
		}
	}
}
