// Package vringtest plays the driver side of virtqueues over memory that a
// device maps, for tests and benchmarks. It follows the specification where
// the caller asks for it and lets the caller break every rule by writing the
// shared memory directly.
package vringtest

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/virtio/guestmem"
)

// UserOffset is the distance between guest-physical and front-end virtual
// addresses of a Memory: different on purpose, so that a device that confuses
// the two fails.
const UserOffset = 0x7f00_0000_0000

// Memory is guest RAM in a memfd, seen from the driver's side, with an
// allocator that never frees. It is not safe for concurrent allocation.
type Memory struct {
	FD    int
	Info  guestmem.RegionInfo
	bytes []byte
	next  uint64
}

// NewMemory creates size bytes of RAM at a guest-physical address. Close it
// after use.
func NewMemory(guest, size uint64) (*Memory, error) {
	fd, err := unix.MemfdCreate("vringtest", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd: %w", err)
	}
	return newMemory(fd, guest, size)
}

// NewHugeMemory is NewMemory with 2 MiB pages, which must be reserved in the
// system.
func NewHugeMemory(guest, size uint64) (*Memory, error) {
	fd, err := unix.MemfdCreate("vringtest", unix.MFD_CLOEXEC|unix.MFD_HUGETLB|unix.MFD_HUGE_2MB)
	if err != nil {
		return nil, fmt.Errorf("memfd with huge pages: %w", err)
	}
	return newMemory(fd, guest, size)
}

func newMemory(fd int, guest, size uint64) (*Memory, error) {
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("memfd of %d bytes: %w", size, err)
	}
	b, err := unix.Mmap(fd, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("mmap of %d bytes: %w", size, err)
	}
	return &Memory{
		FD:    fd,
		Info:  guestmem.RegionInfo{Guest: guest, User: guest + UserOffset, Size: size},
		bytes: b,
	}, nil
}

// Close unmaps the driver's view and closes the file. Further calls are errors
// and close nothing.
func (m *Memory) Close() error {
	err := errors.Join(unix.Munmap(m.bytes), unix.Close(m.FD))
	m.bytes, m.FD = nil, -1
	return err
}

// Map maps the memory as a device would: whole, or as the given regions of it.
// Call Unmap after use.
func (m *Memory) Map(regions ...guestmem.RegionInfo) (*guestmem.Map, error) {
	if len(regions) == 0 {
		regions = []guestmem.RegionInfo{m.Info}
	}
	guest := &guestmem.Map{}
	for _, info := range regions {
		r, err := guestmem.MapRegion(m.FD, info)
		if err == nil {
			var next *guestmem.Map
			if next, err = guest.With(r); err == nil {
				guest = next
				continue
			}
			err = errors.Join(err, r.Unmap())
		}
		return nil, errors.Join(err, Unmap(guest))
	}
	return guest, nil
}

// Unmap ends the mappings of a map.
func Unmap(guest *guestmem.Map) (err error) {
	for _, r := range guest.Regions() {
		err = errors.Join(err, r.Unmap())
	}
	return err
}

// Alloc returns the guest-physical address of n fresh bytes. It panics when
// the memory is full, which is a fault of the test.
func (m *Memory) Alloc(n, align uint64) uint64 {
	at := (m.next + align - 1) &^ (align - 1)
	if at+n > m.Info.Size {
		panic(fmt.Sprintf("vringtest: %d bytes of memory are too few", m.Info.Size))
	}
	m.next = at + n
	return m.Info.Guest + at
}

// At returns the n bytes at a guest-physical address.
func (m *Memory) At(guest, n uint64) []byte {
	off := guest - m.Info.Guest
	return m.bytes[off : off+n : off+n]
}

// Bytes returns all of the memory.
func (m *Memory) Bytes() []byte { return m.bytes }

// Write allocates room for b, copies it there and returns its address.
func (m *Memory) Write(b []byte) uint64 {
	at := m.Alloc(uint64(len(b)), 1)
	copy(m.At(at, uint64(len(b))), b)
	return at
}
