package offload

import "encoding/binary"

// Ethernet is what a switch looks at: addresses and the outermost tag.
type Ethernet struct {
	// Dst and Src are addresses in the upper 48 bits, first byte uppermost, with
	// the VLAN id of the outermost tag in the lower 16 (0 without one): what a
	// switch's address table is indexed by.
	Dst, Src uint64
	TCI      uint16 // of the outermost tag
	TagBytes uint8  // of all tags in front of the EtherType, at most two
}

// Tagged reports whether there is a tag.
func (e *Ethernet) Tagged() bool { return e.TagBytes != 0 }

// DstMAC returns the destination address.
func (e *Ethernet) DstMAC() [6]byte {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], e.Dst)
	return [6]byte(b[:])
}

// groupBit is set in the address of a group of stations, and in the broadcast
// address.
const groupBit = 1 << 56

// ToGroup reports whether the destination is a group address, FromGroup
// whether the source is.
func (e *Ethernet) ToGroup() bool   { return e.Dst&groupBit != 0 }
func (e *Ethernet) FromGroup() bool { return e.Src&groupBit != 0 }

// EtherTypes of tags (IEEE 802.1Q).
const (
	typeCTag = 0x8100
	typeSTag = 0x88a8
)

// read takes in the front of a frame; b holds at least ethHeader bytes.
func (e *Ethernet) read(b []byte) {
	_ = b[ethHeader-1]
	dst, src := binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[6:])
	e.TCI, e.TagBytes = 0, 0
	if isTag(uint16(src)) {
		e.readTags(b)
	}
	vlan := uint64(e.TCI & 0xfff)
	e.Dst, e.Src = dst&^0xffff|vlan, src&^0xffff|vlan
}

func (e *Ethernet) readTags(b []byte) {
	for isTag(binary.BigEndian.Uint16(b[12:])) && len(b) >= ethHeader+4 && e.TagBytes < 8 {
		if e.TagBytes == 0 {
			e.TCI = binary.BigEndian.Uint16(b[14:])
		}
		e.TagBytes += 4
		b = b[4:]
	}
}

func isTag(t uint16) bool { return t == typeCTag || t == typeSTag }
