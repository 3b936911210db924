// Package packet is a wire to a network interface of the host: packet sockets
// (AF_PACKET). What the interface receives enters the switch, and what goes to
// the wire is sent by the interface, whatever addresses the frames have.
//
// Super-frames and partial checksums pass both ways, each with its virtio
// packet header (PACKET_VNET_HDR; UDP segmentation from Linux 6.2 on): those
// that a veth's other end sent, and those that GRO made.
//
// Frames are received through a ring of slots that is shared with the kernel,
// without a system call, in format TPACKET_V2. TPACKET_V3 packs frames of any
// length close together, but hands over whole blocks: a frame that is not
// followed by many others waits for a timer of a millisecond or more, which
// fires all the time. In V2 each frame is seen at once; the price is slots of
// one size. They are as long as the MTU wants them, and the kernel keeps what
// is longer, which super-frames are, for an ordinary read: for 64 KiB a system
// call costs little.
//
// Frames are sent by sendmmsg, a batch at a time. A transmit ring would save
// copying only where the driver takes pages (a veth has them copied), does not
// say which frame was refused or lost, and once its head meets a frame that
// the device has no room for keeps what may be stale by then.
package packet

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/queues"
	"vhost-user-nvgre/queues/wire/internal/netdev"
	"vhost-user-nvgre/virtio"
)

const uso = virtio.FeatureHostUSO | virtio.FeatureGuestUSO4 | virtio.FeatureGuestUSO6

// Offloads are the virtio features that an interface can be like: host_* is
// what the kernel leaves to us, guest_* what we leave to the kernel.
const Offloads = virtio.FeatureCSUM | virtio.FeatureGuestCSUM |
	virtio.FeatureHostTSO4 | virtio.FeatureHostTSO6 | virtio.FeatureHostECN |
	virtio.FeatureGuestTSO4 | virtio.FeatureGuestTSO6 | virtio.FeatureGuestECN | uso

// incoming are those of Offloads that cannot be withheld: the kernel hands
// over what it has.
const incoming = virtio.FeatureCSUM | virtio.FeatureHostTSO4 | virtio.FeatureHostTSO6 | virtio.FeatureHostECN | virtio.FeatureHostUSO

// Config describes a wire.
type Config struct {
	// Interface is its name. It must exist; it is put in promiscuous mode, and
	// otherwise left as it is.
	Interface string
	// Netns is a file that names the network namespace of the interface; "":
	// that of the process.
	Netns string
	// QueuePairs is the number of sockets; the kernel spreads what comes over
	// them by flow.
	QueuePairs int
	// Withhold are those of Offloads not to use; of the guest_* ones.
	Withhold virtio.Features
}

// Wire is a network interface. It implements queues.Wire.
type Wire struct {
	name     string
	features virtio.Features
	ins      []*in
	pairs    []queues.WirePair

	watcher  *netdev.Watcher
	watching sync.WaitGroup
	close    sync.Once
}

// Open attaches to an interface.
func Open(c Config) (*Wire, error) {
	if c.QueuePairs < 1 || c.QueuePairs > queues.MaxPairs {
		return nil, fmt.Errorf("interface %s: %d queue pairs, want 1 to %d", c.Interface, c.QueuePairs, queues.MaxPairs)
	}
	if more := c.Withhold &^ (Offloads &^ incoming); more != 0 {
		return nil, fmt.Errorf("interface %s: %s cannot be withheld, want some of %s", c.Interface,
			strings.Join(more.Names(), ", "), strings.Join((Offloads&^incoming).Names(), ", "))
	}
	w := &Wire{name: c.Interface, features: Offloads &^ c.Withhold}
	if !netdev.KernelAtLeast(6, 2) {
		w.features &^= uso
	}
	if err := netdev.In(c.Netns, func() error { return w.open(&c) }); err != nil {
		_ = w.Close()
		return nil, err
	}
	for _, r := range w.ins {
		w.pairs = append(w.pairs, queues.WirePair{In: r, Ready: r.fd, Out: newOut(r.fd, w.name)})
	}
	return w, nil
}

// open opens the sockets. It runs in the namespace of the interface.
func (w *Wire) open(c *Config) error {
	ctl, err := netdev.OpenControl()
	if err != nil {
		return err
	}
	defer ctl.Close()
	index, err := ctl.Index(c.Interface)
	if errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("there is no interface %s: %w", c.Interface, err)
	}
	if err != nil {
		return err
	}
	mtu, err := ctl.MTU(c.Interface)
	if err != nil {
		return err
	}
	if w.watcher, err = netdev.Watch(c.Interface, index); err != nil {
		return err
	}
	for range c.QueuePairs {
		fd, err := socket(c.Interface, index)
		if err != nil {
			return err
		}
		r := &in{fd: fd, name: c.Interface}
		w.ins = append(w.ins, r)
		if err := r.makeRing(mtu); err != nil {
			return err
		}
	}
	if ok, err := ctl.IsEthernet(c.Interface); err != nil || !ok {
		return errors.Join(err, fmt.Errorf("interface %s is not one for Ethernet", c.Interface))
	}
	return w.start(index)
}

// start has the sockets receive, together.
func (w *Wire) start(index int) error {
	for _, r := range w.ins {
		// Until all of them share, each would get everything.
		if err := unix.SetsockoptSockFprog(r.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, nothing()); err != nil {
			return fmt.Errorf("interface %s: attach a filter: %w", w.name, err)
		}
		if err := unix.Bind(r.fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: index}); err != nil {
			return fmt.Errorf("interface %s: bind: %w", w.name, err)
		}
	}
	if len(w.ins) > 1 {
		if err := w.share(); err != nil {
			return fmt.Errorf("interface %s: share what comes between %d sockets (is the interface up?): %w", w.name, len(w.ins), err)
		}
	}
	for _, r := range w.ins {
		if err := unix.SetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0); err != nil {
			return fmt.Errorf("interface %s: detach the filter: %w", w.name, err)
		}
	}
	return nil
}

// share makes a fan-out group of the sockets, by flow.
func (w *Wire) share() error {
	kind := unix.PACKET_FANOUT_HASH | unix.PACKET_FANOUT_FLAG_IGNORE_OUTGOING
	first := w.ins[0].fd
	err := unix.SetsockoptInt(first, unix.SOL_PACKET, unix.PACKET_FANOUT, (kind|unix.PACKET_FANOUT_FLAG_UNIQUEID)<<16)
	if errors.Is(err, unix.EINVAL) {
		// A kernel before 5.19 knows no such flag; then take looks for itself.
		kind = unix.PACKET_FANOUT_HASH
		err = unix.SetsockoptInt(first, unix.SOL_PACKET, unix.PACKET_FANOUT, (kind|unix.PACKET_FANOUT_FLAG_UNIQUEID)<<16)
	}
	if err != nil {
		return err
	}
	id, err := unix.GetsockoptInt(first, unix.SOL_PACKET, unix.PACKET_FANOUT)
	if err != nil {
		return err
	}
	for _, r := range w.ins[1:] {
		if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_FANOUT, kind<<16|id&0xffff); err != nil {
			return err
		}
	}
	return nil
}

// Pairs implements queues.Wire.
func (w *Wire) Pairs() []queues.WirePair { return w.pairs }

// Features implements queues.Wire.
func (w *Wire) Features() virtio.Features { return w.features }

// Watch implements queues.Watcher.
func (w *Wire) Watch(gone func(error)) {
	w.watching.Go(func() {
		if err := w.watcher.Wait(); err != nil {
			gone(err)
		}
	})
}

// Close detaches from the interface.
func (w *Wire) Close() (err error) {
	w.close.Do(func() {
		if w.watcher != nil {
			err = w.watcher.Close()
			w.watching.Wait()
		}
		for _, r := range w.ins {
			err = errors.Join(err, r.free())
		}
	})
	return err
}
