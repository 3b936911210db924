package ndis

// Toggle switches something, or leaves it as it is. NDIS has two encodings of
// it, which differ in what 1 and 2 mean: Toggle is that of
// NDIS_OFFLOAD_ENCAPSULATION and of EncapsulatedPacketTaskOffload.
type Toggle uint32

// Values of Toggle.
const (
	NoChange Toggle = 0
	SetOn    Toggle = 1
	SetOff   Toggle = 2
)

var toggleNames = []string{"NO_CHANGE", "SET_ON", "SET_OFF"}

// String returns the name.
func (t Toggle) String() string { return enumName(toggleNames, t) }

// MarshalText is String, for JSON.
func (t Toggle) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// Switch is the other encoding: that of large send, coalescing and UDP
// segmentation in NDIS_OFFLOAD_PARAMETERS.
type Switch uint8

// Values of Switch.
const (
	SwitchNoChange Switch = 0
	SwitchDisabled Switch = 1
	SwitchEnabled  Switch = 2
)

var switchNames = []string{"NO_CHANGE", "DISABLED", "ENABLED"}

// String returns the name.
func (s Switch) String() string { return enumName(switchNames, s) }

// MarshalText is String, for JSON.
func (s Switch) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// ChecksumSwitch switches the two directions of a checksum.
type ChecksumSwitch uint8

// Values of ChecksumSwitch.
const (
	ChecksumNoChange ChecksumSwitch = 0
	ChecksumOff      ChecksumSwitch = 1
	ChecksumTx       ChecksumSwitch = 2 // transmit on, receive off
	ChecksumRx       ChecksumSwitch = 3 // receive on, transmit off
	ChecksumTxRx     ChecksumSwitch = 4
)

var checksumNames = []string{"NO_CHANGE", "TX_RX_DISABLED", "TX_ENABLED_RX_DISABLED", "RX_ENABLED_TX_DISABLED", "TX_RX_ENABLED"}

// String returns the name.
func (s ChecksumSwitch) String() string { return enumName(checksumNames, s) }

// MarshalText is String, for JSON.
func (s ChecksumSwitch) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Tx and Rx report whether the switch turns on transmit or receive.
func (s ChecksumSwitch) Tx() bool { return s == ChecksumTx || s == ChecksumTxRx }

// Rx is described at Tx.
func (s ChecksumSwitch) Rx() bool { return s == ChecksumRx || s == ChecksumTxRx }

// ParameterFlags are the Flags of NDIS_OFFLOAD_PARAMETERS.
type ParameterFlags uint32

// SkipRegistryUpdate asks not to remember the settings.
const SkipRegistryUpdate ParameterFlags = 0x1

var parameterFlagNames = flagNames{"SKIP_REGISTRY_UPDATE"}

// String returns the names of the flags.
func (f ParameterFlags) String() string { return parameterFlagNames.join(uint32(f)) }

// MarshalText is String, for JSON.
func (f ParameterFlags) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// OffloadParameters is NDIS_OFFLOAD_PARAMETERS: what to change of the task
// offloads. The zero value of every field changes nothing.
type OffloadParameters struct {
	Revision                             uint8 // 1 to 6
	IPv4Checksum                         ChecksumSwitch
	TCPIPv4Checksum, UDPIPv4Checksum     ChecksumSwitch
	TCPIPv6Checksum, UDPIPv6Checksum     ChecksumSwitch
	LSOv1, IPsecV1                       Switch
	LSOv2IPv4, LSOv2IPv6                 Switch
	TCPConnectionIPv4, TCPConnectionIPv6 Switch
	Flags                                ParameterFlags
	IPsecV2, IPsecV2IPv4                 Switch             // from revision 2 on
	RSCIPv4, RSCIPv6                     Switch             // from revision 3 on
	EncapsulatedTaskOffload              Toggle             // from revision 3 on
	EncapsulationTypes                   EncapsulationTypes // from revision 3 on
	VXLANUDPPort                         uint16             // from revision 4 on, host byte order
	USOIPv4, USOIPv6                     Switch             // from revision 5 on
	UDPRSC                               Switch             // from revision 6 on
}

var parametersLayout = layout{"NDIS_OFFLOAD_PARAMETERS", TypeDefault, []int{20, 22, 26, 32, 34, 35}}

// octets lists the one-byte switches with their offsets.
func (p *OffloadParameters) octets() map[int]*Switch {
	return map[int]*Switch{
		9: &p.LSOv1, 10: &p.IPsecV1, 11: &p.LSOv2IPv4, 12: &p.LSOv2IPv6,
		13: &p.TCPConnectionIPv4, 14: &p.TCPConnectionIPv6,
		20: &p.IPsecV2, 21: &p.IPsecV2IPv4, 22: &p.RSCIPv4, 23: &p.RSCIPv6,
		32: &p.USOIPv4, 33: &p.USOIPv6, 34: &p.UDPRSC,
	}
}

func (p *OffloadParameters) checksums() [5]*ChecksumSwitch {
	return [5]*ChecksumSwitch{&p.IPv4Checksum, &p.TCPIPv4Checksum, &p.UDPIPv4Checksum, &p.TCPIPv6Checksum, &p.UDPIPv6Checksum}
}

// Decode implements Structure. It takes any value of a field.
func (p *OffloadParameters) Decode(b []byte) error {
	f, rev, err := parametersLayout.open(b)
	if err != nil {
		return err
	}
	*p = OffloadParameters{
		Revision:                rev,
		Flags:                   ParameterFlags(f.u32(16)),
		EncapsulatedTaskOffload: Toggle(f.u8(24)),
		EncapsulationTypes:      EncapsulationTypes(f.u8(25)),
		VXLANUDPPort:            f.u16(28),
	}
	for i, c := range p.checksums() {
		*c = ChecksumSwitch(f.u8(4 + i))
	}
	for at, s := range p.octets() {
		*s = Switch(f.u8(at))
	}
	return nil
}

// Encode implements Structure.
func (p *OffloadParameters) Encode() []byte {
	f := parametersLayout.room()
	for i, c := range p.checksums() {
		f.put8(4+i, uint8(*c))
	}
	for at, s := range p.octets() {
		f.put8(at, uint8(*s))
	}
	f.put32(16, uint32(p.Flags))
	f.put8(24, uint8(p.EncapsulatedTaskOffload))
	f.put8(25, uint8(p.EncapsulationTypes))
	f.put16(28, p.VXLANUDPPort)
	return parametersLayout.seal(f, p.Revision)
}

// FamilyFraming is what NDIS_OFFLOAD_ENCAPSULATION says of one IP version.
type FamilyFraming struct {
	Enabled       Toggle
	Encapsulation Framing
	HeaderSize    uint32 // bytes of link-layer header
}

// OffloadEncapsulation is NDIS_OFFLOAD_ENCAPSULATION: it activates the
// configured offloads for a link-layer framing.
type OffloadEncapsulation struct {
	IPv4, IPv6 FamilyFraming
}

var encapsulationLayout = layout{"NDIS_OFFLOAD_ENCAPSULATION", TypeOffloadEncap, []int{28}}

// Decode implements Structure.
func (e *OffloadEncapsulation) Decode(b []byte) error {
	f, _, err := encapsulationLayout.open(b)
	if err == nil {
		e.IPv4 = FamilyFraming{Toggle(f.u32(4)), Framing(f.u32(8)), f.u32(12)}
		e.IPv6 = FamilyFraming{Toggle(f.u32(16)), Framing(f.u32(20)), f.u32(24)}
	}
	return err
}

// Encode implements Structure.
func (e *OffloadEncapsulation) Encode() []byte {
	f := encapsulationLayout.room()
	for i, v := range []*FamilyFraming{&e.IPv4, &e.IPv6} {
		f.put32(4+12*i, uint32(v.Enabled))
		f.put32(8+12*i, uint32(v.Encapsulation))
		f.put32(12+12*i, v.HeaderSize)
	}
	return encapsulationLayout.seal(f, 0)
}
