package ctrl

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"vhost-user-nvgre/virtio"
)

// Statistics types, as bits of the masks in commands. A reply carries the
// number of the bit.
const (
	StatRXBasic uint64 = 1 << 0
	StatRXCsum  uint64 = 1 << 1
	StatRXGSO   uint64 = 1 << 2
	StatRXSpeed uint64 = 1 << 3
	StatTXBasic uint64 = 1 << 16
	StatTXCsum  uint64 = 1 << 17
	StatTXGSO   uint64 = 1 << 18
	StatTXSpeed uint64 = 1 << 19
	StatCVQ     uint64 = 1 << 32
)

const (
	statsRX  = StatRXBasic | StatRXCsum | StatRXGSO | StatRXSpeed
	statsTX  = StatTXBasic | StatTXCsum | StatTXGSO | StatTXSpeed
	statsAll = statsRX | statsTX | StatCVQ
)

// statsOf returns the types that a feature set admits.
func statsOf(f virtio.Features) uint64 {
	types := statsAll
	if !f.Has(virtio.FeatureGuestCSUM) {
		types &^= StatRXCsum
	}
	if !f.Has(virtio.FeatureCSUM) {
		types &^= StatTXCsum
	}
	if f&(virtio.FeatureGuestTSO4|virtio.FeatureGuestTSO6) == 0 {
		types &^= StatRXGSO
	}
	if f&(virtio.FeatureHostTSO4|virtio.FeatureHostTSO6|virtio.FeatureHostUSO) == 0 {
		types &^= StatTXGSO
	}
	return types
}

// StatsQuery asks which statistics there are. The result is Limits.Stats as
// AppendStatTypes encodes it.
type StatsQuery struct{}

// Stats returns the types that the driver may ask for: those the device keeps
// that go with the negotiated features.
func (l *Limits) Stats() uint64 { return l.StatTypes & statsOf(l.Features) }

// AppendStatTypes appends the result of StatsQuery.
func AppendStatTypes(b []byte, types uint64) []byte {
	return binary.LittleEndian.AppendUint64(b, types)
}

// Code returns the command's numbers.
func (StatsQuery) Code() (class, cmd uint8) { return ClassStats, 0 }

// AppendData appends nothing.
func (StatsQuery) AppendData(b []byte) []byte { return b }

func decodeStatsQuery(_ *Limits, data []byte) (Command, error) {
	return StatsQuery{}, wantLen(data, 0)
}

// StatsGet asks for statistics. The result is, for each request in order and
// each of its types in ascending order, what AppendStats encodes.
type StatsGet struct {
	Requests []StatsRequest
}

// StatsRequest names statistics of one virtqueue.
type StatsRequest struct {
	VQ    uint16
	Types uint64
}

const statsRequestSize = 16

// Code returns the command's numbers.
func (StatsGet) Code() (class, cmd uint8) { return ClassStats, 1 }

// AppendData appends the requests: queue, three reserved 16-bit fields, types.
func (c StatsGet) AppendData(b []byte) []byte {
	for _, r := range c.Requests {
		b = binary.LittleEndian.AppendUint16(b, r.VQ)
		b = append(b, make([]byte, 6)...)
		b = binary.LittleEndian.AppendUint64(b, r.Types)
	}
	return b
}

// decodeStatsGet makes the checks of VNET-171.
func decodeStatsGet(l *Limits, data []byte) (Command, error) {
	if len(data) == 0 || len(data)%statsRequestSize != 0 {
		return nil, fmt.Errorf("%d bytes of data, want a multiple of %d", len(data), statsRequestSize)
	}
	c := StatsGet{Requests: make([]StatsRequest, len(data)/statsRequestSize)}
	for i := range c.Requests {
		b := data[i*statsRequestSize:]
		r := StatsRequest{VQ: binary.LittleEndian.Uint16(b), Types: binary.LittleEndian.Uint64(b[8:])}
		if err := l.checkStats(r); err != nil {
			return nil, fmt.Errorf("request %d: %w", i, err)
		}
		c.Requests[i] = r
	}
	return c, nil
}

func (l *Limits) checkStats(r StatsRequest) error {
	cvq := l.controlQueue()
	var kind uint64
	switch {
	case r.VQ == cvq:
		kind = StatCVQ
	case r.VQ >= cvq:
		return fmt.Errorf("virtqueue %d, want 0 to %d", r.VQ, cvq)
	case r.VQ%2 == 0:
		kind = statsRX
	default:
		kind = statsTX
	}
	if extra := r.Types &^ (kind & l.Stats()); extra != 0 {
		return fmt.Errorf("statistics 0x%x of virtqueue %d, of which 0x%x are not supported there", r.Types, r.VQ, extra)
	}
	return nil
}

// controlQueue returns the index of the control queue (section "Virtqueues").
func (l *Limits) controlQueue() uint16 {
	if l.Features&(virtio.FeatureMQ|virtio.FeatureRSS) == 0 {
		return 2
	}
	// The largest number of pairs would need index 65536, which no ring has.
	return uint16(min(2*int(l.QueuePairs), 0xffff))
}

// AppendStats appends one statistics reply: header and counters. typ is a
// single Stat bit, whose counters the specification orders as follows.
//
//	CVQ              command_num, ok_num
//	RX_BASIC         notifications, packets, bytes, interrupts, drops, drop_overruns
//	TX_BASIC         notifications, packets, bytes, interrupts, drops, drop_malformed
//	RX_CSUM          valid, needs_csum, none, bad
//	TX_CSUM          none, needs_csum
//	RX_GSO           packets, bytes, packets_coalesced, bytes_coalesced
//	TX_GSO           packets, bytes, segments, segments_bytes, packets_noseg, bytes_noseg
//	RX_SPEED, TX_SPEED  packets_allowance_exceeded, bytes_allowance_exceeded
func AppendStats(b []byte, vq uint16, typ uint64, counters ...uint64) []byte {
	b = append(b, uint8(bits.TrailingZeros64(typ)), 0)
	b = binary.LittleEndian.AppendUint16(b, vq)
	b = binary.LittleEndian.AppendUint16(b, 0)
	b = binary.LittleEndian.AppendUint16(b, uint16(8+8*len(counters)))
	for _, n := range counters {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	return b
}
