package offload

// Longest returns the length in bytes of the longest frame that the receiver
// gets of f, other than a super-frame; 0 if it gets only that.
func (f *Frame) Longest(rx *Receiver) int {
	switch {
	case !f.IsSuper():
		return f.Len
	case f.Whole(rx):
		return 0
	}
	return min(f.Len, int(f.Hdr.HdrLen)+int(f.Hdr.GSOSize))
}
