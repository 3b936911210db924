package queues

import (
	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/offload/toeplitz"
)

// tableSize is the number of entries in the indirection table.
const tableSize = 128

// steering maps a frame to a receive queue by its hash. It is immutable.
type steering struct {
	hasher offload.Hasher
	table  [tableSize]uint16 // hash & (tableSize-1) -> index into portState.rx
}

var defaultKey = toeplitz.New(toeplitz.DefaultKey())

// defaultTypes are the kinds of packets hashed unless the driver says
// otherwise.
const defaultTypes = offload.HashIPv4 | offload.HashTCPv4 | offload.HashUDPv4 |
	offload.HashIPv6 | offload.HashTCPv6 | offload.HashUDPv6

// evenSteering spreads flows over n queues.
func evenSteering(n int) *steering {
	s := &steering{hasher: offload.Hasher{Key: defaultKey, Types: defaultTypes}}
	for i := range s.table {
		s.table[i] = uint16(i % n)
	}
	return s
}

// queue returns the index of the frame's queue. Frames without a hash go to
// the first one.
func (s *steering) queue(f *offload.Frame) int {
	hash, _ := s.hasher.Hash(f)
	return int(s.table[hash%tableSize])
}
