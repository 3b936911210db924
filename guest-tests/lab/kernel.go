package lab

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// preferredKernel is the series the tests were written for. When the archive
// has dropped it, the newest there is takes its place.
const preferredKernel = "7.2."

// Kernel is a stock kernel with its modules.
type Kernel struct {
	// Version as uname -r gives it.
	Version string
	// Image is the path of what to boot: the kernel unpacked if possible.
	Image string
	// Packed is the path of the image as Debian ships it.
	Packed string
	// Modules is the folder lib/modules/VERSION.
	Modules string
	// Package is the version of the Debian package.
	Package string
}

// kernelPackage matches the signed image packages of the cloud flavour.
var kernelPackage = regexp.MustCompile(`^linux-binary-((\d+)\.(\d+)\.(\d+)\S*-cloud-amd64)$`)

// Kernel returns the kernel guests boot, fetched if need be.
func (l *Lab) Kernel(ctx context.Context) (*Kernel, error) {
	l.mu.Lock()
	k := l.kernel
	l.mu.Unlock()
	if k != nil {
		return k, nil
	}
	version, err := l.kernelVersion(ctx)
	if err != nil {
		return nil, err
	}
	root, err := l.root(ctx, rootSpec{
		name:           "kernel",
		release:        Trixie,
		packages:       []string{"linux-binary-" + version, "linux-modules-" + version},
		noDependencies: true,
	})
	if err != nil {
		return nil, err
	}
	modules := filepath.Join(root, "usr/lib/modules", version)
	k = &Kernel{Version: version, Modules: modules, Packed: filepath.Join(modules, "vmlinuz")}
	if k.Image, err = l.uncompressed(ctx, k.Packed, version); err != nil {
		return nil, err
	}
	if k.Package, err = packageVersion(root, "linux-binary-"+version); err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.kernel = k
	l.mu.Unlock()
	return k, nil
}

// kernelVersion returns the version chosen earlier, or chooses one and keeps
// the choice: the archive moves on, a cache should not.
func (l *Lab) kernelVersion(ctx context.Context) (string, error) {
	dir, err := l.CacheDir("state")
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "kernel")
	if b, err := os.ReadFile(file); err == nil {
		return strings.TrimSpace(string(b)), nil
	}
	unlock, err := l.lock(ctx, string(Trixie))
	if err != nil {
		return "", err
	}
	defer unlock()
	a, err := l.apt(ctx, Trixie)
	if err != nil {
		return "", err
	}
	names, err := a.names(ctx, "linux-binary-")
	if err != nil {
		return "", err
	}
	version := pickKernel(names)
	if version == "" {
		return "", fmt.Errorf("lab: none of the %d linux-binary packages of %s is a cloud kernel", len(names), Trixie)
	}
	l.logf("lab: kernel %s", version)
	return version, writeFileAtomic(file, []byte(version+"\n"))
}

// pickKernel returns the version of the newest preferred kernel, else of the
// newest one, else "".
func pickKernel(packages []string) string {
	type candidate struct {
		version   string
		preferred int
		num       [3]int
	}
	var all []candidate
	for _, p := range packages {
		m := kernelPackage.FindStringSubmatch(p)
		if m == nil {
			continue
		}
		c := candidate{version: m[1]}
		for i := range c.num {
			c.num[i], _ = strconv.Atoi(m[2+i]) // The expression admits digits only.
		}
		if strings.HasPrefix(c.version, preferredKernel) {
			c.preferred = 1
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return ""
	}
	return slices.MaxFunc(all, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.preferred, b.preferred), slices.Compare(a.num[:], b.num[:]), cmp.Compare(a.version, b.version))
	}).version
}

// writeFileAtomic replaces a file so that readers see the old or the new text.
func writeFileAtomic(path string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	_, err = tmp.Write(data)
	err = cmp.Or(err, tmp.Chmod(0o644), tmp.Close(), os.Rename(tmp.Name(), path))
	if err != nil {
		os.Remove(tmp.Name())
		return fmt.Errorf("lab: %w", err)
	}
	return nil
}
