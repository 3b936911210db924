package packet

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/queues/wire/internal/rings"
)

// message is struct mmsghdr of sendmmsg(2).
type message struct {
	hdr unix.Msghdr
	len uint32
}

// sendBatch is the arguments of sendmmsg, reused.
type sendBatch struct {
	messages [rings.OutSize]message
	parts    [rings.OutSize][2]unix.Iovec
}

// set makes message i of a header and a frame, neither of them empty.
func (b *sendBatch) set(i int, hdr, frame []byte) {
	p := &b.parts[i]
	p[0].Base, p[1].Base = &hdr[0], &frame[0]
	p[0].SetLen(len(hdr))
	p[1].SetLen(len(frame))
	b.messages[i].hdr.Iov = &p[0]
	b.messages[i].hdr.SetIovlen(2)
}

// send sends messages from the one with number first to the one before end. It
// returns how many were taken, or the error that the first one met.
func (b *sendBatch) send(fd, first, end int) (int, unix.Errno) {
	n, _, err := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.messages[first])),
		uintptr(end-first), unix.MSG_DONTWAIT, 0, 0)
	return int(n), err
}
