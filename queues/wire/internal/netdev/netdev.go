package netdev

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Control is a socket to look at and change interfaces with, those of the
// network namespace it was opened in.
type Control struct{ fd int }

// OpenControl returns a Control for the namespace of the calling thread.
func OpenControl() (*Control, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	return &Control{fd}, nil
}

// Close ends the use of the socket.
func (c *Control) Close() { unix.Close(c.fd) }

// do runs a request whose argument change completes.
func (c *Control) do(what string, request uint, name string, change func(*unix.Ifreq)) (*unix.Ifreq, error) {
	r, err := unix.NewIfreq(name)
	if err != nil || name == "" {
		return nil, fmt.Errorf("interface name %q: want 1 to 15 characters", name)
	}
	if change != nil {
		change(r)
	}
	if err := unix.IoctlIfreq(c.fd, request, r); err != nil {
		return nil, fmt.Errorf("interface %s: %s: %w", name, what, err)
	}
	return r, nil
}

// Index returns the number of an interface.
func (c *Control) Index(name string) (int, error) {
	r, err := c.do("look up", unix.SIOCGIFINDEX, name, nil)
	if err != nil {
		return 0, err
	}
	return int(r.Uint32()), nil
}

// IsEthernet reports whether an interface carries Ethernet frames.
func (c *Control) IsEthernet(name string) (bool, error) {
	r, err := c.do("look at its kind", unix.SIOCGIFHWADDR, name, nil)
	if err != nil {
		return false, err
	}
	return r.Uint16() == unix.ARPHRD_ETHER, nil // the address begins with its family
}

// SetMTU sets the MTU of an interface.
func (c *Control) SetMTU(name string, mtu int) error {
	_, err := c.do(fmt.Sprintf("set its MTU to %d", mtu), unix.SIOCSIFMTU, name, func(r *unix.Ifreq) { r.SetUint32(uint32(mtu)) })
	return err
}

// SetUp sets an interface up.
func (c *Control) SetUp(name string) error {
	r, err := c.do("look at its flags", unix.SIOCGIFFLAGS, name, nil)
	if err != nil {
		return err
	}
	flags := r.Uint16()
	if flags&unix.IFF_UP != 0 {
		return nil
	}
	_, err = c.do("set it up", unix.SIOCSIFFLAGS, name, func(r *unix.Ifreq) { r.SetUint16(flags | unix.IFF_UP) })
	return err
}

// MTU returns the MTU of an interface.
func (c *Control) MTU(name string) (int, error) {
	r, err := c.do("look at its MTU", unix.SIOCGIFMTU, name, nil)
	if err != nil {
		return 0, err
	}
	return int(r.Uint32()), nil
}
