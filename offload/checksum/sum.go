package checksum

import (
	"encoding/binary"
	"math/bits"
)

// Sum returns the sum of b. A last odd byte counts as the first of a word
// whose second is 0.
func Sum(b []byte) Acc { return Acc(sum(b)) }

// Copy copies src to the front of dst, which must be at least as long and must
// not overlap it, and returns the sum of the bytes written.
//
// Other processors may write to src meanwhile: what was summed is what dst
// holds afterwards, whatever mix of old and new bytes that is. dst is never
// read.
func Copy(dst, src []byte) Acc {
	dst = dst[:len(src)]
	if len(src) >= copyMin {
		if useAVX512 {
			return Acc(copyAVX512(&dst[0], &src[0], len(src)))
		}
		if useAVX2 {
			return Acc(copyAVX2(&dst[0], &src[0], len(src)))
		}
	}
	return Acc(copyGeneric(dst, src))
}

// sumGeneric adds 64-bit words with end-around carry.
func sumGeneric(b []byte) uint64 {
	le := binary.LittleEndian
	var s, c uint64
	for len(b) >= 64 {
		s, c = bits.Add64(s, le.Uint64(b[0:8]), c)
		s, c = bits.Add64(s, le.Uint64(b[8:16]), c)
		s, c = bits.Add64(s, le.Uint64(b[16:24]), c)
		s, c = bits.Add64(s, le.Uint64(b[24:32]), c)
		s, c = bits.Add64(s, le.Uint64(b[32:40]), c)
		s, c = bits.Add64(s, le.Uint64(b[40:48]), c)
		s, c = bits.Add64(s, le.Uint64(b[48:56]), c)
		s, c = bits.Add64(s, le.Uint64(b[56:64]), c)
		b = b[64:]
	}
	if len(b) >= 32 {
		s, c = bits.Add64(s, le.Uint64(b[0:8]), c)
		s, c = bits.Add64(s, le.Uint64(b[8:16]), c)
		s, c = bits.Add64(s, le.Uint64(b[16:24]), c)
		s, c = bits.Add64(s, le.Uint64(b[24:32]), c)
		b = b[32:]
	}
	if len(b) >= 16 {
		s, c = bits.Add64(s, le.Uint64(b[0:8]), c)
		s, c = bits.Add64(s, le.Uint64(b[8:16]), c)
		b = b[16:]
	}
	if len(b) >= 8 {
		s, c = bits.Add64(s, le.Uint64(b), c)
		b = b[8:]
	}
	s = halves(s) + c
	if len(b) >= 4 {
		s += uint64(le.Uint32(b))
		b = b[4:]
	}
	if len(b) >= 2 {
		s += uint64(le.Uint16(b))
		b = b[2:]
	}
	if len(b) != 0 {
		s += uint64(b[0])
	}
	return s
}

// copyGeneric is sumGeneric with every word stored from the register it was
// summed from.
func copyGeneric(dst, src []byte) uint64 {
	le := binary.LittleEndian
	var s, c uint64
	for len(src) >= 32 && len(dst) >= 32 {
		w0, w1, w2, w3 := le.Uint64(src[0:8]), le.Uint64(src[8:16]), le.Uint64(src[16:24]), le.Uint64(src[24:32])
		le.PutUint64(dst[0:8], w0)
		le.PutUint64(dst[8:16], w1)
		le.PutUint64(dst[16:24], w2)
		le.PutUint64(dst[24:32], w3)
		s, c = bits.Add64(s, w0, c)
		s, c = bits.Add64(s, w1, c)
		s, c = bits.Add64(s, w2, c)
		s, c = bits.Add64(s, w3, c)
		src, dst = src[32:], dst[32:]
	}
	for len(src) >= 8 && len(dst) >= 8 {
		w := le.Uint64(src)
		le.PutUint64(dst, w)
		s, c = bits.Add64(s, w, c)
		src, dst = src[8:], dst[8:]
	}
	s = halves(s) + c
	if len(src) >= 4 && len(dst) >= 4 {
		w := le.Uint32(src)
		le.PutUint32(dst, w)
		s += uint64(w)
		src, dst = src[4:], dst[4:]
	}
	if len(src) >= 2 && len(dst) >= 2 {
		w := le.Uint16(src)
		le.PutUint16(dst, w)
		s += uint64(w)
		src, dst = src[2:], dst[2:]
	}
	if len(src) != 0 && len(dst) != 0 {
		w := src[0]
		dst[0] = w
		s += uint64(w)
	}
	return s
}

// halves adds the upper half of s to the lower so that sums of sums have room.
func halves(s uint64) uint64 { return s>>32 + s&0xffffffff }
