package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Accelerators that Lab.Accelerator chooses between, as QEMU spells them.
const (
	KVM = "kvm"
	TCG = "tcg"
)

// kvmPatience bounds the trial boot. A working KVM needs under two seconds for
// it; a broken one has been seen to hang.
const kvmPatience = 10 * time.Second

// bootProof is what a kernel says that got through all of its own start and
// then finds no root file system.
const bootProof = "Unable to mount root fs"

// Accelerator returns KVM if the kernel boots under it on this machine, else
// TCG. It finds out by trying once and remembers the answer.
func (l *Lab) Accelerator(ctx context.Context) (string, error) {
	l.mu.Lock()
	accel := l.accel
	l.mu.Unlock()
	if accel != "" {
		return accel, nil
	}
	accel, err := l.findAccelerator(ctx)
	if err != nil {
		return "", err
	}
	l.mu.Lock()
	l.accel = accel
	l.mu.Unlock()
	return accel, nil
}

func (l *Lab) findAccelerator(ctx context.Context) (string, error) {
	dev, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return TCG, nil
	}
	dev.Close()
	q, err := l.QEMU(ctx, NewQEMU)
	if err != nil {
		return "", err
	}
	k, err := l.Kernel(ctx)
	if err != nil {
		return "", err
	}
	dir, err := l.CacheDir("state")
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "accelerator-"+machineID(q, k))
	if b, err := os.ReadFile(file); err == nil {
		if s := strings.TrimSpace(string(b)); s == KVM || s == TCG {
			return s, nil
		}
	}
	unlock, err := l.lock(ctx, "accelerator")
	if err != nil {
		return "", err
	}
	defer unlock()
	l.logf("lab: trying whether KVM boots the kernel (at most %.0f s)", kvmPatience.Seconds())
	accel := TCG
	if why := tryKVM(ctx, q, k); why == nil {
		accel = KVM
	} else if ctx.Err() != nil {
		return "", fmt.Errorf("lab: trying KVM: %w", ctx.Err())
	} else {
		l.logf("lab: KVM is of no use here: %v", why)
	}
	l.logf("lab: guests run under %s", accel)
	return accel, writeFileAtomic(file, []byte(accel+"\n"))
}

// machineID distinguishes what the answer depends on, for a cache that moves
// between machines.
func machineID(q *QEMU, k *Kernel) string {
	var host bytes.Buffer
	for _, f := range []string{"/proc/sys/kernel/osrelease", "/etc/machine-id"} {
		b, _ := os.ReadFile(f) // Either may be missing; the other still tells.
		host.Write(b)
	}
	if cpu, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(cpu)) {
			if strings.HasPrefix(line, "model name") {
				host.WriteString(line)
				break
			}
		}
	}
	sum := sha256.Sum256(fmt.Appendf(host.Bytes(), "%s %s", q.Version, k.Package))
	return fmt.Sprintf("%x", sum[:6])
}

// tryKVM boots the kernel without a root file system: it panics at once and,
// told not to linger, resets, which ends QEMU.
func tryKVM(ctx context.Context, q *QEMU, k *Kernel) error {
	ctx, cancel := context.WithTimeout(ctx, kvmPatience)
	defer cancel()
	cmd := q.Command(ctx, "-nodefaults", "-no-user-config", "-machine", "pc", "-accel", KVM, "-cpu", "host", "-m", "256",
		"-display", "none", "-no-reboot", "-serial", "stdio",
		"-kernel", k.Image, "-append", "console=ttyS0 panic=-1 root=none")
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	switch {
	case bytes.Contains(out, []byte(bootProof)):
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("the kernel did not boot within %v", kvmPatience)
	case err != nil:
		return fmt.Errorf("%w: %s", err, lastLine(out))
	}
	return fmt.Errorf("QEMU ended early: %s", lastLine(out))
}

func lastLine(out []byte) string {
	s := strings.TrimSpace(string(out))
	return s[strings.LastIndexByte(s, '\n')+1:]
}
