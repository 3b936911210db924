package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"strings"
	"testing"
)

// layout builds a payload from the offsets that the document gives, field by
// field, independent of the encoders under test.
type layout []byte

func newLayout(n int) layout { return make(layout, n) }

func (l layout) u32(at int, v uint32) layout { binary.NativeEndian.PutUint32(l[at:], v); return l }
func (l layout) u64(at int, v uint64) layout { binary.NativeEndian.PutUint64(l[at:], v); return l }

func TestHeader(t *testing.T) {
	raw := newLayout(12).u32(0, 24).u32(4, 9).u32(8, 268)
	h := DecodeHeader((*[HeaderSize]byte)(raw))
	if want := (Header{Request: 24, Flags: 9, Size: 268}); h != want {
		t.Fatalf("DecodeHeader(% x) = %+v, want %+v", []byte(raw), h, want)
	}
	if got := h.Append(nil); !bytes.Equal(got, raw) {
		t.Errorf("Append() = % x, want % x", got, []byte(raw))
	}
	if !h.NeedReply() {
		t.Errorf("NeedReply() of flags 9 = false, want true")
	}
	if got, want := Reply(24, 8), (Header{Request: 24, Flags: 5, Size: 8}); got != want {
		t.Errorf("Reply(24, 8) = %+v, want %+v", got, want)
	}
}

// Hostile: 966f89d998
func TestHeaderCheck(t *testing.T) {
	for _, c := range []struct {
		name           string
		h              Header
		request, reply string // part of the error, "" for none
	}{
		{"request", Header{1, 1, 0}, "", "want a reply"},
		{"request with need_reply", Header{1, 9, 8}, "", "want a reply"},
		{"reply", Header{1, 5, 8}, "nobody asked", ""},
		{"reply to another request", Header{2, 5, 8}, "nobody asked", "want one to request 1"},
		{"version 0", Header{1, 0, 0}, "version 0", "version 0"},
		{"version 2", Header{1, 6, 0}, "version 2", "version 2"},
		{"version 3", Header{1, 7, 0}, "version 3", "version 3"},
		{"unknown flag", Header{1, 0x11, 0}, "unknown bits 0x10", "unknown bits 0x10"},
		{"largest payload", Header{1, 1, MaxPayload}, "", "want a reply"},
		{"payload too large", Header{1, 1, MaxPayload + 1}, "at most 4096", "at most 4096"},
		{"payload of 4 GiB", Header{1, 5, 0xffffffff}, "4294967295 bytes", "4294967295 bytes"},
	} {
		check(t, c.name+": CheckRequest()", c.h.CheckRequest(), c.request)
		check(t, c.name+": CheckReply(1)", c.h.CheckReply(1), c.reply)
		if err := c.h.CheckRequest(); err != nil && !errors.Is(err, ErrHeader) {
			t.Errorf("%s: CheckRequest() = %v, want an ErrHeader", c.name, err)
		}
	}
}

func check(t *testing.T, call string, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("%s = %v, want no error", call, err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("%s = %v, want an error with %q", call, err, want)
	}
}

func TestRequestNames(t *testing.T) {
	for r, want := range map[Request]string{
		1: "GET_FEATURES", 5: "SET_MEM_TABLE", 11: "GET_VRING_BASE", 14: "SET_VRING_ERR", 17: "GET_QUEUE_NUM",
		18: "SET_VRING_ENABLE", 20: "NET_SET_MTU", 21: "SET_BACKEND_REQ_FD", 24: "GET_CONFIG", 34: "RESET_DEVICE",
		36: "GET_MAX_MEM_SLOTS", 38: "REM_MEM_REG", 40: "GET_STATUS", 44: "GET_SHMEM_CONFIG",
		0: "request 0", 45: "request 45", 0xffffffff: "request 4294967295",
	} {
		if got := r.String(); got != want {
			t.Errorf("Request(%d).String() = %q, want %q", uint32(r), got, want)
		}
	}
	for r := Request(1); r < NumRequests; r++ {
		if !r.Known() {
			t.Errorf("Request(%d).Known() = false, want true", uint32(r))
		}
		if s := r.Shape(); s.Min > s.Max || s.Max > MaxPayload {
			t.Errorf("%s: payload of %d to %d bytes, want an order and at most %d", r, s.Min, s.Max, MaxPayload)
		}
	}
	for r, want := range map[BackendRequest]string{
		2: "BACKEND_CONFIG_CHANGE_MSG", 10: "BACKEND_SHMEM_UNMAP", 0: "back-end request 0", 11: "back-end request 11",
		0xffffffff: "back-end request 4294967295",
	} {
		if got := r.String(); got != want {
			t.Errorf("BackendRequest(%d).String() = %q, want %q", uint32(r), got, want)
		}
	}
}

func TestCheckSize(t *testing.T) {
	for _, c := range []struct {
		r    Request
		size uint32
		want string
	}{
		{GetFeatures, 0, ""},
		{GetFeatures, 8, "GET_FEATURES: payload of 8 bytes, want 0"},
		{SetFeatures, 7, "SET_FEATURES: payload of 7 bytes, want 8"},
		{SetFeatures, 9, "payload of 9 bytes, want 8"},
		{SetMemTable, 7, "payload of 7 bytes, want 8 to 264"},
		{SetMemTable, 8, ""},
		{SetMemTable, 264, ""},
		{SetMemTable, 265, "want 8 to 264"},
		{GetInflightFD, 20, ""},
		{GetInflightFD, 24, ""},
		{GetInflightFD, 19, "want 20 to 24"},
		{GetConfig, 11, "want 12 to 268"},
		{GetConfig, 268, ""},
		{GetConfig, 269, "want 12 to 268"},
		{AddMemReg, 40, ""},
		{AddMemReg, 32, "ADD_MEM_REG: payload of 32 bytes, want 40"},
		{Request(99), 0, ""},
		{Request(99), MaxPayload, ""},
		{Request(99), MaxPayload + 1, "request 99: payload of 4097 bytes"},
	} {
		err := c.r.CheckSize(c.size)
		check(t, c.r.String()+".CheckSize()", err, c.want)
		if se := (*SizeError)(nil); err != nil && !errors.As(err, &se) {
			t.Errorf("%s.CheckSize(%d) is a %T, want a *SizeError", c.r, c.size, err)
		}
	}
}

func TestProtocolFeatureNames(t *testing.T) {
	p := ProtocolMQ | ProtocolReplyAck | ProtocolConfigureMemSlots | ProtocolShmemMap | 1<<40
	if got, want := p.String(), "mq,reply_ack,configure_mem_slots,shmem_map,bit40"; got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
	for bit, want := range map[ProtocolFeatures]string{
		1 << 1: "log_shmfd", 1 << 4: "mtu", 1 << 5: "backend_req", 1 << 9: "config", 1 << 13: "reset_device",
		1 << 16: "status", 1 << 19: "device_state", 1 << 21: "gpa_addresses",
	} {
		if got := bit.String(); got != want {
			t.Errorf("ProtocolFeatures(0x%x).String() = %q, want %q", uint64(bit), got, want)
		}
	}
	if p.Has(ProtocolMQ|ProtocolMTU) || !p.Has(ProtocolMQ|ProtocolReplyAck) {
		t.Errorf("Has: want all bits to count")
	}
}

func TestVringState(t *testing.T) {
	raw := newLayout(8).u32(0, 3).u32(4, 0x80008000)
	got, err := DecodeVringState(raw)
	if want := (VringState{3, 0x80008000}); err != nil || got != want {
		t.Errorf("DecodeVringState() = %+v, %v, want %+v", got, err, want)
	}
	if b := got.Append(nil); !bytes.Equal(b, raw) {
		t.Errorf("Append() = % x, want % x", b, []byte(raw))
	}
	_, err = DecodeVringState(raw[:7])
	check(t, "DecodeVringState(7 bytes)", err, "payload of 7 bytes")
}

func TestVringAddr(t *testing.T) {
	raw := newLayout(40).u32(0, 2).u32(4, 1).u64(8, 0x1000).u64(16, 0x3000).u64(24, 0x2000).u64(32, 0x99)
	want := VringAddr{Index: 2, Flags: 1, Desc: 0x1000, Used: 0x3000, Avail: 0x2000, Log: 0x99}
	got, err := DecodeVringAddr(raw)
	if err != nil || got != want {
		t.Errorf("DecodeVringAddr() = %+v, %v, want %+v", got, err, want)
	}
	if b := got.Append(nil); !bytes.Equal(b, raw) {
		t.Errorf("Append() = % x, want % x", b, []byte(raw))
	}
	_, err = DecodeVringAddr(raw[:39])
	check(t, "DecodeVringAddr(39 bytes)", err, "payload of 39 bytes")
	_, err = DecodeVringAddr(raw.u32(4, 2))
	check(t, "DecodeVringAddr(flags 2)", err, "ring 2: flags 0x2")
}

// Hostile: CVE-2020-10723
func TestVringFD(t *testing.T) {
	for _, c := range []struct {
		raw  uint64
		want VringFD
		err  string
	}{
		{0, VringFD{}, ""},
		{0xff, VringFD{Index: 255}, ""},
		{0x105, VringFD{Index: 5, NoFD: true}, ""},
		{0x200, VringFD{}, "0x200: bits above 8"},
		{0x10000, VringFD{}, "0x10000: bits above 8"},
		{1 << 63, VringFD{}, "bits above 8"},
	} {
		got, err := DecodeVringFD(newLayout(8).u64(0, c.raw))
		check(t, "DecodeVringFD()", err, c.err)
		if got != c.want {
			t.Errorf("DecodeVringFD(0x%x) = %+v, want %+v", c.raw, got, c.want)
		}
		if err == nil {
			if b := got.Append(nil); binary.NativeEndian.Uint64(b) != c.raw {
				t.Errorf("Append() = % x, want 0x%x", b, c.raw)
			}
		}
	}
	_, err := DecodeVringFD(nil)
	check(t, "DecodeVringFD(nil)", err, "payload of 0 bytes")
}

// Hostile: CVE-2026-86561, c6420a3632
func TestMemRegionValidate(t *testing.T) {
	for _, c := range []struct {
		r    MemRegion
		want string
	}{
		{MemRegion{0, 0x1000, 0x7f0000000000, 0}, ""},
		{MemRegion{Guest: 1<<64 - 0x1000, Size: 0xfff}, ""},
		{MemRegion{Guest: 5}, "guest 0x5: size is 0"},
		{MemRegion{Guest: 1<<64 - 0x1000, Size: 0x1001}, "guest 0xfffffffffffff000: size 0x1001 leads beyond 64 bits"},
		{MemRegion{User: 1<<64 - 1, Size: 2}, "user 0xffffffffffffffff"},
		{MemRegion{Offset: 1<<64 - 1, Size: 2}, "largest offset"},
		{MemRegion{Size: 1 << 63}, "largest offset"},
		{MemRegion{Offset: 1<<63 - 2, Size: 1}, ""},
		{MemRegion{Offset: 1<<63 - 1, Size: 1}, "largest offset"},
	} {
		check(t, "Validate()", c.r.Validate(), c.want)
	}
}

func TestMemTable(t *testing.T) {
	raw := newLayout(8+64).u32(0, 2).u32(4, 0xdead).
		u64(8, 0).u64(16, 0xa0000).u64(24, 0x7f0000000000).u64(32, 0).
		u64(40, 0x100000).u64(48, 0x8000000).u64(56, 0x7f0000100000).u64(64, 0x100000)
	want := []MemRegion{{0, 0xa0000, 0x7f0000000000, 0}, {0x100000, 0x8000000, 0x7f0000100000, 0x100000}}
	got, err := DecodeMemTable(raw)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("DecodeMemTable() = %+v, %v, want %+v", got, err, want)
	}
	if b := AppendMemTable(nil, got); !bytes.Equal(b, raw.u32(4, 0)) {
		t.Errorf("AppendMemTable() = % x, want % x", b, []byte(raw))
	}
	// All eight slots may come, the unused ones with anything in them.
	got, err = DecodeMemTable(append(raw, bytes.Repeat([]byte{0xff}, 6*32)...))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("DecodeMemTable(unused slots) = %+v, %v, want %+v", got, err, want)
	}
	for _, c := range []struct {
		raw  []byte
		want string
	}{
		{raw[:7], "memory table: payload of 7 bytes"},
		{raw[:71], "memory table of 2 regions: payload of 71 bytes"},
		{newLayout(264).u32(0, 9), "9 regions, want at most 8"},
		{newLayout(264).u32(0, 0xffffffff), "4294967295 regions"},
		{newLayout(40).u32(0, 1), "size is 0"},
	} {
		_, err := DecodeMemTable(c.raw)
		check(t, "DecodeMemTable()", err, c.want)
	}
}

func TestSingleRegion(t *testing.T) {
	raw := newLayout(40).u64(8, 0x1000).u64(16, 0x2000).u64(24, 0x3000).u64(32, 0x4000)
	got, err := DecodeSingleRegion(raw)
	if want := (MemRegion{0x1000, 0x2000, 0x3000, 0x4000}); err != nil || got != want {
		t.Errorf("DecodeSingleRegion() = %+v, %v, want %+v", got, err, want)
	}
	if b := AppendSingleRegion(nil, got); !bytes.Equal(b, raw) {
		t.Errorf("AppendSingleRegion() = % x, want % x", b, []byte(raw))
	}
	_, err = DecodeSingleRegion(raw[:32])
	check(t, "DecodeSingleRegion(32 bytes)", err, "payload of 32 bytes")
	_, err = DecodeSingleRegion(raw.u64(16, 0))
	check(t, "DecodeSingleRegion(size 0)", err, "size is 0")
}

func TestConfig(t *testing.T) {
	raw := append(newLayout(12).u32(0, 6).u32(4, 2).u32(8, 1), 0xaa, 0xbb)
	got, err := DecodeConfig(raw)
	if want := (Config{Offset: 6, Flags: 1, Bytes: []byte{0xaa, 0xbb}}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("DecodeConfig() = %+v, %v, want %+v", got, err, want)
	}
	if b := got.Append(nil); !bytes.Equal(b, raw) {
		t.Errorf("Append() = % x, want % x", b, []byte(raw))
	}
	for _, size := range []uint32{0, 1, 3, 0xffffffff} {
		_, err = DecodeConfig(append(newLayout(12).u32(4, size), 1, 2))
		check(t, "DecodeConfig()", err, "payload of 2 bytes, want")
	}
	_, err = DecodeConfig(raw[:11])
	check(t, "DecodeConfig(11 bytes)", err, "payload of 11 bytes")

	for _, c := range []struct {
		c    Config
		want string
	}{
		{Config{}, ""},
		{Config{Offset: 0, Bytes: make([]byte, 256)}, ""},
		{Config{Offset: 256}, ""},
		{Config{Offset: 1, Bytes: make([]byte, 256)}, "offset 1 plus 256 bytes"},
		{Config{Offset: 0xfffff000, Bytes: make([]byte, 28)}, "offset 4294963200 plus 28 bytes"},
		{Config{Flags: 2}, "flags 0x2"},
	} {
		check(t, "Validate()", c.c.Validate(), c.want)
	}
}

// FuzzPayloads feeds any bytes to every decoder. What one accepts must encode
// to the same bytes, padding and unused room aside.
func FuzzPayloads(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte(newLayout(8).u64(0, 0x105)))
	f.Add([]byte(newLayout(12).u32(0, 24).u32(4, 9)))
	f.Add([]byte(newLayout(40).u32(0, 1).u64(16, 0x1000)))
	f.Add(AppendMemTable(nil, []MemRegion{{0, 1, 2, 3}, {4, 5, 6, 7}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		same := func(what string, got []byte, from, to int) {
			if !bytes.Equal(got[from:], b[from:to]) {
				t.Errorf("%s of % x encodes to % x", what, b, got)
			}
		}
		if len(b) >= HeaderSize {
			h := DecodeHeader((*[HeaderSize]byte)(b))
			same("header", h.Append(nil), 0, HeaderSize)
			if h.CheckRequest() == nil && h.CheckReply(h.Request) == nil {
				t.Errorf("header %+v is both a request and a reply", h)
			}
			if r := Request(h.Request); h.CheckRequest() == nil && r.CheckSize(h.Size) == nil && h.Size > MaxPayload {
				t.Errorf("%s: a payload of %d bytes is allowed", r, h.Size)
			}
		}
		if v, err := DecodeVringState(b); err == nil {
			same("vring state", v.Append(nil), 0, stateSize)
		}
		if v, err := DecodeVringAddr(b); err == nil {
			same("vring address", v.Append(nil), 0, addrSize)
		}
		if v, err := DecodeVringFD(b); err == nil {
			same("ring and flag", v.Append(nil), 0, u64Size)
		}
		if v, err := DecodeSingleRegion(b); err == nil {
			same("single region", AppendSingleRegion(nil, v), 8, singleSize)
		}
		if v, err := DecodeMemTable(b); err == nil {
			same("memory table", AppendMemTable(nil, v), tableHead, tableHead+len(v)*regionSize)
		}
		if v, err := DecodeConfig(b); err == nil {
			same("device configuration", v.Append(nil), 0, len(b))
			if v.Validate() == nil && int(v.Offset)+len(v.Bytes) > MaxConfig {
				t.Errorf("device configuration %+v passes as valid", v)
			}
		}
	})
}
