package queues

import (
	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/offload/toeplitz"
)

// tableSize is the number of entries in the indirection table of ports whose
// driver names none.
const tableSize = 128

// steering maps a frame to a receive queue by its hash. It is immutable.
type steering struct {
	hasher   offload.Hasher
	only     *rxQueue   // where every frame goes; nil: as below
	table    []*rxQueue // by the low bits of the hash; its length is a power of two
	unhashed *rxQueue   // for frames without a hash
}

var defaultKey = toeplitz.New(toeplitz.DefaultKey())

// defaultTypes are the kinds of packets hashed unless the driver says
// otherwise.
const defaultTypes = offload.HashIPv4 | offload.HashTCPv4 | offload.HashUDPv4 |
	offload.HashIPv6 | offload.HashTCPv6 | offload.HashUDPv6

// evenSteering spreads flows over the queues; frames without a hash go to the
// first one.
func evenSteering(rx []*rxQueue) *steering {
	s := &steering{
		hasher: offload.Hasher{Key: defaultKey, Types: defaultTypes},
		table:  make([]*rxQueue, tableSize), unhashed: rx[0],
	}
	for i := range s.table {
		s.table[i] = rx[i%len(rx)]
	}
	return s.compile()
}

// compile finds out whether there is a choice at all, and returns s.
func (s *steering) compile() *steering {
	for _, q := range s.table {
		if q != s.unhashed {
			return s
		}
	}
	s.only = s.unhashed
	return s
}

// queue returns the frame's queue.
func (s *steering) queue(f *offload.Frame) *rxQueue {
	if s.only != nil {
		return s.only
	}
	hash, report := s.hasher.Hash(f)
	if report == 0 {
		return s.unhashed
	}
	return s.table[int(hash)&(len(s.table)-1)]
}
