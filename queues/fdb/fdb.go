// Package fdb is the address table of a learning Ethernet switch: which port
// was a (VLAN, MAC address) pair last seen on. Lookups take no lock and any
// number of goroutines may make them; the table has a fixed size, and no port
// can push another port's addresses out of it.
package fdb

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"vhost-user-nvgre/virtio"
)

// Port identifies a port of the switch.
type Port uint16

// Key is an address with its VLAN: the MAC address in the upper 48 bits, the
// VLAN id (0 for untagged) in the lower 12. The zero Key is no address.
type Key uint64

// MakeKey joins an address, as it stands in a frame, and a VLAN id.
func MakeKey(mac *[6]byte, vlan uint16) Key {
	hi, lo := binary.BigEndian.Uint32(mac[:]), binary.BigEndian.Uint16(mac[4:])
	return Key(hi)<<32 | Key(lo)<<16 | Key(vlan&0xfff)
}

// MAC returns the address of k.
func (k Key) MAC() (m virtio.MAC) {
	binary.BigEndian.PutUint32(m[:], uint32(k>>32))
	binary.BigEndian.PutUint16(m[4:], uint16(k>>16))
	return m
}

// VLAN returns the VLAN id of k.
func (k Key) VLAN() uint16 { return uint16(k & 0xfff) }

// ways is the number of entries that share a hash value; their keys fill one
// cache line.
const ways = 8

// bucket holds the entries of one hash value. A writer clears the key, stores
// the value, then stores the key, all under Table.mu; a reader that finds its
// key before and after it loaded the value has a value that belonged to it.
type bucket struct {
	keys [ways]atomic.Uint64
	vals [ways]atomic.Uint64 // port<<32 | second last seen
}

// Table maps keys to ports. Times are in seconds on any clock that does not
// run backwards.
type Table struct {
	buckets []bucket
	shift   uint   // of the hash, to index buckets
	seed    uint64 // odd and secret, so that colliding keys cannot be chosen
	maxAge  uint32
	quota   int

	// gen counts the changes after which an earlier Lookup may be outdated.
	gen atomic.Uint32

	mu     sync.Mutex
	counts map[Port]int // entries a port holds, expired ones included
}

// New returns a table with room for at least size addresses, of which one
// port may hold quota. An address not seen for maxAge seconds is forgotten.
func New(size, quota int, maxAge uint32) *Table {
	n := max(1, (size+ways-1)/ways)
	log := uint(bits.Len(uint(n - 1)))
	return &Table{
		buckets: make([]bucket, 1<<log),
		shift:   64 - log,
		seed:    rand.Uint64() | 1,
		maxAge:  maxAge,
		quota:   quota,
		counts:  map[Port]int{},
	}
}

// Generation changes whenever a key moves to another port or disappears, so
// that a caller may keep the result of Lookup until then or for a second.
func (t *Table) Generation() uint32 { return t.gen.Load() }

func (t *Table) bucket(k Key) *bucket {
	h := uint64(k) * t.seed
	h ^= h >> 32
	return &t.buckets[h*t.seed>>t.shift&uint64(len(t.buckets)-1)]
}

func pack(p Port, now uint32) uint64         { return uint64(p)<<32 | uint64(now) }
func unpack(v uint64) (Port, uint32)         { return Port(v >> 32), uint32(v) }
func (t *Table) fresh(seen, now uint32) bool { return int32(now-seen) <= int32(t.maxAge) }

// Lookup returns the port behind k.
func (t *Table) Lookup(k Key, now uint32) (Port, bool) {
	if k == 0 {
		return 0, false // an empty entry's key
	}
	b := t.bucket(k)
	for i := range b.keys {
		if b.keys[i].Load() != uint64(k) {
			continue
		}
		p, seen := unpack(b.vals[i].Load())
		if b.keys[i].Load() == uint64(k) && t.fresh(seen, now) {
			return p, true
		}
	}
	return 0, false
}

// Learn notes that k was seen as a source on port p. It reports false when
// there was no room for a new address.
func (t *Table) Learn(k Key, p Port, now uint32) bool {
	if k == 0 {
		return true
	}
	b := t.bucket(k)
	for i := range b.keys {
		if b.keys[i].Load() != uint64(k) {
			continue
		}
		v := b.vals[i].Load()
		port, seen := unpack(v)
		if port != p {
			break
		}
		// A compare-and-swap, for the entry may be changing hands.
		if seen == now || b.vals[i].CompareAndSwap(v, pack(p, now)) {
			return true
		}
	}
	return t.insert(b, k, p, now)
}

// insert adds k, or moves it, under the lock.
func (t *Table) insert(b *bucket, k Key, p Port, now uint32) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	free := -1
	for i := range b.keys {
		key := Key(b.keys[i].Load())
		if key == k {
			if port, _ := unpack(b.vals[i].Load()); port != p {
				if t.counts[p] >= t.quota {
					return false
				}
				t.counts[port]--
				t.counts[p]++
				t.gen.Add(1)
			}
			b.vals[i].Store(pack(p, now))
			return true
		}
		if free < 0 && (key == 0 || !t.fresh(uint32(b.vals[i].Load()), now)) {
			free = i
		}
	}
	if t.counts[p] >= t.quota {
		t.expire(p, now)
	}
	if t.counts[p] >= t.quota {
		return false
	}
	if free < 0 {
		// Full of live entries: replace the oldest of this port, if any.
		oldest := now
		for i := range b.vals {
			if port, seen := unpack(b.vals[i].Load()); port == p && int32(seen-oldest) < 0 {
				free, oldest = i, seen
			}
		}
		if free < 0 {
			return false
		}
	}
	t.clear(b, free)
	b.vals[free].Store(pack(p, now))
	b.keys[free].Store(uint64(k))
	t.counts[p]++
	return true
}

// clear empties an entry. The caller holds the lock.
func (t *Table) clear(b *bucket, i int) {
	if b.keys[i].Load() == 0 {
		return
	}
	b.keys[i].Store(0)
	port, _ := unpack(b.vals[i].Load())
	t.counts[port]--
	t.gen.Add(1)
}

// expire drops what port p has not been seen with for too long.
func (t *Table) expire(p Port, now uint32) {
	t.drop(func(port Port, seen uint32) bool { return port == p && !t.fresh(seen, now) })
}

// Flush forgets every address of port p.
func (t *Table) Flush(p Port) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(func(port Port, _ uint32) bool { return port == p })
	delete(t.counts, p)
}

func (t *Table) drop(match func(Port, uint32) bool) {
	for bi := range t.buckets {
		b := &t.buckets[bi]
		for i := range b.keys {
			if b.keys[i].Load() != 0 && match(unpack(b.vals[i].Load())) {
				t.clear(b, i)
			}
		}
	}
}

// Entry is a row of the table.
type Entry struct {
	Key  Key
	Port Port
	Age  uint32 // seconds since last seen
}

// Entries returns the live rows in no particular order.
func (t *Table) Entries(now uint32) []Entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []Entry
	for bi := range t.buckets {
		b := &t.buckets[bi]
		for i := range b.keys {
			k := Key(b.keys[i].Load())
			if port, seen := unpack(b.vals[i].Load()); k != 0 && t.fresh(seen, now) {
				out = append(out, Entry{Key: k, Port: port, Age: now - seen})
			}
		}
	}
	return out
}
