// Package guestmem maps the memory that a vhost-user front end shares and
// turns guest and front-end addresses into bounded slices.
//
// A Map is an immutable snapshot: readers keep the one they have while a
// control path builds the next, and regions are unmapped only after nobody
// holds a snapshot that contains them. The memory itself is shared with the
// guest, which may change any byte at any time.
package guestmem

import (
	"fmt"
	"slices"
)

// Map is an immutable set of regions that overlap neither in guest-physical
// nor in front-end address space. The zero value is an empty map. Any number
// of goroutines may use it at once.
type Map struct {
	regions []*Region // ascending by guest address
}

// NewMap returns a map of the regions, or an error that names two of them
// that overlap.
func NewMap(regions ...*Region) (*Map, error) {
	m := &Map{}
	for _, r := range regions {
		next, err := m.With(r)
		if err != nil {
			return nil, err
		}
		m = next
	}
	return m, nil
}

// With returns a map that has r besides the regions of m.
func (m *Map) With(r *Region) (*Map, error) {
	at := len(m.regions)
	for i, o := range m.regions {
		if r.overlaps(o.RegionInfo) {
			return nil, fmt.Errorf("memory region %s overlaps %s", r.RegionInfo, o.RegionInfo)
		}
		if at == len(m.regions) && o.Guest > r.Guest {
			at = i
		}
	}
	return &Map{regions: slices.Insert(slices.Clone(m.regions), at, r)}, nil
}

// Without returns a map that lacks the region with the guest address, user
// address and size of info (its file offset is not compared: vhost-user,
// REM_MEM_REG), and that region.
func (m *Map) Without(info RegionInfo) (*Map, *Region, error) {
	for i, r := range m.regions {
		if r.Guest == info.Guest && r.User == info.User && r.Size == info.Size {
			return &Map{regions: slices.Delete(slices.Clone(m.regions), i, i+1)}, r, nil
		}
	}
	return nil, nil, fmt.Errorf("no memory region with guest 0x%x user 0x%x size 0x%x", info.Guest, info.User, info.Size)
}

// Regions returns the regions in ascending order of guest address. The slice
// must not be changed.
func (m *Map) Regions() []*Region { return m.regions }

// region returns the region that holds the guest-physical address, or nil.
func (m *Map) region(addr uint64) *Region {
	// Find the last region that starts at or below addr.
	low, high := 0, len(m.regions)
	for low < high {
		mid := int(uint(low+high) / 2)
		if m.regions[mid].Guest <= addr {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low == 0 {
		return nil
	}
	if r := m.regions[low-1]; addr-r.Guest < r.Size {
		return r
	}
	return nil
}

// Guest returns the n bytes at the guest-physical address, or nil when they
// do not lie in one region. The slice lives until the region is unmapped.
func (m *Map) Guest(addr, n uint64) []byte {
	r := m.region(addr)
	if r == nil {
		return nil
	}
	return r.at(addr-r.Guest, n)
}

// AppendGuest appends the n bytes at the guest-physical address to pieces, as
// several slices where they cross from one region into an adjacent one. It
// reports false, and pieces unchanged, when part of the range is not mapped.
func (m *Map) AppendGuest(pieces [][]byte, addr, n uint64) ([][]byte, bool) {
	if b := m.Guest(addr, n); b != nil {
		return append(pieces, b), true
	}
	return m.appendPieces(pieces, addr, n)
}

func (m *Map) appendPieces(pieces [][]byte, addr, n uint64) ([][]byte, bool) {
	had := len(pieces)
	for n > 0 {
		r := m.region(addr)
		if r == nil {
			return pieces[:had], false
		}
		b := r.at(addr-r.Guest, min(n, r.Size-(addr-r.Guest)))
		pieces = append(pieces, b)
		// No region reaches the end of the address space, so the sum that
		// would wrap is refused above at the latest.
		addr += uint64(len(b))
		n -= uint64(len(b))
	}
	return pieces, true
}

// User returns the n bytes at the front end's virtual address, which is how
// ring addresses are given, or nil when they do not lie in one region. The
// slice lives until the region is unmapped.
func (m *Map) User(addr, n uint64) []byte {
	for _, r := range m.regions {
		if off := addr - r.User; off < r.Size {
			return r.at(off, n)
		}
	}
	return nil
}
