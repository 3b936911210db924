package guestmem

import "unsafe"

// Contains reports whether the address, one of this process, lies in a
// mapping of m. It tells whose memory a fault (SIGBUS after the front end
// truncated its file) came from.
func (m *Map) Contains(addr uintptr) bool {
	for _, r := range m.regions {
		if off := addr - uintptr(unsafe.Pointer(unsafe.SliceData(r.mapping))); off < uintptr(len(r.mapping)) {
			return true
		}
	}
	return false
}
