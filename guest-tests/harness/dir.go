package harness

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// maxSocketPath is the longest name a Unix socket may have on Linux, without
// the zero at its end (unix(7)).
const maxSocketPath = 107

// Folders are made under the second prefix and renamed once locked, so that a
// sweep never meets one whose owner has not got round to it.
const (
	dirPrefix    = "nvgre-"
	newDirPrefix = ".nvgre-"
)

// Dir is a folder for sockets: its path is short enough that socket names fit,
// and it disappears. One whose owner was killed is removed by the next NewDir
// on the machine.
type Dir struct {
	path string
	lock *os.File // the folder; an flock on it says that the owner lives
}

// NewDir makes a folder in the system's temporary folder, or in /tmp if that
// one's name is too long for sockets.
func NewDir() (*Dir, error) {
	base := os.TempDir()
	if len(base) > maxSocketPath-40 {
		base = "/tmp"
	}
	sweep(base)
	fresh, err := os.MkdirTemp(base, newDirPrefix)
	if err != nil {
		return nil, fmt.Errorf("harness: %w", err)
	}
	lock, err := tryLock(fresh)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("harness: %w", err), os.RemoveAll(fresh))
	}
	path := filepath.Join(base, dirPrefix+strings.TrimPrefix(filepath.Base(fresh), newDirPrefix))
	if err := os.Rename(fresh, path); err != nil {
		lock.Close()
		return nil, errors.Join(fmt.Errorf("harness: %w", err), os.RemoveAll(fresh))
	}
	return &Dir{path: path, lock: lock}, nil
}

// tryLock locks a folder unless someone holds it.
func tryLock(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("locking %s: %w", dir, err)
	}
	return f, nil
}

// Path returns the path of a file of that name in the folder.
func (d *Dir) Path(name string) string { return filepath.Join(d.path, name) }

// Socket is Path for a Unix socket: it fails if the name would be too long.
func (d *Dir) Socket(name string) (string, error) {
	p := d.Path(name)
	if len(p) > maxSocketPath {
		return "", fmt.Errorf("harness: socket path %s has %d bytes, Linux allows %d", p, len(p), maxSocketPath)
	}
	return p, nil
}

// Remove deletes the folder with everything in it.
func (d *Dir) Remove() error {
	if err := errors.Join(os.RemoveAll(d.path), d.lock.Close()); err != nil {
		return fmt.Errorf("harness: %w", err)
	}
	return nil
}

// sweep removes folders whose owner lives no more. What fails is left to the
// next run.
func sweep(base string) {
	dirs, _ := filepath.Glob(filepath.Join(base, dirPrefix+"*")) // The pattern is well formed.
	for _, dir := range dirs {
		if lock, err := tryLock(dir); err == nil {
			_ = os.RemoveAll(dir)
			lock.Close()
		}
	}
}
