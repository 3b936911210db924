package harness

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"vhost-user-nvgre/guest-tests/initramfs"
	"vhost-user-nvgre/guest-tests/lab"
)

// guestPrograms go into every guest beside busybox.
var guestPrograms = []string{
	"usr/bin/iperf3",
	"usr/sbin/ethtool",
	"bin/ip",
	"sbin/tc",
}

// guestLibraries are opened at run time: iperf3's threads end through libgcc.
var guestLibraries = []string{"libgcc_s.so.1"}

// guestModules can be loaded in every guest.
var guestModules = []string{
	"virtio_net",
	"gre", "ip_gre", "ip6_gre", "ip_tunnel", "ip6_tunnel", "vxlan", "8021q", "bridge",
	"vsock", "vmw_vsock_virtio_transport_common", "vmw_vsock_virtio_transport",
}

const (
	agentPackage = "./guest-tests/agent"
	busyboxPath  = "bin/busybox"
)

// image returns the initramfs for a guest with the given extra files.
func image(ctx context.Context, l *lab.Lab, k *lab.Kernel, extra []initramfs.File) (string, error) {
	root, err := l.GuestRoot(ctx)
	if err != nil {
		return "", err
	}
	agent, err := l.GoBuild(ctx, agentPackage, "-ldflags=-s -w")
	if err != nil {
		return "", err
	}
	busybox, err := findIn(root, busyboxPath)
	if err != nil {
		return "", err
	}
	programs := make([]string, len(guestPrograms))
	for i, p := range guestPrograms {
		if programs[i], err = findIn(root, p); err != nil {
			return "", err
		}
	}
	out, err := exec.CommandContext(ctx, filepath.Join(root, busybox), "--list").Output()
	if err != nil {
		return "", fmt.Errorf("harness: asking busybox for its applets: %w", err)
	}
	dir, err := l.CacheDir("initramfs")
	if err != nil {
		return "", err
	}
	return initramfs.Build(ctx, dir, initramfs.Spec{
		Root:          root,
		Programs:      programs,
		Libraries:     guestLibraries,
		Busybox:       busybox,
		Applets:       applets(string(out)),
		KernelVersion: k.Version,
		KernelModules: k.Modules,
		Modules:       guestModules,
		Init:          agent,
		Extra:         extra,
	})
}

// applets drops from busybox's list what a real program stands for.
func applets(list string) []string {
	taken := map[string]bool{"busybox": true}
	for _, p := range guestPrograms {
		taken[filepath.Base(p)] = true
	}
	var names []string
	for _, n := range strings.Fields(list) {
		if !taken[n] {
			names = append(names, n)
		}
	}
	return names
}

// findIn returns where a root holds a program: Debian moved bin and sbin below
// usr, some packages before others.
func findIn(root, path string) (string, error) {
	for _, p := range []string{path, "usr/" + path, strings.TrimPrefix(path, "usr/")} {
		if _, err := exec.LookPath(filepath.Join(root, p)); err == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("harness: no program %s in %s", path, root)
}
