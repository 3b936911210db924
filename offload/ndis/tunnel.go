package ndis

// Families is a four-bit field of NDIS_ENCAPSULATED_PACKET_TASK_OFFLOAD: the
// IP versions for which an offload looks through a tunnel. A packet qualifies
// if the bit of its inner and that of its outer version are set.
type Families uint8

// Families.
const (
	InnerIPv4 Families = 1 << iota
	OuterIPv4
	InnerIPv6
	OuterIPv6

	AllFamilies = InnerIPv4 | OuterIPv4 | InnerIPv6 | OuterIPv6
)

var familyNames = flagNames{"INNER_IPV4", "OUTER_IPV4", "INNER_IPV6", "OUTER_IPV6"}

// String returns the names of the versions.
func (m Families) String() string { return familyNames.join(uint32(m)) }

// MarshalText is String, for JSON.
func (m Families) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// Covers reports whether both bits of a pair of IP versions are set.
func (m Families) Covers(inner, outer Families) bool { return m&(inner|outer) == inner|outer }

// EncapsulatedTaskOffload is NDIS_ENCAPSULATED_PACKET_TASK_OFFLOAD, 8 bytes.
type EncapsulatedTaskOffload struct {
	TransmitChecksum Families
	ReceiveChecksum  Families
	LSOv2            Families
	RSS              Families
	VMQ              Families
	USO              Families
	MaxHeaderSize    uint32 // bytes up to the payload of the inner transport
}

// Any reports whether anything looks through the tunnel.
func (e *EncapsulatedTaskOffload) Any() bool {
	return e.TransmitChecksum|e.ReceiveChecksum|e.LSOv2|e.RSS|e.VMQ|e.USO != 0
}

func (e *EncapsulatedTaskOffload) masks() [6]*Families {
	return [6]*Families{&e.TransmitChecksum, &e.ReceiveChecksum, &e.LSOv2, &e.RSS, &e.VMQ, &e.USO}
}

func (e *EncapsulatedTaskOffload) get(f fields) {
	w := f.u32(0)
	for i, m := range e.masks() {
		*m = Families(bitField(w, uint(4*i), 4))
	}
	e.MaxHeaderSize = f.u32(4)
}

func (e *EncapsulatedTaskOffload) put(f fields) {
	var w uint32
	for i, m := range e.masks() {
		w |= uint32(*m&AllFamilies) << (4 * i)
	}
	f.put32(0, w)
	f.put32(4, e.MaxHeaderSize)
}

// VXLANTaskOffload is NDIS_ENCAPSULATED_PACKET_TASK_OFFLOAD_V2, 20 bytes.
type VXLANTaskOffload struct {
	EncapsulatedTaskOffload
	UDPPort      uint16 // host byte order
	Configurable bool   // the port can be changed
}

func (v *VXLANTaskOffload) get(f fields) {
	v.EncapsulatedTaskOffload.get(f)
	v.UDPPort = f.u16(8)
	v.Configurable = f.u16(10)&1 != 0
}

func (v *VXLANTaskOffload) put(f fields) {
	v.EncapsulatedTaskOffload.put(f)
	f.put16(8, v.UDPPort)
	if v.Configurable {
		f.put16(10, 1)
	}
}

// EncapsulationTypes is a set of tunnel protocols (NDIS_ENCAPSULATION_TYPE_*).
type EncapsulationTypes uint8

// Tunnel protocols.
const (
	EncapsulationGREMAC EncapsulationTypes = 0x1 // NVGRE
	EncapsulationVXLAN  EncapsulationTypes = 0x2

	knownEncapsulations = EncapsulationGREMAC | EncapsulationVXLAN
)

// Known reports whether there is no other bit than those of the protocols.
func (t EncapsulationTypes) Known() bool { return t&^knownEncapsulations == 0 }

var encapsulationNames = flagNames{"GRE_MAC", "VXLAN"}

// String returns the names of the protocols.
func (t EncapsulationTypes) String() string { return encapsulationNames.join(uint32(t)) }

// MarshalText is String, for JSON.
func (t EncapsulationTypes) MarshalText() ([]byte, error) { return []byte(t.String()), nil }
