package ndis

// FrameHeader is NDIS_FRAME_HEADER: the header that a field test looks into.
type FrameHeader uint32

// Headers.
const (
	FrameHeaderMAC  FrameHeader = 1
	FrameHeaderARP  FrameHeader = 2
	FrameHeaderIPv4 FrameHeader = 3
	FrameHeaderIPv6 FrameHeader = 4
	FrameHeaderUDP  FrameHeader = 5
)

var frameHeaderNames = []string{"UNDEFINED", "MAC", "ARP", "IPV4", "IPV6", "UDP"}

// String returns the name.
func (h FrameHeader) String() string { return enumName(frameHeaderNames, h) }

// MarshalText is String, for JSON.
func (h FrameHeader) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// MACField is NDIS_MAC_HEADER_FIELD.
type MACField uint32

// Fields of an Ethernet header.
const (
	MACDestination MACField = 1
	MACSource      MACField = 2
	MACProtocol    MACField = 3
	MACVLANID      MACField = 4
	MACPriority    MACField = 5
	MACPacketType  MACField = 6
)

var macFieldNames = []string{"UNDEFINED", "DESTINATION_ADDRESS", "SOURCE_ADDRESS", "PROTOCOL", "VLAN_ID", "PRIORITY", "PACKET_TYPE"}

// String returns the name.
func (f MACField) String() string { return enumName(macFieldNames, f) }

// MarshalText is String, for JSON.
func (f MACField) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// FilterTest is NDIS_RECEIVE_FILTER_TEST.
type FilterTest uint32

// Tests.
const (
	TestEqual     FilterTest = 1
	TestMaskEqual FilterTest = 2
	TestNotEqual  FilterTest = 3
)

var filterTestNames = []string{"UNDEFINED", "EQUAL", "MASK_EQUAL", "NOT_EQUAL"}

// String returns the name.
func (t FilterTest) String() string { return enumName(filterTestNames, t) }

// MarshalText is String, for JSON.
func (t FilterTest) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// FilterType is NDIS_RECEIVE_FILTER_TYPE.
type FilterType uint32

// Types of filters.
const (
	FilterVMQueue          FilterType = 1
	FilterPacketCoalescing FilterType = 2
)

var filterTypeNames = []string{"UNDEFINED", "VM_QUEUE", "PACKET_COALESCING"}

// String returns the name.
func (t FilterType) String() string { return enumName(filterTypeNames, t) }

// MarshalText is String, for JSON.
func (t FilterType) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// FilterFlags are the Flags of NDIS_RECEIVE_FILTER_PARAMETERS.
type FilterFlags uint32

// FilterPacketEncapsulation makes a filter look at the inner Ethernet header
// of encapsulated packets.
const FilterPacketEncapsulation FilterFlags = 0x2

var filterFlagNames = flagNames{"", "PACKET_ENCAPSULATION"}

// String returns the names of the flags.
func (f FilterFlags) String() string { return filterFlagNames.join(uint32(f)) }

// MarshalText is String, for JSON.
func (f FilterFlags) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// FieldFlags are the Flags of NDIS_RECEIVE_FILTER_FIELD_PARAMETERS.
type FieldFlags uint32

// FieldUntaggedOrZero restricts a MAC test to frames without VLAN id.
const FieldUntaggedOrZero FieldFlags = 0x1

var fieldFlagNames = flagNames{"MAC_HEADER_VLAN_UNTAGGED_OR_ZERO"}

// String returns the names of the flags.
func (f FieldFlags) String() string { return fieldFlagNames.join(uint32(f)) }

// MarshalText is String, for JSON.
func (f FieldFlags) MarshalText() ([]byte, error) { return []byte(f.String()), nil }
