package frontendtest

import (
	"fmt"

	"vhost-user-nvgre/vhostuser/wire"
	"vhost-user-nvgre/virtio"
)

// Style is the device of QEMU that a Frontend imitates.
type Style int

const (
	// Netdev is -netdev vhost-user with virtio-net-pci: QEMU keeps control
	// queue and configuration space to itself, and each queue pair is a vhost
	// device of its own on the shared connection.
	Netdev Style = iota
	// Generic is vhost-user-test-device-pci: every queue and the configuration
	// space are the back end's.
	Generic
)

// Options describe a Frontend. Zero values stand for what QEMU 11.1 does by
// default with one queue pair.
type Options struct {
	Style Style
	// Old imitates QEMU 7.2 where it differs: messages about memory once per
	// queue pair, no acknowledgement asked for about rings, status 0 before
	// the rings stop, no RESET_DEVICE. Netdev only.
	Old        bool
	QueuePairs int
	RingSize   uint32 // descriptors, 256

	// Features are those that the driver knows; it acknowledges those of them
	// that are offered. 0 stands for DriverFeatures.
	Features virtio.Features
	// Protocol are the protocol features that the front end knows. 0 stands
	// for QEMUProtocol.
	Protocol wire.ProtocolFeatures

	// Memory is the guest's memory. By default one region at 0, as large as
	// needed. Rings and buffers are spread over all regions.
	Memory []Region
	MTU    uint64 // to be told to the back end if it is not 0

	// RxLayout and TxLayout are the lengths in bytes of the elements of a
	// receive and a transmit buffer. The last element of a transmit buffer
	// gets what is left of the frame. By default a receive buffer is one
	// element of 2,048 bytes if receive buffers are mergeable, else of the
	// largest frame; a transmit buffer has one element for the header and one
	// for the frame.
	RxLayout, TxLayout []int
	MaxFrame           int  // bytes of the largest frame to send, 65,549
	Indirect           bool // transmit buffers are indirect, if negotiated

	PollBackend bool // no kick descriptors: the back end has to poll
	PollDriver  bool // no call descriptors: the driver polls
	// MuteChannel leaves the back end's own messages unread.
	MuteChannel bool
}

// QEMUProtocol are the protocol features that QEMU 11.1 acknowledges for its
// network device if they are offered (CONFIG it does only for the generic
// one), but for those that change what this package would have to send:
// INBAND_NOTIFICATIONS, XEN_MMAP and GPA_ADDRESSES.
const QEMUProtocol wire.ProtocolFeatures = 0x7fffff &^ (wire.ProtocolConfig | wire.ProtocolInbandNotifications |
	wire.ProtocolXenMmap | wire.ProtocolGetVringBaseInflight | wire.ProtocolGPAAddresses)

// DriverFeatures are those that the Linux driver takes and a back end over
// vhost-user may offer.
const DriverFeatures = virtio.FeatureCSUM | virtio.FeatureGuestCSUM | virtio.FeatureCtrlGuestOffload | virtio.FeatureMTU | virtio.FeatureMAC |
	virtio.FeatureGuestTSO4 | virtio.FeatureGuestTSO6 | virtio.FeatureGuestECN | virtio.FeatureGuestUFO |
	virtio.FeatureHostTSO4 | virtio.FeatureHostTSO6 | virtio.FeatureHostECN | virtio.FeatureHostUFO | virtio.FeatureMrgRxbuf |
	virtio.FeatureStatus | virtio.FeatureCtrlVQ | virtio.FeatureCtrlRX | virtio.FeatureCtrlVLAN | virtio.FeatureGuestAnnounce |
	virtio.FeatureMQ | virtio.FeatureCtrlMACAddr | virtio.FeatureIndirectDesc | virtio.FeatureEventIdx | virtio.FeatureVersion1 |
	virtio.FeatureGuestUSO4 | virtio.FeatureGuestUSO6 | virtio.FeatureHostUSO | virtio.FeatureHashReport | virtio.FeatureRSS |
	virtio.FeatureSpeedDuplex

// keptByQEMU are features whose acknowledgement the Netdev style does not pass
// on.
const keptByQEMU = virtio.FeatureCtrlGuestOffload | virtio.FeatureMAC | virtio.FeatureStatus | virtio.FeatureCtrlVQ |
	virtio.FeatureCtrlRX | virtio.FeatureCtrlVLAN | virtio.FeatureCtrlRXExtra | virtio.FeatureCtrlMACAddr |
	virtio.FeatureStandby | virtio.FeatureSpeedDuplex

// hiddenByQEMU are features that the Netdev style never shows to a driver.
const hiddenByQEMU = virtio.FeatureGuestUSO4 | virtio.FeatureGuestUSO6 | virtio.FeatureHostUSO | virtio.FeatureHashReport |
	virtio.FeatureRSS | virtio.FeatureHashTunnel | virtio.FeatureDeviceStats | virtio.FeatureVQNotfCoal | virtio.FeatureNotfCoal

// maxFrame is an Ethernet header with one VLAN tag before the largest IP
// packet, rounded up.
const maxFrame = 65549 + 3

func (o *Options) setDefaults() error {
	if o.QueuePairs == 0 {
		o.QueuePairs = 1
	}
	if o.RingSize == 0 {
		o.RingSize = 256
	}
	if o.Features == 0 {
		o.Features = DriverFeatures
	}
	if o.Protocol == 0 {
		o.Protocol = QEMUProtocol
		if o.Style == Generic {
			o.Protocol |= wire.ProtocolConfig
		}
	}
	if o.MaxFrame == 0 {
		o.MaxFrame = maxFrame
	}
	if o.Old && o.Style == Generic {
		return fmt.Errorf("QEMU 7.2 has no generic device: Old goes with Netdev only")
	}
	if n := o.rings(); n > 256 {
		return fmt.Errorf("%d queue pairs make %d rings, want at most 256", o.QueuePairs, n)
	}
	if need := o.need(); len(o.Memory) == 0 {
		o.Memory = []Region{{Size: need}}
	} else {
		for _, r := range o.Memory {
			if share := need / uint64(len(o.Memory)); r.Size < share {
				return fmt.Errorf("memory region at 0x%x has %d bytes, want at least %d", r.Guest, r.Size, share)
			}
		}
	}
	return nil
}

// rings returns how many rings the front end announces.
func (o *Options) rings() int {
	if o.Style == Generic {
		return 2*o.QueuePairs + 1
	}
	return 2 * o.QueuePairs
}

// need bounds the bytes of memory from above that rings and buffers take.
func (o *Options) need() uint64 {
	const perFrame = virtio.NetHdrMaxSize + 64 // header and alignment
	slot := uint64(o.MaxFrame + perFrame + 16*tableEntries)
	for _, n := range o.RxLayout {
		slot = max(slot, uint64(n)*uint64(len(o.RxLayout))+perFrame)
	}
	ring := uint64(o.RingSize) * (26 + slot)
	const spare = 16 << 20 // for what tests allocate, and rings laid out anew
	return (uint64(o.rings())*ring + spare + 1<<21 - 1) &^ (1<<21 - 1)
}
