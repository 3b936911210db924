package offload

import (
	"encoding/binary"

	"vhost-user-nvgre/offload/packet"
)

// InnerEthernet is what receive filters look at of the Ethernet header within
// an NVGRE tunnel.
type InnerEthernet struct {
	Dst  uint64 // destination in the upper 48 bits, first byte uppermost
	VLAN uint16 // of the first tag, 0 without one
	VSID uint32 // virtual subnet id of the tunnel
}

// InnerEthernet returns the Ethernet header in the frame's NVGRE tunnel. It
// reports false if there is none, the families of the frame's IP headers are
// not among those given, or the headers are longer than maxHeader bytes.
func (f *Frame) InnerEthernet(families Families, maxHeader int) (in InnerEthernet, ok bool) {
	p := f.Info()
	t := Tunnel{MaxHeader: maxHeader}
	if !t.covers(families, p) {
		return in, false
	}
	l2 := int(p.Inner.L2)
	if p.Inner.Verdict == packet.Absent || l2+ethHeader > len(f.Head) {
		return in, false
	}
	in.Dst = binary.BigEndian.Uint64(f.Head[l2:]) &^ 0xffff
	if p.Inner.Tags() > 0 {
		in.VLAN = p.Inner.TCI & 0xfff
	}
	in.VSID = p.VSID
	return in, true
}
