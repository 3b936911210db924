package packet

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// header returns the kernel's header of a slot.
func header(slot []byte) *unix.Tpacket2Hdr { return (*unix.Tpacket2Hdr)(unsafe.Pointer(&slot[0])) }

// status loads whose a slot is. What the kernel stored before it gave the slot
// to us is seen after.
func status(slot []byte) uint32 { return atomic.LoadUint32(&header(slot).Status) }

// giveBack makes a slot the kernel's.
func giveBack(slot []byte) { atomic.StoreUint32(&header(slot).Status, unix.TP_STATUS_KERNEL) }
