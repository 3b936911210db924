package ndis

// Framing says which link-layer framings an offload works with. NDIS calls it
// Encapsulation; it has nothing to do with tunnels.
type Framing uint32

// Framings. IEEE8023 is part of every offload that there is.
const (
	FramingNull              Framing = 0x1
	FramingIEEE8023          Framing = 0x2
	FramingIEEE8023PQ        Framing = 0x4 // tag in the frame
	FramingIEEE8023PQInOOB   Framing = 0x8 // tag beside the frame
	FramingIEEELLCSNAPRouted Framing = 0x10
)

var framingNames = flagNames{"NULL", "IEEE_802_3", "IEEE_802_3_P_AND_Q", "IEEE_802_3_P_AND_Q_IN_OOB", "IEEE_LLC_SNAP_ROUTED"}

// String returns the names of the framings.
func (f Framing) String() string { return framingNames.join(uint32(f)) }

// MarshalText is String, for JSON.
func (f Framing) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// Support is a two-bit field of a capability.
type Support uint8

// Values of Support. Where a page asks for SET_OFF, 2, it is not written, and
// read as not supported.
const (
	NotSupported Support = 0
	Supported    Support = 1
)

// On reports whether the value means yes.
func (s Support) On() bool { return s == Supported }

// SupportOf returns the value for yes and no.
func SupportOf(yes bool) Support {
	if yes {
		return Supported
	}
	return NotSupported
}

var supportNames = []string{"NOT_SUPPORTED", "SUPPORTED", "SET_OFF"}

// String returns the name.
func (s Support) String() string { return enumName(supportNames, s) }

// MarshalText is String, for JSON.
func (s Support) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// ChecksumBlock is one of the four parts of NDIS_TCP_IP_CHECKSUM_OFFLOAD, 8
// bytes. The IPv6 parts have extension headers in the place of options and no
// IPChecksum.
type ChecksumBlock struct {
	Encapsulation Framing
	IPOptions     Support
	TCPOptions    Support
	TCPChecksum   Support
	UDPChecksum   Support
	IPChecksum    Support
}

// Any reports whether there is any checksum it offers.
func (c *ChecksumBlock) Any() bool {
	return c.TCPChecksum.On() || c.UDPChecksum.On() || c.IPChecksum.On()
}

// ChecksumOffload is NDIS_TCP_IP_CHECKSUM_OFFLOAD, 32 bytes.
type ChecksumOffload struct {
	IPv4Transmit, IPv4Receive, IPv6Transmit, IPv6Receive ChecksumBlock
}

func (c *ChecksumOffload) blocks() [4]*ChecksumBlock {
	return [4]*ChecksumBlock{&c.IPv4Transmit, &c.IPv4Receive, &c.IPv6Transmit, &c.IPv6Receive}
}

func (c *ChecksumOffload) get(f fields) {
	for i, b := range c.blocks() {
		w := f.u32(8*i + 4)
		*b = ChecksumBlock{
			Encapsulation: Framing(f.u32(8 * i)),
			IPOptions:     Support(bitField(w, 0, 2)),
			TCPOptions:    Support(bitField(w, 2, 2)),
			TCPChecksum:   Support(bitField(w, 4, 2)),
			UDPChecksum:   Support(bitField(w, 6, 2)),
		}
		if i < 2 {
			b.IPChecksum = Support(bitField(w, 8, 2))
		}
	}
}

func (c *ChecksumOffload) put(f fields) {
	for i, b := range c.blocks() {
		f.put32(8*i, uint32(b.Encapsulation))
		w := uint32(b.IPOptions&3) | uint32(b.TCPOptions&3)<<2 | uint32(b.TCPChecksum&3)<<4 | uint32(b.UDPChecksum&3)<<6
		if i < 2 {
			w |= uint32(b.IPChecksum&3) << 8
		}
		f.put32(8*i+4, w)
	}
}

// LSOv1 is NDIS_TCP_LARGE_SEND_OFFLOAD_V1, 16 bytes.
type LSOv1 struct {
	Encapsulation   Framing
	MaxOffLoadSize  uint32 // bytes of payload, at most 64 KiB
	MinSegmentCount uint32
	TCPOptions      Support
	IPOptions       Support
}

func (l *LSOv1) get(f fields) {
	w := f.u32(12)
	*l = LSOv1{Framing(f.u32(0)), f.u32(4), f.u32(8), Support(bitField(w, 0, 2)), Support(bitField(w, 2, 2))}
}

func (l *LSOv1) put(f fields) {
	f.put32(0, uint32(l.Encapsulation))
	f.put32(4, l.MaxOffLoadSize)
	f.put32(8, l.MinSegmentCount)
	f.put32(12, uint32(l.TCPOptions&3)|uint32(l.IPOptions&3)<<2)
}

// LSOv2Family is what NDIS_TCP_LARGE_SEND_OFFLOAD_V2 says of one IP version.
// The last two fields are for IPv6 only; for IPv4 what LSOv1 and the checksums
// say of options holds.
type LSOv2Family struct {
	Encapsulation    Framing
	MaxOffLoadSize   uint32 // bytes of payload
	MinSegmentCount  uint32
	ExtensionHeaders Support
	TCPOptions       Support
}

// LSOv2 is NDIS_TCP_LARGE_SEND_OFFLOAD_V2, 28 bytes.
type LSOv2 struct {
	IPv4, IPv6 LSOv2Family
}

func (l *LSOv2) get(f fields) {
	w := f.u32(24)
	l.IPv4 = LSOv2Family{Encapsulation: Framing(f.u32(0)), MaxOffLoadSize: f.u32(4), MinSegmentCount: f.u32(8)}
	l.IPv6 = LSOv2Family{Framing(f.u32(12)), f.u32(16), f.u32(20), Support(bitField(w, 0, 2)), Support(bitField(w, 2, 2))}
}

func (l *LSOv2) put(f fields) {
	for i, v := range []*LSOv2Family{&l.IPv4, &l.IPv6} {
		f.put32(12*i, uint32(v.Encapsulation))
		f.put32(12*i+4, v.MaxOffLoadSize)
		f.put32(12*i+8, v.MinSegmentCount)
	}
	f.put32(24, uint32(l.IPv6.ExtensionHeaders&3)|uint32(l.IPv6.TCPOptions&3)<<2)
}

// USOFamily is what NDIS_UDP_SEGMENTATION_OFFLOAD says of one IP version.
type USOFamily struct {
	Encapsulation    Framing
	MaxOffLoadSize   uint32 // bytes of payload
	MinSegmentCount  uint32 // at most 63
	SubMSSFinal      bool   // the last datagram may be shorter
	ExtensionHeaders Support
}

// UDPSegmentation is NDIS_UDP_SEGMENTATION_OFFLOAD, 28 bytes.
type UDPSegmentation struct {
	IPv4, IPv6 USOFamily
}

func (u *UDPSegmentation) get(f fields) {
	for i, v := range []*USOFamily{&u.IPv4, &u.IPv6} {
		w := f.u32(12*i + 8)
		*v = USOFamily{
			Encapsulation: Framing(f.u32(12 * i)), MaxOffLoadSize: f.u32(12*i + 4),
			MinSegmentCount: bitField(w, 0, 6), SubMSSFinal: bitField(w, 6, 1) != 0,
		}
	}
	u.IPv6.ExtensionHeaders = Support(bitField(f.u32(24), 0, 2))
}

func (u *UDPSegmentation) put(f fields) {
	for i, v := range []*USOFamily{&u.IPv4, &u.IPv6} {
		f.put32(12*i, uint32(v.Encapsulation))
		f.put32(12*i+4, v.MaxOffLoadSize)
		w := v.MinSegmentCount & 63
		if v.SubMSSFinal {
			w |= 1 << 6
		}
		f.put32(12*i+8, w)
	}
	f.put32(24, uint32(u.IPv6.ExtensionHeaders&3))
}

// RSC is NDIS_TCP_RECV_SEG_COALESCE_OFFLOAD, 2 bytes.
type RSC struct {
	IPv4, IPv6 bool
}

// XLAT is the Rfc6877Xlat member of NDIS_OFFLOAD, 8 bytes. The adapter of this
// module has no address translation; both are 0.
type XLAT struct {
	Offload uint32
	Flags   uint32
}
