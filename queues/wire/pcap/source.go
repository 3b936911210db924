package pcap

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// source reads packets; what it returns lives until the next call.
type source interface {
	ZeroCopyReadPacketData() ([]byte, gopacket.CaptureInfo, error)
}

// First bytes of files, as a little-endian number.
const (
	magicNg   = 0x0a0d0d0a
	magicGzip = 0x8b1f // its first two bytes
)

// newSource finds out what kind of capture a file is.
func newSource(file *os.File) (s source, err error) {
	defer guard(&err)
	b := bufio.NewReaderSize(file, 256<<10)
	start, err := b.Peek(4)
	if err != nil {
		if err == io.EOF {
			err = fmt.Errorf("%d bytes, which is no capture", len(start))
		}
		return nil, err
	}
	magic := binary.LittleEndian.Uint32(start)
	if magic&0xffff == magicGzip {
		return nil, errors.New("it is compressed; want it decompressed (gunzip)")
	}
	if magic == magicNg {
		return pcapgo.NewNgReader(b, pcapgo.NgReaderOptions{WantMixedLinkType: true, SkipUnknownVersion: true})
	}
	r, err := pcapgo.NewReader(b)
	if err != nil {
		return nil, fmt.Errorf("neither pcapng nor pcap: %w", err)
	}
	if r.LinkType() != layers.LinkTypeEthernet {
		return nil, fmt.Errorf("frames of link type %v, want Ethernet", r.LinkType())
	}
	return r, nil
}

// isEthernet reports whether a packet of a file is an Ethernet frame; one of
// pcapng can have others among them.
func isEthernet(ci *gopacket.CaptureInfo) bool {
	if len(ci.AncillaryData) == 0 {
		return true // newSource has looked
	}
	link, ok := ci.AncillaryData[0].(layers.LinkType)
	return !ok || link == layers.LinkTypeEthernet
}

// next returns the next packet.
func next(s source) (b []byte, ci gopacket.CaptureInfo, err error) {
	defer guard(&err)
	return s.ZeroCopyReadPacketData()
}

// guard turns a panic over a malformed file into an error. The files may come
// from anybody.
func guard(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("malformed: %v", r)
	}
}
