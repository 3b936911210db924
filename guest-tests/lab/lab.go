// Package lab makes the things a guest test needs out of nothing but a Debian
// mirror: a QEMU new enough, an older one, a stock kernel, the programs that go
// into the guest, and peers such as testpmd and tshark.
//
// Nothing is installed. Each tool lives with all its libraries in a root of its
// own below one cache folder and runs from there by its own dynamic loader, so
// neither root rights nor a chroot are needed and the system's package state is
// neither read nor changed. A root is fetched the first time something of it is
// asked for; after that it is used as it is, also without a network.
package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// Environment variables that change where the lab looks.
const (
	// EnvCache names the cache folder; unset means .cache/lab in the repository.
	EnvCache = "LAB_CACHE"
	// EnvMirror is the URI of a Debian mirror; unset means the one the system's
	// apt is set up with.
	EnvMirror = "LAB_MIRROR"
)

// Lab is one cache folder. It may be used from several goroutines, and several
// processes may share the folder: whoever comes second waits for the first.
type Lab struct {
	dir    string
	mirror string
	logf   func(format string, args ...any)

	mu      sync.Mutex // guards the memory of answers below
	updated map[Release]bool
	qemus   map[QEMUAge]*QEMU
	kernel  *Kernel
	accel   string

	building sync.Mutex        // held while a program is built; guards built
	built    map[string]string // paths by package and flags
}

// Options of Open; the zero value is right for nearly everyone.
type Options struct {
	// Dir is the cache folder. Empty: LAB_CACHE, else .cache/lab beside the
	// go.mod that governs the working directory.
	Dir string
	// Mirror is a Debian mirror's URI. Empty: LAB_MIRROR, else what the
	// system's apt uses.
	Mirror string
	// Logf receives a line for each step that takes noticeable time. Nil
	// drops them.
	Logf func(format string, args ...any)
}

// Open gives access to the cache folder and makes it if need be. It fetches
// nothing.
func Open(o Options) (*Lab, error) {
	if o.Dir == "" {
		o.Dir = os.Getenv(EnvCache)
	}
	if o.Dir == "" {
		repo, err := RepositoryDir()
		if err != nil {
			return nil, fmt.Errorf("lab: no cache folder: set %s: %w", EnvCache, err)
		}
		o.Dir = filepath.Join(repo, ".cache", "lab")
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("lab: cache folder: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("lab: cache folder: %w", err)
	}
	if o.Mirror == "" {
		o.Mirror = os.Getenv(EnvMirror)
	}
	if o.Logf == nil {
		o.Logf = func(string, ...any) {}
	}
	return &Lab{
		dir:     dir,
		mirror:  o.Mirror,
		logf:    o.Logf,
		updated: make(map[Release]bool),
		qemus:   make(map[QEMUAge]*QEMU),
		built:   make(map[string]string),
	}, nil
}

// Dir returns the cache folder as an absolute path. Others may keep what they
// derive from the lab's contents below it, see CacheDir.
func (l *Lab) Dir() string { return l.dir }

// CacheDir returns a folder of the given name inside the cache, made if need
// be. The lab itself uses the names "apt", "roots" and "state".
func (l *Lab) CacheDir(name string) (string, error) {
	dir := filepath.Join(l.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("lab: %w", err)
	}
	return dir, nil
}

// Logf reports progress to whoever opened the lab.
func (l *Lab) Logf(format string, args ...any) { l.logf(format, args...) }

// Prepare fetches what booting a guest takes: the new QEMU, the kernel, the
// guest's programs and the decision how to accelerate. With names it fetches
// those tools too; All() lists them.
func (l *Lab) Prepare(ctx context.Context, tools ...string) error {
	if _, err := l.QEMU(ctx, NewQEMU); err != nil {
		return err
	}
	if _, err := l.Kernel(ctx); err != nil {
		return err
	}
	if _, err := l.GuestRoot(ctx); err != nil {
		return err
	}
	if _, err := l.Accelerator(ctx); err != nil {
		return err
	}
	for _, name := range tools {
		if _, err := l.Tool(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// RepositoryDir returns the folder of the go.mod above the working directory.
func RepositoryDir() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		} else if !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("no go.mod in the working directory or above it")
		}
		dir = up
	}
}
