package wire

import (
	"encoding/binary"
	"fmt"
	"math"
)

// MemRegion is a piece of guest memory (section "Memory region description").
// All values are bytes or byte addresses. Its fields are those of
// guestmem.RegionInfo, to which it converts.
type MemRegion struct {
	Guest  uint64 // guest-physical address
	Size   uint64
	User   uint64 // front-end virtual address
	Offset uint64 // within the file behind the descriptor
}

// Validate refuses a region that is empty or wraps around in an address space
// or in its file.
func (r MemRegion) Validate() error {
	switch {
	case r.Size == 0:
		return fmt.Errorf("memory region at guest 0x%x: size is 0", r.Guest)
	case r.Guest+r.Size < r.Guest:
		return fmt.Errorf("memory region at guest 0x%x: size 0x%x leads beyond 64 bits", r.Guest, r.Size)
	case r.User+r.Size < r.User:
		return fmt.Errorf("memory region at user 0x%x: size 0x%x leads beyond 64 bits", r.User, r.Size)
	case r.Offset+r.Size < r.Offset || r.Offset+r.Size > math.MaxInt64:
		return fmt.Errorf("memory region at file offset 0x%x: size 0x%x leads beyond a file's largest offset", r.Offset, r.Size)
	}
	return nil
}

// appendTo is without validation, so that tests can send what is invalid.
func (r MemRegion) appendTo(b []byte) []byte {
	for _, v := range [...]uint64{r.Guest, r.Size, r.User, r.Offset} {
		b = binary.NativeEndian.AppendUint64(b, v)
	}
	return b
}

func decodeRegion(b []byte) MemRegion {
	return MemRegion{
		Guest:  binary.NativeEndian.Uint64(b),
		Size:   binary.NativeEndian.Uint64(b[8:]),
		User:   binary.NativeEndian.Uint64(b[16:]),
		Offset: binary.NativeEndian.Uint64(b[24:]),
	}
}

// DecodeSingleRegion reads the payload of ADD_MEM_REG and REM_MEM_REG (section
// "Single memory region description").
func DecodeSingleRegion(b []byte) (MemRegion, error) {
	if err := atLeast("single memory region", b, singleSize); err != nil {
		return MemRegion{}, err
	}
	r := decodeRegion(b[8:])
	return r, r.Validate()
}

// AppendSingleRegion adds the payload of ADD_MEM_REG to b.
func AppendSingleRegion(b []byte, r MemRegion) []byte {
	return r.appendTo(append(b, make([]byte, 8)...))
}

// DecodeMemTable reads the payload of SET_MEM_TABLE (section "Multiple Memory
// regions description"). Bytes after the last region are unused slots.
func DecodeMemTable(b []byte) ([]MemRegion, error) {
	if err := atLeast("memory table", b, tableHead); err != nil {
		return nil, err
	}
	n := binary.NativeEndian.Uint32(b)
	if n > MaxTableRegions {
		return nil, fmt.Errorf("memory table: %d regions, want at most %d", n, MaxTableRegions)
	}
	if err := atLeast(fmt.Sprintf("memory table of %d regions", n), b, tableHead+int(n)*regionSize); err != nil {
		return nil, err
	}
	regions := make([]MemRegion, n)
	for i := range regions {
		regions[i] = decodeRegion(b[tableHead+i*regionSize:])
		if err := regions[i].Validate(); err != nil {
			return nil, err
		}
	}
	return regions, nil
}

// AppendMemTable adds the payload of SET_MEM_TABLE to b.
func AppendMemTable(b []byte, regions []MemRegion) []byte {
	b = binary.NativeEndian.AppendUint32(b, uint32(len(regions)))
	b = binary.NativeEndian.AppendUint32(b, 0)
	for _, r := range regions {
		b = r.appendTo(b)
	}
	return b
}
