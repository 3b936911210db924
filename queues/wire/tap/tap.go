// Package tap is a wire to the host's network stack: a tap device. What a
// program on the host sends over the device's interface enters the switch, and
// the reverse.
//
// Super-frames and partial checksums pass both ways, each with its virtio
// packet header, as far as the kernel supports it (UDP segmentation: from
// Linux 6.2 on).
package tap

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/queues"
	"vhost-user-nvgre/queues/wire/internal/netdev"
	"vhost-user-nvgre/queues/wire/internal/rings"
	"vhost-user-nvgre/virtio"
)

// Offloads are the virtio features that a tap device can be like: host_* is
// what the kernel leaves to us, guest_* what we leave to the kernel.
const Offloads = virtio.FeatureCSUM | virtio.FeatureGuestCSUM |
	virtio.FeatureHostTSO4 | virtio.FeatureHostTSO6 | virtio.FeatureHostECN | virtio.FeatureHostUSO |
	virtio.FeatureGuestTSO4 | virtio.FeatureGuestTSO6 | virtio.FeatureGuestECN |
	virtio.FeatureGuestUSO4 | virtio.FeatureGuestUSO6

const uso = virtio.FeatureHostUSO | virtio.FeatureGuestUSO4 | virtio.FeatureGuestUSO6

// Config describes a tap device.
type Config struct {
	// Device is the name of the interface, at most 15 characters. If there is
	// none of that name it is made, set up, and vanishes with the wire. A name
	// with "%d" in it has the kernel choose a number.
	Device string
	// Netns is a file that names the network namespace of the interface; "":
	// that of the process.
	Netns string
	// QueuePairs is the number of queues of the device. More than one need a
	// device that was made as a multi-queue one, if it is there already.
	QueuePairs int
	MTU        int // to set; 0: leave it
	// Withhold are those of Offloads not to use.
	Withhold virtio.Features
}

// Wire is a tap device. It implements queues.Wire.
type Wire struct {
	device   string
	fds      []int
	pairs    []queues.WirePair
	features virtio.Features
	closed   atomic.Bool
}

// Open makes a tap device, or attaches to one.
func Open(c Config) (*Wire, error) {
	if c.QueuePairs < 1 || c.QueuePairs > queues.MaxPairs {
		return nil, fmt.Errorf("tap %s: %d queue pairs, want 1 to %d", c.Device, c.QueuePairs, queues.MaxPairs)
	}
	if more := c.Withhold &^ Offloads; more != 0 {
		return nil, fmt.Errorf("tap %s: %s is nothing a tap device has", c.Device, strings.Join(more.Names(), ", "))
	}
	w := &Wire{device: c.Device}
	if err := netdev.In(c.Netns, func() error { return w.open(&c) }); err != nil {
		_ = w.Close()
		return nil, fmt.Errorf("tap: %w", err)
	}
	for _, fd := range w.fds {
		w.pairs = append(w.pairs, queues.WirePair{
			In: newIn(fd, w.device), Ready: fd, Out: &out{Out: rings.NewOut(), fd: fd, device: w.device},
		})
	}
	return w, nil
}

// open opens the queues. It runs in the namespace of the interface.
func (w *Wire) open(c *Config) error {
	ctl, err := netdev.OpenControl()
	if err != nil {
		return err
	}
	defer ctl.Close()
	_, err = ctl.Index(w.device)
	made := errors.Is(err, unix.ENODEV)
	for range c.QueuePairs {
		if err := w.attach(c); err != nil {
			return err
		}
	}
	if err := w.setOffloads(c.Withhold); err != nil {
		return err
	}
	if c.MTU != 0 {
		if err := ctl.SetMTU(w.device, c.MTU); err != nil {
			return err
		}
	}
	if made {
		return ctl.SetUp(w.device)
	}
	return nil
}

// attach opens one queue.
func (w *Wire) attach(c *Config) error {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("/dev/net/tun: %w", err)
	}
	w.fds = append(w.fds, fd)
	multi := c.QueuePairs > 1
	name, err := setInterface(fd, w.device, multi)
	if errors.Is(err, unix.EINVAL) && !multi {
		// What is there may have been made for several queues.
		name, err = setInterface(fd, w.device, true)
	}
	switch {
	case errors.Is(err, unix.EINVAL) && multi:
		return fmt.Errorf("interface %s: it is there already and is no tap device with several queues", w.device)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("interface %s: it is there already and is no tap device", w.device)
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("interface %s: another program uses it: %w", w.device, err)
	case errors.Is(err, unix.E2BIG):
		return fmt.Errorf("interface %s: it has no queue left: %w", w.device, err)
	case err != nil:
		return fmt.Errorf("interface %s: attach a queue: %w", w.device, err)
	}
	w.device = name // the kernel may have chosen it
	if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, rings.HdrLen); err != nil {
		return fmt.Errorf("interface %s: set the length of packet headers: %w", name, err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETLE, 1); err != nil {
		return fmt.Errorf("interface %s: set the byte order of packet headers: %w", name, err)
	}
	return nil
}

// setInterface makes fd a queue of the interface and returns its name.
func setInterface(fd int, name string, multi bool) (string, error) {
	r, err := unix.NewIfreq(name)
	if err != nil || name == "" {
		return "", fmt.Errorf("name %q: want 1 to 15 characters", name)
	}
	flags := uint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if multi {
		flags |= unix.IFF_MULTI_QUEUE
	}
	r.SetUint16(flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, r); err != nil {
		return "", err
	}
	return r.Name(), nil
}

// kernelOffloads says which of TUNSETOFFLOAD's flags stands for a feature.
var kernelOffloads = []struct {
	feature virtio.Features
	flag    int
}{
	{virtio.FeatureCSUM, unix.TUN_F_CSUM},
	{virtio.FeatureHostTSO4, unix.TUN_F_TSO4},
	{virtio.FeatureHostTSO6, unix.TUN_F_TSO6},
	{virtio.FeatureHostECN, unix.TUN_F_TSO_ECN},
	{virtio.FeatureHostUSO, unix.TUN_F_USO4 | unix.TUN_F_USO6},
}

// setOffloads tells the kernel what it may leave to us, and finds out what it
// knows.
func (w *Wire) setOffloads(withhold virtio.Features) error {
	w.features = Offloads &^ withhold
	if !w.features.Has(virtio.FeatureCSUM) {
		// No segmentation without checksums; that is the kernel's rule, too.
		w.features &^= virtio.FeatureHostTSO4 | virtio.FeatureHostTSO6 | virtio.FeatureHostECN | virtio.FeatureHostUSO
	}
	err := w.tellOffloads(w.features)
	if errors.Is(err, unix.EINVAL) {
		// It has no UDP segmentation, in neither direction.
		w.features &^= uso
		err = w.tellOffloads(w.features)
	}
	if err != nil {
		return fmt.Errorf("interface %s: set its offloads: %w", w.device, err)
	}
	return nil
}

func (w *Wire) tellOffloads(f virtio.Features) error {
	flags := 0
	for _, o := range kernelOffloads {
		if f.Has(o.feature) {
			flags |= o.flag
		}
	}
	return unix.IoctlSetInt(w.fds[0], unix.TUNSETOFFLOAD, flags)
}

// Device returns the name of the interface.
func (w *Wire) Device() string { return w.device }

// Pairs implements queues.Wire.
func (w *Wire) Pairs() []queues.WirePair { return w.pairs }

// Features implements queues.Wire.
func (w *Wire) Features() virtio.Features { return w.features }

// SetLink implements queues.LinkSetter: the interface has a carrier or not.
func (w *Wire) SetLink(up bool) {
	on := 0
	if up {
		on = 1
	}
	// Kernels before 5.0 cannot. The port's link is down nevertheless.
	_ = unix.IoctlSetPointerInt(w.fds[0], unix.TUNSETCARRIER, on)
}

// Close gives the device up; it vanishes unless somebody else made it persist.
func (w *Wire) Close() (err error) {
	if w.closed.Swap(true) {
		return nil
	}
	for _, fd := range w.fds {
		err = errors.Join(err, unix.Close(fd))
	}
	return err
}
