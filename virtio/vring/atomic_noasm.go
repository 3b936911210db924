//go:build purego || (!amd64 && !arm64)

package vring

func load16(p *uint16) uint16          { return load16Word(p) }
func storeFence16(p *uint16, v uint16) { storeFence16Word(p, v) }
func storeFence32(p *uint32, v uint32) { storeFence32Word(p, v) }
