package vring

import (
	"sync/atomic"
	"unsafe"
)

// Without 16-bit instructions of our own the aligned 32-bit word around a
// half is used. It never crosses the page the half lies in. The neighbour in a
// store is kept by compare-and-swap, for it may be the driver's.

func wordOf(p *uint16) (w *uint32, shift uint) {
	off := uintptr(unsafe.Pointer(p)) & 2
	return (*uint32)(unsafe.Add(unsafe.Pointer(p), -int(off))), uint(off) * 8
}

func load16Word(p *uint16) uint16 {
	w, shift := wordOf(p)
	return uint16(atomic.LoadUint32(w) >> shift)
}

func storeFence16Word(p *uint16, v uint16) {
	w, shift := wordOf(p)
	for {
		old := atomic.LoadUint32(w)
		if atomic.CompareAndSwapUint32(w, old, old&^(0xffff<<shift)|uint32(v)<<shift) {
			return
		}
	}
}

func storeFence32Word(p *uint32, v uint32) { atomic.SwapUint32(p, v) }
