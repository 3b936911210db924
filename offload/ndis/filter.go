package ndis

import "encoding/binary"

// FilterField is NDIS_RECEIVE_FILTER_FIELD_PARAMETERS: one test of a filter.
type FilterField struct {
	Revision uint8 // 1 or 2
	Flags    FieldFlags
	Header   FrameHeader
	Test     FilterTest
	Field    MACField // of the MAC header
	Value    [16]byte // big endian, the field's first bytes
	Result   [16]byte // for TestMaskEqual
}

var fieldLayout = layout{"NDIS_RECEIVE_FILTER_FIELD_PARAMETERS", TypeDefault, []int{56, 56}}

// Decode implements Structure.
func (p *FilterField) Decode(b []byte) error {
	f, rev, err := fieldLayout.open(b)
	if err == nil {
		*p = FilterField{
			rev, FieldFlags(f.u32(4)), FrameHeader(f.u32(8)), FilterTest(f.u32(12)), MACField(f.u32(16)),
			[16]byte(f[24:]), [16]byte(f[40:]),
		}
	}
	return err
}

// Encode implements Structure.
func (p *FilterField) Encode() []byte {
	f := fieldLayout.room()
	f.put32(4, uint32(p.Flags))
	f.put32(8, uint32(p.Header))
	f.put32(12, uint32(p.Test))
	f.put32(16, uint32(p.Field))
	copy(f[24:], p.Value[:])
	copy(f[40:], p.Result[:])
	return fieldLayout.seal(f, p.Revision)
}

// DestinationIs returns the test for a destination address; flags may hold
// FieldUntaggedOrZero.
func DestinationIs(mac [6]byte, flags FieldFlags) FilterField {
	f := FilterField{Flags: flags, Header: FrameHeaderMAC, Test: TestEqual, Field: MACDestination}
	copy(f.Value[:], mac[:])
	return f
}

// VLANIs returns the test for a VLAN id.
func VLANIs(id uint16) FilterField {
	f := FilterField{Header: FrameHeaderMAC, Test: TestEqual, Field: MACVLANID}
	binary.BigEndian.PutUint16(f.Value[:], id)
	return f
}

// ReceiveFilterParameters is NDIS_RECEIVE_FILTER_PARAMETERS with its field
// tests behind it.
type ReceiveFilterParameters struct {
	Revision              uint8 // 1 or 2
	Flags                 FilterFlags
	Type                  FilterType
	QueueID, FilterID     uint32
	RequestedFilterIDBits uint32
	MaxCoalescingDelay    uint32 // ms, from revision 2 on
	VPortID               uint32 // from revision 2 on
	Fields                []FilterField
}

var filterLayout = layout{"NDIS_RECEIVE_FILTER_PARAMETERS", TypeDefault, []int{36, 44}}

// maxFields bounds the tests of a filter; a header has no more fields.
const maxFields = 64

// Decode implements Structure.
func (p *ReceiveFilterParameters) Decode(b []byte) error {
	f, rev, err := filterLayout.open(b)
	if err != nil {
		return err
	}
	v := ReceiveFilterParameters{
		Revision: rev, Flags: FilterFlags(f.u32(4)), Type: FilterType(f.u32(8)),
		QueueID: f.u32(12), FilterID: f.u32(16), RequestedFilterIDBits: f.u32(32),
		MaxCoalescingDelay: f.u32(36), VPortID: f.u32(40),
	}
	elements, err := filterLayout.elements(b, f.u32(20), f.u32(24), f.u32(28), fieldLayout.sizes[0], maxFields)
	if err != nil {
		return err
	}
	for _, e := range elements {
		var field FilterField
		if err := field.Decode(e); err != nil {
			return filterLayout.malformed("%v", err)
		}
		v.Fields = append(v.Fields, field)
	}
	*p = v
	return nil
}

// Encode implements Structure.
func (p *ReceiveFilterParameters) Encode() []byte {
	f := filterLayout.room()
	f.put32(4, uint32(p.Flags))
	f.put32(8, uint32(p.Type))
	f.put32(12, p.QueueID)
	f.put32(16, p.FilterID)
	f.put32(24, uint32(len(p.Fields)))
	f.put32(28, uint32(fieldLayout.full()))
	f.put32(32, p.RequestedFilterIDBits)
	f.put32(36, p.MaxCoalescingDelay)
	f.put32(40, p.VPortID)
	b := filterLayout.seal(f, p.Revision)
	var tail []byte
	for i := range p.Fields {
		tail = append(tail, p.Fields[i].Encode()...)
	}
	b, at := attach(b, tail)
	fields(b).put32(20, at)
	return b
}

// PutID returns a copy of the bytes that p was decoded from with the id of the
// filter written.
func (p *ReceiveFilterParameters) PutID(b []byte) []byte {
	out := append(fields(nil), b...)
	out.put32(16, p.FilterID)
	return out
}

// elements returns the elements of an array that a structure refers to. They
// are stepped by the size that the structure says, which is at least least.
func (l *layout) elements(b []byte, offset, count, size uint32, least, most int) ([][]byte, error) {
	if count == 0 {
		return nil, nil
	}
	if int64(size) < int64(least) || int64(count) > int64(most) {
		return nil, l.malformed("%d elements of %d bytes, want at most %d of %d bytes or more", count, size, most, least)
	}
	raw, err := l.tail(b, "array", offset, uint64(size), uint64(count))
	if err != nil {
		return nil, err
	}
	var out [][]byte
	for i := 0; i < len(raw); i += int(size) {
		out = append(out, raw[i:i+int(size)])
	}
	return out, nil
}

// ReceiveFilterClearParameters is NDIS_RECEIVE_FILTER_CLEAR_PARAMETERS.
type ReceiveFilterClearParameters struct {
	Flags             uint32
	QueueID, FilterID uint32
}

var clearLayout = layout{"NDIS_RECEIVE_FILTER_CLEAR_PARAMETERS", TypeDefault, []int{16}}

// Decode implements Structure.
func (p *ReceiveFilterClearParameters) Decode(b []byte) error {
	f, _, err := clearLayout.open(b)
	if err == nil {
		*p = ReceiveFilterClearParameters{f.u32(4), f.u32(8), f.u32(12)}
	}
	return err
}

// Encode implements Structure.
func (p *ReceiveFilterClearParameters) Encode() []byte {
	f := clearLayout.room()
	f.put32(4, p.Flags)
	f.put32(8, p.QueueID)
	f.put32(12, p.FilterID)
	return clearLayout.seal(f, 0)
}

// ReceiveFilterMoveParameters is NDIS_RECEIVE_FILTER_MOVE_FILTER_PARAMETERS.
type ReceiveFilterMoveParameters struct {
	FilterID                 uint32
	SourceQueue, SourceVPort uint32
	DestQueue, DestVPort     uint32
}

var moveLayout = layout{"NDIS_RECEIVE_FILTER_MOVE_FILTER_PARAMETERS", TypeDefault, []int{24}}

// Decode implements Structure.
func (p *ReceiveFilterMoveParameters) Decode(b []byte) error {
	f, _, err := moveLayout.open(b)
	if err == nil {
		*p = ReceiveFilterMoveParameters{f.u32(4), f.u32(8), f.u32(12), f.u32(16), f.u32(20)}
	}
	return err
}

// Encode implements Structure.
func (p *ReceiveFilterMoveParameters) Encode() []byte {
	f := moveLayout.room()
	for i, v := range []uint32{p.FilterID, p.SourceQueue, p.SourceVPort, p.DestQueue, p.DestVPort} {
		f.put32(4+4*i, v)
	}
	return moveLayout.seal(f, 0)
}

// ReceiveFilterInfo is NDIS_RECEIVE_FILTER_INFO.
type ReceiveFilterInfo struct {
	Flags    FilterFlags
	Type     FilterType
	FilterID uint32
}

var filterInfoLayout = layout{"NDIS_RECEIVE_FILTER_INFO", TypeDefault, []int{16}}

// Decode implements Structure.
func (p *ReceiveFilterInfo) Decode(b []byte) error {
	f, _, err := filterInfoLayout.open(b)
	if err == nil {
		*p = ReceiveFilterInfo{FilterFlags(f.u32(4)), FilterType(f.u32(8)), f.u32(12)}
	}
	return err
}

// Encode implements Structure.
func (p *ReceiveFilterInfo) Encode() []byte {
	f := filterInfoLayout.room()
	f.put32(4, uint32(p.Flags))
	f.put32(8, uint32(p.Type))
	f.put32(12, p.FilterID)
	return filterInfoLayout.seal(f, 0)
}

// ReceiveFilterInfoArray is NDIS_RECEIVE_FILTER_INFO_ARRAY with its elements
// behind it.
type ReceiveFilterInfoArray struct {
	Revision uint8 // 1 or 2
	QueueID  uint32
	Flags    uint32 // from revision 2 on; 1: VPortID is valid
	VPortID  uint32 // from revision 2 on
	Filters  []ReceiveFilterInfo
}

var filterArrayLayout = layout{"NDIS_RECEIVE_FILTER_INFO_ARRAY", TypeDefault, []int{20, 28}}

// maxInfos bounds the elements of the arrays that list filters and queues.
const maxInfos = 1 << 15

// Decode implements Structure.
func (a *ReceiveFilterInfoArray) Decode(b []byte) error {
	f, rev, err := filterArrayLayout.open(b)
	if err != nil {
		return err
	}
	v := ReceiveFilterInfoArray{Revision: rev, QueueID: f.u32(4), Flags: f.u32(20), VPortID: f.u32(24)}
	elements, err := filterArrayLayout.elements(b, f.u32(8), f.u32(12), f.u32(16), filterInfoLayout.full(), maxInfos)
	if err != nil {
		return err
	}
	v.Filters = make([]ReceiveFilterInfo, len(elements))
	for i, e := range elements {
		if err := v.Filters[i].Decode(e); err != nil {
			return filterArrayLayout.malformed("%v", err)
		}
	}
	*a = v
	return nil
}

// Encode implements Structure.
func (a *ReceiveFilterInfoArray) Encode() []byte {
	f := filterArrayLayout.room()
	f.put32(4, a.QueueID)
	f.put32(12, uint32(len(a.Filters)))
	f.put32(16, uint32(filterInfoLayout.full()))
	f.put32(20, a.Flags)
	f.put32(24, a.VPortID)
	b := filterArrayLayout.seal(f, a.Revision)
	var tail []byte
	for i := range a.Filters {
		tail = append(tail, a.Filters[i].Encode()...)
	}
	b, at := attach(b, tail)
	fields(b).put32(8, at)
	return b
}
