package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// mounts in the order they are made.
var mounts = []struct{ target, fstype, data string }{
	{"/proc", "proc", ""},
	{"/sys", "sysfs", ""},
	{"/dev", "devtmpfs", ""},
	{"/dev/pts", "devpts", ""},
	{"/dev/shm", "tmpfs", ""},
	{"/run", "tmpfs", ""},
	{"/tmp", "tmpfs", ""},
	{"/sys/kernel/debug", "debugfs", ""},
}

// sysctls make addresses usable at once: duplicate address detection would
// hold an IPv6 address back for a second or more. They must be set before a NIC
// appears. A guest with several NICs on one switch answers ARP requests on the
// NIC that has the address, on no other.
var sysctls = map[string]string{
	"/proc/sys/net/ipv4/conf/all/arp_ignore":               "1",
	"/proc/sys/net/ipv6/conf/all/accept_dad":               "0",
	"/proc/sys/net/ipv6/conf/default/accept_dad":           "0",
	"/proc/sys/net/ipv6/conf/default/router_solicitations": "0",
}

// setUp gives the guest its file systems, environment and loopback.
func setUp() error {
	for _, m := range mounts {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return err
		}
		err := unix.Mount(m.fstype, m.target, m.fstype, 0, m.data)
		if errors.Is(err, unix.EBUSY) {
			continue // The kernel mounts devtmpfs itself if built to.
		}
		if err != nil {
			return fmt.Errorf("mounting %s on %s: %w", m.fstype, m.target, err)
		}
	}
	for _, v := range [][2]string{{"PATH", "/usr/sbin:/usr/bin:/sbin:/bin"}, {"HOME", "/root"}, {"TERM", "dumb"}, {"LC_ALL", "C"}} {
		if err := os.Setenv(v[0], v[1]); err != nil {
			return err
		}
	}
	for path, value := range sysctls {
		if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
			return err
		}
	}
	return loopbackUp()
}

func loopbackUp() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(s)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("bringing up lo: %w", err)
	}
	return nil
}

// kernelParams returns the name=value pairs of the kernel's command line.
func kernelParams() map[string]string {
	params := make(map[string]string)
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return params // Without it there are no wishes to follow.
	}
	for _, f := range strings.Fields(string(line)) {
		if k, v, ok := strings.Cut(f, "="); ok {
			params[k] = v
		}
	}
	return params
}

// openPort opens a serial port that passes every byte as it is.
func openPort(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("%s is no terminal: %w", path, err)
	}
	t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
	t.Cflag = unix.CS8 | unix.CREAD | unix.CLOCAL | unix.B115200
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, t); err != nil {
		return nil, fmt.Errorf("setting %s raw: %w", path, err)
	}
	// Fewer interrupts: under emulation they are what receiving costs.
	trigger := filepath.Join("/sys/class/tty", filepath.Base(path), "rx_trig_bytes")
	if err := os.WriteFile(trigger, []byte("14"), 0o644); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), filepath.Base(path)), nil
}
