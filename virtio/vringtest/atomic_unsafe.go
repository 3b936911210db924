package vringtest

import (
	"sync/atomic"
	"unsafe"
)

// Index fields are 16 bits wide and only 2-aligned; the word around one is
// loaded and exchanged as a whole. It never leaves the page.

func word(b []byte) (*atomic.Uint32, uint) {
	p := unsafe.Pointer(unsafe.SliceData(b))
	off := uintptr(p) & 2
	return (*atomic.Uint32)(unsafe.Add(p, -int(off))), uint(off) * 8
}

func load16(b []byte) uint16 {
	w, shift := word(b)
	return uint16(w.Load() >> shift)
}

func store16(b []byte, v uint16) {
	w, shift := word(b)
	for {
		old := w.Load()
		if w.CompareAndSwap(old, old&^(0xffff<<shift)|uint32(v)<<shift) {
			return
		}
	}
}
