package rawframe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// drain is how long Capture goes on without a frame after it was told to end.
const drain = 500 * time.Millisecond

// Ready is what the capturing command says before the first record.
const Ready = "capturing\n"

// receiveBuffer is for what arrives while the guest is busy elsewhere, in bytes.
const receiveBuffer = 32 << 20

// open returns a packet socket on an interface. protocol 0 receives nothing.
func open(iface string, protocol uint16) (int, error) {
	i, err := net.InterfaceByName(iface)
	if err != nil {
		return -1, fmt.Errorf("rawframe: interface %s: %w", iface, err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("rawframe: socket: %w", err)
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian(protocol), Ifindex: i.Index}),
	)
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("rawframe: packet socket on %s: %w", iface, err)
	}
	return fd, nil
}

// bigEndian returns v as the kernel wants protocols.
func bigEndian(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

// Send sends the frames of r on an interface, as they are.
func Send(iface string, r io.Reader) error {
	fd, err := open(iface, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	n := 0
	return each(r, func(record []byte) error {
		if _, err := unix.Write(fd, record); err != nil {
			return fmt.Errorf("rawframe: frame %d, %d bytes: %w", n, len(record)-HeaderSize, err)
		}
		n++
		return nil
	})
}

// Capture writes the frames that an interface receives to w, until end is
// closed and no more come. It calls ready when nothing can be missed any more.
func Capture(iface string, w io.Writer, ready func(), end <-chan struct{}) error {
	fd, err := open(iface, unix.ETH_P_ALL)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ready()
	buf := make([]byte, maxRecord)
	for last := time.Now(); ; {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(p, int(drain.Milliseconds())/5); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("rawframe: poll: %w", err)
		}
		if p[0].Revents == 0 {
			select {
			case <-end:
				if time.Since(last) > drain {
					return nil
				}
			default:
				last = time.Now()
			}
			continue
		}
		n, from, err := unix.Recvfrom(fd, buf, 0)
		if err != nil {
			return fmt.Errorf("rawframe: receive: %w", err)
		}
		last = time.Now()
		if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		record := binary.LittleEndian.AppendUint32(nil, uint32(n))
		if _, err := w.Write(append(record, buf[:n]...)); err != nil {
			return fmt.Errorf("rawframe: %w", err)
		}
	}
}
