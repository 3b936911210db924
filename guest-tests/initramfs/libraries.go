package initramfs

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"vhost-user-nvgre/guest-tests/lab"
)

// guestLoader is the path of the dynamic loader that programs have built in.
const guestLoader = "/lib64/ld-linux-x86-64.so.2"

// guestLibraries is where the loader looks without being told.
const guestLibraries = "/lib/x86_64-linux-gnu/"

// programFiles returns the programs of a root, the libraries they and those
// named extra need, and the loader.
func programFiles(root string, programs, extra []string) ([]File, error) {
	if len(programs) == 0 {
		return nil, nil
	}
	loader, err := lab.Loader(root)
	if err != nil {
		return nil, err
	}
	files := []File{{Name: guestLoader, Mode: 0o755, Source: loader}}
	var todo []string
	for _, p := range programs {
		src := filepath.Join(root, p)
		needs, err := imported(src)
		if err != nil {
			return nil, err
		}
		files = append(files, File{Name: "/" + p, Mode: 0o755, Source: src})
		todo = append(todo, needs...)
	}
	todo = append(todo, extra...)
	dirs := lab.LibraryDirs(root)
	done := make(map[string]bool)
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		if done[name] || name == filepath.Base(guestLoader) {
			continue
		}
		done[name] = true
		src, err := findLibrary(dirs, name)
		if err != nil {
			return nil, err
		}
		needs, err := imported(src)
		if err != nil {
			return nil, err
		}
		files = append(files, File{Name: guestLibraries + name, Mode: 0o644, Source: src})
		todo = append(todo, needs...)
	}
	return files, nil
}

// imported returns the libraries a file names as needed.
func imported(file string) ([]string, error) {
	f, err := elf.Open(file)
	if err != nil {
		return nil, fmt.Errorf("initramfs: %w", err)
	}
	defer f.Close()
	libs, err := f.ImportedLibraries()
	if err != nil {
		return nil, fmt.Errorf("initramfs: libraries of %s: %w", file, err)
	}
	return libs, nil
}

func findLibrary(dirs []string, name string) (string, error) {
	for _, d := range dirs {
		p := filepath.Join(d, name)
		_, err := os.Stat(p)
		if err == nil {
			return p, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("initramfs: %w", err)
		}
	}
	return "", fmt.Errorf("initramfs: library %s is in none of %s", name, strings.Join(dirs, ", "))
}
