package wire

import (
	"encoding/binary"
	"fmt"
)

// ShmemConfigSize is the size in bytes of the reply to GET_SHMEM_CONFIG
// (section "Shared memory regions"): a count, padding and 256 sizes.
const ShmemConfigSize = 8 + 256*8

// DecodeU64 reads the payload of the messages that carry one number.
func DecodeU64(b []byte) (uint64, error) {
	if err := atLeast("u64", b, u64Size); err != nil {
		return 0, err
	}
	return binary.NativeEndian.Uint64(b), nil
}

// AppendU64 adds an encoded number to b.
func AppendU64(b []byte, v uint64) []byte { return binary.NativeEndian.AppendUint64(b, v) }

// Flags of Config: on whose behalf SET_CONFIG writes.
const (
	ConfigWritable  = 0 // the guest's: only fields that a driver may write
	ConfigMigration = 1 // a migration's: every field
)

// Config is a piece of the device configuration space (section "Virtio device
// config space").
type Config struct {
	Offset uint32
	Flags  uint32
	Bytes  []byte // alias of the payload it was decoded from
}

// DecodeConfig reads the payload of GET_CONFIG and SET_CONFIG.
func DecodeConfig(b []byte) (Config, error) {
	if err := atLeast("device configuration", b, configHead); err != nil {
		return Config{}, err
	}
	size, have := binary.NativeEndian.Uint32(b[4:]), len(b)-configHead
	if uint64(size) != uint64(have) {
		return Config{}, &SizeError{What: "bytes of device configuration", Size: have, Min: int(size), Max: int(size)}
	}
	return Config{
		Offset: binary.NativeEndian.Uint32(b),
		Flags:  binary.NativeEndian.Uint32(b[8:]),
		Bytes:  b[configHead:],
	}, nil
}

// Validate refuses a range beyond MaxConfig and unknown flags.
func (c Config) Validate() error {
	if end := uint64(c.Offset) + uint64(len(c.Bytes)); end > MaxConfig {
		return fmt.Errorf("device configuration: offset %d plus %d bytes, want at most %d together", c.Offset, len(c.Bytes), MaxConfig)
	}
	if c.Flags > ConfigMigration {
		return fmt.Errorf("device configuration: flags 0x%x, want %d or %d", c.Flags, ConfigWritable, ConfigMigration)
	}
	return nil
}

// Append adds the encoded piece to b.
func (c Config) Append(b []byte) []byte {
	b = binary.NativeEndian.AppendUint32(b, c.Offset)
	b = binary.NativeEndian.AppendUint32(b, uint32(len(c.Bytes)))
	b = binary.NativeEndian.AppendUint32(b, c.Flags)
	return append(b, c.Bytes...)
}
