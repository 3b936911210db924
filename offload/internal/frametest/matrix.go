package frametest

import "fmt"

// Named is a Spec with a name for failures.
type Named struct {
	Name string
	Spec Spec
}

// Some extension headers.
var (
	ExtHopByHop = Extension{HopByHop, []byte{0, 1, 4, 0, 0, 0, 0}} // PadN
	ExtPad1     = Extension{Destination, []byte{0, 0, 0, 0, 0, 0, 0}}
	// ExtHome is destination options with a home address, padded.
	ExtHome = Extension{Destination, append(append(
		[]byte{2, 0xc9, 16}, 0x20, 1, 0xd, 0xb8, 0xca, 0xfe, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1), 1, 2, 0, 0)}
	// ExtRouting2 is mobile IPv6's routing header.
	ExtRouting2 = Extension{Routing, append(
		[]byte{2, 2, 1, 0, 0, 0, 0}, 0x20, 1, 0xd, 0xb8, 0xbe, 0xef, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2)}
	// ExtRouting0 is a source route over two more hops.
	ExtRouting0 = Extension{Routing, append(append(
		[]byte{4, 0, 2, 0, 0, 0, 0}, 0x20, 1, 0xd, 0xb8, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 3),
		0x20, 1, 0xd, 0xb8, 2, 2, 2, 2, 0, 0, 0, 0, 0, 0, 0, 4)}
	// ExtRouting4 is a segment list of two.
	ExtRouting4 = Extension{Routing, append(append(
		[]byte{4, 4, 1, 1, 0, 0, 0}, 0x20, 1, 0xd, 0xb8, 3, 3, 3, 3, 0, 0, 0, 0, 0, 0, 0, 5),
		0x20, 1, 0xd, 0xb8, 4, 4, 4, 4, 0, 0, 0, 0, 0, 0, 0, 6)}
	ExtRoutingDone = Extension{Routing, append(
		[]byte{2, 4, 0, 0, 0, 0, 0}, 0x20, 1, 0xd, 0xb8, 5, 5, 5, 5, 0, 0, 0, 0, 0, 0, 0, 7)}
	ExtAtomic = Extension{Fragment, []byte{0, 0, 0, 1, 2, 3, 4}}
	ExtFirst  = Extension{Fragment, []byte{0, 0, 1, 1, 2, 3, 4}}
	ExtLater  = Extension{Fragment, []byte{0, 0, 8, 1, 2, 3, 4}}
	ExtAH     = Extension{AH, []byte{4, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}}
	// ExtLong is 128 bytes of destination options.
	ExtLong = Extension{Destination, append([]byte{15, 1, 124}, make([]byte, 124)...)}
)

// Addresses and ports that make no two levels equal.
func (s Spec) numbered(i int) Spec {
	s.ID = uint16(0x1111 * (i + 1))
	s.SrcPort, s.DstPort = uint16(1000+i), uint16(2000+i)
	s.Seq, s.Ack, s.Window = uint32(0x01020304*(i+1)), uint32(0x0a0b0c0d*(i+1)), uint16(4096+i)
	return s
}

// Levels returns an IP packet in an Ethernet frame in every form: families x
// tags x options or extension headers x transports, with the payload given.
func Levels(payload []byte) []Named {
	var out []Named
	tags := []struct {
		name string
		tags []Tag
	}{
		{"untagged", nil},
		{"Q", []Tag{{0x8100, 0x6123}}},
		{"AD+Q", []Tag{{0x88a8, 0x0fff}, {0x8100, 0xe001}}},
		{"3tags", []Tag{{0x88a8, 1}, {0x88a8, 2}, {0x8100, 3}}},
	}
	nets := []struct {
		name string
		spec Spec
	}{
		{"v4", Spec{}},
		{"v4+4", Spec{Options: []byte{1, 1, 1, 0}}},
		{"v4+40", Spec{Options: append([]byte{68, 40, 5, 0}, make([]byte, 36)...)}},
		{"v6", Spec{V6: true}},
		{"v6+hbh", Spec{V6: true, Ext: []Extension{ExtHopByHop}}},
		{"v6+do", Spec{V6: true, Ext: []Extension{ExtPad1}}},
		{"v6+home", Spec{V6: true, Ext: []Extension{ExtHome}}},
		{"v6+rt2", Spec{V6: true, Ext: []Extension{ExtRouting2}}},
		{"v6+rt0", Spec{V6: true, Ext: []Extension{ExtRouting0}}},
		{"v6+rt4", Spec{V6: true, Ext: []Extension{ExtRouting4}}},
		{"v6+rtdone", Spec{V6: true, Ext: []Extension{ExtRoutingDone}}},
		{"v6+long", Spec{V6: true, Ext: []Extension{ExtLong}}},
		{"v6+hbh+rt2+home", Spec{V6: true, Ext: []Extension{ExtHopByHop, ExtRouting2, ExtHome}}},
		{"v6+atomic", Spec{V6: true, Ext: []Extension{ExtAtomic}}},
		{"v6+ah", Spec{V6: true, Ext: []Extension{ExtAH}}},
	}
	transports := []struct {
		name string
		spec Spec
	}{
		{"tcp", Spec{Proto: TCP}},
		{"tcp+12", Spec{Proto: TCP, TCPOptions: []byte{1, 1, 8, 10, 0, 0, 0, 5, 0, 0, 0, 6}}},
		{"tcp+40", Spec{Proto: TCP, TCPOptions: append(make([]byte, 0, 40), append([]byte{2, 4, 5, 0xb4}, ones(36)...)...)}},
		{"udp", Spec{Proto: UDP}},
		{"udp0", Spec{Proto: UDP, NoUDPSum: true}},
		{"icmp", Spec{Proto: ICMP}},
		{"other", Spec{Proto: SCTP}},
	}
	i := 0
	for _, t := range tags {
		for _, n := range nets {
			for _, tr := range transports {
				s := tr.spec
				s.Tags, s.V6, s.Options, s.Ext = t.tags, n.spec.V6, n.spec.Options, n.spec.Ext
				if s.V6 && s.Proto == ICMP {
					s.Proto = ICMPv6
				}
				s.Payload = payload
				out = append(out, Named{fmt.Sprintf("%s/%s/%s", t.name, n.name, tr.name), s.numbered(i % 7)})
				i++
			}
		}
	}
	return out
}

// ones returns n one-byte options "no operation".
func ones(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = 1
	}
	return b
}

// Tunnels returns in wrapped in GRE in the ways named: NVGRE and others, over
// some of the outer forms.
func Tunnels(in Named, every bool) []Named {
	outers := []Named{
		{"4", Spec{}},
		{"6", Spec{V6: true}},
	}
	forms := []Named{{"nvgre", Spec{GREFlags: 0x20, GREKey: 0xabcdef42}}}
	if every {
		outers = append(outers,
			Named{"Q4+8", Spec{Tags: []Tag{{0x8100, 5}}, Options: []byte{7, 7, 4, 0, 0, 0, 0, 0}}},
			Named{"AD+Q6+do", Spec{Tags: []Tag{{0x88a8, 6}, {0x8100, 7}}, V6: true, Ext: []Extension{ExtPad1}}},
		)
		for flags := 0; flags < 256; flags += 16 {
			if flags&^0xb0 == 0 && flags != 0x20 {
				forms = append(forms, Named{fmt.Sprintf("gre%02x", flags), Spec{GREFlags: uint8(flags), GREKey: 0x01020304}})
			}
		}
	}
	var out []Named
	for _, o := range outers {
		for _, f := range forms {
			inner := in.Spec
			s := o.Spec.numbered(9)
			s.Proto, s.GREFlags, s.GREKey, s.Inner = GRE, f.Spec.GREFlags, f.Spec.GREKey, &inner
			out = append(out, Named{o.Name + "/" + f.Name + "/" + in.Name, s})
			if every && len(inner.Tags) == 0 {
				bare := inner
				bare.Bare = true
				s.Inner = &bare
				out = append(out, Named{o.Name + "/" + f.Name + "/bare/" + in.Name, s})
			}
		}
	}
	return out
}
