// Package netdev looks at and changes network interfaces, in any network
// namespace.
package netdev

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// In runs f in the network namespace of a file such as /run/netns/NAME or
// /proc/PID/ns/net; "" is the one the process is in. Sockets that f opens stay
// in that namespace.
func In(netns string, f func() error) error {
	if netns == "" {
		return f()
	}
	file, err := os.Open(netns)
	if err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	defer file.Close()
	done := make(chan error)
	go func() {
		// Never unlocked: the thread is in the wrong namespace for anything
		// else, and ends with the goroutine.
		runtime.LockOSThread()
		err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET)
		if err != nil {
			err = fmt.Errorf("enter network namespace %s: %w", netns, err)
		} else {
			err = f()
		}
		done <- err
	}()
	return <-done
}
