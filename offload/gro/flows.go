package gro

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"

	"vhost-user-nvgre/offload/packet"
)

// flowKey is what a flow is known by, as it is in memory. An IPv4 flow has
// both addresses in addr[0].
type flowKey struct {
	addr  [4]uint64
	ports uint32
	kind  Kind
}

// set makes k the key of a TCP or UDP packet.
func (k *flowKey) set(l *packet.Level, b []byte, kind Kind) {
	le := binary.LittleEndian
	k.ports, k.kind = le.Uint32(l.Ports(b)[:]), kind
	if l.Net == packet.IPv4 {
		k.addr[0] = le.Uint64(l.IPv4Addrs(b)[:])
		return
	}
	a := l.IPv6Addrs(b)
	k.addr = [4]uint64{le.Uint64(a[0:]), le.Uint64(a[8:]), le.Uint64(a[16:]), le.Uint64(a[24:])}
}

// is reports whether k is the same key.
func (k *flowKey) is(o *flowKey) bool {
	if k.ports != o.ports || k.kind != o.kind || k.addr[0] != o.addr[0] {
		return false
	}
	return k.kind == TCPv4 || k.kind == UDPv4 || k.addr == o.addr
}

// flow is a flow seen in the batch and its unit.
type flow struct {
	key  flowKey
	fix  fixed
	ecn  uint16
	item int32 // the unit's place in the order of delivery
	unit unit  // as planned
	slot uint16
}

// flowTable finds the flows of a batch by their keys. Its hash function is
// random, so that a sender cannot choose keys that make it slow.
type flowTable struct {
	flows []flow
	last  int      // the flow found last
	slots []uint16 // index into flows + 1, 0 if free; a power of two of them
	shift uint
	seed  [4]uint64
}

func newFlowTable(size int) flowTable {
	log := bits.Len(uint(2*size - 1))
	return flowTable{
		flows: make([]flow, 0, size),
		slots: make([]uint16, 1<<log),
		shift: uint(64 - log),
		seed:  [4]uint64{rand.Uint64(), rand.Uint64(), rand.Uint64(), rand.Uint64()},
	}
}

// reset forgets all flows.
func (t *flowTable) reset() {
	for i := range t.flows {
		t.slots[t.flows[i].slot] = 0
	}
	t.flows, t.last = t.flows[:0], 0
}

// hash returns the slot that a key prefers: products of two words each, with
// secret numbers added, folded.
func (t *flowTable) hash(k *flowKey) int {
	h := mix(k.addr[0]^t.seed[0], uint64(k.ports)^uint64(k.kind)<<32^t.seed[1])
	if k.kind == TCPv6 || k.kind == UDPv6 {
		h ^= mix(k.addr[1]^t.seed[2], k.addr[2]^t.seed[3])
		h = mix(h^t.seed[1], k.addr[3]^t.seed[0])
	}
	return int(h >> t.shift)
}

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// find returns the flow with a key, nil if there is none yet.
func (t *flowTable) find(k *flowKey) *flow {
	if t.last < len(t.flows) && t.flows[t.last].key.is(k) {
		return &t.flows[t.last]
	}
	for i := t.hash(k); t.slots[i] != 0; i = (i + 1) & (len(t.slots) - 1) {
		at := int(t.slots[i]) - 1
		if t.flows[at].key.is(k) {
			t.last = at
			return &t.flows[at]
		}
	}
	return nil
}

// add returns a new flow for a key that find did not find. There must be room.
func (t *flowTable) add(k *flowKey) *flow {
	i := t.hash(k)
	for t.slots[i] != 0 {
		i = (i + 1) & (len(t.slots) - 1)
	}
	t.last = len(t.flows)
	t.flows = t.flows[:t.last+1]
	t.slots[i] = uint16(t.last + 1)
	f := &t.flows[t.last]
	f.key, f.slot = *k, uint16(i)
	return f
}
