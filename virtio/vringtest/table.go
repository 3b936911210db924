package vringtest

import "encoding/binary"

// SetDesc writes entry i of the descriptor table at a guest-physical address.
func (m *Memory) SetDesc(table uint64, i uint16, addr uint64, n uint32, flags, next uint16) {
	b := m.At(table+DescSize*uint64(i), DescSize)
	binary.LittleEndian.PutUint64(b, addr)
	binary.LittleEndian.PutUint32(b[8:], n)
	binary.LittleEndian.PutUint16(b[12:], flags)
	binary.LittleEndian.PutUint16(b[14:], next)
}

// WriteTable writes an indirect table of the elements to a guest-physical
// address and returns its length in bytes.
func (m *Memory) WriteTable(addr uint64, elems ...Elem) (n uint32) {
	for i, e := range elems {
		last := i == len(elems)-1
		var next uint16
		if !last {
			next = uint16(i + 1)
		}
		m.SetDesc(addr, uint16(i), e.Addr, e.Len, elemFlags(e, last), next)
	}
	return uint32(len(elems) * DescSize)
}

func elemFlags(e Elem, last bool) uint16 {
	var f uint16
	if e.Write {
		f = Write
	}
	if !last {
		f |= Next
	}
	return f
}
