package packet

// ParseOther is Parse without the short cut for common frames.
func ParseOther(p *Info, b []byte, frameLen int) {
	b = b[:min(len(b), frameLen, maxHead)]
	p.FrameLen = uint32(frameLen)
	p.HeaderLen = uint16(p.other(b, frameLen))
}

// Untypical clears what Typical reports, which ParseOther does not know of.
func (p *Info) Untypical() { p.typical = false }
