package lab

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// QEMUAge chooses between the two QEMUs tests run on.
type QEMUAge int

const (
	// NewQEMU has vhost-user-test-device-pci (10.2 and later).
	NewQEMU QEMUAge = iota
	// OldQEMU is 7.2, what Debian 12 ships.
	OldQEMU
)

// String names the age.
func (a QEMUAge) String() string {
	switch a {
	case NewQEMU:
		return "new"
	case OldQEMU:
		return "old"
	}
	return fmt.Sprintf("QEMUAge(%d)", int(a))
}

// QEMU is an x86-64 system emulator.
type QEMU struct {
	*Program
	// Major and Minor version.
	Major, Minor int
	// Version as the program gives it, such as "7.2.22 (Debian …)".
	Version string
}

// AtLeast tells whether the version is major.minor or later. Options that were
// renamed between versions are chosen by it.
func (q *QEMU) AtLeast(major, minor int) bool {
	return q.Major > major || q.Major == major && q.Minor >= minor
}

const systemQEMU = "qemu-system-x86_64"

// QEMU returns the system's emulator if it is of the age asked for, otherwise
// one from a root, fetched if need be.
func (l *Lab) QEMU(ctx context.Context, age QEMUAge) (*QEMU, error) {
	l.mu.Lock()
	q := l.qemus[age]
	l.mu.Unlock()
	if q != nil {
		return q, nil
	}
	q, err := l.findQEMU(ctx, age)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.qemus[age] = q
	l.mu.Unlock()
	return q, nil
}

func (l *Lab) findQEMU(ctx context.Context, age QEMUAge) (*QEMU, error) {
	if path, err := exec.LookPath(systemQEMU); err == nil {
		q, err := describeQEMU(ctx, &Program{Name: systemQEMU, Path: path})
		if err == nil && q.is(ctx, age) {
			return q, nil
		}
	}
	p, err := l.Tool(ctx, "qemu-"+age.String())
	if err != nil {
		return nil, err
	}
	q, err := describeQEMU(ctx, p)
	if err != nil {
		return nil, err
	}
	if !q.is(ctx, age) {
		return nil, fmt.Errorf("lab: QEMU %s from %s is not what %q means", q.Version, p.Root, age)
	}
	return q, nil
}

func (q *QEMU) is(ctx context.Context, age QEMUAge) bool {
	if age == OldQEMU {
		return q.Major == 7 && q.Minor == 2
	}
	// Not "-device help": that loads every module, and for those its root lacks
	// QEMU turns to the system's folder, where another version's may lie.
	// The exit code is no use: 7.2 gives 0 for a device it does not know.
	out, err := q.Command(ctx, "-device", "vhost-user-test-device-pci,help").Output()
	return err == nil && strings.Contains(string(out), "virtio-id=")
}

var versionLine = regexp.MustCompile(`QEMU emulator version ((\d+)\.(\d+).*)`)

func describeQEMU(ctx context.Context, p *Program) (*QEMU, error) {
	out, err := p.Command(ctx, "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("lab: %s --version: %w", p.Path, explain(err))
	}
	m := versionLine.FindStringSubmatch(string(out))
	if m == nil {
		return nil, fmt.Errorf("lab: cannot read a QEMU version from %q", out)
	}
	q := &QEMU{Program: p, Version: m[1]}
	if q.Major, err = strconv.Atoi(m[2]); err != nil {
		return nil, fmt.Errorf("lab: QEMU version %q: %w", m[1], err)
	}
	if q.Minor, err = strconv.Atoi(m[3]); err != nil {
		return nil, fmt.Errorf("lab: QEMU version %q: %w", m[1], err)
	}
	return q, nil
}

// setupQEMU points QEMU at its firmware and modules.
func setupQEMU(root string, p *Program) error {
	p.Args = append(p.Args, "-L", filepath.Join(root, "usr/share/qemu"), "-L", filepath.Join(root, "usr/share/seabios"))
	p.Env = append(p.Env, "QEMU_MODULE_DIR="+filepath.Join(root, "usr/lib/x86_64-linux-gnu/qemu"))
	return nil
}
