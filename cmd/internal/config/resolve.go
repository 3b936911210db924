package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// controlName is the control socket's path below the folder for run-time
// files.
const controlName = "vhost-user-nvgre/control.sock"

// DefaultControlSocket returns where the control socket is unless the settings
// say otherwise: /run/vhost-user-nvgre/control.sock for root, else the same
// below $XDG_RUNTIME_DIR.
func DefaultControlSocket() (string, error) {
	if os.Geteuid() == 0 {
		return filepath.Join("/run", controlName), nil
	}
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		return "", errors.New("XDG_RUNTIME_DIR is not set, so there is no default path for the control socket; name one")
	}
	return filepath.Join(dir, controlName), nil
}

// ControlPath returns the path of the control socket, "" for none.
func (s *Settings) ControlPath() (string, error) {
	switch s.ControlSocket {
	case NoControlSocket:
		return "", nil
	case "":
		path, err := DefaultControlSocket()
		if err != nil {
			return "", &Error{Err: fmt.Errorf("control-socket: %w, or set it to %q", err, NoControlSocket)}
		}
		return path, nil
	}
	return s.ControlSocket, nil
}

// maxDefaultShards bounds the shards nobody asked for.
const maxDefaultShards = 8

// Processors returns the processors this process may use, ascending.
func Processors() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("sched_getaffinity: %w", err)
	}
	var all []int
	for n := 0; len(all) < set.Count(); n++ {
		if set.IsSet(n) {
			all = append(all, n)
		}
	}
	return all, nil
}

// ShardCount returns the number of shards to start, given the processors the
// process may use, and an error when CPUs has one that is not among them.
func (s *Settings) ShardCount(usable []int) (int, error) {
	for _, n := range s.CPUs {
		if !slices.Contains(usable, n) {
			return 0, &Error{Err: fmt.Errorf("cpus: processor %d is not among those this process may use (%s)", n, CPUList(usable))}
		}
	}
	switch {
	case s.Shards > 0:
		return s.Shards, nil
	case len(s.CPUs) > 0:
		return min(len(s.CPUs), maxDefaultShards), nil
	}
	return min(len(usable), maxDefaultShards), nil
}
