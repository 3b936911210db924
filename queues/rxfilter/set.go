package rxfilter

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"

	"vhost-user-nvgre/virtio"
)

// Addresses are compared as numbers: the six bytes in the upper 48 bits and a
// 1 below, so that no address is 0.
const (
	groupBit     = 1 << 56
	broadcastKey = 0xffffffffffff<<16 | 1
)

func keyOf(m virtio.MAC) uint64 {
	return uint64(binary.BigEndian.Uint32(m[:]))<<32 | uint64(binary.BigEndian.Uint16(m[4:]))<<16 | 1
}

// maxProbes bounds the entries that a lookup looks at.
const maxProbes = 8

// set is an immutable set of keys: a hash table with linear probing, built
// anew with another hash function, and in the end larger, until every key is
// found within maxProbes. The hash function is random, so that a guest cannot
// choose addresses that make lookups slow. The zero value is empty.
type set struct {
	slots []uint64 // a power of two of them and maxProbes-1 more; 0 is free
	seed  uint64   // odd
	shift uint
}

func newSet(keys []uint64) set {
	if len(keys) == 0 {
		return set{}
	}
	// Half full at most, with four hash functions a size.
	for log, tries := bits.Len(uint(2*len(keys)-1)), 0; ; tries++ {
		s := set{
			slots: make([]uint64, 1<<log+maxProbes-1),
			seed:  rand.Uint64() | 1,
			shift: uint(64 - log),
		}
		if s.insertAll(keys) {
			return s
		}
		if tries%4 == 3 {
			log++
		}
	}
}

func (s *set) insertAll(keys []uint64) bool {
	for _, k := range keys {
		if !s.insert(k) {
			return false
		}
	}
	return true
}

func (s *set) insert(k uint64) bool {
	at := k * s.seed >> s.shift
	for i := range s.slots[at : at+maxProbes] {
		switch slot := &s.slots[int(at)+i]; *slot {
		case 0:
			*slot = k
			return true
		case k:
			return true
		}
	}
	return false
}

func (s *set) has(k uint64) bool {
	if len(s.slots) == 0 {
		return false
	}
	at := k * s.seed >> s.shift
	for _, slot := range s.slots[at : at+maxProbes] {
		if slot == k || slot == 0 {
			return slot == k
		}
	}
	return false
}
