package ndis_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	. "vhost-user-nvgre/offload/ndis"
)

// Structures with something behind them, as a driver lays them out.
func TestTails(t *testing.T) {
	key := bytes.Repeat([]byte{0xaa}, HashKeySize)
	tests := []struct {
		value Structure
		want  string // up to the end of the structure itself
		tail  string
	}{
		{
			&ReceiveScaleParameters{
				Revision: 3, Flags: RSSBaseCPUUnchanged, BaseCPU: 2, HashInformation: HashToeplitz | HashIPv4 | HashTCPIPv4,
				Table: []ProcessorNumber{{1, 2}, {0, 3}}, Key: key, DefaultProcessor: ProcessorNumber{4, 5},
			},
			"89032c00" + "0100" + "0200" + "01030000" + "0800" + "0000" + "30000000" + "2800" + "0000" + "38000000" +
				"000000000000000000000000" + "04000500",
			"00000000" + "01000200" + "00000300" + hex.EncodeToString(key),
		},
		{
			&ReceiveScaleParameters{Revision: 1, Table: []ProcessorNumber{{0, 1}, {0, 0}}},
			"89011c00" + "0000" + "0000" + "00000000" + "0200" + "0000" + "20000000" + "0000" + "0000" + "28000000",
			"00000000" + "0100" + "000000000000",
		},
		{
			&ReceiveScaleParametersV2{Flags: RSSV2Enable | RSSV2HashKeyChanged, HashInformation: HashToeplitz | HashUDPIPv6, Key: key, Queues: 4, Entries: 8},
			"c8011c00" + "05000000" + "01800000" + "2800" + "0000" + "20000000" + "04000000" + "08000000",
			"00000000" + hex.EncodeToString(key),
		},
		{
			&RSSSetIndirectionEntries{Entries: []RSSSetIndirectionEntry{{1, 2, EntryDefault, 3, ProcessorNumber{4, 5}, StatusPending}}},
			"c9011400" + "00000000" + "18000000" + "18000000" + "01000000",
			"00000000" + "01000000" + "02000000" + "02000000" + "0300" + "04000500" + "0000" + "03010000",
		},
		{
			&ReceiveHashParameters{Flags: ReceiveHashEnable, HashInformation: HashToeplitz | HashIPv6, Key: key},
			"80011400" + "01000000" + "01040000" + "2800" + "0000" + "18000000",
			"00000000" + hex.EncodeToString(key),
		},
		{
			&ReceiveFilterParameters{
				Revision: 2, Flags: FilterPacketEncapsulation, Type: FilterVMQueue, QueueID: 1, FilterID: 2,
				MaxCoalescingDelay: 3, VPortID: 4, Fields: []FilterField{{Revision: 2, Header: FrameHeaderMAC, Test: TestEqual, Field: MACDestination, Value: [16]byte{0xa}}},
			},
			"80022c00" + "02000000" + "01000000" + "01000000" + "02000000" + "30000000" + "01000000" + "38000000" + "00000000" + "03000000" + "04000000",
			"00000000" + "80023800" + "00000000" + "01000000" + "01000000" + "01000000" + "00000000" + "0a000000000000000000000000000000" + "00000000000000000000000000000000",
		},
		{
			&ReceiveFilterInfoArray{Revision: 2, QueueID: 1, Flags: 1, VPortID: 7, Filters: []ReceiveFilterInfo{{0, FilterVMQueue, 5}}},
			"80021c00" + "01000000" + "20000000" + "01000000" + "10000000" + "01000000" + "07000000",
			"00000000" + "80011000" + "00000000" + "01000000" + "05000000",
		},
		{
			&AllocationCompleteArray{Queues: []AllocationComplete{{0, 3, StatusSuccess}}},
			"80011400" + "00000000" + "18000000" + "01000000" + "10000000",
			"00000000" + "80011000" + "00000000" + "03000000" + "00000000",
		},
	}
	for _, tt := range tests {
		got := tt.value.Encode()
		if s := hex.EncodeToString(got); s != tt.want+tt.tail {
			t.Errorf("%T: Encode()\n got %s\nwant %s", tt.value, s, tt.want+tt.tail)
		}
		back := reflect.New(reflect.TypeOf(tt.value).Elem()).Interface().(Structure)
		if err := back.Decode(got); err != nil || !bytes.Equal(back.Encode(), got) {
			t.Errorf("%T: Decode(%x): %+v, %v", tt.value, got, back, err)
		}
		// The tail is needed, too.
		if err := back.Decode(got[:len(tt.want)/2]); !errors.Is(err, ErrShort) {
			t.Errorf("%T: Decode without the tail: %v, want ErrShort", tt.value, err)
		}
	}
}

// A list of queues has its elements at multiples of 8, and elements are
// stepped by the size that the list names.
func TestQueueInfoArray(t *testing.T) {
	want := ReceiveQueueInfoArray{Queues: []ReceiveQueueInfo{
		{Revision: 2, QueueID: 1, VMName: "first", NumFilters: 3},
		{Revision: 2, QueueID: 2, QueueName: "zweite Schlange ünd 𝄞", State: QueueStateRunning},
	}}
	b := want.Encode()
	step := int(binary.LittleEndian.Uint32(b[12:]))
	if step%8 != 0 || len(b) != 16+2*step {
		t.Errorf("elements of %d bytes in %d, want a multiple of 8 and 16 + 2 of them", step, len(b))
	}
	var got ReceiveQueueInfoArray
	if err := got.Decode(b); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Decode: %+v, %v, want %+v", got, err, want)
	}
	// The same with elements 64 bytes further apart.
	wide := append([]byte(nil), b[:16]...)
	binary.LittleEndian.PutUint32(wide[12:], uint32(step+64))
	for i := range want.Queues {
		wide = append(append(wide, b[16+i*step:16+(i+1)*step]...), make([]byte, 64)...)
	}
	if err := got.Decode(wide); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Decode with wider elements: %+v, %v, want %+v", got, err, want)
	}
}

// Statuses are written where the sender laid the elements out.
func TestPutStatuses(t *testing.T) {
	rss := RSSSetIndirectionEntries{Entries: make([]RSSSetIndirectionEntry, 3)}
	b := rss.Encode()
	if err := rss.Decode(b); err != nil {
		t.Fatal(err)
	}
	for i := range rss.Entries {
		rss.Entries[i].Status = Status(i + 1)
	}
	var back RSSSetIndirectionEntries
	if err := back.Decode(rss.PutStatuses(b)); err != nil || !reflect.DeepEqual(back, rss) {
		t.Errorf("RSSSetIndirectionEntries: %+v, %v, want %+v", back, err, rss)
	}
	queues := AllocationCompleteArray{Queues: []AllocationComplete{{QueueID: 7}, {QueueID: 9}}}
	b = queues.Encode()
	if err := queues.Decode(b); err != nil {
		t.Fatal(err)
	}
	queues.Queues[1].Status = StatusInvalidParameter
	var done AllocationCompleteArray
	if err := done.Decode(queues.PutStatuses(b)); err != nil || !reflect.DeepEqual(done, queues) {
		t.Errorf("AllocationCompleteArray: %+v, %v, want %+v", done, err, queues)
	}
}

// Lengths that contradict each other or are absurd.
func TestBadTails(t *testing.T) {
	put := func(s Structure, at int, v uint32) []byte {
		b := s.Encode()
		binary.LittleEndian.PutUint32(b[at:], v)
		return b
	}
	table := &ReceiveScaleParameters{Table: make([]ProcessorNumber, 2)}
	odd := table.Encode()
	binary.LittleEndian.PutUint16(odd[12:], 7)
	filter := &ReceiveFilterParameters{Fields: make([]FilterField, 1)}
	for _, tt := range []struct {
		name string
		into Structure
		b    []byte
		want error
	}{
		{"table of 7 bytes", table, odd, ErrMalformed},
		{"table in the header", table, put(table, 16, 2), ErrMalformed},
		{"table behind the end", table, put(table, 16, 100), ErrShort},
		{"table far behind the end", table, put(table, 16, 0xfffffff0), ErrMalformed},
		{"field tests too small", filter, put(filter, 28, 55), ErrMalformed},
		{"field tests too many", filter, put(filter, 24, 0xffffffff), ErrMalformed},
		{"field tests too large", filter, put(filter, 28, 0xffffffff), ErrMalformed},
		{"field test of another type", filter, put(filter, 48, 0x00380290), ErrMalformed},
		{"entries too small", &RSSSetIndirectionEntries{}, put(&RSSSetIndirectionEntries{Entries: make([]RSSSetIndirectionEntry, 1)}, 8, 23), ErrMalformed},
		{"entries too many", &RSSSetIndirectionEntries{}, put(&RSSSetIndirectionEntries{}, 16, 129), ErrMalformed},
	} {
		if err := tt.into.Decode(tt.b); !errors.Is(err, tt.want) {
			t.Errorf("%s: Decode: %v, want %v", tt.name, err, tt.want)
		}
	}
}

func TestNames(t *testing.T) {
	for _, tt := range []struct {
		got  interface{ String() string }
		want string
	}{
		{OIDTCPOffloadParameters, "OID_TCP_OFFLOAD_PARAMETERS"},
		{OID(0x1234), "0x00001234"},
		{StatusInvalidData, "NDIS_STATUS_INVALID_DATA"},
		{Status(0xc0ffee), "0x00c0ffee"},
		{FramingIEEE8023 | FramingIEEE8023PQ | 0x100, "IEEE_802_3|IEEE_802_3_P_AND_Q|0x100"},
		{Framing(0), "0"},
		{HashToeplitz | HashIPv4 | HashUDPIPv6Ex, "TOEPLITZ|IPV4|UDP_IPV6_EX"},
		{InnerIPv4 | OuterIPv6, "INNER_IPV4|OUTER_IPV6"},
		{EncapsulationGREMAC, "GRE_MAC"},
		{SwitchEnabled, "ENABLED"},
		{Switch(9), "9"},
		{SetOn, "SET_ON"},
		{ChecksumRx, "RX_ENABLED_TX_DISABLED"},
		{TestsEqual | TestsNotEqual, "EQUAL|NOT_EQUAL"},
		{FieldsDestination | FieldsVLANID, "DESTINATION_ADDRESS|VLAN_ID"},
		{QueueStateDMAStopped, "DMA_STOPPED"},
		{RSSIndependentEntryMove, "SUPPORTS_INDEPENDENT_ENTRY_MOVE"},
	} {
		if got := tt.got.String(); got != tt.want {
			t.Errorf("%T.String() = %q, want %q", tt.got, got, tt.want)
		}
	}
	b, err := json.Marshal(&OffloadParameters{TCPIPv4Checksum: ChecksumTxRx, EncapsulatedTaskOffload: SetOn})
	if err != nil || !bytes.Contains(b, []byte(`"TCPIPv4Checksum":"TX_RX_ENABLED"`)) || !bytes.Contains(b, []byte(`"EncapsulatedTaskOffload":"SET_ON"`)) {
		t.Errorf("json.Marshal(OffloadParameters): %s, %v", b, err)
	}
}

func TestParseOID(t *testing.T) {
	for _, o := range OIDs() {
		if o.Structure() == nil {
			t.Errorf("%s has no structure", o)
		}
		if got, err := ParseOID(o.String()); got != o || err != nil {
			t.Errorf("ParseOID(%q) = %v, %v", o.String(), got, err)
		}
	}
	for s, want := range map[string]OID{
		"tcp_offload_parameters": OIDTCPOffloadParameters, "0x10221": OIDFilterHardwareCapabilities, "66052": OIDReceiveScaleParameters,
	} {
		if got, err := ParseOID(s); got != want || err != nil {
			t.Errorf("ParseOID(%q) = %v, %v, want %v", s, got, err, want)
		}
	}
	if got, err := ParseOID("OID_NONSENSE"); err == nil {
		t.Errorf("ParseOID(OID_NONSENSE) = %v, want an error", got)
	}
}

// FuzzDecode: any bytes are decoded into what encodes and decodes to itself,
// or refused.
func FuzzDecode(f *testing.F) {
	for i, k := range kinds {
		f.Add(uint8(i), k.new().Encode())
	}
	f.Add(uint8(5), (&ReceiveScaleParameters{Table: make([]ProcessorNumber, 4), Key: make([]byte, 40)}).Encode())
	f.Add(uint8(9), (&ReceiveFilterParameters{Fields: []FilterField{VLANIs(7)}}).Encode())
	f.Fuzz(func(t *testing.T, kind uint8, b []byte) {
		k := kinds[int(kind)%len(kinds)]
		s := k.new()
		if err := s.Decode(b); err != nil {
			var format *FormatError
			if !errors.As(err, &format) {
				t.Fatalf("%T: Decode: %v, want a *FormatError", s, err)
			}
			return
		}
		out := s.Encode()
		again := k.new()
		if err := again.Decode(out); err != nil {
			t.Fatalf("%T: Decode(Encode(%+v)): %v", s, s, err)
		}
		if twice := again.Encode(); !bytes.Equal(out, twice) {
			t.Fatalf("%T: %+v encodes to %x, and that to %x", s, s, out, twice)
		}
	})
}
