package stream

import (
	"encoding/binary"
	"math/rand/v2"
)

// source makes pseudo-random bytes, the same for the same seed however they are
// read.
type source struct {
	rng  *rand.PCG
	word [8]byte
	left int // bytes at the end of word that have not been read
}

func newSource(seed, stream uint64) *source { return &source{rng: rand.NewPCG(seed, stream)} }

// fill fills b.
func (s *source) fill(b []byte) {
	for len(b) > 0 {
		if s.left == 0 {
			for len(b) >= 8 {
				binary.LittleEndian.PutUint64(b, s.rng.Uint64())
				b = b[8:]
			}
			if len(b) == 0 {
				return
			}
			binary.LittleEndian.PutUint64(s.word[:], s.rng.Uint64())
			s.left = 8
		}
		n := copy(b, s.word[8-s.left:])
		s.left -= n
		b = b[n:]
	}
}
