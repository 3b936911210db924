package vring_test

import (
	"unsafe"

	"vhost-user-nvgre/virtio/guestmem"
)

// halfOf returns the lower half of a word.
func halfOf(w *uint32) *uint16 { return (*uint16)(unsafe.Pointer(w)) }

// inside reports whether all of b lies in one mapping of m. Adjacent mappings
// of the process would let a check of both ends pass, so every page is tried.
func inside(m *guestmem.Map, b []byte) bool {
	p := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	for off := 0; off < len(b); off += 4096 {
		if !m.Contains(p + uintptr(off)) {
			return false
		}
	}
	return len(b) > 0 && m.Contains(p+uintptr(len(b)-1))
}

// word64 returns the two aligned 64-bit words of 16 bytes.
func words(b []byte) *[2]uint64 { return (*[2]uint64)(unsafe.Pointer(unsafe.SliceData(b[:16]))) }
