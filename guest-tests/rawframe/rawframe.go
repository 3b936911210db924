// Package rawframe sends and receives frames below a guest's network stack,
// with the packet header that goes with them: what a driver is asked to send
// and what it hands up are the test's to choose and to see. It works on packet
// sockets with PACKET_VNET_HDR (packet(7)).
//
// Frames travel between host and guest as records: a length, 4 bytes little
// endian, of what follows, the header of HeaderSize bytes, and the frame.
package rawframe

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"vhost-user-nvgre/virtio"
)

// HeaderSize is that of a packet header on a packet socket: without the number
// of buffers, in bytes.
const HeaderSize = 10

// maxRecord bounds a record's length.
const maxRecord = HeaderSize + 1<<17

// Frame is an Ethernet frame with what its packet header says.
type Frame struct {
	Hdr  virtio.NetHdr
	Data []byte
}

// Append adds the record of a frame to b.
func Append(b []byte, f Frame) []byte {
	var hdr [virtio.NetHdrSize]byte
	f.Hdr.Encode(hdr[:])
	b = binary.LittleEndian.AppendUint32(b, uint32(HeaderSize+len(f.Data)))
	b = append(b, hdr[:HeaderSize]...)
	return append(b, f.Data...)
}

// Read returns all frames of r, which ends behind a record.
func Read(r io.Reader) (list []Frame, err error) {
	err = each(r, func(record []byte) error {
		var hdr [virtio.NetHdrSize]byte
		copy(hdr[:], record[:HeaderSize])
		list = append(list, Frame{virtio.DecodeNetHdr(hdr[:]), record[HeaderSize:]})
		return nil
	})
	return list, err
}

// each calls do with header and frame of each record of r.
func each(r io.Reader, do func(record []byte) error) error {
	in := bufio.NewReader(r)
	for {
		var length [4]byte
		switch _, err := io.ReadFull(in, length[:]); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("rawframe: %w", err)
		}
		n := binary.LittleEndian.Uint32(length[:])
		if n < HeaderSize || n > maxRecord {
			return fmt.Errorf("rawframe: record of %d bytes, want %d to %d", n, HeaderSize, maxRecord)
		}
		record := make([]byte, n)
		if _, err := io.ReadFull(in, record); err != nil {
			return fmt.Errorf("rawframe: record of %d bytes: %w", n, err)
		}
		if err := do(record); err != nil {
			return err
		}
	}
}
