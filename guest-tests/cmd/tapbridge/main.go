// Command tapbridge holds a kernel bridge in the network namespace it was
// started in and hands out tap devices on it.
//
// It serves one seqpacket socket, file descriptor 3. A request is one byte, the
// number of queues; the reply is "ok" with that many tap descriptors attached,
// or the text of an error. When the other end is closed the program ends, and
// with it and the descriptors the namespace and all that is in it.
package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const (
	serviceFD = 3
	bridge    = "br0"
	maxQueues = 16
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "tapbridge:", err)
		os.Exit(1)
	}
}

func run() error {
	if err := makeBridge(); err != nil {
		return err
	}
	fmt.Println("ready")
	for n := 0; ; n++ {
		req := make([]byte, 1)
		k, err := unix.Read(serviceFD, req)
		if err != nil {
			return fmt.Errorf("reading a request: %w", err)
		}
		if k == 0 {
			return nil
		}
		fds, err := makeTap(fmt.Sprintf("tap%d", n), int(req[0]))
		answer, rights := []byte("ok"), unix.UnixRights(fds...)
		if err != nil {
			answer, rights = []byte(err.Error()), nil
		}
		if err := unix.Sendmsg(serviceFD, answer, rights, nil, 0); err != nil {
			return fmt.Errorf("answering: %w", err)
		}
		for _, fd := range fds {
			unix.Close(fd)
		}
	}
}

// control runs an ioctl that takes an interface request.
func control(what string, name string, cmd uint, set func(*unix.Ifreq)) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%s %s: %w", what, name, err)
	}
	defer unix.Close(s)
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return fmt.Errorf("%s %s: %w", what, name, err)
	}
	if set != nil {
		set(ifr)
	}
	if err := unix.IoctlIfreq(s, cmd, ifr); err != nil {
		return fmt.Errorf("%s %s: %w", what, name, err)
	}
	return nil
}

func up(name string) error {
	return control("bringing up", name, unix.SIOCSIFFLAGS, func(r *unix.Ifreq) { r.SetUint16(unix.IFF_UP) })
}

func makeBridge() error {
	if err := control("making bridge", bridge, unix.SIOCBRADDBR, nil); err != nil {
		return err
	}
	return up(bridge)
}

// makeTap makes a tap device with that many queues, on the bridge and up, and
// returns one descriptor for each queue.
func makeTap(name string, queues int) (fds []int, err error) {
	if queues < 1 || queues > maxQueues {
		return nil, fmt.Errorf("%d queues asked for, 1 to %d are possible", queues, maxQueues)
	}
	defer func() {
		if err != nil {
			for _, fd := range fds {
				unix.Close(fd)
			}
			fds = nil
		}
	}()
	flags := uint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if queues > 1 {
		flags |= unix.IFF_MULTI_QUEUE
	}
	for range queues {
		// Not O_NONBLOCK, which QEMU sets itself: whoever passes the descriptor on
		// would have it in Go's poller, and be woken for every frame.
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return fds, fmt.Errorf("/dev/net/tun: %w", err)
		}
		fds = append(fds, fd)
		ifr, err := unix.NewIfreq(name)
		if err != nil {
			return fds, err
		}
		ifr.SetUint16(flags)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
			return fds, fmt.Errorf("making %s: %w", name, err)
		}
	}
	index, err := interfaceIndex(name)
	if err != nil {
		return fds, err
	}
	if err := control("adding "+name+" to", bridge, unix.SIOCBRADDIF, func(r *unix.Ifreq) { r.SetUint32(index) }); err != nil {
		return fds, err
	}
	return fds, up(name)
}

func interfaceIndex(name string) (index uint32, err error) {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(s)
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(s, unix.SIOCGIFINDEX, ifr); err != nil {
		return 0, fmt.Errorf("index of %s: %w", name, err)
	}
	return ifr.Uint32(), nil
}
