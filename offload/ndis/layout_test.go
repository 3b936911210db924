package ndis_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"testing"

	. "vhost-user-nvgre/offload/ndis"
)

// kinds are all structures, with their object type and the sizes of their
// revisions as the driver headers have them.
var kinds = []struct {
	new   func() Structure
	typ   uint8
	sizes []int
}{
	{func() Structure { return new(Offload) }, 0xa7, []int{112, 144, 156, 177, 188, 216, 216, 217}},
	{func() Structure { return new(OffloadEncapsulation) }, 0xa8, []int{28}},
	{func() Structure { return new(OffloadParameters) }, 0x80, []int{20, 22, 26, 32, 34, 35}},
	{func() Structure { return new(RSCStatistics) }, 0x80, []int{40}},
	{func() Structure { return new(Statistics) }, 0x80, []int{152}},
	{func() Structure { return new(InterruptModeration) }, 0x80, []int{12}},
	{func() Structure { return new(ReceiveScaleCapabilities) }, 0x88, []int{16, 18, 18}},
	{func() Structure { return new(ReceiveScaleParameters) }, 0x89, []int{28, 40, 44}},
	{func() Structure { return new(ReceiveScaleParametersV2) }, 0xc8, []int{28}},
	{func() Structure { return new(RSSSetIndirectionEntries) }, 0xc9, []int{20}},
	{func() Structure { return new(ReceiveHashParameters) }, 0x80, []int{20}},
	{func() Structure { return new(ReceiveFilterParameters) }, 0x80, []int{36, 44}},
	{func() Structure { return new(FilterField) }, 0x80, []int{56, 56}},
	{func() Structure { return new(ReceiveFilterClearParameters) }, 0x80, []int{16}},
	{func() Structure { return new(ReceiveFilterMoveParameters) }, 0x80, []int{24}},
	{func() Structure { return new(ReceiveFilterInfoArray) }, 0x80, []int{20, 28}},
	{func() Structure { return new(ReceiveFilterInfo) }, 0x80, []int{16}},
	{func() Structure { return new(ReceiveFilterGlobalParameters) }, 0x80, []int{16}},
	{func() Structure { return new(ReceiveFilterCapabilities) }, 0x80, []int{56, 84}},
	{func() Structure { return new(ReceiveQueueParameters) }, 0x80, []int{1084, 1092, 1096}},
	{func() Structure { return new(ReceiveQueueInfo) }, 0x80, []int{1084, 1092}},
	{func() Structure { return new(ReceiveQueueInfoArray) }, 0x80, []int{16}},
	{func() Structure { return new(ReceiveQueueFreeParameters) }, 0x80, []int{12}},
	{func() Structure { return new(AllocationCompleteArray) }, 0x80, []int{20}},
	{func() Structure { return new(AllocationComplete) }, 0x80, []int{16}},
	{func() Structure { return new(ReceiveQueueStateIndication) }, 0x80, []int{16}},
}

// Every revision is accepted, a later one as the last; what lies beyond the
// size of the revision is neither read nor written; a buffer or a size that is
// too small is refused.
//
// Shows: NDIS-106, NDIS-025, NDIS-077
func TestRevisions(t *testing.T) {
	for _, k := range kinds {
		name := fmt.Sprintf("%T", k.new())
		last := len(k.sizes)
		for rev := 1; rev <= last+3; rev++ {
			size := k.sizes[min(rev, last)-1]
			// Zeros up to the size, ones behind it.
			b := bytes.Repeat([]byte{0xff}, 2048)
			clear(b[:size])
			b[0], b[1] = k.typ, byte(rev)
			binary.LittleEndian.PutUint16(b[2:], uint16(size))
			got := k.new()
			if err := got.Decode(b); err != nil {
				t.Errorf("%s revision %d: Decode: %v, want success", name, rev, err)
				continue
			}
			want := make([]byte, size)
			copy(want, b)
			want[1] = byte(min(rev, last))
			// Offsets of empty arrays are free; the rest is as it came.
			out := got.Encode()
			if !bytes.Equal(out[:4], want[:4]) || len(k.sizes) > 1 && fixed(got) && !bytes.Equal(out, want) {
				t.Errorf("%s revision %d: Encode(Decode(b)) = %x, want %x", name, rev, out, want)
			}
			var format *FormatError
			if err := k.new().Decode(b[:size-1]); !errors.As(err, &format) || !errors.Is(err, ErrShort) || format.Need != size {
				t.Errorf("%s revision %d in %d bytes: Decode: %v, want ErrShort that needs %d", name, rev, size-1, err, size)
			}
			binary.LittleEndian.PutUint16(b[2:], uint16(size-1))
			if err := k.new().Decode(b); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s revision %d of size %d: Decode: %v, want ErrMalformed", name, rev, size-1, err)
			}
			// A size with padding, or with fields of the future, is fine.
			binary.LittleEndian.PutUint16(b[2:], uint16(size+5))
			if err := k.new().Decode(b); err != nil {
				t.Errorf("%s revision %d of size %d: Decode: %v, want success", name, rev, size+5, err)
			}
			b[0]++
			if err := k.new().Decode(b); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s with type 0x%02x: Decode: %v, want ErrMalformed", name, b[0], err)
			}
		}
		b := make([]byte, 2048)
		b[0], b[2] = k.typ, 200
		if err := k.new().Decode(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s revision 0: Decode: %v, want ErrMalformed", name, err)
		}
		if err := k.new().Decode(b[:3]); !errors.Is(err, ErrShort) {
			t.Errorf("%s of 3 bytes: Decode: %v, want ErrShort", name, err)
		}
	}
}

// fixed reports whether a structure has nothing behind it.
func fixed(s Structure) bool {
	switch s.(type) {
	case *ReceiveScaleParameters, *ReceiveFilterParameters, *ReceiveFilterInfoArray:
		return false
	}
	return true
}

// Each value has one field set; the bytes of that field, and no others but
// those of the header, are to be where the driver headers put them.
//
// Shows: NDIS-029
func TestOffsets(t *testing.T) {
	const v32, hex32 = 0x11223344, "44332211"
	tests := []struct {
		value Structure
		at    int
		want  string
	}{
		// NDIS_OFFLOAD.
		{&Offload{Checksum: ChecksumOffload{IPv4Transmit: ChecksumBlock{Encapsulation: v32}}}, 0x04, hex32},
		{&Offload{Checksum: ChecksumOffload{IPv4Transmit: ChecksumBlock{IPOptions: 1, TCPOptions: 2, TCPChecksum: 1, UDPChecksum: 2, IPChecksum: 1}}}, 0x08, "99010000"},
		{&Offload{Checksum: ChecksumOffload{IPv4Receive: ChecksumBlock{Encapsulation: v32}}}, 0x0c, hex32},
		{&Offload{Checksum: ChecksumOffload{IPv4Receive: ChecksumBlock{IPChecksum: 1}}}, 0x10, "00010000"},
		{&Offload{Checksum: ChecksumOffload{IPv6Transmit: ChecksumBlock{Encapsulation: v32}}}, 0x14, hex32},
		{&Offload{Checksum: ChecksumOffload{IPv6Transmit: ChecksumBlock{TCPChecksum: 1}}}, 0x18, "10000000"},
		{&Offload{Checksum: ChecksumOffload{IPv6Receive: ChecksumBlock{Encapsulation: v32}}}, 0x1c, hex32},
		{&Offload{Checksum: ChecksumOffload{IPv6Receive: ChecksumBlock{UDPChecksum: 1}}}, 0x20, "40000000"},
		{&Offload{LSOv1: LSOv1{Encapsulation: v32}}, 0x24, hex32},
		{&Offload{LSOv1: LSOv1{MaxOffLoadSize: v32}}, 0x28, hex32},
		{&Offload{LSOv1: LSOv1{MinSegmentCount: v32}}, 0x2c, hex32},
		{&Offload{LSOv1: LSOv1{TCPOptions: 1, IPOptions: 2}}, 0x30, "09000000"},
		{&Offload{LSOv2: LSOv2{IPv4: LSOv2Family{Encapsulation: v32}}}, 0x50, hex32},
		{&Offload{LSOv2: LSOv2{IPv4: LSOv2Family{MaxOffLoadSize: v32}}}, 0x54, hex32},
		{&Offload{LSOv2: LSOv2{IPv4: LSOv2Family{MinSegmentCount: v32}}}, 0x58, hex32},
		{&Offload{LSOv2: LSOv2{IPv6: LSOv2Family{Encapsulation: v32}}}, 0x5c, hex32},
		{&Offload{LSOv2: LSOv2{IPv6: LSOv2Family{MaxOffLoadSize: v32}}}, 0x60, hex32},
		{&Offload{LSOv2: LSOv2{IPv6: LSOv2Family{MinSegmentCount: v32}}}, 0x64, hex32},
		{&Offload{LSOv2: LSOv2{IPv6: LSOv2Family{ExtensionHeaders: 1, TCPOptions: 2}}}, 0x68, "09000000"},
		{&Offload{Flags: v32}, 0x6c, hex32},
		{&Offload{RSC: RSC{IPv4: true}}, 0x90, "01"},
		{&Offload{RSC: RSC{IPv6: true}}, 0x91, "01"},
		{&Offload{GRE: EncapsulatedTaskOffload{TransmitChecksum: 1, ReceiveChecksum: 2, LSOv2: 3, RSS: 4, VMQ: 5, USO: 6}}, 0x94, "21436500"},
		{&Offload{GRE: EncapsulatedTaskOffload{MaxHeaderSize: 256}}, 0x98, "00010000"},
		{&Offload{VXLAN: VXLANTaskOffload{EncapsulatedTaskOffload: EncapsulatedTaskOffload{LSOv2: 0xb}}}, 0x9c, "000b0000"},
		{&Offload{VXLAN: VXLANTaskOffload{EncapsulatedTaskOffload: EncapsulatedTaskOffload{MaxHeaderSize: v32}}}, 0xa0, hex32},
		{&Offload{VXLAN: VXLANTaskOffload{UDPPort: 4789}}, 0xa4, "b512"},
		{&Offload{VXLAN: VXLANTaskOffload{Configurable: true}}, 0xa6, "0100"},
		{&Offload{EncapsulationTypes: EncapsulationGREMAC | EncapsulationVXLAN}, 0xb0, "03"},
		{&Offload{XLAT: XLAT{Offload: v32}}, 0xb4, hex32},
		{&Offload{XLAT: XLAT{Flags: v32}}, 0xb8, hex32},
		{&Offload{USO: UDPSegmentation{IPv4: USOFamily{Encapsulation: v32}}}, 0xbc, hex32},
		{&Offload{USO: UDPSegmentation{IPv4: USOFamily{MaxOffLoadSize: v32}}}, 0xc0, hex32},
		{&Offload{USO: UDPSegmentation{IPv4: USOFamily{MinSegmentCount: 63, SubMSSFinal: true}}}, 0xc4, "7f000000"},
		{&Offload{USO: UDPSegmentation{IPv6: USOFamily{Encapsulation: v32}}}, 0xc8, hex32},
		{&Offload{USO: UDPSegmentation{IPv6: USOFamily{MaxOffLoadSize: v32}}}, 0xcc, hex32},
		{&Offload{USO: UDPSegmentation{IPv6: USOFamily{SubMSSFinal: true}}}, 0xd0, "40000000"},
		{&Offload{USO: UDPSegmentation{IPv6: USOFamily{ExtensionHeaders: 1}}}, 0xd4, "01000000"},
		{&Offload{UDPRSC: true}, 0xd8, "01"},
		// NDIS_OFFLOAD_ENCAPSULATION.
		{&OffloadEncapsulation{IPv4: FamilyFraming{SetOn, FramingIEEE8023, 14}}, 4, "01000000020000000e000000"},
		{&OffloadEncapsulation{IPv6: FamilyFraming{SetOff, FramingIEEELLCSNAPRouted, 22}}, 16, "020000001000000016000000"},
		// NDIS_OFFLOAD_PARAMETERS.
		{&OffloadParameters{IPv4Checksum: ChecksumTxRx}, 4, "04"},
		{&OffloadParameters{TCPIPv4Checksum: ChecksumRx}, 5, "03"},
		{&OffloadParameters{UDPIPv4Checksum: ChecksumTx}, 6, "02"},
		{&OffloadParameters{TCPIPv6Checksum: ChecksumOff}, 7, "01"},
		{&OffloadParameters{UDPIPv6Checksum: ChecksumTxRx}, 8, "04"},
		{&OffloadParameters{LSOv1: SwitchEnabled}, 9, "02"},
		{&OffloadParameters{IPsecV1: 7}, 10, "07"},
		{&OffloadParameters{LSOv2IPv4: SwitchDisabled}, 11, "01"},
		{&OffloadParameters{LSOv2IPv6: SwitchEnabled}, 12, "02"},
		{&OffloadParameters{TCPConnectionIPv4: 7}, 13, "07"},
		{&OffloadParameters{TCPConnectionIPv6: 7}, 14, "07"},
		{&OffloadParameters{Flags: SkipRegistryUpdate}, 16, "01000000"},
		{&OffloadParameters{IPsecV2: 7}, 20, "07"},
		{&OffloadParameters{IPsecV2IPv4: 7}, 21, "07"},
		{&OffloadParameters{RSCIPv4: SwitchEnabled}, 22, "02"},
		{&OffloadParameters{RSCIPv6: SwitchDisabled}, 23, "01"},
		{&OffloadParameters{EncapsulatedTaskOffload: SetOn}, 24, "01"},
		{&OffloadParameters{EncapsulatedTaskOffload: SetOff}, 24, "02"},
		{&OffloadParameters{EncapsulationTypes: EncapsulationGREMAC}, 25, "01"},
		{&OffloadParameters{VXLANUDPPort: 4789}, 28, "b512"},
		{&OffloadParameters{USOIPv4: SwitchEnabled}, 32, "02"},
		{&OffloadParameters{USOIPv6: SwitchEnabled}, 33, "02"},
		{&OffloadParameters{UDPRSC: SwitchEnabled}, 34, "02"},
		// Statistics and RSS.
		{&Statistics{Supported: AllStatistics}, 4, "ff873f00"},
		{&Statistics{InDiscards: v32}, 8, hex32},
		{&Statistics{InErrors: v32}, 16, hex32},
		{&Statistics{InOctets: v32}, 24, hex32},
		{&Statistics{InUcastPkts: v32}, 32, hex32},
		{&Statistics{InMulticastPkts: v32}, 40, hex32},
		{&Statistics{InBroadcastPkts: v32}, 48, hex32},
		{&Statistics{OutOctets: v32}, 56, hex32},
		{&Statistics{OutUcastPkts: v32}, 64, hex32},
		{&Statistics{OutMulticastPkts: v32}, 72, hex32},
		{&Statistics{OutBroadcastPkts: v32}, 80, hex32},
		{&Statistics{OutErrors: v32}, 88, hex32},
		{&Statistics{OutDiscards: v32}, 96, hex32},
		{&Statistics{InUcastOctets: v32}, 104, hex32},
		{&Statistics{InMulticastOctets: v32}, 112, hex32},
		{&Statistics{InBroadcastOctets: v32}, 120, hex32},
		{&Statistics{OutUcastOctets: v32}, 128, hex32},
		{&Statistics{OutMulticastOctets: v32}, 136, hex32},
		{&Statistics{OutBroadcastOctets: v32}, 144, hex32},
		{&InterruptModeration{Flags: v32}, 4, hex32},
		{&InterruptModeration{Moderation: ModerationDisabled}, 8, "03"},
		{&RSCStatistics{1, 2, 3, 4}, 8, "0100000000000000020000000000000003000000000000000400000000000000"},
		{&ReceiveScaleCapabilities{Flags: RSSIndependentEntryMove | RSSToeplitz, InterruptMessages: 5, ReceiveQueues: 6, IndirectionEntries: 128}, 4, "01000040" + "05000000" + "06000000" + "8000"},
		{&ReceiveQueueFreeParameters{Flags: 1, QueueID: 2}, 4, "0100000002000000"},
		{&ReceiveQueueStateIndication{1, 2, QueueStateDMAStopped}, 4, "010000000200000003000000"},
		{&AllocationComplete{1, 2, StatusResources}, 4, "01000000020000009a0000c0"},
		{&ReceiveFilterClearParameters{1, 2, 3}, 4, "010000000200000003000000"},
		{&ReceiveFilterMoveParameters{1, 2, 3, 4, 5}, 4, "0100000002000000030000000400000005000000"},
		{&ReceiveFilterInfo{FilterPacketEncapsulation, FilterVMQueue, 3}, 4, "020000000100000003000000"},
		{&ReceiveFilterGlobalParameters{1, 2, 3}, 4, "010000000200000003000000"},
		{&ReceiveFilterCapabilities{
			Flags: 1, EnabledFilterTypes: 2, EnabledQueueTypes: 3, NumQueues: 4, QueueProperties: 5, FilterTests: 6, Headers: 7,
			MACFields: 8, MaxMACHeaderFilters: 9, MaxQueueGroups: 10, MaxQueuesPerGroup: 11, MinLookaheadSplit: 12, MaxLookaheadSplit: 13,
			ARPFields: 14, IPv4Fields: 15, IPv6Fields: 16, UDPFields: 17, MaxFieldTestsPerCoalescing: 18, MaxCoalescingFilters: 19, NdisReserved: 20,
		}, 4, counting(1, 20)},
		{func() Structure {
			f := DestinationIs([6]byte{1, 2, 3, 4, 5, 6}, FieldUntaggedOrZero)
			return &f
		}(), 4, "01000000" + "01000000" + "01000000" + "01000000" + "00000000" + "010203040506"},
		{func() Structure {
			f := VLANIs(0x123)
			return &f
		}(), 8, "01000000" + "01000000" + "04000000" + "00000000" + "0123"},
		{&FilterField{Result: [16]byte{0xab}}, 40, "ab"},
		// Queues.
		{&ReceiveQueueParameters{Flags: QueueNameChanged, Type: QueueTypeVMQueue, QueueID: 2, GroupID: 3}, 4, "00000800" + "01000000" + "02000000" + "03000000"},
		{&ReceiveQueueParameters{Affinity: Affinity{0x1122334455667788, 9}}, 24, "88776655443322110900"},
		{&ReceiveQueueParameters{SuggestedBuffers: 1, MSIXTableEntry: 2, LookaheadSize: 3}, 40, "010000000200000003000000"},
		{&ReceiveQueueParameters{VMName: "vm"}, 52, "0400" + "76006d00"},
		{&ReceiveQueueParameters{QueueName: "q"}, 568, "0200" + "7100"},
		{&ReceiveQueueParameters{PortID: 1, CoalescingDomain: 2, QosSQID: 3}, 1084, "010000000200000003000000"},
		{&ReceiveQueueInfo{State: QueueStatePaused}, 20, "02000000"},
		{&ReceiveQueueInfo{Affinity: Affinity{0x1122334455667788, 9}}, 24, "88776655443322110900"},
		{&ReceiveQueueInfo{QueueName: "q"}, 568, "0200" + "7100"},
		{&ReceiveQueueInfo{NumFilters: 1, CoalescingDomain: 2}, 1084, "0100000002000000"},
	}
	for _, tt := range tests {
		got := tt.value.Encode()
		content, err := hex.DecodeString(tt.want)
		if err != nil {
			t.Fatal(err)
		}
		want := make([]byte, len(got))
		copy(want, got[:4])
		copy(want[tt.at:], content)
		if !bytes.Equal(got, want) {
			t.Errorf("%T: Encode() of %+v\n got %x\nwant %x", tt.value, tt.value, got, want)
		}
		back := reflect.New(reflect.TypeOf(tt.value).Elem()).Interface().(Structure)
		if err := back.Decode(got); err != nil || !bytes.Equal(back.Encode(), got) {
			t.Errorf("%T: Decode(%x): %+v, %v, want %+v", tt.value, got, back, err, tt.value)
		}
	}
}

// counting returns 32-bit numbers from first to last.
func counting(first, last uint32) string {
	var b []byte
	for ; first <= last; first++ {
		b = binary.LittleEndian.AppendUint32(b, first)
	}
	return hex.EncodeToString(b)
}

// A packet qualifies only if both of its bits are set: 0xB is inner IPv4 in
// outer IPv4 or IPv6.
//
// Shows: NDIS-021
func TestFamiliesCover(t *testing.T) {
	const mask = Families(0xb)
	for _, tt := range []struct {
		inner, outer Families
		want         bool
	}{
		{InnerIPv4, OuterIPv4, true},
		{InnerIPv4, OuterIPv6, true},
		{InnerIPv6, OuterIPv4, false},
		{InnerIPv6, OuterIPv6, false},
	} {
		if got := mask.Covers(tt.inner, tt.outer); got != tt.want {
			t.Errorf("%s.Covers(%s, %s) = %t, want %t", mask, tt.inner, tt.outer, got, tt.want)
		}
	}
}
