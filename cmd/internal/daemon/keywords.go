package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"vhost-user-nvgre/offload/ndis/adapter"
)

// keywordsFile returns the file of a port's keywords, "" where none are kept.
func keywordsFile(dir, port string) string {
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, port+".keywords.json")
}

// readKeywords returns the keywords kept in a file. None is no error.
func readKeywords(file string) (adapter.Keywords, error) {
	if file == "" {
		return nil, nil
	}
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var k adapter.Keywords
	if err := json.Unmarshal(b, &k); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := k.Check(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return k, nil
}

// writeKeywords keeps keywords in a file, which it makes or replaces in one
// step, so that there is either what was or what is.
func writeKeywords(file string, k adapter.Keywords) error {
	if file == "" {
		return nil
	}
	b, err := json.MarshalIndent(k, "", "  ")
	if err != nil {
		return err
	}
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(file)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(append(b, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}
