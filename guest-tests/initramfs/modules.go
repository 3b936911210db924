package initramfs

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
)

// module is one of the kernel's modules.
type module struct {
	path    string   // below the modules folder, as stored
	depends []string // names of those it needs itself
}

const compressed = ".xz"

// moduleFiles returns the modules named, those they depend on, and a
// modules.dep that lists them. Debian's packages leave it to the installation
// to write that file.
func moduleFiles(dir, version string, names []string) ([]File, error) {
	if len(names) == 0 {
		return nil, nil
	}
	index, err := indexModules(dir)
	if err != nil {
		return nil, err
	}
	loaded := make(map[string]*module)
	for _, n := range names {
		if err := collect(dir, index, canonical(n), loaded); err != nil {
			return nil, err
		}
	}
	guestDir := "/lib/modules/" + version
	var files []File
	var dep strings.Builder
	order := make([]string, 0, len(loaded))
	for n := range loaded {
		order = append(order, n)
	}
	sort.Strings(order)
	for _, n := range order {
		m := loaded[n]
		plain := strings.TrimSuffix(m.path, compressed)
		files = append(files, File{
			Name: filepath.Join(guestDir, plain), Mode: 0o644,
			Source: filepath.Join(dir, m.path), unxz: plain != m.path,
		})
		dep.WriteString(plain + ":")
		for _, d := range closure(n, loaded) {
			dep.WriteString(" " + strings.TrimSuffix(loaded[d].path, compressed))
		}
		dep.WriteByte('\n')
	}
	return append(files, File{Name: guestDir + "/modules.dep", Mode: 0o644, Data: []byte(dep.String())}), nil
}

// canonical is the name a module goes by in the kernel.
func canonical(name string) string { return strings.ReplaceAll(name, "-", "_") }

// indexModules finds all modules below dir by name.
func indexModules(dir string) (map[string]string, error) {
	index := make(map[string]string)
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		base := strings.TrimSuffix(d.Name(), compressed)
		if name, ok := strings.CutSuffix(base, ".ko"); ok {
			rel, err := filepath.Rel(dir, p)
			if err != nil {
				return err
			}
			index[canonical(name)] = rel
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("initramfs: kernel modules: %w", err)
	}
	return index, nil
}

// collect adds a module and all it depends on to loaded.
func collect(dir string, index map[string]string, name string, loaded map[string]*module) error {
	if loaded[name] != nil {
		return nil
	}
	path, ok := index[name]
	if !ok {
		return fmt.Errorf("initramfs: the kernel in %s has no module %q", dir, name)
	}
	depends, err := moduleDepends(filepath.Join(dir, path))
	if err != nil {
		return err
	}
	loaded[name] = &module{path: path, depends: depends}
	for _, d := range depends {
		if err := collect(dir, index, d, loaded); err != nil {
			return err
		}
	}
	return nil
}

// closure returns everything a module needs in the order of modules.dep: what
// comes later in the list has to be loaded earlier.
func closure(name string, loaded map[string]*module) []string {
	var load []string // in loading order
	var visit func(n string)
	visit = func(n string) {
		for _, d := range loaded[n].depends {
			if !slices.Contains(load, d) {
				visit(d)
				load = append(load, d)
			}
		}
	}
	visit(name)
	slices.Reverse(load)
	return load
}

// moduleDepends reads the "depends" entry of a module's .modinfo section.
func moduleDepends(file string) ([]string, error) {
	b, err := os.ReadFile(file)
	if err == nil && strings.HasSuffix(file, compressed) {
		b, err = decompress(b)
	}
	if err != nil {
		return nil, fmt.Errorf("initramfs: module %s: %w", file, err)
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("initramfs: module %s: %w", file, err)
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("initramfs: module %s has no .modinfo section", file)
	}
	info, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("initramfs: module %s: %w", file, err)
	}
	for entry := range bytes.SplitSeq(info, []byte{0}) {
		list, ok := bytes.CutPrefix(entry, []byte("depends="))
		if !ok || len(list) == 0 {
			continue
		}
		depends := strings.Split(string(list), ",")
		for i := range depends {
			depends[i] = canonical(depends[i])
		}
		return depends, nil
	}
	return nil, nil
}
