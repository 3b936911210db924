package offload_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/offload/internal/frametest"
	"vhost-user-nvgre/offload/toeplitz"
	"vhost-user-nvgre/virtio"
)

var (
	keyBytes = toeplitz.DefaultKey()
	testKey  = toeplitz.New(keyBytes)
)

const everyType = offload.HashIPv4 | offload.HashTCPv4 | offload.HashUDPv4 | offload.HashIPv6 | offload.HashTCPv6 | offload.HashUDPv6 |
	offload.HashIPv6Ex | offload.HashTCPv6Ex | offload.HashUDPv6Ex

// hash is a hash and what it was made of.
type hash struct {
	value  uint32
	report uint16
}

// slowToeplitz is the hash as Microsoft words it: for every bit of the input
// that is set, the 32 bits of the key that begin there.
func slowToeplitz(in []byte) (h uint32) {
	bit := func(b []byte, i int) uint32 {
		if i/8 >= len(b) {
			return 0
		}
		return uint32(b[i/8]>>(7-i%8)) & 1
	}
	for i := range 8 * len(in) {
		if bit(in, i) == 0 {
			continue
		}
		var window uint32
		for k := range 32 {
			window = window<<1 | bit(keyBytes[:], i+k)
		}
		h ^= window
	}
	return h
}

// referenceHash is hashWith with all types.
func referenceHash(s *frametest.Spec, nvgre bool) hash { return hashWith(s, everyType, nvgre) }

// hashWith is what the specifications make of a description: "Device
// Operation", hash calculation, of virtio, and NDIS's table for NVGRE.
func hashWith(s *frametest.Spec, types offload.HashTypes, nvgre bool) hash {
	if nvgre && s.Proto == frametest.GRE && s.GREFlags == 0x20 && s.Inner != nil && !s.Inner.Bare && s.Frag&0x3fff == 0 {
		in := s.Inner
		if h := level(in, types, true); h.report != 0 {
			return h
		}
		// By the outer addresses, as they stand in the IP header.
		outer := *s
		outer.Ext = nil
		return level(&outer, types&(offload.HashIPv4|offload.HashIPv6), false)
	}
	return level(s, types, false)
}

// level is the hash of one IP packet. ported: only by ports, and of IPv6
// without extension headers.
func level(s *frametest.Spec, types offload.HashTypes, ported bool) hash {
	if s.NotIP != 0 {
		return hash{}
	}
	src, dst := defaults(s)
	fragment := s.Frag&0x3fff != 0
	for _, e := range s.Ext {
		if e.Type == frametest.Fragment && (e.Body[1]|e.Body[2]&0xf9) != 0 {
			fragment = true
		}
	}
	ports := []byte{byte(s.SrcPort >> 8), byte(s.SrcPort), byte(s.DstPort >> 8), byte(s.DstPort)}
	tcp, udp := s.Proto == frametest.TCP && !fragment, s.Proto == frametest.UDP && !fragment
	try := func(of bool, kind offload.HashTypes, report uint16, src, dst []byte, with bool) (hash, bool) {
		if !of || types&kind == 0 || ported && !with {
			return hash{}, false
		}
		in := append(append([]byte{}, src...), dst...)
		if with {
			in = append(in, ports...)
		}
		return hash{slowToeplitz(in), report}, true
	}
	type choice struct {
		of     bool
		kind   offload.HashTypes
		report uint16
		with   bool
	}
	var order []choice
	exSrc, exDst := src, dst
	switch {
	case !s.V6:
		order = []choice{{tcp, offload.HashTCPv4, 2, true}, {udp, offload.HashUDPv4, 3, true}, {true, offload.HashIPv4, 1, false}}
	default:
		if len(s.Ext) > 0 {
			if ported {
				return hash{}
			}
			for _, e := range s.Ext {
				if e.Type == frametest.Destination && len(e.Body) >= 19 && e.Body[1] == 0xc9 {
					exSrc = e.Body[3:19]
				}
				if e.Type == frametest.Routing && e.Body[1] == 2 && e.Body[2] != 0 {
					exDst = e.Body[7:23]
				}
			}
			order = []choice{{tcp, offload.HashTCPv6Ex, 8, true}, {udp, offload.HashUDPv6Ex, 9, true}, {true, offload.HashIPv6Ex, 7, false}}
		}
		order = append(order, choice{tcp, offload.HashTCPv6, 5, true}, choice{udp, offload.HashUDPv6, 6, true}, choice{true, offload.HashIPv6, 4, false})
	}
	for _, c := range order {
		a, b := src, dst
		if c.report >= 7 {
			a, b = exSrc, exDst
		}
		if h, ok := try(c.of, c.kind, c.report, a, b, c.with); ok {
			return h
		}
	}
	return hash{}
}

// defaults returns the addresses of a packet as it is built.
func defaults(s *frametest.Spec) (src, dst []byte) {
	bare := frametest.Spec{V6: s.V6, Src: s.Src, Dst: s.Dst, Proto: frametest.None}
	b := bare.Build().Bytes[14:]
	if s.V6 {
		return b[8:24], b[24:40]
	}
	return b[12:16], b[16:20]
}

// Frames of every form, with every set of types that matters to them, NVGRE on
// and off: the hash is that of the reference.
//
// Shows: VNET-093, VNET-095, VNET-098, VNET-099, VNET-100
// Shows: NDIS-010, NDIS-062, NDIS-063, NDIS-064, NDIS-065, NDIS-066, NDIS-069, NDIS-180, NDIS-184, NDIS-185, NDIS-186, NDIS-187
func TestHash(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var all []frametest.Named
	for i, l := range frametest.Levels([]byte("payload")) {
		all = append(all, l)
		all = append(all, frametest.Tunnels(l, i%9 == 0)...)
	}
	for _, frag := range []uint16{0x2000, 0x2001, 0x0001, 0x4000} {
		for _, proto := range []uint8{frametest.TCP, frametest.UDP} {
			s := frametest.Named{Name: fmt.Sprintf("fragment %#x", frag), Spec: frametest.Spec{Proto: proto, Frag: frag, Payload: make([]byte, 40)}}
			all = append(all, s)
			all = append(all, frametest.Tunnels(s, false)...)
			for _, e := range []frametest.Extension{frametest.ExtFirst, frametest.ExtLater, frametest.ExtAtomic} {
				s.Spec.V6, s.Spec.Frag, s.Spec.Ext = true, 0, []frametest.Extension{e}
				all = append(all, s)
				all = append(all, frametest.Tunnels(s, false)...)
			}
		}
	}
	arp := frametest.Spec{NotIP: 0x0806, Payload: make([]byte, 28)}
	all = append(all, frametest.Named{Name: "arp", Spec: arp})
	all = append(all, frametest.Tunnels(frametest.Named{Name: "arp", Spec: arp}, true)...)
	seen := map[uint16]int{}
	for i, c := range all {
		s := c.Spec
		if s.Proto == frametest.GRE {
			s.GREKey = r.Uint32() // does not enter the hash
		}
		var f offload.Frame
		built := s.Build()
		if v := f.Load(cut(r, image(virtio.NetHdr{}, built.Bytes), i%3), virtio.NetHdrSize); v != offload.OK {
			t.Fatal(v)
		}
		for _, nvgre := range []bool{false, true} {
			for k := range 12 {
				types := everyType
				switch {
				case k < 9:
					types = 1 << k
				case k == 10:
					types = offload.HashTypes(r.Uint32()) & everyType
				case k == 11:
					types &^= 1 << r.IntN(9)
				}
				h := offload.Hasher{Key: testKey, Types: types}
				if nvgre {
					h.NVGRE = offload.AllNVGRE()
				}
				// With longer headers than are supported it is a plain packet.
				want := hashWith(&s, types, nvgre && headerLen(built, target(&s)) <= 256)
				value, report := h.Hash(&f)
				if (hash{value, report}) != want {
					t.Fatalf("%s, types %09b, NVGRE %t: hash %#08x, report %d; want %#08x, %d", c.Name, types, nvgre, value, report, want.value, want.report)
				}
				seen[report]++
			}
		}
	}
	for report := range uint16(10) {
		if seen[report] == 0 {
			t.Errorf("no frame had the report %d: the test shows nothing of it", report)
		}
	}
}

// Ten thousand flows with random addresses, decoded by gopacket.
//
// Shows: NDIS-062, NDIS-066, VNET-094
func TestHashFlows(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for i := range 10_000 {
		in := frametest.Spec{
			V6: i&1 != 0, Proto: frametest.TCP, SrcPort: uint16(r.Uint32()), DstPort: uint16(r.Uint32()),
			Src: randomBytes(r, 4), Dst: randomBytes(r, 4),
		}
		if i&2 != 0 {
			in.Proto = frametest.UDP
		}
		if in.V6 {
			in.Src, in.Dst = randomBytes(r, 16), randomBytes(r, 16)
		}
		s := in
		if i&4 != 0 {
			s = frametest.Spec{V6: i&8 != 0, Proto: frametest.GRE, GREFlags: 0x20, GREKey: r.Uint32(), Inner: &in}
		}
		b := s.Build().Bytes
		pkt := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.NoCopy)
		var src, dst net.IP
		var ports []byte
		for _, l := range pkt.Layers() { // the innermost ones remain
			switch l := l.(type) {
			case *layers.IPv4:
				src, dst = l.SrcIP, l.DstIP
			case *layers.IPv6:
				src, dst = l.SrcIP, l.DstIP
			case *layers.TCP:
				ports = l.Contents[:4]
			case *layers.UDP:
				ports = l.Contents[:4]
			}
		}
		want := slowToeplitz(append(append(append([]byte{}, src...), dst...), ports...))
		var f offload.Frame
		if v := f.Load([][]byte{image(virtio.NetHdr{}, b)}, virtio.NetHdrSize); v != offload.OK {
			t.Fatal(v)
		}
		h := offload.Hasher{Key: testKey, Types: everyType, NVGRE: offload.AllNVGRE()}
		if got, _ := h.Hash(&f); got != want {
			t.Fatalf("flow %d, %x %x %x: hash %#08x, want %#08x", i, src, dst, ports, got, want)
		}
	}
}
