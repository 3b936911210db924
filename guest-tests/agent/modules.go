package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// modprobe loads a module after those it needs, as modules.dep lists them. One
// that is loaded already is left alone.
func modprobe(name string) error {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return err
	}
	dir := filepath.Join("/lib/modules", unix.ByteSliceToString(uts.Release[:]))
	files, err := dependencies(filepath.Join(dir, "modules.dep"), name)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := insert(filepath.Join(dir, f)); err != nil {
			return err
		}
	}
	return nil
}

// dependencies returns the files to load for a module, in loading order.
func dependencies(dep, name string) ([]string, error) {
	f, err := os.Open(dep)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	want := strings.ReplaceAll(name, "-", "_")
	for sc := bufio.NewScanner(f); sc.Scan(); {
		file, needs, ok := strings.Cut(sc.Text(), ":")
		base := strings.TrimSuffix(filepath.Base(file), ".ko")
		if !ok || strings.ReplaceAll(base, "-", "_") != want {
			continue
		}
		// A line names what a module needs nearest first.
		list := strings.Fields(needs)
		order := make([]string, 0, len(list)+1)
		for i := len(list) - 1; i >= 0; i-- {
			order = append(order, list[i])
		}
		return append(order, file), nil
	}
	return nil, fmt.Errorf("no module %q in this guest", name)
}

func insert(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("loading %s: %w", filepath.Base(file), err)
	}
	return nil
}

func rmmod(name string) error {
	if err := unix.DeleteModule(name, unix.O_NONBLOCK); err != nil {
		return fmt.Errorf("unloading %s: %w", name, err)
	}
	return nil
}
