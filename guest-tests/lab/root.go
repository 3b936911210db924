package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// manifestName is a file in each root that lists its packages, one
// "name version" a line.
const manifestName = ".packages"

// dead weight in every root.
var pruned = []string{"usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/lintian", "usr/share/icons"}

// id names the folder: equal specifications share a root, others never do.
func (s rootSpec) id() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "1 %s %s %q %v %q %q", s.release, suites[s.release], s.target, s.noDependencies, s.packages, s.patches))
	return fmt.Sprintf("%s-%x", s.name, sum[:4])
}

// root returns the folder of a root, fetched if it is not there. A root is
// built beside its final place and renamed, so a run that was killed leaves
// nothing that looks complete.
func (l *Lab) root(ctx context.Context, spec rootSpec) (string, error) {
	final := filepath.Join(l.dir, "roots", spec.id())
	if isDir(final) {
		return final, nil
	}
	unlock, err := l.lock(ctx, string(spec.release))
	if err != nil {
		return "", err
	}
	defer unlock()
	if isDir(final) { // The run we waited for built it.
		return final, nil
	}
	a, err := l.apt(ctx, spec.release)
	if err != nil {
		return "", err
	}
	a.target = spec.target
	start := time.Now()
	l.logf("lab: %s: downloading %s from %s", spec.name, strings.Join(spec.packages, " "), spec.release)
	debs, err := a.download(ctx, spec)
	if err != nil {
		return "", err
	}
	l.logf("lab: %s: unpacking %d packages", spec.name, len(debs))
	partial := final + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return "", fmt.Errorf("lab: %w", err)
	}
	if err := unpack(ctx, debs, partial); err != nil {
		return "", err
	}
	for _, p := range spec.patches {
		if err := p.apply(partial); err != nil {
			return "", err
		}
	}
	if err := os.Rename(partial, final); err != nil {
		return "", fmt.Errorf("lab: %w", err)
	}
	if err := removeDebs(filepath.Dir(debs[0])); err != nil {
		return "", err
	}
	l.logf("lab: %s: ready after %.1f s", spec.name, time.Since(start).Seconds())
	return final, nil
}

// apt returns the release's private apt with package lists of this run. The
// caller holds the release's lock.
func (l *Lab) apt(ctx context.Context, release Release) (*apt, error) {
	mirror := l.mirror
	if mirror == "" {
		var err error
		if mirror, err = systemMirror(ctx); err != nil {
			return nil, err
		}
	}
	a, err := newAPT(ctx, filepath.Join(l.dir, "apt", string(release)), mirror, release, l.logf)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	done := l.updated[release]
	l.mu.Unlock()
	if !done {
		l.logf("lab: package lists of %s", strings.Join(suites[release], ", "))
		if err := a.update(ctx); err != nil {
			return nil, err
		}
		l.mu.Lock()
		l.updated[release] = true
		l.mu.Unlock()
	}
	return a, nil
}

// unpack extracts packages over each other into dir and writes the manifest.
func unpack(ctx context.Context, debs []string, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	var manifest strings.Builder
	for _, deb := range debs {
		if _, err := exec.CommandContext(ctx, "dpkg-deb", "-x", deb, dir).Output(); err != nil {
			return fmt.Errorf("lab: unpacking %s: %w", filepath.Base(deb), explain(err))
		}
		name, version := debName(deb)
		fmt.Fprintf(&manifest, "%s %s\n", name, version)
	}
	for _, p := range pruned {
		if err := os.RemoveAll(filepath.Join(dir, p)); err != nil {
			return fmt.Errorf("lab: %w", err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, manifestName), []byte(manifest.String()), 0o644); err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	return nil
}

// apply changes the file.
func (p *patch) apply(root string) error {
	if len(p.old) != len(p.new) {
		return fmt.Errorf("lab: patch of %s: %q is not as long as %q", p.file, p.new, p.old)
	}
	path := filepath.Join(root, p.file)
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	if !bytes.Contains(b, []byte(p.old)) {
		return fmt.Errorf("lab: patch of %s: it does not contain %q", p.file, p.old)
	}
	if err := os.WriteFile(path, bytes.ReplaceAll(b, []byte(p.old), []byte(p.new)), 0o644); err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	return nil
}

// debName splits the name of a package file, name_version_arch.deb, in which
// apt writes the version percent-encoded.
func debName(file string) (name, version string) {
	parts := strings.SplitN(strings.TrimSuffix(filepath.Base(file), ".deb"), "_", 3)
	if len(parts) < 2 {
		return parts[0], ""
	}
	version, err := url.PathUnescape(parts[1])
	if err != nil {
		version = parts[1]
	}
	return parts[0], version
}

// packageVersion reads a version from a root's manifest.
func packageVersion(root, pkg string) (string, error) {
	b, err := os.ReadFile(filepath.Join(root, manifestName))
	if err != nil {
		return "", fmt.Errorf("lab: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		if n, v, ok := strings.Cut(strings.TrimSpace(line), " "); ok && n == pkg {
			return v, nil
		}
	}
	return "", fmt.Errorf("lab: package %s is not in %s", pkg, root)
}

// lock takes the named lock against other goroutines and processes.
func (l *Lab) lock(ctx context.Context, name string) (unlock func(), err error) {
	dir, err := l.CacheDir("state")
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, name+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for told := false; ; {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil // Closing drops the lock.
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, fmt.Errorf("lab: locking %s: %w", f.Name(), err)
		}
		if !told {
			l.logf("lab: waiting for another run that prepares %s", name)
			told = true
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("lab: waiting for %s: %w", f.Name(), ctx.Err())
		case <-tick.C:
		}
	}
}

func isDir(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}
