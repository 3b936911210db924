package ctrl

import (
	"encoding/binary"
	"fmt"

	"vhost-user-nvgre/virtio"
)

// Pairs sets the number of queue pairs in use, with automatic steering.
type Pairs struct {
	N uint16 // 1 to Limits.QueuePairs
}

// Code returns the command's numbers.
func (Pairs) Code() (class, cmd uint8) { return ClassMQ, 0 }

// AppendData appends the 16-bit number.
func (c Pairs) AppendData(b []byte) []byte { return binary.LittleEndian.AppendUint16(b, c.N) }

func decodePairs(l *Limits, data []byte) (Command, error) {
	if err := wantLen(data, 2); err != nil {
		return nil, err
	}
	c := Pairs{N: binary.LittleEndian.Uint16(data)}
	return c, l.checkPairs("queue pairs", c.N)
}

// checkPairs is VNET-082.
func (l *Limits) checkPairs(what string, n uint16) error {
	if n < 1 || n > l.QueuePairs {
		return fmt.Errorf("%d %s, want 1 to %d", n, what, l.QueuePairs)
	}
	return nil
}

// RSS configures receive-side scaling. Queues are numbered by pair, from 0.
type RSS struct {
	HashTypes    uint32
	Unclassified uint16   // queue of packets without a hash
	Table        []uint16 // queue by hash modulo its length, a power of two
	MaxTxVQ      uint16   // transmit queues in use, 1 to Limits.QueuePairs
	Key          []byte   // Toeplitz key, at most Limits.KeySize bytes
}

// rssFixed is the length of the data without table and key.
const rssFixed = 4 + 2 + 2 + 2 + 1

// Code returns the command's numbers.
func (RSS) Code() (class, cmd uint8) { return ClassMQ, 1 }

// AppendData appends struct virtio_net_rss_config.
func (c RSS) AppendData(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, c.HashTypes)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(c.Table)-1))
	b = binary.LittleEndian.AppendUint16(b, c.Unclassified)
	for _, q := range c.Table {
		b = binary.LittleEndian.AppendUint16(b, q)
	}
	b = binary.LittleEndian.AppendUint16(b, c.MaxTxVQ)
	b = append(b, uint8(len(c.Key)))
	return append(b, c.Key...)
}

// decodeRSS makes the checks of VNET-086.
func decodeRSS(l *Limits, data []byte) (Command, error) {
	if len(data) < rssFixed {
		return nil, fmt.Errorf("%d bytes of data, want at least %d", len(data), rssFixed)
	}
	c := RSS{
		HashTypes:    binary.LittleEndian.Uint32(data),
		Unclassified: binary.LittleEndian.Uint16(data[6:]),
	}
	entries := int(binary.LittleEndian.Uint16(data[4:])) + 1
	if entries&(entries-1) != 0 || entries > int(l.TableLen) {
		return nil, fmt.Errorf("indirection table of %d entries, want a power of two up to %d", entries, l.TableLen)
	}
	if len(data) < rssFixed+2*entries {
		return nil, fmt.Errorf("%d bytes of data, want at least %d for an indirection table of %d entries", len(data), rssFixed+2*entries, entries)
	}
	table, rest := data[8:8+2*entries], data[8+2*entries:]
	c.Table = make([]uint16, entries)
	for i := range c.Table {
		c.Table[i] = binary.LittleEndian.Uint16(table[2*i:])
		if c.Table[i] >= l.QueuePairs {
			return nil, fmt.Errorf("entry %d of the indirection table: receive queue %d, want 0 to %d", i, c.Table[i], l.QueuePairs-1)
		}
	}
	if c.Unclassified >= l.QueuePairs {
		return nil, fmt.Errorf("unclassified queue: receive queue %d, want 0 to %d", c.Unclassified, l.QueuePairs-1)
	}
	c.MaxTxVQ = binary.LittleEndian.Uint16(rest)
	if err := l.checkPairs("transmit queues", c.MaxTxVQ); err != nil {
		return nil, err
	}
	if err := l.checkHashTypes(c.HashTypes); err != nil {
		return nil, err
	}
	var err error
	c.Key, err = l.cutKey(rest[2:])
	return c, err
}

func (l *Limits) checkHashTypes(types uint32) error {
	if extra := types &^ l.HashTypes; extra != 0 {
		return fmt.Errorf("hash types 0x%x, of which 0x%x are not supported", types, extra)
	}
	return nil
}

// cutKey returns a copy of the key that, after its length in one byte, is in
// data, which is not empty. Bytes behind the key are ignored: Linux 7 sends one,
// the padding of its structure.
func (l *Limits) cutKey(data []byte) ([]byte, error) {
	n, key := data[0], data[1:]
	switch {
	case n > l.KeySize:
		return nil, fmt.Errorf("hash key of %d bytes, want at most %d", n, l.KeySize)
	case len(key) < int(n):
		return nil, fmt.Errorf("%d bytes where the hash key should be, want %d as announced", len(key), n)
	}
	return append([]byte(nil), key[:n]...), nil
}

// HashConfig configures the hash that packet headers report.
type HashConfig struct {
	HashTypes uint32
	Key       []byte // Toeplitz key, at most Limits.KeySize bytes
}

// hashFixed is the length of the data without the key: hash types, four
// reserved 16-bit fields, key length.
const hashFixed = 4 + 4*2 + 1

// Code returns the command's numbers.
func (HashConfig) Code() (class, cmd uint8) { return ClassMQ, 2 }

// AppendData appends struct virtio_net_hash_config.
func (c HashConfig) AppendData(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, c.HashTypes)
	b = append(b, make([]byte, 8)...)
	b = append(b, uint8(len(c.Key)))
	return append(b, c.Key...)
}

// decodeHashConfig ignores the reserved fields: they lie where RSS_CONFIG has
// its own, and Linux fills those in.
func decodeHashConfig(l *Limits, data []byte) (Command, error) {
	if len(data) < hashFixed {
		return nil, fmt.Errorf("%d bytes of data, want at least %d", len(data), hashFixed)
	}
	c := HashConfig{HashTypes: binary.LittleEndian.Uint32(data)}
	if err := l.checkHashTypes(c.HashTypes); err != nil {
		return nil, err
	}
	var err error
	c.Key, err = l.cutKey(data[hashFixed-1:])
	return c, err
}

// TunnelNVGRE is the bit of NVGRE among tunnel types.
const TunnelNVGRE = 1 << 8

// HashTunnel chooses the encapsulations whose inner headers are hashed.
type HashTunnel struct {
	Types uint32 // subset of Limits.TunnelTypes, 0: none
}

// Code returns the command's numbers.
func (HashTunnel) Code() (class, cmd uint8) { return ClassHashTunnel, 0 }

// AppendData appends the 32-bit mask.
func (c HashTunnel) AppendData(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(b, c.Types)
}

func decodeHashTunnel(l *Limits, data []byte) (Command, error) {
	if err := wantLen(data, 4); err != nil {
		return nil, err
	}
	c := HashTunnel{Types: binary.LittleEndian.Uint32(data)}
	if extra := c.Types &^ l.TunnelTypes; extra != 0 { // VNET-096
		return nil, fmt.Errorf("tunnel types 0x%x, of which 0x%x are not supported", c.Types, extra)
	}
	return c, nil
}

// AllGuestOffloads are the receive offloads that can be switched; the command's
// bits are those of the features.
const AllGuestOffloads = virtio.FeatureGuestCSUM |
	virtio.FeatureGuestTSO4 | virtio.FeatureGuestTSO6 | virtio.FeatureGuestECN | virtio.FeatureGuestUFO |
	virtio.FeatureGuestUSO4 | virtio.FeatureGuestUSO6

// GuestOffloads switches receive offloads.
type GuestOffloads struct {
	// On has the offloads to use, without those that depend on one that is
	// off (VNET-142).
	On virtio.Features
}

// Code returns the command's numbers.
func (GuestOffloads) Code() (class, cmd uint8) { return ClassGuestOffloads, 0 }

// AppendData appends the 64-bit mask.
func (c GuestOffloads) AppendData(b []byte) []byte {
	return binary.LittleEndian.AppendUint64(b, uint64(c.On))
}

// decodeGuestOffloads ignores bit 59: Linux sets it once GUEST_HDRLEN is
// negotiated, although the specification gives it no meaning here (VNET-141).
func decodeGuestOffloads(l *Limits, data []byte) (Command, error) {
	if err := wantLen(data, 8); err != nil {
		return nil, err
	}
	on := virtio.Features(binary.LittleEndian.Uint64(data)) &^ virtio.FeatureGuestHdrLen
	if extra := on &^ (l.Features & AllGuestOffloads); extra != 0 {
		return nil, fmt.Errorf("offloads %s are not receive offloads that were negotiated", extra)
	}
	return GuestOffloads{On: on.Strip()}, nil
}
