package vring

import "fmt"

// Fault is what a driver did wrong.
type Fault uint8

// Faults, each with the text that operators see.
const (
	FaultAvailIndex Fault = iota + 1
	FaultHead
	FaultNext
	FaultLoop
	FaultAddress
	FaultPieces
	FaultLength
	FaultOrder
	FaultIndirectOff
	FaultIndirectNested
	FaultIndirectNext
	FaultIndirectLength
)

var faultText = [...]string{
	FaultAvailIndex:     "available index moved by more than the ring size",
	FaultHead:           "head descriptor beyond the ring",
	FaultNext:           "next descriptor beyond the table",
	FaultLoop:           "descriptor chain longer than the table",
	FaultAddress:        "buffer outside guest memory",
	FaultPieces:         "chain in too many pieces",
	FaultLength:         "chain of too many bytes",
	FaultOrder:          "device-readable element after a device-writable one",
	FaultIndirectOff:    "indirect descriptor without VIRTIO_F_INDIRECT_DESC",
	FaultIndirectNested: "indirect descriptor within an indirect table",
	FaultIndirectNext:   "indirect descriptor with the NEXT flag",
	FaultIndirectLength: "indirect table of wrong length",
}

func (f Fault) String() string {
	if int(f) < len(faultText) && faultText[f] != "" {
		return faultText[f]
	}
	return fmt.Sprintf("fault %d", uint8(f))
}

// Error is a violation of the ring format by the driver. It is fatal for the
// ring and for nothing else.
type Error struct {
	Fault Fault
	// Value and Limit are the offending number and the bound it broke; for
	// FaultAddress the guest address and the length.
	Value, Limit uint64
}

func (e *Error) Error() string {
	switch e.Fault {
	case FaultAddress:
		return fmt.Sprintf("%s: 0x%x, %d bytes", e.Fault, e.Value, e.Limit)
	case FaultOrder, FaultIndirectOff, FaultIndirectNested, FaultIndirectNext:
		return fmt.Sprintf("%s: descriptor %d", e.Fault, e.Value)
	default:
		return fmt.Sprintf("%s: %d, limit %d", e.Fault, e.Value, e.Limit)
	}
}
