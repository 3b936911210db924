package frametest

// Segments returns the frames into which a super-frame with the payload of s
// is to be split, mss bytes of payload each: each is built from its own
// description, by the rules of NDIS written out. In a tunnel the inner packet
// is split.
func (s Spec) Segments(mss int) [][]byte {
	t := &s
	if s.Proto == GRE {
		t = s.Inner
	}
	whole := *t
	mask := uint16(0x7fff)
	if whole.Proto == UDP {
		mask = 0xffff
	}
	outerID, innerID := s.ID, whole.ID
	flags := whole.TCPFlags
	if flags == 0 {
		flags = 0x10
	}
	var out [][]byte
	for at := 0; at < len(whole.Payload); at += mss {
		seg := whole
		end := min(at+mss, len(whole.Payload))
		seg.Payload = whole.Payload[at:end]
		seg.Seq = whole.Seq + uint32(at)
		seg.TCPFlags = flags | NoFlags
		if at > 0 {
			seg.TCPFlags &^= 0x80 // CWR
		}
		if end < len(whole.Payload) {
			seg.TCPFlags &^= 0x09 // FIN, PSH
		}
		frame := s
		if s.Proto == GRE {
			seg.ID = innerID
			frame.ID = outerID
			frame.Inner = &seg
		} else {
			seg.ID = outerID
			frame = seg
		}
		out = append(out, frame.Build().Bytes)
		outerID, innerID = (outerID+1)&mask, (innerID+1)&mask
	}
	return out
}
