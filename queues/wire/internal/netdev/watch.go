package netdev

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Watcher sees an interface vanish.
type Watcher struct {
	file  *os.File
	name  string
	index int
}

// Watch returns a Watcher for the interface, in the namespace of the calling
// thread.
func Watch(name string, index int) (*Watcher, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err == nil {
		if err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (unix.RTNLGRP_LINK - 1)}); err != nil {
			unix.Close(fd)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("watch interface %s: netlink: %w", name, err)
	}
	return &Watcher{os.NewFile(uintptr(fd), "netlink"), name, index}, nil
}

// Wait returns an error that says so when the interface has vanished from its
// namespace, nil after Close.
func (w *Watcher) Wait() error {
	buf := make([]byte, 64<<10)
	for {
		n, err := w.file.Read(buf)
		switch {
		case errors.Is(err, os.ErrClosed):
			return nil
		case errors.Is(err, unix.ENOBUFS):
			continue // a message was lost; whoever sends to the interface will find out
		case err != nil:
			return fmt.Errorf("watch interface %s: %w", w.name, err)
		}
		all, err := syscall.ParseNetlinkMessage(buf[:n])
		if err != nil {
			continue
		}
		for _, m := range all {
			if w.vanished(&m) {
				return fmt.Errorf("interface %s is gone", w.name)
			}
		}
	}
}

// vanished reports whether a message says that the interface was deleted. A
// bridge says the like, in its own family, of an interface that left it.
func (w *Watcher) vanished(m *syscall.NetlinkMessage) bool {
	return m.Header.Type == unix.RTM_DELLINK && len(m.Data) >= unix.SizeofIfInfomsg &&
		m.Data[0] == unix.AF_UNSPEC && int32(binary.NativeEndian.Uint32(m.Data[4:])) == int32(w.index)
}

// Close ends Wait.
func (w *Watcher) Close() error { return w.file.Close() }
