package lab

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Program is something that can be started: a program of the system, or one
// inside a root together with the loader and environment it needs there.
type Program struct {
	// Name is what people call it.
	Name string
	// Path is what is executed.
	Path string
	// Args come before the caller's own.
	Args []string
	// Env is added to the environment, "NAME=value" each.
	Env []string
	// Root is the folder the program comes from; empty for the system's.
	Root string
}

// Command prepares a run of the program. Like exec.CommandContext it kills the
// process when ctx ends.
func (p *Program) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, p.Path, append(slices.Clone(p.Args), args...)...)
	cmd.Env = append(os.Environ(), p.Env...)
	return cmd
}

// libraryDirs are searched for shared libraries, relative to a root. Debian 12
// still ships some outside usr.
var libraryDirs = []string{
	"usr/lib/x86_64-linux-gnu",
	"lib/x86_64-linux-gnu",
	"usr/lib/x86_64-linux-gnu/pulseaudio",
	"usr/lib/x86_64-linux-gnu/blas",
	"usr/lib/x86_64-linux-gnu/lapack",
}

const loaderName = "ld-linux-x86-64.so.2"

// LibraryDirs returns the folders of a root that hold shared libraries.
func LibraryDirs(root string) []string {
	var dirs []string
	for _, d := range libraryDirs {
		if dir := filepath.Join(root, d); isDir(dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// Loader returns the dynamic loader of a root.
func Loader(root string) (string, error) {
	// lib64/ld-linux… would be an absolute link out of the root on Debian 12.
	for _, d := range libraryDirs[:2] {
		p := filepath.Join(root, d, loaderName)
		if _, err := os.Stat(p); err == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("lab: no %s in %s", loaderName, root)
}

// rootProgram makes a program of a dynamically linked file inside a root.
func rootProgram(root, path string) (*Program, error) {
	file := filepath.Join(root, path)
	if _, err := os.Stat(file); err != nil {
		return nil, fmt.Errorf("lab: program missing from its root: %w", err)
	}
	loader, err := Loader(root)
	if err != nil {
		return nil, err
	}
	args := []string{"--library-path", strings.Join(LibraryDirs(root), ":"), file}
	return &Program{Name: filepath.Base(path), Path: loader, Args: args, Root: root}, nil
}

// Tool returns a program by its name in the catalogue, fetching its root first
// if need be. All lists the names.
func (l *Lab) Tool(ctx context.Context, name string) (*Program, error) {
	spec, ok := tools[name]
	if !ok {
		return nil, fmt.Errorf("lab: no tool %q; there are %q", name, slices.Sorted(maps.Keys(tools)))
	}
	root, err := l.root(ctx, spec.root)
	if err != nil {
		return nil, err
	}
	p, err := rootProgram(root, spec.path)
	if err != nil {
		return nil, err
	}
	if spec.setup != nil {
		if err := spec.setup(root, p); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// GuestRoot returns the root with the programs that go into the guest: static
// busybox, ethtool, iperf3 and iproute2. (zstd is in it for the kernel image.)
func (l *Lab) GuestRoot(ctx context.Context) (string, error) { return l.root(ctx, rootGuest) }

// drivers are those of DPDK that testpmd is used with.
var drivers = []string{"bus_vdev", "bus_pci", "mempool_ring", "net_virtio", "net_vhost", "net_null"}

// setupDPDK makes DPDK load its drivers from the root. It is given their names,
// to be found as libraries are: files whose path it knows it refuses when
// anybody may write to a folder above, and the cache may lie in /tmp.
func setupDPDK(root string, p *Program) error {
	const pmds = "usr/lib/x86_64-linux-gnu/dpdk/pmds-*"
	dirs, err := filepath.Glob(filepath.Join(root, pmds))
	if err != nil || len(dirs) != 1 {
		return fmt.Errorf("lab: want one folder of DPDK drivers in %s, have %q", root, dirs)
	}
	p.Args[1] += ":" + dirs[0] // the loader's --library-path
	for _, d := range drivers {
		p.Args = append(p.Args, "-d", "librte_"+d+".so")
	}
	return nil
}

// setupWireshark points tshark at its data and plugins.
func setupWireshark(root string, p *Program) error {
	p.Env = append(p.Env,
		"WIRESHARK_DATA_DIR="+filepath.Join(root, "usr/share/wireshark"),
		"WIRESHARK_PLUGIN_DIR="+filepath.Join(root, "usr/lib/x86_64-linux-gnu/wireshark/plugins"),
		"WIRESHARK_EXTCAP_DIR="+filepath.Join(root, "usr/lib/x86_64-linux-gnu/wireshark/extcap"))
	return nil
}
