package ndis

import "encoding/hex"

// Bytes are bytes that print in hexadecimal.
type Bytes []byte

// String returns two digits a byte.
func (b Bytes) String() string { return hex.EncodeToString(b) }

// MarshalText is String, for JSON.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// ProcessorNumber is PROCESSOR_NUMBER, 4 bytes.
type ProcessorNumber struct {
	Group  uint16
	Number uint8
}

const processorSize = 4

func getProcessor(f fields) ProcessorNumber { return ProcessorNumber{f.u16(0), f.u8(2)} }

func (p ProcessorNumber) put(f fields) {
	f.put16(0, p.Group)
	f.put8(2, p.Number)
}

// RSSFlags are the Flags of NDIS_RECEIVE_SCALE_PARAMETERS.
type RSSFlags uint16

// Flags of NDIS_RECEIVE_SCALE_PARAMETERS.
const (
	RSSBaseCPUUnchanged          RSSFlags = 0x1
	RSSHashInfoUnchanged         RSSFlags = 0x2
	RSSTableUnchanged            RSSFlags = 0x4
	RSSHashKeyUnchanged          RSSFlags = 0x8
	RSSDisable                   RSSFlags = 0x10
	RSSDefaultProcessorUnchanged RSSFlags = 0x20
)

var rssFlagNames = flagNames{
	"BASE_CPU_UNCHANGED", "HASH_INFO_UNCHANGED", "ITABLE_UNCHANGED", "HASH_KEY_UNCHANGED",
	"DISABLE_RSS", "DEFAULT_PROCESSOR_UNCHANGED",
}

// String returns the names of the flags.
func (f RSSFlags) String() string { return rssFlagNames.join(uint32(f)) }

// MarshalText is String, for JSON.
func (f RSSFlags) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// MaxIndirectionEntries is the most entries that an indirection table has.
const MaxIndirectionEntries = 128

// ReceiveScaleParameters is NDIS_RECEIVE_SCALE_PARAMETERS with its table and
// key behind it.
type ReceiveScaleParameters struct {
	Revision         uint8 // 1 to 3
	Flags            RSSFlags
	BaseCPU          uint16
	HashInformation  HashInformation
	Table            []ProcessorNumber // in revision 1 numbers below 128 of group 0
	Key              Bytes             // HashKeySize bytes, or none
	DefaultProcessor ProcessorNumber   // from revision 3 on
}

var rssLayout = layout{"NDIS_RECEIVE_SCALE_PARAMETERS", TypeRSSParameters, []int{28, 40, 44}}

// Decode implements Structure.
func (p *ReceiveScaleParameters) Decode(b []byte) error {
	f, rev, err := rssLayout.open(b)
	if err != nil {
		return err
	}
	v := ReceiveScaleParameters{
		Revision: rev, Flags: RSSFlags(f.u16(4)), BaseCPU: f.u16(6), HashInformation: HashInformation(f.u32(8)),
		DefaultProcessor: getProcessor(f[40:]),
	}
	size, step := int(f.u16(12)), processorSize
	if rev == 1 {
		step = 1
	}
	if size%step != 0 {
		return rssLayout.malformed("indirection table of %d bytes, want a multiple of %d", size, step)
	}
	table, err := rssLayout.tail(b, "indirection table", f.u32(16), uint64(step), uint64(size/step))
	if err != nil {
		return err
	}
	for ; len(table) > 0; table = table[step:] {
		if rev == 1 {
			v.Table = append(v.Table, ProcessorNumber{Number: table[0]})
		} else {
			v.Table = append(v.Table, getProcessor(fields(table)))
		}
	}
	if v.Key, err = rssLayout.tail(b, "key", f.u32(24), uint64(f.u16(20)), 1); err == nil {
		*p = v
	}
	return err
}

// Encode implements Structure.
func (p *ReceiveScaleParameters) Encode() []byte {
	f := rssLayout.room()
	f.put16(4, uint16(p.Flags))
	f.put16(6, p.BaseCPU)
	f.put32(8, uint32(p.HashInformation))
	p.DefaultProcessor.put(f[40:])
	b := rssLayout.seal(f, p.Revision)
	var table []byte
	for _, n := range p.Table {
		if b[1] == 1 {
			table = append(table, n.Number)
			continue
		}
		var e [processorSize]byte
		n.put(e[:])
		table = append(table, e[:]...)
	}
	fields(b).put16(12, uint16(len(table)))
	fields(b).put16(20, uint16(len(p.Key)))
	b, at := attach(b, table)
	fields(b).put32(16, at)
	b, at = attach(b, p.Key)
	fields(b).put32(24, at)
	return b
}

// RSSV2Flags are the Flags of NDIS_RECEIVE_SCALE_PARAMETERS_V2.
type RSSV2Flags uint32

// Flags of NDIS_RECEIVE_SCALE_PARAMETERS_V2.
const (
	RSSV2Enable          RSSV2Flags = 0x1
	RSSV2HashInfoChanged RSSV2Flags = 0x2
	RSSV2HashKeyChanged  RSSV2Flags = 0x4
	RSSV2QueuesChanged   RSSV2Flags = 0x8
	RSSV2EntriesChanged  RSSV2Flags = 0x10
)

var rssV2FlagNames = flagNames{
	"ENABLE_RSS", "HASH_INFO_CHANGED", "HASH_KEY_CHANGED", "NUMBER_OF_QUEUES_CHANGED", "NUMBER_OF_ENTRIES_CHANGED",
}

// String returns the names of the flags.
func (f RSSV2Flags) String() string { return rssV2FlagNames.join(uint32(f)) }

// MarshalText is String, for JSON.
func (f RSSV2Flags) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// ReceiveScaleParametersV2 is NDIS_RECEIVE_SCALE_PARAMETERS_V2 with its key
// behind it.
type ReceiveScaleParametersV2 struct {
	Flags           RSSV2Flags
	HashInformation HashInformation
	Key             Bytes // HashKeySize bytes, or none
	Queues          uint32
	Entries         uint32
}

var rssV2Layout = layout{"NDIS_RECEIVE_SCALE_PARAMETERS_V2", TypeRSSParametersV2, []int{28}}

// Decode implements Structure.
func (p *ReceiveScaleParametersV2) Decode(b []byte) error {
	f, _, err := rssV2Layout.open(b)
	if err != nil {
		return err
	}
	v := ReceiveScaleParametersV2{
		Flags: RSSV2Flags(f.u32(4)), HashInformation: HashInformation(f.u32(8)),
		Queues: f.u32(20), Entries: f.u32(24),
	}
	if v.Key, err = rssV2Layout.tail(b, "key", f.u32(16), uint64(f.u16(12)), 1); err == nil {
		*p = v
	}
	return err
}

// Encode implements Structure.
func (p *ReceiveScaleParametersV2) Encode() []byte {
	f := rssV2Layout.room()
	f.put32(4, uint32(p.Flags))
	f.put32(8, uint32(p.HashInformation))
	f.put16(12, uint16(len(p.Key)))
	f.put32(20, p.Queues)
	f.put32(24, p.Entries)
	b := rssV2Layout.seal(f, 0)
	b, at := attach(b, p.Key)
	fields(b).put32(16, at)
	return b
}

// EntryFlags are the Flags of NDIS_RSS_SET_INDIRECTION_ENTRY.
type EntryFlags uint32

// Flags of NDIS_RSS_SET_INDIRECTION_ENTRY.
const (
	EntryPrimary EntryFlags = 0x1
	EntryDefault EntryFlags = 0x2
)

var entryFlagNames = flagNames{"PRIMARY_PROCESSOR", "DEFAULT_PROCESSOR"}

// String returns the names of the flags.
func (f EntryFlags) String() string { return entryFlagNames.join(uint32(f)) }

// MarshalText is String, for JSON.
func (f EntryFlags) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// RSSSetIndirectionEntry is NDIS_RSS_SET_INDIRECTION_ENTRY, 24 bytes.
type RSSSetIndirectionEntry struct {
	SwitchID, VPortID uint32
	Flags             EntryFlags
	Index             uint16
	Target            ProcessorNumber
	Status            Status // out
}

// IndirectionEntrySize is the size of an RSSSetIndirectionEntry in bytes.
const IndirectionEntrySize = 24

// RSSSetIndirectionEntries is NDIS_RSS_SET_INDIRECTION_ENTRIES with its
// entries behind it.
type RSSSetIndirectionEntries struct {
	Flags   uint32
	Entries []RSSSetIndirectionEntry

	// offset and step say where the decoded entries stood.
	offset, step uint32
}

var rssEntriesLayout = layout{"NDIS_RSS_SET_INDIRECTION_ENTRIES", TypeRSSIndirectionEntry, []int{20}}

// Decode implements Structure.
func (s *RSSSetIndirectionEntries) Decode(b []byte) error {
	f, _, err := rssEntriesLayout.open(b)
	if err != nil {
		return err
	}
	v := RSSSetIndirectionEntries{Flags: f.u32(4), step: f.u32(8), offset: f.u32(12)}
	count := f.u32(16)
	if count > 0 && v.step < IndirectionEntrySize {
		return rssEntriesLayout.malformed("entries of %d bytes, want %d or more", v.step, IndirectionEntrySize)
	}
	if count > MaxIndirectionEntries {
		return rssEntriesLayout.malformed("%d entries, want at most %d", count, MaxIndirectionEntries)
	}
	raw, err := rssEntriesLayout.tail(b, "entries", v.offset, uint64(v.step), uint64(count))
	if err != nil {
		return err
	}
	for ; len(raw) > 0; raw = raw[v.step:] {
		e := fields(raw)
		v.Entries = append(v.Entries, RSSSetIndirectionEntry{
			e.u32(0), e.u32(4), EntryFlags(e.u32(8)), e.u16(12), getProcessor(e[14:]), Status(e.u32(20)),
		})
	}
	*s = v
	return nil
}

// Encode implements Structure.
func (s *RSSSetIndirectionEntries) Encode() []byte {
	f := rssEntriesLayout.room()
	f.put32(4, s.Flags)
	f.put32(8, IndirectionEntrySize)
	f.put32(16, uint32(len(s.Entries)))
	var tail []byte
	for _, v := range s.Entries {
		e := make(fields, IndirectionEntrySize)
		e.put32(0, v.SwitchID)
		e.put32(4, v.VPortID)
		e.put32(8, uint32(v.Flags))
		e.put16(12, v.Index)
		v.Target.put(e[14:])
		e.put32(20, uint32(v.Status))
		tail = append(tail, e...)
	}
	b := rssEntriesLayout.seal(f, 0)
	b, at := attach(b, tail)
	fields(b).put32(12, at)
	return b
}

// PutStatuses returns a copy of the bytes that s was decoded from with the
// statuses of the entries written where the sender laid them out.
func (s *RSSSetIndirectionEntries) PutStatuses(b []byte) []byte {
	out := append(fields(nil), b...)
	for i, e := range s.Entries {
		out.put32(int(s.offset)+i*int(s.step)+20, uint32(e.Status))
	}
	return out
}
