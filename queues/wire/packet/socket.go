package packet

import (
	"fmt"
	"math/bits"

	"golang.org/x/sys/unix"
)

// Buffers of a socket in bytes, as far as the kernel allows: frames on their
// way out, and frames longer than a slot on their way in.
const socketBuffer = 16 << 20

// socket returns a packet socket that is set up for the interface, but not
// bound to it.
func socket(name string, index int) (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("interface %s: packet socket: %w", name, err)
	}
	for _, o := range []struct {
		what         string
		level, which int
		value        int
	}{
		{"TPACKET_V2", unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V2},
		{"PACKET_VNET_HDR", unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1},
		{"PACKET_RESERVE", unix.SOL_PACKET, unix.PACKET_RESERVE, reserve},
		{"PACKET_COPY_THRESH", unix.SOL_PACKET, unix.PACKET_COPY_THRESH, 1},
		{"PACKET_IGNORE_OUTGOING", unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1},
	} {
		if err := unix.SetsockoptInt(fd, o.level, o.which, o.value); err != nil {
			unix.Close(fd)
			return -1, fmt.Errorf("interface %s: %s, which takes Linux 4.20: %w", name, o.what, err)
		}
	}
	for _, o := range [][2]int{{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}, {unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}} {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, o[0], socketBuffer) != nil {
			// Not permitted to have more than others; less works, too.
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, o[1], socketBuffer)
		}
	}
	mreq := unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_PROMISC}
	if err := unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &mreq); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("interface %s: promiscuous mode: %w", name, err)
	}
	return fd, nil
}

// nothing is a filter that lets nothing through.
func nothing() *unix.SockFprog {
	return &unix.SockFprog{Len: 1, Filter: &unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}}
}

// htons returns a number as it is in memory in network byte order, on the
// little-endian machines this program is for.
func htons(n uint16) uint16 { return bits.ReverseBytes16(n) }
