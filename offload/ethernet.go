package offload

import "encoding/binary"

// Ethernet is what a switch looks at: addresses and the outermost tag.
type Ethernet struct {
	Dst, Src [6]byte
	Tagged   bool   // an 802.1Q or 802.1ad tag follows the addresses
	TCI      uint16 // of that tag, 0 without
	TagBytes int    // of all tags in front of the EtherType, at most two
}

// VLAN returns the VLAN id of the outermost tag, 0 without one.
func (e *Ethernet) VLAN() uint16 { return e.TCI & 0xfff }

// EtherTypes of tags (IEEE 802.1Q).
const (
	typeCTag = 0x8100
	typeSTag = 0x88a8
)

// readEthernet reads the front of a frame; b holds at least ethHeader bytes.
func readEthernet(e *Ethernet, b []byte) {
	_ = b[ethHeader-1]
	e.Dst, e.Src = [6]byte(b[0:]), [6]byte(b[6:])
	e.Tagged, e.TCI, e.TagBytes = false, 0, 0
	for isTag(binary.BigEndian.Uint16(b[12:])) && len(b) >= ethHeader+4 && e.TagBytes < 8 {
		if !e.Tagged {
			e.Tagged, e.TCI = true, binary.BigEndian.Uint16(b[14:])
		}
		e.TagBytes += 4
		b = b[4:]
	}
}

func isTag(t uint16) bool { return t == typeCTag || t == typeSTag }
