package virtio

import (
	"encoding/binary"
	"fmt"
	"net"
)

// NetConfigSize is the size in bytes of struct virtio_net_config with every
// field that can be offered over vhost-user.
const NetConfigSize = 28

// Link status bits (section "Device configuration layout").
const (
	StatusLinkUp   = 1
	StatusAnnounce = 2
)

// SpeedUnknown and DuplexFull are values of the speed and duplex fields. The
// specification contradicts itself on duplex; 1 is full in every driver.
const (
	SpeedUnknown  = 0xffffffff
	DuplexFull    = 1
	DuplexUnknown = 0xff
)

// Limits that the specification sets for fields of NetConfig.
const (
	MaxQueuePairs = 0x8000 // VNET-030
	MinMTU        = 68     // VNET-031
	MaxMTU        = 65535
	RSSKeySize    = 40  // VNET-033
	RSSTableSize  = 128 // VNET-034, the least a device may support
)

// MAC is an Ethernet address in transmission order.
type MAC [6]byte

// IsMulticast reports whether the group bit is set (broadcast included).
func (m MAC) IsMulticast() bool { return m[0]&1 != 0 }

// String returns the address as six colon-separated hexadecimal pairs.
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// ParseMAC reads the usual notations of a six-byte address.
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != len(MAC{}) {
		return MAC{}, fmt.Errorf("MAC address %q: want six hexadecimal pairs such as 52:54:00:12:34:56", s)
	}
	return MAC(hw), nil
}

// NetConfig is the device configuration space. It is a plain value: whoever
// holds it guards it.
type NetConfig struct {
	MAC            MAC
	Status         uint16
	QueuePairs     uint16 // max_virtqueue_pairs
	MTU            uint16
	Speed          uint32 // Mbit/s
	Duplex         uint8
	RSSMaxKeySize  uint8
	RSSMaxTableLen uint16
	HashTypes      uint32 // supported_hash_types
	TunnelTypes    uint32 // supported_tunnel_types
}

// Encode returns the little-endian image of the configuration space.
func (c *NetConfig) Encode() [NetConfigSize]byte {
	var b [NetConfigSize]byte
	copy(b[0:], c.MAC[:])
	binary.LittleEndian.PutUint16(b[6:], c.Status)
	binary.LittleEndian.PutUint16(b[8:], c.QueuePairs)
	binary.LittleEndian.PutUint16(b[10:], c.MTU)
	binary.LittleEndian.PutUint32(b[12:], c.Speed)
	b[16] = c.Duplex
	b[17] = c.RSSMaxKeySize
	binary.LittleEndian.PutUint16(b[18:], c.RSSMaxTableLen)
	binary.LittleEndian.PutUint32(b[20:], c.HashTypes)
	binary.LittleEndian.PutUint32(b[24:], c.TunnelTypes)
	return b
}
