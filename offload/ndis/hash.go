package ndis

// HashInformation is the word that names a hash function, in its lowest 8
// bits, and the kinds of packets to hash, in the next 16.
type HashInformation uint32

// Hash function and hash types.
const (
	HashToeplitz  HashInformation = 0x1
	HashIPv4      HashInformation = 0x100
	HashTCPIPv4   HashInformation = 0x200
	HashIPv6      HashInformation = 0x400
	HashIPv6Ex    HashInformation = 0x800
	HashTCPIPv6   HashInformation = 0x1000
	HashTCPIPv6Ex HashInformation = 0x2000
	HashUDPIPv4   HashInformation = 0x4000
	HashUDPIPv6   HashInformation = 0x8000
	HashUDPIPv6Ex HashInformation = 0x10000

	hashFunctions HashInformation = 0x000000ff
	hashTypes     HashInformation = 0x00ffff00
)

// Function returns the hash function alone, Types the hash types alone.
func (h HashInformation) Function() HashInformation { return h & hashFunctions }

// Types is described at Function.
func (h HashInformation) Types() HashInformation { return h & hashTypes }

var hashNames = flagNames{
	"TOEPLITZ", "FUNCTION_0x2", "FUNCTION_0x4", "FUNCTION_0x8", "", "", "", "",
	"IPV4", "TCP_IPV4", "IPV6", "IPV6_EX", "TCP_IPV6", "TCP_IPV6_EX", "UDP_IPV4", "UDP_IPV6", "UDP_IPV6_EX",
}

// String returns the names of the function and the types.
func (h HashInformation) String() string { return hashNames.join(uint32(h)) }

// MarshalText is String, for JSON.
func (h HashInformation) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// HashKeySize is the length of a secret key in bytes.
const HashKeySize = 40

// RSSCapabilityFlags are the CapabilitiesFlags of
// NDIS_RECEIVE_SCALE_CAPABILITIES. The hash types in it have other numbers
// than in HashInformation.
type RSSCapabilityFlags uint32

// Flags of NDIS_RECEIVE_SCALE_CAPABILITIES.
const (
	RSSToeplitz             RSSCapabilityFlags = 0x1
	RSSHashTCPIPv4          RSSCapabilityFlags = 0x100
	RSSHashTCPIPv6          RSSCapabilityFlags = 0x200
	RSSHashTCPIPv6Ex        RSSCapabilityFlags = 0x400
	RSSHashUDPIPv4          RSSCapabilityFlags = 0x800
	RSSHashUDPIPv6          RSSCapabilityFlags = 0x1000
	RSSHashUDPIPv6Ex        RSSCapabilityFlags = 0x2000
	RSSMessageInterrupts    RSSCapabilityFlags = 0x01000000
	RSSClassifyAtISR        RSSCapabilityFlags = 0x02000000
	RSSClassifyAtDPC        RSSCapabilityFlags = 0x04000000
	RSSUsingMSIX            RSSCapabilityFlags = 0x08000000
	RSSSupportsMSIX         RSSCapabilityFlags = 0x20000000
	RSSIndependentEntryMove RSSCapabilityFlags = 0x40000000
)

var rssCapabilityNames = flagNames{
	0: "TOEPLITZ", 8: "HASH_TYPE_TCP_IPV4", 9: "HASH_TYPE_TCP_IPV6", 10: "HASH_TYPE_TCP_IPV6_EX",
	11: "HASH_TYPE_UDP_IPV4", 12: "HASH_TYPE_UDP_IPV6", 13: "HASH_TYPE_UDP_IPV6_EX",
	24: "MESSAGE_SIGNALED_INTERRUPTS", 25: "CLASSIFICATION_AT_ISR", 26: "CLASSIFICATION_AT_DPC",
	27: "USING_MSI_X", 29: "SUPPORTS_MSI_X", 30: "SUPPORTS_INDEPENDENT_ENTRY_MOVE",
}

// String returns the names of the flags.
func (f RSSCapabilityFlags) String() string { return rssCapabilityNames.join(uint32(f)) }

// MarshalText is String, for JSON.
func (f RSSCapabilityFlags) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// ReceiveScaleCapabilities is NDIS_RECEIVE_SCALE_CAPABILITIES.
type ReceiveScaleCapabilities struct {
	Revision           uint8 // 1 to 3
	Flags              RSSCapabilityFlags
	InterruptMessages  uint32
	ReceiveQueues      uint32
	IndirectionEntries uint16 // from revision 2 on
}

var rssCapabilitiesLayout = layout{"NDIS_RECEIVE_SCALE_CAPABILITIES", TypeRSSCapabilities, []int{16, 18, 18}}

// Decode implements Structure.
func (c *ReceiveScaleCapabilities) Decode(b []byte) error {
	f, rev, err := rssCapabilitiesLayout.open(b)
	if err == nil {
		*c = ReceiveScaleCapabilities{rev, RSSCapabilityFlags(f.u32(4)), f.u32(8), f.u32(12), f.u16(16)}
	}
	return err
}

// Encode implements Structure.
func (c *ReceiveScaleCapabilities) Encode() []byte {
	f := rssCapabilitiesLayout.room()
	f.put32(4, uint32(c.Flags))
	f.put32(8, c.InterruptMessages)
	f.put32(12, c.ReceiveQueues)
	f.put16(16, c.IndirectionEntries)
	return rssCapabilitiesLayout.seal(f, c.Revision)
}

// ReceiveHashFlags are the Flags of NDIS_RECEIVE_HASH_PARAMETERS.
type ReceiveHashFlags uint32

// Flags of NDIS_RECEIVE_HASH_PARAMETERS.
const (
	ReceiveHashEnable        ReceiveHashFlags = 0x1
	ReceiveHashInfoUnchanged ReceiveHashFlags = 0x2
	ReceiveHashKeyUnchanged  ReceiveHashFlags = 0x4
)

var receiveHashNames = flagNames{"ENABLE_HASH", "HASH_INFO_UNCHANGED", "HASH_KEY_UNCHANGED"}

// String returns the names of the flags.
func (f ReceiveHashFlags) String() string { return receiveHashNames.join(uint32(f)) }

// MarshalText is String, for JSON.
func (f ReceiveHashFlags) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// ReceiveHashParameters is NDIS_RECEIVE_HASH_PARAMETERS with the key behind it.
type ReceiveHashParameters struct {
	Flags           ReceiveHashFlags
	HashInformation HashInformation
	Key             Bytes // HashKeySize bytes, or none
}

var receiveHashLayout = layout{"NDIS_RECEIVE_HASH_PARAMETERS", TypeDefault, []int{20}}

// Decode implements Structure.
func (p *ReceiveHashParameters) Decode(b []byte) error {
	f, _, err := receiveHashLayout.open(b)
	if err != nil {
		return err
	}
	v := ReceiveHashParameters{Flags: ReceiveHashFlags(f.u32(4)), HashInformation: HashInformation(f.u32(8))}
	if v.Key, err = receiveHashLayout.tail(b, "key", f.u32(16), uint64(f.u16(12)), 1); err == nil {
		*p = v
	}
	return err
}

// Encode implements Structure.
func (p *ReceiveHashParameters) Encode() []byte {
	f := receiveHashLayout.room()
	f.put32(4, uint32(p.Flags))
	f.put32(8, uint32(p.HashInformation))
	f.put16(12, uint16(len(p.Key)))
	b := receiveHashLayout.seal(f, 0)
	b, at := attach(b, p.Key)
	fields(b).put32(16, at)
	return b
}
