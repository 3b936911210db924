package internal

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// These tests hold the structure that docs/architecture.md describes.

const (
	module = "vhost-user-nvgre"
	root   = "../.."
)

// layer is a folder and the folders whose packages its packages may import.
type layer struct {
	folder string
	may    []string
	reason string
}

var layers = []layer{
	{
		"virtio",
		[]string{"virtio"},
		"virtio describes rings and memory to everyone else, so it can depend on none of them",
	},
	{
		"offload",
		[]string{"offload", "virtio"},
		"offload works on frames alone; without ports, sockets and clocks it can be tested byte by byte",
	},
	{
		"queues",
		[]string{"queues", "offload", "virtio"},
		"queues must not know which protocol hands it rings; it satisfies vhostuser.Backend structurally",
	},
	{
		"vhostuser",
		[]string{"vhostuser", "virtio"},
		"vhostuser speaks the protocol for any device; what is behind Backend is not its business",
	},
	{
		"cmd",
		[]string{"cmd", "queues", "vhostuser", "offload", "virtio"},
		"cmd wires the parts together and must not depend on what tests them",
	},
	{
		"guest-tests",
		[]string{"guest-tests", "cmd/internal/control", "cmd/qmp", "offload", "virtio", "vhostuser/frontendtest", "vhostuser/wire", "virtio/vringtest"},
		"guest tests see the daemon from outside, as its users do, and talk to it and to QEMU by client packages",
	},
	{
		"scripts",
		[]string{"scripts"},
		"scripts look at the sources, not into the packages",
	},
}

// pkg is what go list tells of a package.
type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string
	Error      *struct{ Err string }
}

// list returns the packages of the module, dependencies included.
func list(t *testing.T) []pkg {
	t.Helper()
	c := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Imports,Deps,Error", "./...")
	c.Dir = root
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var all []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		switch err := d.Decode(&p); {
		case errors.Is(err, io.EOF):
			return all
		case err != nil:
			t.Fatalf("go list: %v", err)
		}
		all = append(all, p)
	}
}

// within reports whether path is folder or in it.
func within(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}

// ours returns an import path relative to the module.
func ours(path string) (string, bool) {
	if !within(path, module) {
		return "", false
	}
	return strings.TrimPrefix(strings.TrimPrefix(path, module), "/"), true
}

func TestWhoMayImportWhom(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range list(t) {
		path, _ := ours(p.ImportPath)
		l := layerOf(path)
		if l == nil {
			t.Errorf("package %s is in no layer; which ones are there, and who may import whom, stands in docs/architecture.md", path)
			continue
		}
		seen[l.folder] = true
		for _, imported := range p.Imports {
			name, ok := ours(imported)
			if ok && !allowed(l, name) {
				t.Errorf("%s imports %s, but may import only %s: %s", path, name, strings.Join(l.may, ", "), l.reason)
			}
		}
	}
	for i := range layers {
		if !seen[layers[i].folder] {
			t.Errorf("there is no package in %s; did the folder move?", layers[i].folder)
		}
	}
}

func layerOf(path string) *layer {
	for i := range layers {
		if within(path, layers[i].folder) {
			return &layers[i]
		}
	}
	return nil
}

func allowed(l *layer, path string) bool {
	for _, folder := range l.may {
		if within(path, folder) {
			return true
		}
	}
	return false
}

// forTests are packages that only tests import: they check with a testing.T,
// or are slow and simple on purpose.
var forTests = []string{"virtio/vringtest", "vhostuser/frontendtest"}

func TestProgramsHoldNoTestCode(t *testing.T) {
	for _, p := range list(t) {
		path, _ := ours(p.ImportPath)
		if !within(path, "cmd/vhost-user-nvgre") && !within(path, "cmd/nvgrectl") {
			continue
		}
		for _, dep := range p.Deps {
			name, _ := ours(dep)
			for _, f := range forTests {
				if within(name, f) {
					t.Errorf("%s depends on %s, which is for tests", path, name)
				}
			}
			if dep == "testing" {
				t.Errorf("%s depends on package testing", path)
			}
		}
	}
}

// rule is a package that only some files may import.
type rule struct {
	pkg    string
	may    func(file string) bool // path relative to the module
	reason string
}

var rules = []rule{
	{
		"unsafe",
		func(file string) bool { return strings.Contains(filepath.Base(file), "_unsafe") },
		"pointer arithmetic is confined to files named *_unsafe.go, which are read with that in mind",
	},
	{
		"C", func(string) bool { return false },
		"the programs are built without cgo, so that they run anywhere",
	},
	{
		"github.com/sirupsen/logrus",
		func(file string) bool { return within(file, "cmd") },
		"libraries log through a small interface; which logger there is is decided in cmd",
	},
	{
		"github.com/spf13/cobra",
		func(file string) bool { return within(file, "cmd") },
		"command lines are read in cmd",
	},
}

// TestConfinedPackages reads every file, so it also sees those that build
// tags leave out here.
func TestConfinedPackages(t *testing.T) {
	files := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "bin" || name == "testdata") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		files++
		file, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		checkFile(t, path, file)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files == 0 {
		t.Fatal("no Go files were found")
	}
}

func checkFile(t *testing.T, path, file string) {
	t.Helper()
	tree, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
	if err != nil {
		t.Error(err)
		return
	}
	for _, spec := range tree.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, r := range rules {
			if imported == r.pkg && !r.may(file) {
				t.Errorf("%s imports %s: %s", file, imported, r.reason)
			}
		}
	}
}
