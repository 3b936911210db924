package vmq

import (
	"math/bits"
	"math/rand/v2"
)

// slot is a filter in a set. A key of 0, which no address has, marks an empty
// one.
type slot struct {
	key   uint64 // address in the upper 48 bits, VLAN
	vsid  uint32
	queue uint16
}

// set is a hash table, open-addressed and at most two thirds full. Its zero
// value is empty.
type set struct {
	slots []slot // a power of two
	shift uint8
	// The factors of the hash are odd and chosen at random, so that who sends
	// frames cannot know which addresses collide.
	factor, factorVSID uint64
}

// newSet returns a set with room for n filters.
func newSet(n int) set {
	if n == 0 {
		return set{}
	}
	size := 1 << bits.Len(uint(n+n/2))
	return set{
		slots: make([]slot, size), shift: uint8(64 - bits.TrailingZeros(uint(size))),
		factor: rand.Uint64() | 1, factorVSID: rand.Uint64() | 1,
	}
}

// home returns where the search for a key begins. Addresses are often given out
// one after the other, which a single multiplication would leave in clusters.
func (s *set) home(key uint64, vsid uint32) int {
	h := (key ^ uint64(vsid)*s.factorVSID) * s.factor
	return int((h ^ h>>32) * s.factor >> s.shift)
}

// find returns the filter with a key, nil if there is none.
func (s *set) find(key uint64, vsid uint32) *slot {
	if len(s.slots) == 0 {
		return nil
	}
	mask := len(s.slots) - 1
	for i := s.home(key, vsid); ; i++ {
		f := &s.slots[i&mask]
		if f.key == key && f.vsid == vsid {
			return f
		}
		if f.key == 0 {
			return nil
		}
	}
}

// add adds a filter, unless there is one with the same key, which it returns.
func (s *set) add(f slot) *slot {
	if other := s.find(f.key, f.vsid); other != nil {
		return other
	}
	mask := len(s.slots) - 1
	i := s.home(f.key, f.vsid)
	for s.slots[i&mask].key != 0 {
		i++
	}
	s.slots[i&mask] = f
	return nil
}
