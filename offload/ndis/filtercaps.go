package ndis

// QueueProperties are the SupportedQueueProperties of
// NDIS_RECEIVE_FILTER_CAPABILITIES.
type QueueProperties uint32

// Properties of queues.
const (
	QueueMSIX              QueueProperties = 0x1
	QueueVMQueue           QueueProperties = 0x2
	QueueLookaheadSplit    QueueProperties = 0x4 // not since NDIS 6.30
	QueueDynamicAffinity   QueueProperties = 0x8
	QueueVectorCoalescing  QueueProperties = 0x10
	QueueAnyVLAN           QueueProperties = 0x20
	QueueImplatMin         QueueProperties = 0x40
	QueueImplatSum         QueueProperties = 0x80
	QueueCoalesceOnDefault QueueProperties = 0x100
)

var queuePropertyNames = flagNames{
	"MSI_X", "VM_QUEUE", "LOOKAHEAD_SPLIT", "DYNAMIC_PROCESSOR_AFFINITY_CHANGE", "INTERRUPT_VECTOR_COALESCING",
	"ANY_VLAN", "IMPLAT_MIN", "IMPLAT_SUM", "PACKET_COALESCING_ON_DEFAULT_QUEUE",
}

// String returns the names of the properties.
func (p QueueProperties) String() string { return queuePropertyNames.join(uint32(p)) }

// MarshalText is String, for JSON.
func (p QueueProperties) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// FilterTests is a set of tests; bit n-1 is FilterTest n.
type FilterTests uint32

// Sets of one test.
const (
	TestsEqual     FilterTests = 0x1
	TestsMaskEqual FilterTests = 0x2
	TestsNotEqual  FilterTests = 0x4
)

// String returns the names of the tests.
func (t FilterTests) String() string { return flagNames(filterTestNames[1:]).join(uint32(t)) }

// MarshalText is String, for JSON.
func (t FilterTests) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// FilterHeaders is a set of headers, which are numbered differently from
// FrameHeader.
type FilterHeaders uint32

// Sets of one header.
const (
	HeadersMAC  FilterHeaders = 0x1
	HeadersIPv4 FilterHeaders = 0x2
	HeadersIPv6 FilterHeaders = 0x4
	HeadersARP  FilterHeaders = 0x8
	HeadersUDP  FilterHeaders = 0x10
)

var filterHeaderNames = flagNames{"MAC", "IPV4", "IPV6", "ARP", "UDP"}

// String returns the names of the headers.
func (h FilterHeaders) String() string { return filterHeaderNames.join(uint32(h)) }

// MarshalText is String, for JSON.
func (h FilterHeaders) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// MACFields is a set of fields; bit n-1 is MACField n.
type MACFields uint32

// Sets of one field.
const (
	FieldsDestination MACFields = 0x1
	FieldsSource      MACFields = 0x2
	FieldsProtocol    MACFields = 0x4
	FieldsVLANID      MACFields = 0x8
	FieldsPriority    MACFields = 0x10
	FieldsPacketType  MACFields = 0x20
)

// String returns the names of the fields.
func (f MACFields) String() string { return flagNames(macFieldNames[1:]).join(uint32(f)) }

// MarshalText is String, for JSON.
func (f MACFields) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// FilterTypes is a set of filter types; bit n-1 is FilterType n.
type FilterTypes uint32

// Sets of one filter type.
const (
	FiltersVMQ              FilterTypes = 0x1
	FiltersPacketCoalescing FilterTypes = 0x2
)

// String returns the names of the types.
func (t FilterTypes) String() string { return flagNames(filterTypeNames[1:]).join(uint32(t)) }

// MarshalText is String, for JSON.
func (t FilterTypes) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// QueuesVMQ is the only bit of EnabledQueueTypes.
const QueuesVMQ uint32 = 0x1

// ReceiveFilterCapabilities is NDIS_RECEIVE_FILTER_CAPABILITIES.
type ReceiveFilterCapabilities struct {
	Revision            uint8 // 1 or 2
	Flags               uint32
	EnabledFilterTypes  FilterTypes
	EnabledQueueTypes   uint32
	NumQueues           uint32 // without the default queue
	QueueProperties     QueueProperties
	FilterTests         FilterTests
	Headers             FilterHeaders
	MACFields           MACFields
	MaxMACHeaderFilters uint32
	MaxQueueGroups      uint32
	MaxQueuesPerGroup   uint32
	MinLookaheadSplit   uint32 // 0 since NDIS 6.30
	MaxLookaheadSplit   uint32 // 0 since NDIS 6.30
	// From revision 2 on.
	ARPFields, IPv4Fields, IPv6Fields, UDPFields uint32
	MaxFieldTestsPerCoalescing                   uint32
	MaxCoalescingFilters                         uint32
	NdisReserved                                 uint32
}

var filterCapsLayout = layout{"NDIS_RECEIVE_FILTER_CAPABILITIES", TypeDefault, []int{56, 84}}

// words lists the plain numbers with the offset of the first.
func (c *ReceiveFilterCapabilities) words() (int, []*uint32) {
	return 36, []*uint32{
		&c.MaxMACHeaderFilters, &c.MaxQueueGroups, &c.MaxQueuesPerGroup, &c.MinLookaheadSplit, &c.MaxLookaheadSplit,
		&c.ARPFields, &c.IPv4Fields, &c.IPv6Fields, &c.UDPFields,
		&c.MaxFieldTestsPerCoalescing, &c.MaxCoalescingFilters, &c.NdisReserved,
	}
}

// Decode implements Structure.
func (c *ReceiveFilterCapabilities) Decode(b []byte) error {
	f, rev, err := filterCapsLayout.open(b)
	if err != nil {
		return err
	}
	*c = ReceiveFilterCapabilities{
		Revision: rev, Flags: f.u32(4), EnabledFilterTypes: FilterTypes(f.u32(8)), EnabledQueueTypes: f.u32(12),
		NumQueues: f.u32(16), QueueProperties: QueueProperties(f.u32(20)), FilterTests: FilterTests(f.u32(24)),
		Headers: FilterHeaders(f.u32(28)), MACFields: MACFields(f.u32(32)),
	}
	at, words := c.words()
	for i, w := range words {
		*w = f.u32(at + 4*i)
	}
	return nil
}

// Encode implements Structure.
func (c *ReceiveFilterCapabilities) Encode() []byte {
	f := filterCapsLayout.room()
	for i, v := range []uint32{
		c.Flags, uint32(c.EnabledFilterTypes), c.EnabledQueueTypes, c.NumQueues, uint32(c.QueueProperties),
		uint32(c.FilterTests), uint32(c.Headers), uint32(c.MACFields),
	} {
		f.put32(4+4*i, v)
	}
	at, words := c.words()
	for i, w := range words {
		f.put32(at+4*i, *w)
	}
	return filterCapsLayout.seal(f, c.Revision)
}

// ReceiveFilterGlobalParameters is NDIS_RECEIVE_FILTER_GLOBAL_PARAMETERS.
type ReceiveFilterGlobalParameters struct {
	Flags              uint32
	EnabledFilterTypes FilterTypes
	EnabledQueueTypes  uint32
}

var globalLayout = layout{"NDIS_RECEIVE_FILTER_GLOBAL_PARAMETERS", TypeDefault, []int{16}}

// Decode implements Structure.
func (p *ReceiveFilterGlobalParameters) Decode(b []byte) error {
	f, _, err := globalLayout.open(b)
	if err == nil {
		*p = ReceiveFilterGlobalParameters{f.u32(4), FilterTypes(f.u32(8)), f.u32(12)}
	}
	return err
}

// Encode implements Structure.
func (p *ReceiveFilterGlobalParameters) Encode() []byte {
	f := globalLayout.room()
	f.put32(4, p.Flags)
	f.put32(8, uint32(p.EnabledFilterTypes))
	f.put32(12, p.EnabledQueueTypes)
	return globalLayout.seal(f, 0)
}
