package initramfs

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cavaliergopher/cpio"
	"github.com/google/go-cmp/cmp"

	"vhost-user-nvgre/guest-tests/lab"
)

// entries reads an archive: contents, or "-> target" of a link, or "dir", by
// name.
func entries(t *testing.T, archive io.Reader) (names []string, contents map[string]string) {
	t.Helper()
	contents = make(map[string]string)
	r := cpio.NewReader(archive)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names, contents
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		switch h.Mode & cpio.ModeType {
		case cpio.TypeDir:
			contents[h.Name] = "dir"
		case cpio.TypeSymlink:
			contents[h.Name] = "-> " + h.Linkname
		default:
			contents[h.Name] = string(b)
		}
	}
}

func TestBuild(t *testing.T) {
	dir, src := t.TempDir(), filepath.Join(t.TempDir(), "init")
	if err := os.WriteFile(src, []byte("the agent"), 0o755); err != nil {
		t.Fatal(err)
	}
	spec := Spec{Init: src, Extra: []File{
		{Name: "/a/b/file", Mode: 0o644, Data: []byte("data")},
		{Name: "/a/link", Mode: cpio.TypeSymlink | 0o777, Data: []byte("b/file")},
	}}
	first, err := Build(t.Context(), dir, spec)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(first)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	names, got := entries(t, f)
	for name, want := range map[string]string{
		"init": "the agent", "a": "dir", "a/b": "dir", "a/b/file": "data", "a/link": "-> b/file", "tmp": "dir",
	} {
		if got[name] != want {
			t.Errorf("%s = %q, want %q", name, got[name], want)
		}
	}
	for i, n := range names {
		if d := filepath.Dir(n); d != "." && !slices.Contains(names[:i], d) {
			t.Errorf("%s comes before its folder", n)
		}
	}
	if again, err := Build(t.Context(), dir, spec); err != nil || again != first {
		t.Errorf("Build() of the same = %s, %v, want %s", again, err, first)
	}
	spec.Extra[0].Data = []byte("other")
	if other, err := Build(t.Context(), dir, spec); err != nil || other == first {
		t.Errorf("Build() of other contents = %s, %v, want another file", other, err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "partial-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

// Archives nobody asked for since yesterday go, others stay.
func TestPrune(t *testing.T) {
	dir := t.TempDir()
	old := time.Now().Add(-keepFor - time.Minute)
	for _, name := range []string{"initramfs-old.cpio", "partial-old", "initramfs-new.cpio", "other"} {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if name != "initramfs-new.cpio" {
			if err := os.Chtimes(p, old, old); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := prune(dir, time.Now()); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	want := []string{filepath.Join(dir, "initramfs-new.cpio"), filepath.Join(dir, "other")}
	if err != nil || !slices.Equal(left, want) {
		t.Errorf("after prune(): %q, %v, want %q", left, err, want)
	}
}

func TestBuildRefused(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, extra := range map[string][]File{
		"relative name":     {{Name: "a"}},
		"missing source":    {{Name: "/a", Source: "/no/such/file"}},
		"two under a name":  {{Name: "/a", Data: []byte("1")}, {Name: "/a", Data: []byte("2")}},
		"over its own file": {{Name: "/init", Data: []byte("2")}},
	} {
		if p, err := Build(t.Context(), t.TempDir(), Spec{Init: self, Extra: extra}); err == nil {
			t.Errorf("%s: Build() = %s, want an error", name, p)
		}
	}
}

// The libraries found are those the loader of this system maps.
func TestProgramFiles(t *testing.T) {
	program, err := exec.LookPath("dpkg-deb")
	if err != nil {
		t.Fatal(err)
	}
	root := "/"
	rel, err := filepath.Rel(root, program)
	if err != nil {
		t.Fatal(err)
	}
	files, err := programFiles(root, []string{rel}, []string{"libgcc_s.so.1"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name)
	}
	// What the system's loader says it maps.
	out, err := exec.Command("ldd", program).Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		lib, _, ok := strings.Cut(strings.TrimSpace(line), " => ")
		if ok && !slices.Contains(names, guestLibraries+lib) {
			t.Errorf("programFiles(%s) lacks %s: %q", rel, lib, names)
		}
	}
	for _, want := range []string{"/" + rel, guestLoader, guestLibraries + "libgcc_s.so.1"} {
		if !slices.Contains(names, want) {
			t.Errorf("programFiles(%s) lacks %s: %q", rel, want, names)
		}
	}
	if _, err := programFiles(root, []string{rel}, []string{"libnone.so.7"}); err == nil {
		t.Error("programFiles() with a library that is nowhere = nil error")
	}
	if _, err := findLibrary(lab.LibraryDirs(root), "libnone.so.7"); err == nil {
		t.Error("findLibrary(libnone.so.7) = nil error")
	}
}

func TestClosure(t *testing.T) {
	loaded := map[string]*module{
		"gre":       {},
		"ip_tunnel": {},
		"ip_gre":    {depends: []string{"ip_tunnel", "gre"}},
		"top":       {depends: []string{"ip_gre", "gre"}},
	}
	for name, want := range map[string][]string{
		"gre":    nil,
		"ip_gre": {"gre", "ip_tunnel"},
		"top":    {"ip_gre", "gre", "ip_tunnel"},
	} {
		if diff := cmp.Diff(want, closure(name, loaded)); diff != "" {
			t.Errorf("closure(%s) (-want +got):\n%s", name, diff)
		}
	}
}
