package wire

import (
	"encoding/binary"
	"fmt"
)

// VringState is a ring and a number whose meaning the message gives (section
// "A vring state description").
type VringState struct {
	Index, Num uint32
}

// DecodeVringState reads a vring state description.
func DecodeVringState(b []byte) (VringState, error) {
	if err := atLeast("vring state", b, stateSize); err != nil {
		return VringState{}, err
	}
	return VringState{Index: binary.NativeEndian.Uint32(b), Num: binary.NativeEndian.Uint32(b[4:])}, nil
}

// Append adds the encoded state to b.
func (s VringState) Append(b []byte) []byte {
	b = binary.NativeEndian.AppendUint32(b, s.Index)
	return binary.NativeEndian.AppendUint32(b, s.Num)
}

// VringLog is the flag of VringAddr that asks for logging of writes to the
// used ring.
const VringLog = 1

// VringAddr says where the areas of a ring lie, in the front end's virtual
// addresses (section "A vring address description").
type VringAddr struct {
	Index uint32
	Flags uint32
	Desc  uint64
	Used  uint64 // device area; stands before Avail
	Avail uint64 // driver area
	Log   uint64 // guest-physical address that writes to the used ring are logged at
}

// DecodeVringAddr reads a vring address description.
func DecodeVringAddr(b []byte) (VringAddr, error) {
	if err := atLeast("vring address", b, addrSize); err != nil {
		return VringAddr{}, err
	}
	a := VringAddr{
		Index: binary.NativeEndian.Uint32(b),
		Flags: binary.NativeEndian.Uint32(b[4:]),
		Desc:  binary.NativeEndian.Uint64(b[8:]),
		Used:  binary.NativeEndian.Uint64(b[16:]),
		Avail: binary.NativeEndian.Uint64(b[24:]),
		Log:   binary.NativeEndian.Uint64(b[32:]),
	}
	return a, a.Validate()
}

// Validate refuses flags that the document does not define. Alignment is left
// to whoever knows the format of the ring.
func (a VringAddr) Validate() error {
	if a.Flags&^VringLog != 0 {
		return fmt.Errorf("vring address of ring %d: flags 0x%x, want 0 or %d", a.Index, a.Flags, VringLog)
	}
	return nil
}

// Append adds the encoded address to b.
func (a VringAddr) Append(b []byte) []byte {
	b = binary.NativeEndian.AppendUint32(b, a.Index)
	b = binary.NativeEndian.AppendUint32(b, a.Flags)
	for _, v := range [...]uint64{a.Desc, a.Used, a.Avail, a.Log} {
		b = binary.NativeEndian.AppendUint64(b, v)
	}
	return b
}

// VringFD is the u64 of SET_VRING_KICK, _CALL and _ERR: a ring, and whether a
// descriptor comes with the message.
type VringFD struct {
	Index uint8
	NoFD  bool
}

// vringNoFD is VHOST_USER_VRING_NOFD_MASK.
const vringNoFD = 1 << 8

// DecodeVringFD reads the payload of SET_VRING_KICK, _CALL or _ERR.
func DecodeVringFD(b []byte) (VringFD, error) {
	v, err := DecodeU64(b)
	if err != nil {
		return VringFD{}, err
	}
	if v&^(vringNoFD|0xff) != 0 {
		return VringFD{}, fmt.Errorf("ring and flag 0x%x: bits above 8 are set, want a ring index of at most 255", v)
	}
	return VringFD{Index: uint8(v), NoFD: v&vringNoFD != 0}, nil
}

// Append adds the encoded value to b.
func (v VringFD) Append(b []byte) []byte {
	u := uint64(v.Index)
	if v.NoFD {
		u |= vringNoFD
	}
	return AppendU64(b, u)
}
