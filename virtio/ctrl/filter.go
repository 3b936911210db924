package ctrl

import (
	"encoding/binary"
	"fmt"

	"vhost-user-nvgre/virtio"
)

// RXMode is a receive mode; its value is the command number in ClassRX.
type RXMode uint8

// Receive modes. rxfilter says how they act together.
const (
	Promisc  RXMode = iota // receive everything
	AllMulti               // receive every multicast frame
	AllUni                 // receive every unicast frame
	NoMulti                // receive no multicast frame except broadcast
	NoUni                  // receive no unicast frame
	NoBcast                // receive no broadcast frame

	// RXModes is the number of modes.
	RXModes = int(NoBcast) + 1
)

// String returns the mode as the specification spells it, in lower case.
func (m RXMode) String() string {
	names := [RXModes]string{"promisc", "allmulti", "alluni", "nomulti", "nouni", "nobcast"}
	if int(m) < len(names) {
		return names[m]
	}
	return fmt.Sprintf("mode %d", uint8(m))
}

// RX turns a receive mode on or off.
type RX struct {
	Mode RXMode
	On   bool
}

// Code returns the command's numbers.
func (c RX) Code() (class, cmd uint8) { return ClassRX, uint8(c.Mode) }

// AppendData appends the byte 1 or 0.
func (c RX) AppendData(b []byte) []byte {
	if c.On {
		return append(b, 1)
	}
	return append(b, 0)
}

// rx decodes a mode's command. A value other than 0 and 1 counts as 1
// (VNET-113).
func rx(m RXMode) func(*Limits, []byte) (Command, error) {
	return func(_ *Limits, data []byte) (Command, error) {
		if err := wantLen(data, 1); err != nil {
			return nil, err
		}
		return RX{Mode: m, On: data[0] != 0}, nil
	}
}

// MACTable replaces the addresses to receive besides the device's own.
type MACTable struct {
	Unicast, Multicast []virtio.MAC
}

// Code returns the command's numbers.
func (MACTable) Code() (class, cmd uint8) { return ClassMAC, 0 }

// AppendData appends two lists: a 32-bit count and that many addresses each.
func (c MACTable) AppendData(b []byte) []byte {
	for _, list := range [...][]virtio.MAC{c.Unicast, c.Multicast} {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(list)))
		for i := range list {
			b = append(b, list[i][:]...)
		}
	}
	return b
}

// decodeMACTable takes tables of any length that fill the data exactly
// (VNET-118); what to do with more entries than a filter can hold is the
// filter's affair (VNET-119).
func decodeMACTable(_ *Limits, data []byte) (Command, error) {
	unicast, rest, err := cutMACs(data)
	if err != nil {
		return nil, fmt.Errorf("unicast table: %w", err)
	}
	multicast, rest, err := cutMACs(rest)
	if err != nil {
		return nil, fmt.Errorf("multicast table: %w", err)
	}
	if len(rest) != 0 {
		return nil, fmt.Errorf("%d bytes of data after the multicast table, want none", len(rest))
	}
	return MACTable{Unicast: unicast, Multicast: multicast}, nil
}

// cutMACs splits a counted list of addresses off data.
func cutMACs(data []byte) (list []virtio.MAC, rest []byte, err error) {
	const size = len(virtio.MAC{})
	if len(data) < 4 {
		return nil, nil, fmt.Errorf("%d bytes where the number of entries should be, want 4", len(data))
	}
	n, rest := uint64(binary.LittleEndian.Uint32(data)), data[4:]
	if n > uint64(len(rest)/size) {
		return nil, nil, fmt.Errorf("%d entries of %d bytes announced, %d bytes there", n, size, len(rest))
	}
	list = make([]virtio.MAC, n)
	for i := range list {
		list[i] = virtio.MAC(rest[i*size:])
	}
	return list, rest[int(n)*size:], nil
}

// MACAddr sets the device's address.
type MACAddr struct {
	MAC virtio.MAC
}

// Code returns the command's numbers.
func (MACAddr) Code() (class, cmd uint8) { return ClassMAC, 1 }

// AppendData appends the address.
func (c MACAddr) AppendData(b []byte) []byte { return append(b, c.MAC[:]...) }

func decodeMACAddr(_ *Limits, data []byte) (Command, error) {
	if err := wantLen(data, len(virtio.MAC{})); err != nil {
		return nil, err
	}
	c := MACAddr{MAC: virtio.MAC(data)}
	if c.MAC.IsMulticast() { // VNET-120
		return nil, fmt.Errorf("%s is a group address, want one of a single station", c.MAC)
	}
	return c, nil
}

// VLANs is the number of VLAN ids: 0 to VLANs-1.
const VLANs = 4096

// VLAN adds a VLAN to those received, or takes it out.
type VLAN struct {
	ID  uint16 // below VLANs
	Add bool
}

// Code returns the command's numbers.
func (c VLAN) Code() (class, cmd uint8) {
	if c.Add {
		return ClassVLAN, 0
	}
	return ClassVLAN, 1
}

// AppendData appends the 16-bit id.
func (c VLAN) AppendData(b []byte) []byte { return binary.LittleEndian.AppendUint16(b, c.ID) }

func vlan(add bool) func(*Limits, []byte) (Command, error) {
	return func(_ *Limits, data []byte) (Command, error) {
		if err := wantLen(data, 2); err != nil {
			return nil, err
		}
		c := VLAN{ID: binary.LittleEndian.Uint16(data), Add: add}
		if c.ID >= VLANs { // VNET-123
			return nil, fmt.Errorf("VLAN id %d, want 0 to %d", c.ID, VLANs-1)
		}
		return c, nil
	}
}

// AnnounceAck says that the driver saw the ANNOUNCE bit. Whether the bit is
// set is for the device to check (VNET-131).
type AnnounceAck struct{}

// Code returns the command's numbers.
func (AnnounceAck) Code() (class, cmd uint8) { return ClassAnnounce, 0 }

// AppendData appends nothing.
func (AnnounceAck) AppendData(b []byte) []byte { return b }

func decodeAnnounceAck(_ *Limits, data []byte) (Command, error) {
	return AnnounceAck{}, wantLen(data, 0)
}
