package ndis

// OffloadFlags are the Flags of NDIS_OFFLOAD.
type OffloadFlags uint32

// Flags of NDIS_OFFLOAD.
const (
	OffloadGroupChecksums OffloadFlags = 0x1
	OffloadIPsecV2WithTCP OffloadFlags = 0x2
	OffloadIPsecV2WithUDP OffloadFlags = 0x4
)

var offloadFlagNames = flagNames{"GROUP_CHECKSUM_CAPABILITIES", "IPSEC_V2_AND_TCP_CHECKSUM", "IPSEC_V2_AND_UDP_CHECKSUM"}

// String returns the names of the flags.
func (f OffloadFlags) String() string { return offloadFlagNames.join(uint32(f)) }

// MarshalText is String, for JSON.
func (f OffloadFlags) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// Offload is NDIS_OFFLOAD: what of the task offloads there is, or is
// configured. The IPsec members are zero.
type Offload struct {
	Revision           uint8 // 1 to 8
	Checksum           ChecksumOffload
	LSOv1              LSOv1
	LSOv2              LSOv2
	Flags              OffloadFlags
	RSC                RSC                     // from revision 3 on
	GRE                EncapsulatedTaskOffload // from revision 3 on
	VXLAN              VXLANTaskOffload        // from revision 4 on
	EncapsulationTypes EncapsulationTypes      // from revision 4 on
	XLAT               XLAT                    // from revision 5 on
	USO                UDPSegmentation         // from revision 6 on
	UDPRSC             bool                    // from revision 8 on
}

// Revision 7 has the fields of 6: it says that the USO masks of the tunnel
// structures mean something.
var offloadLayout = layout{"NDIS_OFFLOAD", TypeOffload, []int{0x70, 0x90, 0x9c, 0xb1, 0xbc, 0xd8, 0xd8, 0xd9}}

// OffloadSize is the size of the last revision in bytes.
const OffloadSize = 0xd9

// Decode implements Structure.
func (o *Offload) Decode(b []byte) error {
	f, rev, err := offloadLayout.open(b)
	if err != nil {
		return err
	}
	*o = Offload{
		Revision:           rev,
		Flags:              OffloadFlags(f.u32(0x6c)),
		RSC:                RSC{f.u8(0x90) != 0, f.u8(0x91) != 0},
		EncapsulationTypes: EncapsulationTypes(f.u8(0xb0)),
		XLAT:               XLAT{f.u32(0xb4), f.u32(0xb8)},
		UDPRSC:             f.u8(0xd8) != 0,
	}
	o.Checksum.get(f[0x04:])
	o.LSOv1.get(f[0x24:])
	o.LSOv2.get(f[0x50:])
	o.GRE.get(f[0x94:])
	o.VXLAN.get(f[0x9c:])
	o.USO.get(f[0xbc:])
	return nil
}

// Encode implements Structure.
func (o *Offload) Encode() []byte {
	f := offloadLayout.room()
	o.Checksum.put(f[0x04:])
	o.LSOv1.put(f[0x24:])
	o.LSOv2.put(f[0x50:])
	f.put32(0x6c, uint32(o.Flags))
	f.putBool(0x90, o.RSC.IPv4)
	f.putBool(0x91, o.RSC.IPv6)
	o.GRE.put(f[0x94:])
	o.VXLAN.put(f[0x9c:])
	f.put8(0xb0, uint8(o.EncapsulationTypes))
	f.put32(0xb4, o.XLAT.Offload)
	f.put32(0xb8, o.XLAT.Flags)
	o.USO.put(f[0xbc:])
	f.putBool(0xd8, o.UDPRSC)
	return offloadLayout.seal(f, o.Revision)
}

// RSCStatistics is NDIS_RSC_STATISTICS_INFO.
type RSCStatistics struct {
	CoalescedPackets uint64 // added to a unit
	CoalescedOctets  uint64 // their TCP payload
	CoalesceEvents   uint64 // units finished
	Aborts           uint64 // exceptions other than the limit of a datagram
}

var rscStatisticsLayout = layout{"NDIS_RSC_STATISTICS_INFO", TypeDefault, []int{40}}

// Decode implements Structure.
func (s *RSCStatistics) Decode(b []byte) error {
	f, _, err := rscStatisticsLayout.open(b)
	if err == nil {
		*s = RSCStatistics{f.u64(8), f.u64(16), f.u64(24), f.u64(32)}
	}
	return err
}

// Encode implements Structure.
func (s *RSCStatistics) Encode() []byte {
	f := rscStatisticsLayout.room()
	f.put64(8, s.CoalescedPackets)
	f.put64(16, s.CoalescedOctets)
	f.put64(24, s.CoalesceEvents)
	f.put64(32, s.Aborts)
	return rscStatisticsLayout.seal(f, 0)
}
