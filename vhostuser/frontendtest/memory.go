package frontendtest

import (
	"fmt"

	"vhost-user-nvgre/vhostuser/wire"
	"vhost-user-nvgre/virtio/vringtest"
)

// Region asks for a piece of guest memory.
type Region struct {
	Guest uint64 // guest-physical address
	Size  uint64 // bytes
	// Pieces announces the region to the back end as so many regions of one
	// file, adjacent in every address space, as QEMU does around holes in the
	// guest's memory. 0 stands for 1.
	Pieces int
	Huge   bool // 2 MiB pages, which the system must have in reserve
}

// RAM is the guest's memory.
type RAM struct {
	Regions []*vringtest.Memory
	// Announced is what the back end is told, and FDs the file of each.
	Announced []wire.MemRegion
	FDs       []int
}

func newRAM(regions []Region) (*RAM, error) {
	ram := &RAM{}
	for _, r := range regions {
		create := vringtest.NewMemory
		if r.Huge {
			create = vringtest.NewHugeMemory
		}
		m, err := create(r.Guest, r.Size)
		if err != nil {
			ram.close()
			return nil, err
		}
		ram.Regions = append(ram.Regions, m)
		n := uint64(max(r.Pieces, 1))
		// Pieces start at multiples of 4 KiB in the file.
		step := (r.Size/n + 4095) &^ 4095
		for off := uint64(0); off < r.Size; off += step {
			ram.Announced = append(ram.Announced, wire.MemRegion{
				Guest: r.Guest + off, User: m.Info.User + off, Offset: off, Size: min(step, r.Size-off),
			})
			ram.FDs = append(ram.FDs, m.FD)
		}
	}
	return ram, nil
}

func (r *RAM) close() {
	for _, m := range r.Regions {
		m.Close()
	}
}

// region returns the memory that the nth of several things belongs into.
func (r *RAM) region(n int) *vringtest.Memory { return r.Regions[n%len(r.Regions)] }

// At returns the n bytes at a guest-physical address, which lie in one region.
func (r *RAM) At(guest, n uint64) ([]byte, error) {
	for _, m := range r.Regions {
		if off := guest - m.Info.Guest; off < m.Info.Size && n <= m.Info.Size-off {
			return m.At(guest, n), nil
		}
	}
	return nil, fmt.Errorf("guest address 0x%x, %d bytes: not in one memory region", guest, n)
}
