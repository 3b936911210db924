// Package initramfs builds the guests' root file system: a cpio archive that
// the kernel unpacks into memory. It holds a static busybox, a few programs
// with the shared libraries they need, kernel modules with those they depend
// on, and the agent as /init.
//
// The archive is not compressed. QEMU copies it into guest memory for nothing,
// while unpacking a compressed one costs the guest more than a second under
// emulation.
package initramfs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/cavaliergopher/cpio"
)

// Spec says what goes into an archive.
type Spec struct {
	// Root is the folder programs and libraries are taken from.
	Root string
	// Programs are dynamically linked files, paths below Root. They keep
	// their paths.
	Programs []string
	// Libraries are names of shared libraries to include although no program
	// names them, because they are opened at run time.
	Libraries []string
	// Busybox is the path of a static busybox below Root; empty for none.
	Busybox string
	// Applets are the names busybox is reachable by in /bin.
	Applets []string
	// KernelVersion and KernelModules (lib/modules/VERSION on the host) say
	// where Modules, given by name, come from.
	KernelVersion, KernelModules string
	Modules                      []string
	// Init is the host's path of the first process, a static program.
	Init string
	// Extra are more files. They must be static programs or data.
	Extra []File
}

// File is one regular file, folder or symbolic link in an archive.
type File struct {
	// Name is the absolute path in the guest.
	Name string
	// Mode holds permissions and, for anything but a regular file, the type.
	Mode cpio.FileMode
	// Source is a regular file's path on the host; empty means Data.
	Source string
	// Data is a regular file's contents, or the target of a link.
	Data []byte
	// unxz marks a Source that is stored in the xz format and goes in plain.
	unxz bool
}

// Build returns the path of an archive below dir that matches spec. One built
// earlier from the same contents is returned as it is. Several processes may
// build at once.
func Build(ctx context.Context, dir string, spec Spec) (string, error) {
	files, err := spec.files()
	if err != nil {
		return "", err
	}
	key, err := contentKey(files)
	if err != nil {
		return "", err
	}
	final := filepath.Join(dir, archivePrefix+key+".cpio")
	now := time.Now()
	if err := os.Chtimes(final, now, now); err == nil { // Says that it is in use.
		return final, nil
	}
	if err := prune(dir, now); err != nil {
		return "", err
	}
	tmp, err := os.CreateTemp(dir, partialPrefix+"*")
	if err != nil {
		return "", fmt.Errorf("initramfs: %w", err)
	}
	defer os.Remove(tmp.Name()) // Fails, as it should, after the rename.
	err = errors.Join(write(ctx, tmp, files), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), final)
	}
	if err != nil {
		return "", fmt.Errorf("initramfs: %w", err)
	}
	return final, nil
}

const (
	archivePrefix = "initramfs-"
	partialPrefix = "partial-"
)

// keepFor is how long an archive nobody asks for stays: every change of the
// agent leaves one. A guest does not need its archive once it has started.
const keepFor = 24 * time.Hour

// prune removes what was not used for long, and what a killed run left.
func prune(dir string, now time.Time) error {
	list, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	for _, e := range list {
		info, err := e.Info()
		if err != nil {
			continue // Another run removed it.
		}
		ours := strings.HasPrefix(e.Name(), archivePrefix) || strings.HasPrefix(e.Name(), partialPrefix)
		if ours && now.Sub(info.ModTime()) > keepFor {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("initramfs: %w", err)
			}
		}
	}
	return nil
}

// files lists everything the archive holds, sorted so that folders come before
// what is in them.
func (s *Spec) files() ([]File, error) {
	files := []File{
		// /dev/console, which the first process's standard files come from, is
		// in the archive built into every kernel.
		{Name: "/init", Mode: 0o755, Source: s.Init},
		{Name: "/etc/passwd", Mode: 0o644, Data: []byte("root:x:0:0:root:/root:/bin/sh\n")},
		{Name: "/etc/group", Mode: 0o644, Data: []byte("root:x:0:\n")},
		{Name: "/etc/hosts", Mode: 0o644, Data: []byte("127.0.0.1 localhost\n::1 localhost\n")},
		{Name: "/root", Mode: cpio.TypeDir | 0o700},
		{Name: "/tmp", Mode: cpio.TypeDir | 0o1777},
	}
	if s.Busybox != "" {
		files = append(files, File{Name: "/bin/busybox", Mode: 0o755, Source: filepath.Join(s.Root, s.Busybox)})
		for _, a := range s.Applets {
			files = append(files, File{Name: "/bin/" + a, Mode: cpio.TypeSymlink | 0o777, Data: []byte("busybox")})
		}
	}
	programs, err := programFiles(s.Root, s.Programs, s.Libraries)
	if err != nil {
		return nil, err
	}
	modules, err := moduleFiles(s.KernelModules, s.KernelVersion, s.Modules)
	if err != nil {
		return nil, err
	}
	files = append(append(append(files, programs...), modules...), s.Extra...)
	return withFolders(files)
}

// withFolders adds the folders the files lie in, drops what was named twice
// the same way, and sorts.
func withFolders(files []File) ([]File, error) {
	byName := make(map[string]File)
	for _, f := range files {
		f.Name = path.Clean(f.Name)
		if !path.IsAbs(f.Name) {
			return nil, fmt.Errorf("initramfs: %q is not an absolute path", f.Name)
		}
		if old, ok := byName[f.Name]; ok && (old.Source != f.Source || !bytes.Equal(old.Data, f.Data)) {
			return nil, fmt.Errorf("initramfs: %s is named twice, from %q and %q", f.Name, old.Source, f.Source)
		}
		byName[f.Name] = f
		for d := path.Dir(f.Name); d != "/"; d = path.Dir(d) {
			if _, ok := byName[d]; !ok {
				byName[d] = File{Name: d, Mode: cpio.TypeDir | 0o755}
			}
		}
	}
	all := make([]File, 0, len(byName))
	for _, f := range byName {
		all = append(all, f)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	return all, nil
}

// contentKey names an archive after everything that goes into it.
func contentKey(files []File) (string, error) {
	h := sha256.New()
	for _, f := range files {
		sum := sha256.Sum256(f.Data)
		if f.Source != "" {
			b, err := os.ReadFile(f.Source)
			if err != nil {
				return "", fmt.Errorf("initramfs: %w", err)
			}
			sum = sha256.Sum256(b)
		}
		fmt.Fprintf(h, "%q %o %x\n", f.Name, f.Mode, sum)
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:8]), nil
}
