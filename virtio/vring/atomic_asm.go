//go:build (amd64 || arm64) && !purego

package vring

// Package sync/atomic has no 16-bit operations, and the indices of a ring are
// 16 bits wide at addresses that are only 2-aligned.

// load16 is a load with acquire semantics.
//
//go:noescape
func load16(p *uint16) uint16

// storeFence16 stores v and waits until it is visible to every processor.
//
//go:noescape
func storeFence16(p *uint16, v uint16)

// storeFence32 stores v and waits until it is visible to every processor.
//
//go:noescape
func storeFence32(p *uint32, v uint32)
