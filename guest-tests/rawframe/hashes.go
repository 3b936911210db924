package rawframe

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// Arrival is what a guest's driver says of a marked frame.
type Arrival struct {
	// Hash is that of the packet header, as the driver hands it up; 0 if it
	// hands up none. The kernel computes another one where it needs one of
	// ports and the driver's is not, which is not seen here.
	Hash uint32
	// Queue is the receive queue, from 0, that the frame came on, -1 if the
	// driver does not say.
	Queue int
	// Count is how often the frame came. The rest is that of the last time.
	Count int
}

// MaxMarks is how many marks there are.
const MaxMarks = 1 << 16

// markMagic is the upper half of a mark, the lower is the frame's number.
const markMagic = 0xa7c3

// Mark appends a mark of 4 bytes to a frame, behind what its headers say of the
// length, by which Hashes knows frame n, 0 to MaxMarks-1.
func Mark(frame []byte, n int) []byte {
	return binary.BigEndian.AppendUint32(frame, markMagic<<16|uint32(n))
}

// Marked returns the number of a frame that Mark has marked.
func Marked(frame []byte) (n int, ok bool) {
	if len(frame) < 4 {
		return 0, false
	}
	mark := binary.BigEndian.Uint32(frame[len(frame)-4:])
	return int(mark & 0xffff), mark>>16 == markMagic
}

// Hashes notes of each marked frame, below n, that an interface receives what
// the driver says of it, until end is closed and shortly after, and writes it
// to w for ReadHashes. It calls ready when nothing can be missed any more.
//
// A BPF program looks at the frames, because only there the hash is that of the
// driver: PACKET_RX_RING with TP_FT_REQ_FILL_RXHASH (packet(7)) gives the
// kernel's own for frames whose driver says that it hashed no ports.
func Hashes(iface string, n int, w io.Writer, ready func(), end <-chan struct{}) (err error) {
	i, err := net.InterfaceByName(iface)
	if err != nil {
		return fmt.Errorf("rawframe: interface %s: %w", iface, err)
	}
	table, err := newArray(arrivalSize, n)
	if err != nil {
		return err
	}
	defer unix.Close(table)
	program, err := loadFilter(noteArrival(table))
	if err != nil {
		return err
	}
	defer unix.Close(program)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("rawframe: socket: %w", err)
	}
	defer unix.Close(fd)
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ATTACH_BPF, program),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_ALL), Ifindex: i.Index}),
	)
	if err != nil {
		return fmt.Errorf("rawframe: packet socket on %s: %w", iface, err)
	}
	ready()
	<-end
	time.Sleep(drain)
	out := bufio.NewWriter(w)
	for k := range n {
		v, err := lookup(table, uint32(k), arrivalSize)
		if err != nil {
			return err
		}
		if _, err := out.Write(v); err != nil {
			return fmt.Errorf("rawframe: %w", err)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("rawframe: %w", err)
	}
	return nil
}

// arrivalSize is that of an entry of the program's table: hash, queue + 1 and
// count, 4 bytes each, and as many unused.
const arrivalSize = 16

// ReadHashes returns what Hashes has written, by the frames' numbers.
func ReadHashes(b []byte) ([]Arrival, error) {
	if len(b)%arrivalSize != 0 {
		return nil, fmt.Errorf("rawframe: %d bytes of hashes, want a multiple of %d", len(b), arrivalSize)
	}
	list := make([]Arrival, len(b)/arrivalSize)
	for i := range list {
		v := b[i*arrivalSize:]
		list[i] = Arrival{
			Hash:  binary.NativeEndian.Uint32(v),
			Queue: int(binary.NativeEndian.Uint32(v[4:])) - 1,
			Count: int(binary.NativeEndian.Uint32(v[8:])),
		}
	}
	return list, nil
}
