package virtio_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"vhost-user-nvgre/virtio"
)

// Shows: VNET-051
func TestNetHdrLen(t *testing.T) {
	for _, tt := range []struct {
		f    virtio.Features
		want int
	}{
		{0, 10},
		{virtio.FeatureAnyLayout | virtio.FeatureCSUM, 10},
		{virtio.FeatureMrgRxbuf, 12},
		{virtio.FeatureVersion1, 12},
		{virtio.FeatureVersion1 | virtio.FeatureMrgRxbuf, 12},
		{virtio.FeatureVersion1 | virtio.FeatureHashReport, 20},
		{virtio.FeatureVersion1 | virtio.FeatureMrgRxbuf | virtio.FeatureHashReport, 20},
		{^virtio.FeatureHashReport, 12},
		{^virtio.Features(0), 20},
	} {
		if got := virtio.NetHdrLen(tt.f); got != tt.want {
			t.Errorf("NetHdrLen(%s) = %d, want %d", tt.f, got, tt.want)
		}
	}
	if virtio.NetHdrMaxSize != 20 {
		t.Errorf("NetHdrMaxSize = %d, want 20", virtio.NetHdrMaxSize)
	}
}

// header is the layout of the specification: each field's offset and value,
// little-endian, one byte at a time.
func header(h virtio.NetHdr) [20]byte {
	var b [20]byte
	put := func(at, n int, v uint32) {
		for i := range n {
			b[at+i] = byte(v >> (8 * i))
		}
	}
	put(0, 1, uint32(h.Flags))
	put(1, 1, uint32(h.GSOType))
	put(2, 2, uint32(h.HdrLen))
	put(4, 2, uint32(h.GSOSize))
	put(6, 2, uint32(h.CsumStart))
	put(8, 2, uint32(h.CsumOffset))
	put(10, 2, uint32(h.NumBuffers))
	put(12, 4, h.HashValue)
	put(16, 2, uint32(h.HashReport))
	return b
}

func randomHdr(r *rand.Rand) virtio.NetHdr {
	return virtio.NetHdr{
		Flags: uint8(r.Uint32()), GSOType: uint8(r.Uint32()),
		HdrLen: uint16(r.Uint32()), GSOSize: uint16(r.Uint32()),
		CsumStart: uint16(r.Uint32()), CsumOffset: uint16(r.Uint32()), NumBuffers: uint16(r.Uint32()),
		HashValue: r.Uint32(), HashReport: uint16(r.Uint32()),
	}
}

// Encode fills the header of each size, and nothing behind it; what is in the
// room beforehand does not shine through (VNET-071).
//
// Shows: VNET-071
func TestNetHdrEncode(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 3))
	for range 1000 {
		h := randomHdr(r)
		want := header(h)
		for _, n := range []int{10, 12, 20} {
			got := bytes.Repeat([]byte{0xa5}, 24)
			h.Encode(got[:n])
			if !bytes.Equal(got[:n], want[:n]) || !bytes.Equal(got[n:], bytes.Repeat([]byte{0xa5}, 24-n)) {
				t.Fatalf("%+v.Encode of %d bytes = %x, want %x", h, n, got, want[:n])
			}
		}
	}
}

// In the transmit direction the fields that a driver has no say in come out as
// zero, whatever it wrote there.
//
// Shows: VNET-055
func TestNetHdrDecode(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 4))
	for range 1000 {
		h := randomHdr(r)
		b := header(h)
		want := h
		want.NumBuffers, want.HashValue, want.HashReport = 0, 0, 0
		for _, n := range []int{10, 12, 20} {
			if got := virtio.DecodeNetHdr(b[:n]); got != want {
				t.Fatalf("DecodeNetHdr(%x) = %+v, want %+v", b[:n], got, want)
			}
			got := randomHdr(r)
			if got.Decode(b[:n]); got != want {
				t.Fatalf("Decode(%x) = %+v, want %+v", b[:n], got, want)
			}
		}
	}
}

func TestNetHdrConstants(t *testing.T) {
	for name, v := range map[string][2]int{
		"NEEDS_CSUM": {virtio.HdrNeedsCsum, 1}, "DATA_VALID": {virtio.HdrDataValid, 2}, "RSC_INFO": {virtio.HdrRSCInfo, 4},
		"NONE": {virtio.GSONone, 0}, "TCPV4": {virtio.GSOTCPv4, 1}, "UDP": {virtio.GSOUDP, 3},
		"TCPV6": {virtio.GSOTCPv6, 4}, "UDP_L4": {virtio.GSOUDPL4, 5}, "ECN": {virtio.GSOECN, 0x80},
	} {
		if v[0] != v[1] {
			t.Errorf("%s = %d, want %d", name, v[0], v[1])
		}
	}
}

func BenchmarkNetHdr(b *testing.B) {
	buf := make([]byte, virtio.NetHdrSize)
	b.Run("decode", func(b *testing.B) {
		sum := 0
		var h virtio.NetHdr
		for range b.N {
			h.Decode(buf)
			sum += int(h.Flags) + int(h.CsumStart)
		}
		if sum != 0 {
			b.Fatal("not zero")
		}
	})
	b.Run("encode", func(b *testing.B) {
		h := virtio.NetHdr{NumBuffers: 1}
		for range b.N {
			h.Encode(buf)
		}
	})
}
