package guestmem_test

import "unsafe"

// addressOf returns where b begins in this process.
func addressOf(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }
