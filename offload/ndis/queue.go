package ndis

import "unicode/utf16"

// QueueFlags are the Flags of NDIS_RECEIVE_QUEUE_PARAMETERS.
type QueueFlags uint32

// Flags of NDIS_RECEIVE_QUEUE_PARAMETERS. The _CHANGED ones say which fields a
// change is about.
const (
	QueuePerQueueIndication      QueueFlags = 0x1
	QueueLookaheadSplitRequired  QueueFlags = 0x2 // ignored since NDIS 6.30
	QueueFlagsChanged            QueueFlags = 0x10000
	QueueAffinityChanged         QueueFlags = 0x20000
	QueueBuffersChanged          QueueFlags = 0x40000
	QueueNameChanged             QueueFlags = 0x80000
	QueueCoalescingDomainChanged QueueFlags = 0x100000
	QueueQosSQChanged            QueueFlags = 0x200000

	QueueChangeMask QueueFlags = 0xffff0000
)

var queueFlagNames = flagNames{
	0: "PER_QUEUE_RECEIVE_INDICATION", 1: "LOOKAHEAD_SPLIT_REQUIRED",
	16: "FLAGS_CHANGED", 17: "PROCESSOR_AFFINITY_CHANGED", 18: "SUGGESTED_RECV_BUFFER_NUMBERS_CHANGED",
	19: "NAME_CHANGED", 20: "INTERRUPT_COALESCING_DOMAIN_ID_CHANGED", 21: "QOS_SQ_ID_CHANGED",
}

// String returns the names of the flags.
func (f QueueFlags) String() string { return queueFlagNames.join(uint32(f)) }

// MarshalText is String, for JSON.
func (f QueueFlags) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// QueueType is NDIS_RECEIVE_QUEUE_TYPE.
type QueueType uint32

// Types of queues.
const (
	QueueTypeUnspecified QueueType = 0
	QueueTypeVMQueue     QueueType = 1
)

var queueTypeNames = []string{"UNSPECIFIED", "VM_QUEUE"}

// String returns the name.
func (t QueueType) String() string { return enumName(queueTypeNames, t) }

// MarshalText is String, for JSON.
func (t QueueType) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// QueueState is NDIS_RECEIVE_QUEUE_OPERATIONAL_STATE.
type QueueState uint32

// States of queues.
const (
	QueueStateRunning    QueueState = 1
	QueueStatePaused     QueueState = 2
	QueueStateDMAStopped QueueState = 3
)

var queueStateNames = []string{"UNDEFINED", "RUNNING", "PAUSED", "DMA_STOPPED"}

// String returns the name.
func (s QueueState) String() string { return enumName(queueStateNames, s) }

// MarshalText is String, for JSON.
func (s QueueState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Affinity is GROUP_AFFINITY, 16 bytes.
type Affinity struct {
	Mask  uint64
	Group uint16
}

// nameSize is the size of an NDIS_QUEUE_NAME in bytes: a length in bytes and
// 256 characters of UTF-16, padded.
const nameSize = 516

// getName reads a counted UTF-16 string of at most 256 characters.
func getName(f fields) string {
	n := min(int(f.u16(0)), nameSize-4) / 2
	chars := make([]uint16, n)
	for i := range chars {
		chars[i] = f.u16(2 + 2*i)
	}
	return string(utf16.Decode(chars))
}

// putName writes a string, cut to 256 characters.
func putName(f fields, s string) {
	chars := utf16.Encode([]rune(s))
	chars = chars[:min(len(chars), (nameSize-4)/2)]
	f.put16(0, uint16(2*len(chars)))
	for i, c := range chars {
		f.put16(2+2*i, c)
	}
}

// ReceiveQueueParameters is NDIS_RECEIVE_QUEUE_PARAMETERS.
type ReceiveQueueParameters struct {
	Revision          uint8 // 1 to 3
	Flags             QueueFlags
	Type              QueueType
	QueueID, GroupID  uint32
	Affinity          Affinity
	SuggestedBuffers  uint32
	MSIXTableEntry    uint32 // out
	LookaheadSize     uint32 // 0 since NDIS 6.30
	VMName, QueueName string // at most 256 UTF-16 characters each
	PortID            uint32 // from revision 2 on
	CoalescingDomain  uint32 // out, from revision 2 on
	QosSQID           uint32 // from revision 3 on
}

var queueLayout = layout{"NDIS_RECEIVE_QUEUE_PARAMETERS", TypeDefault, []int{1084, 1092, 1096}}

// Decode implements Structure.
func (p *ReceiveQueueParameters) Decode(b []byte) error {
	f, rev, err := queueLayout.open(b)
	if err == nil {
		*p = ReceiveQueueParameters{
			rev, QueueFlags(f.u32(4)), QueueType(f.u32(8)), f.u32(12), f.u32(16),
			Affinity{f.u64(24), f.u16(32)},
			f.u32(40), f.u32(44), f.u32(48),
			getName(f[52:]), getName(f[568:]), f.u32(1084), f.u32(1088), f.u32(1092),
		}
	}
	return err
}

// Encode implements Structure.
func (p *ReceiveQueueParameters) Encode() []byte {
	f := queueLayout.room()
	f.put32(4, uint32(p.Flags))
	f.put32(8, uint32(p.Type))
	f.put32(12, p.QueueID)
	f.put32(16, p.GroupID)
	f.put64(24, p.Affinity.Mask)
	f.put16(32, p.Affinity.Group)
	f.put32(40, p.SuggestedBuffers)
	f.put32(44, p.MSIXTableEntry)
	f.put32(48, p.LookaheadSize)
	putName(f[52:], p.VMName)
	putName(f[568:], p.QueueName)
	f.put32(1084, p.PortID)
	f.put32(1088, p.CoalescingDomain)
	f.put32(1092, p.QosSQID)
	return queueLayout.seal(f, p.Revision)
}

// ReceiveQueueInfo is NDIS_RECEIVE_QUEUE_INFO.
type ReceiveQueueInfo struct {
	Revision          uint8 // 1 or 2
	Flags             QueueFlags
	Type              QueueType
	QueueID, GroupID  uint32
	State             QueueState
	Affinity          Affinity
	SuggestedBuffers  uint32
	MSIXTableEntry    uint32
	LookaheadSize     uint32
	VMName, QueueName string
	NumFilters        uint32 // from revision 2 on
	CoalescingDomain  uint32 // from revision 2 on
}

var queueInfoLayout = layout{"NDIS_RECEIVE_QUEUE_INFO", TypeDefault, []int{1084, 1092}}

// Decode implements Structure.
func (p *ReceiveQueueInfo) Decode(b []byte) error {
	f, rev, err := queueInfoLayout.open(b)
	if err == nil {
		*p = ReceiveQueueInfo{
			rev, QueueFlags(f.u32(4)), QueueType(f.u32(8)), f.u32(12), f.u32(16), QueueState(f.u32(20)),
			Affinity{f.u64(24), f.u16(32)},
			f.u32(40), f.u32(44), f.u32(48),
			getName(f[52:]), getName(f[568:]), f.u32(1084), f.u32(1088),
		}
	}
	return err
}

// Encode implements Structure.
func (p *ReceiveQueueInfo) Encode() []byte {
	f := queueInfoLayout.room()
	f.put32(4, uint32(p.Flags))
	f.put32(8, uint32(p.Type))
	f.put32(12, p.QueueID)
	f.put32(16, p.GroupID)
	f.put32(20, uint32(p.State))
	f.put64(24, p.Affinity.Mask)
	f.put16(32, p.Affinity.Group)
	f.put32(40, p.SuggestedBuffers)
	f.put32(44, p.MSIXTableEntry)
	f.put32(48, p.LookaheadSize)
	putName(f[52:], p.VMName)
	putName(f[568:], p.QueueName)
	f.put32(1084, p.NumFilters)
	f.put32(1088, p.CoalescingDomain)
	return queueInfoLayout.seal(f, p.Revision)
}

// ReceiveQueueInfoArray is NDIS_RECEIVE_QUEUE_INFO_ARRAY with its elements
// behind it.
type ReceiveQueueInfoArray struct {
	Queues []ReceiveQueueInfo
}

var queueArrayLayout = layout{"NDIS_RECEIVE_QUEUE_INFO_ARRAY", TypeDefault, []int{16}}

// Decode implements Structure.
func (a *ReceiveQueueInfoArray) Decode(b []byte) error {
	f, _, err := queueArrayLayout.open(b)
	if err != nil {
		return err
	}
	elements, err := queueArrayLayout.elements(b, f.u32(4), f.u32(8), f.u32(12), queueInfoLayout.sizes[0], maxInfos)
	if err != nil {
		return err
	}
	queues := make([]ReceiveQueueInfo, len(elements))
	for i, e := range elements {
		if err := queues[i].Decode(e); err != nil {
			return queueArrayLayout.malformed("%v", err)
		}
	}
	a.Queues = queues
	return nil
}

// Encode implements Structure. Elements are 8-byte aligned.
func (a *ReceiveQueueInfoArray) Encode() []byte {
	const step = 1096
	f := queueArrayLayout.room()
	f.put32(4, 16)
	f.put32(8, uint32(len(a.Queues)))
	f.put32(12, step)
	b := queueArrayLayout.seal(f, 0)
	for i := range a.Queues {
		at := len(b)
		b = append(b, make([]byte, step)...)
		copy(b[at:], a.Queues[i].Encode())
	}
	return b
}
