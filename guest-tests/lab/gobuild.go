package lab

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
)

// GoBuild builds a program of this repository, statically linked unless flags
// ask for the race detector, and returns its path. pkg is an import path or a
// path such as ./cmd/x relative to the repository; flags go to go build. It
// builds once in the life of a Lab; Go's own cache makes later runs cheap.
func (l *Lab) GoBuild(ctx context.Context, pkg string, flags ...string) (string, error) {
	key := fmt.Sprintf("%q", append([]string{pkg}, flags...))
	l.building.Lock()
	defer l.building.Unlock()
	if p := l.built[key]; p != "" {
		return p, nil
	}
	repo, err := RepositoryDir()
	if err != nil {
		return "", fmt.Errorf("lab: building %s: %w", pkg, err)
	}
	variant := sha256.Sum256(fmt.Appendf(nil, "%q", flags))
	dir, err := l.CacheDir(fmt.Sprintf("bin/%x", variant[:4]))
	if err != nil {
		return "", err
	}
	// A temporary folder beside the result: whoever runs an older build of the
	// same program keeps it, and nobody sees half a file.
	tmp, err := os.MkdirTemp(dir, "build-*")
	if err != nil {
		return "", fmt.Errorf("lab: %w", err)
	}
	defer os.RemoveAll(tmp)
	out := filepath.Join(tmp, path.Base(pkg))
	args := append([]string{"build", "-o", out}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, pkg)...)
	cmd.Dir = repo
	cmd.Env = os.Environ()
	if !slices.Contains(flags, "-race") {
		cmd.Env = append(cmd.Env, "CGO_ENABLED=0")
	}
	if said, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("lab: go build %s: %w\n%s", pkg, err, said)
	}
	final := filepath.Join(dir, path.Base(pkg))
	if err := os.Rename(out, final); err != nil {
		return "", fmt.Errorf("lab: %w", err)
	}
	l.built[key] = final
	return final, nil
}
