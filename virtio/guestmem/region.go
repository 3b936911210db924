package guestmem

import (
	"fmt"
	"math"

	"golang.org/x/sys/unix"
)

// RegionInfo describes a memory region as the front end announces it. All
// values are bytes or byte addresses.
type RegionInfo struct {
	Guest  uint64 // guest-physical address of the first byte
	Size   uint64
	User   uint64 // front-end virtual address of the first byte
	Offset uint64 // of the first byte within the file behind the descriptor
}

func (i RegionInfo) String() string {
	return fmt.Sprintf("guest 0x%x user 0x%x size 0x%x offset 0x%x", i.Guest, i.User, i.Size, i.Offset)
}

// check refuses what cannot be mapped or would wrap around.
func (i RegionInfo) check() error {
	switch {
	case i.Size == 0:
		return fmt.Errorf("memory region %s: size is 0", i)
	case i.Guest+i.Size < i.Guest:
		return fmt.Errorf("memory region %s: guest address plus size exceeds 64 bits", i)
	case i.User+i.Size < i.User:
		return fmt.Errorf("memory region %s: user address plus size exceeds 64 bits", i)
	case i.Offset+i.Size < i.Offset || i.Offset+i.Size > math.MaxInt64:
		return fmt.Errorf("memory region %s: file offset plus size exceeds a file's largest offset", i)
	}
	return nil
}

// overlaps reports whether the two regions share an address in either space.
func (i RegionInfo) overlaps(o RegionInfo) bool {
	return spansOverlap(i.Guest, i.Size, o.Guest, o.Size) || spansOverlap(i.User, i.Size, o.User, o.Size)
}

func spansOverlap(a, asize, b, bsize uint64) bool {
	return a < b+bsize && b < a+asize
}

// Region is one mapped piece of guest memory. It is immutable; the mapping
// lives until Unmap.
type Region struct {
	RegionInfo
	mem     []byte // the region's bytes, len == Size
	mapping []byte // what mmap returned; mem lies inside
}

// MapRegion maps the region of the file behind fd for reading and writing.
// The descriptor is only borrowed. The file must reach to Offset+Size; both
// may be unaligned, as they are for hugetlbfs files.
func MapRegion(fd int, info RegionInfo) (*Region, error) {
	if err := info.check(); err != nil {
		return nil, err
	}
	page, err := pageSize(fd, info)
	if err != nil {
		return nil, err
	}
	start, skip, length := info.pages(page)
	if length > math.MaxInt {
		return nil, fmt.Errorf("memory region %s: too large to map", info)
	}
	mapping, err := unix.Mmap(fd, int64(start), int(length), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("memory region %s: mmap: %w", info, err)
	}
	// Guest memory does not belong into our core dumps. Failure is harmless.
	_ = unix.Madvise(mapping, unix.MADV_DONTDUMP)
	return &Region{RegionInfo: info, mem: mapping[skip : skip+info.Size : skip+info.Size], mapping: mapping}, nil
}

// pages returns the part of the file that must be mapped in pages of the given
// size, a power of two: its offset, how far into it the region begins, and its
// length, all in bytes.
func (i RegionInfo) pages(page uint64) (start, skip, length uint64) {
	start = i.Offset &^ (page - 1)
	skip = i.Offset - start
	return start, skip, (skip + i.Size + page - 1) &^ (page - 1)
}

// pageSize returns the granularity in which the file behind fd can be mapped,
// after checking that the file is long enough: pages beyond its end would
// raise SIGBUS on first touch.
func pageSize(fd int, info RegionInfo) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, fmt.Errorf("memory region %s: fstat: %w", info, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return 0, fmt.Errorf("memory region %s: descriptor is not a file (mode %#o); want a memfd, tmpfs or hugetlbfs file", info, st.Mode)
	}
	if uint64(st.Size) < info.Offset+info.Size {
		return 0, fmt.Errorf("memory region %s: file has only 0x%x bytes", info, st.Size)
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return 0, fmt.Errorf("memory region %s: fstatfs: %w", info, err)
	}
	if fs.Type == unix.HUGETLBFS_MAGIC {
		return uint64(fs.Bsize), nil
	}
	return uint64(unix.Getpagesize()), nil
}

// at returns the n bytes at an offset below Size, or nil when the region ends
// before them.
func (r *Region) at(off, n uint64) []byte {
	if n > r.Size-off {
		return nil
	}
	return r.mem[off : off+n : off+n]
}

// Unmap ends the mapping. No slice obtained from the region may be in use; a
// later lookup in a map that still has the region panics.
func (r *Region) Unmap() error {
	mapping := r.mapping
	r.mem, r.mapping = nil, nil
	return unix.Munmap(mapping)
}
