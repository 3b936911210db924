package packet

import "encoding/binary"

// Where things are in the typical NVGRE frame.
const (
	typicalGRE   = v4                  // GRE header
	typicalL2    = v4 + greLen + 4     // inner Ethernet header
	typicalL3    = typicalL2 + ethLen  // inner IPv4 header
	typicalL4    = typicalL3 + ipv4Len // TCP header
	typicalFlags = typicalL4 + 12      // data offset
	typicalLen   = typicalL4 + tcpLen  // all headers without TCP options
)

// parseTypical is common for the two forms that matter most: TCP over IPv4, and
// the same inside NVGRE over IPv4. All offsets are constants then, which makes
// it a third faster. It returns the offset behind the TCP header, 0 for any
// other form.
func (p *Info) parseTypical(b []byte, frameLen int) int {
	p.typical = false
	if len(b) < min4 {
		return 0
	}
	be, le := binary.BigEndian, binary.LittleEndian
	h := (*[min4]byte)(b)
	if le.Uint32(h[l3-2:])&plain4Mask != plain4 || le.Uint16(h[l3+6:])&fragMask != 0 {
		return 0
	}
	end := l3 + int(be.Uint16(h[l3+2:]))
	o, i := &p.Outer, &p.Inner
	if h[l3+9] == protoTCP {
		next := v4 + int(h[v4+12]>>4)*4
		if end > frameLen || next > end || next > len(b) || next < min4 {
			return 0
		}
		o.End = uint32(end)
		o.Protocol, o.Trans, o.Net, o.Verdict = protoTCP, TCP, IPv4, OK
		o.L2, o.L3, o.L4, o.Payload = 0, l3, v4, uint16(next)
		o.TCI, o.HomeAddr, o.FinalDst, o.Flags = 0, 0, 0, 0
		p.noTunnel()
		return next
	}
	if h[l3+9] != protoGRE || le.Uint32(h[typicalGRE:]) != greNVGRE || len(b) < typicalLen {
		return 0
	}
	f := (*[typicalLen]byte)(b)
	if f[typicalL3+9] != protoTCP || le.Uint32(f[typicalL3-2:])&plain4Mask != plain4 || le.Uint16(f[typicalL3+6:])&fragMask != 0 {
		return 0
	}
	innerEnd := typicalL3 + int(be.Uint16(f[typicalL3+2:]))
	next := typicalL4 + int(f[typicalFlags]>>4)*4
	if end > frameLen || innerEnd > end || next > innerEnd || next > len(b) || next < typicalLen {
		return 0
	}
	o.End = uint32(end)
	o.Protocol, o.Trans, o.Net, o.Verdict = protoGRE, GRE, IPv4, OK
	o.L2, o.L3, o.L4, o.Payload = 0, l3, v4, typicalL2
	o.TCI, o.HomeAddr, o.FinalDst, o.Flags = 0, 0, 0, 0
	i.End = uint32(innerEnd)
	i.Protocol, i.Trans, i.Net, i.Verdict = protoTCP, TCP, IPv4, OK
	i.L2, i.L3, i.L4, i.Payload = typicalL2, typicalL3, typicalL4, uint16(next)
	i.TCI, i.HomeAddr, i.FinalDst, i.Flags = 0, 0, 0, 0
	p.setNVGRE(be.Uint32(f[typicalGRE+greLen:]))
	p.typical = true
	return next
}

// Typical reports whether the frame is NVGRE over IPv4 with TCP over IPv4
// inside, without tags, options and fragments, lengths right: then every header
// up to the TCP header is at a fixed offset, the inner IPv4 header at 56 and
// the TCP header at 76.
func (p *Info) Typical() bool { return p.typical }
