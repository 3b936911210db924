package virtio

import "encoding/binary"

// Flags of NetHdr (struct virtio_net_hdr, "Device Operation").
const (
	HdrNeedsCsum = 1 // csum_start and csum_offset say what is still to be summed
	HdrDataValid = 2 // the device validated the outermost checksum
	HdrRSCInfo   = 4 // csum fields hold coalescing counts
)

// GSO types of NetHdr.
const (
	GSONone  = 0
	GSOTCPv4 = 1
	GSOUDP   = 3 // fragmentation offload, never offered here
	GSOTCPv6 = 4
	GSOUDPL4 = 5
	GSOECN   = 0x80 // flag: the TCP super-frame has CWR set
)

// Header sizes in bytes. Over vhost-user no larger one can be negotiated,
// because the features that need it have numbers above 63.
const (
	NetHdrSize     = 12 // VERSION_1
	NetHdrHashSize = 20 // with HASH_REPORT
	NetHdrLegacy   = 10 // neither VERSION_1 nor MRG_RXBUF

	// NetHdrMaxSize is the largest of the above.
	NetHdrMaxSize = NetHdrHashSize
)

// NetHdr is the decoded struct virtio_net_hdr. All fields are in host order;
// on the wire they are little-endian.
type NetHdr struct {
	Flags      uint8
	GSOType    uint8
	HdrLen     uint16 // length of the headers to replicate, a hint
	GSOSize    uint16 // payload bytes per segment
	CsumStart  uint16 // from the start of the Ethernet header
	CsumOffset uint16 // from CsumStart
	NumBuffers uint16
	HashValue  uint32
	HashReport uint16
}

// NetHdrLen returns the size in bytes of the header that the feature set
// prescribes, in both directions (VNET-051).
func NetHdrLen(f Features) int {
	switch {
	case f.Has(FeatureHashReport):
		return NetHdrHashSize
	case f&(FeatureVersion1|FeatureMrgRxbuf) != 0:
		return NetHdrSize
	default:
		return NetHdrLegacy
	}
}

// DecodeNetHdr is Decode for those who have no header yet.
func DecodeNetHdr(b []byte) (h NetHdr) {
	h.Decode(b)
	return h
}

// Decode reads the transmit fields of a header from b, which must hold at
// least NetHdrLegacy bytes. NumBuffers and the hash fields carry nothing in
// this direction and are set to zero (VNET-055).
func (h *NetHdr) Decode(b []byte) {
	_ = b[NetHdrLegacy-1]
	// One load instead of five, for every packet is decoded.
	w := binary.LittleEndian.Uint64(b)
	h.Flags = uint8(w)
	h.GSOType = uint8(w >> 8)
	h.HdrLen = uint16(w >> 16)
	h.GSOSize = uint16(w >> 32)
	h.CsumStart = uint16(w >> 48)
	h.CsumOffset = binary.LittleEndian.Uint16(b[8:])
	h.NumBuffers, h.HashValue, h.HashReport = 0, 0, 0
}

// Encode writes the header into b; len(b) selects the layout and must be one
// of the header sizes.
func (h *NetHdr) Encode(b []byte) {
	_ = b[NetHdrLegacy-1]
	binary.LittleEndian.PutUint64(b, uint64(h.Flags)|uint64(h.GSOType)<<8|
		uint64(h.HdrLen)<<16|uint64(h.GSOSize)<<32|uint64(h.CsumStart)<<48)
	binary.LittleEndian.PutUint16(b[8:], h.CsumOffset)
	if len(b) < NetHdrSize {
		return
	}
	binary.LittleEndian.PutUint16(b[10:], h.NumBuffers)
	if len(b) < NetHdrHashSize {
		return
	}
	binary.LittleEndian.PutUint32(b[12:], h.HashValue)
	binary.LittleEndian.PutUint16(b[16:], h.HashReport)
	binary.LittleEndian.PutUint16(b[18:], 0)
}
