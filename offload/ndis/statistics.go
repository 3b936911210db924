package ndis

// StatisticsFlags say which members of Statistics are kept.
type StatisticsFlags uint32

// AllStatistics says that all are (NDIS_STATISTICS_FLAGS_VALID_xxx).
const AllStatistics StatisticsFlags = 0x3f87ff

var statisticsNames = flagNames{
	"DIRECTED_FRAMES_RCV", "MULTICAST_FRAMES_RCV", "BROADCAST_FRAMES_RCV", "BYTES_RCV", "RCV_DISCARDS", "RCV_ERROR",
	"DIRECTED_FRAMES_XMIT", "MULTICAST_FRAMES_XMIT", "BROADCAST_FRAMES_XMIT", "BYTES_XMIT", "XMIT_ERROR",
	"", "", "", "", "XMIT_DISCARDS",
	"DIRECTED_BYTES_RCV", "MULTICAST_BYTES_RCV", "BROADCAST_BYTES_RCV",
	"DIRECTED_BYTES_XMIT", "MULTICAST_BYTES_XMIT", "BROADCAST_BYTES_XMIT",
}

// String returns the names of the flags.
func (f StatisticsFlags) String() string { return statisticsNames.join(uint32(f)) }

// MarshalText is String, for JSON.
func (f StatisticsFlags) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// Statistics is NDIS_STATISTICS_INFO. In is what the adapter received, Out what
// it sent.
type Statistics struct {
	Supported StatisticsFlags

	InDiscards, InErrors                                    uint64 // not received, without and with a fault of their own
	InOctets, InUcastPkts, InMulticastPkts, InBroadcastPkts uint64

	OutOctets, OutUcastPkts, OutMulticastPkts, OutBroadcastPkts uint64
	OutErrors, OutDiscards                                      uint64

	InUcastOctets, InMulticastOctets, InBroadcastOctets    uint64
	OutUcastOctets, OutMulticastOctets, OutBroadcastOctets uint64
}

var statisticsLayout = layout{"NDIS_STATISTICS_INFO", TypeDefault, []int{152}}

// counters returns the counters in their order, from offset 8 on.
func (s *Statistics) counters() []*uint64 {
	return []*uint64{
		&s.InDiscards, &s.InErrors, &s.InOctets, &s.InUcastPkts, &s.InMulticastPkts, &s.InBroadcastPkts,
		&s.OutOctets, &s.OutUcastPkts, &s.OutMulticastPkts, &s.OutBroadcastPkts, &s.OutErrors, &s.OutDiscards,
		&s.InUcastOctets, &s.InMulticastOctets, &s.InBroadcastOctets,
		&s.OutUcastOctets, &s.OutMulticastOctets, &s.OutBroadcastOctets,
	}
}

// Decode implements Structure.
func (s *Statistics) Decode(b []byte) error {
	f, _, err := statisticsLayout.open(b)
	if err != nil {
		return err
	}
	s.Supported = StatisticsFlags(f.u32(4))
	for i, c := range s.counters() {
		*c = f.u64(8 + 8*i)
	}
	return nil
}

// Encode implements Structure.
func (s *Statistics) Encode() []byte {
	f := statisticsLayout.room()
	f.put32(4, uint32(s.Supported))
	for i, c := range s.counters() {
		f.put64(8+8*i, *c)
	}
	return statisticsLayout.seal(f, 0)
}
