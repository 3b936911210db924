package vmq

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"vhost-user-nvgre/virtio"
)

// reference decides by looking at each filter: whether it matches, and how
// many tests it has that win over others.
func reference(filters []Filter, h Header, inner bool) (queue uint16, ok bool) {
	best := -1
	for _, f := range filters {
		var dst [8]byte
		binary.BigEndian.PutUint64(dst[:], h.Dst)
		if virtio.MAC(dst[:6]) != f.MAC || f.Encapsulated != inner {
			continue
		}
		if f.Test == UntaggedOrZero && h.VLAN != 0 || f.Test == VLANEqual && h.VLAN != f.VLAN {
			continue
		}
		if f.MatchVSID && f.VSID != h.VSID {
			continue
		}
		rank := 0
		if f.Test != AnyVLAN {
			rank++
		}
		if f.MatchVSID {
			rank += 2
		}
		if rank > best {
			best, queue, ok = rank, f.Queue, true
		}
	}
	return queue, ok
}

// random returns a filter out of few, so that there are many that differ in
// one test.
func random(rnd *rand.Rand) Filter {
	f := Filter{MAC: virtio.MAC{2, 0, 0, 0, 0, byte(rnd.IntN(8))}, Test: VLANTest(rnd.IntN(3)), Queue: uint16(rnd.IntN(64))}
	if f.Test == VLANEqual {
		f.VLAN = []uint16{1, 2, 4094}[rnd.IntN(3)]
	}
	f.Encapsulated = rnd.IntN(3) > 0
	if f.MatchVSID = f.Encapsulated && rnd.IntN(2) == 0; f.MatchVSID {
		f.VSID = []uint32{0, 1, 0xffffff}[rnd.IntN(3)]
	}
	return f
}

// Shows: NDIS-070, NDIS-072, NDIS-073, NDIS-219, NDIS-220, NDIS-222, NDIS-223
func TestMatch(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var filters []Filter
		seen := map[Filter]bool{}
		for range rnd.IntN(60) {
			f := random(rnd)
			id := f
			id.Queue = 0
			if !seen[id] {
				seen[id] = true
				filters = append(filters, f)
			}
		}
		table, err := New(filters)
		if err != nil {
			t.Fatal(err)
		}
		if table.Len() != len(filters) {
			t.Errorf("Len() = %d, want %d", table.Len(), len(filters))
		}
		for range 300 {
			h := Header{
				Dst:  0x0200_0000_0000_0000 | uint64(rnd.IntN(9))<<16 | uint64(rnd.Uint32N(1<<16)),
				VLAN: []uint16{0, 1, 2, 3, 4094}[rnd.IntN(5)], VSID: []uint32{0, 1, 2, 0xffffff}[rnd.IntN(4)],
			}
			for _, inner := range []bool{false, true} {
				match := table.MatchOuter
				if inner {
					match = table.MatchInner
				}
				got, ok := match(h)
				want, wantOK := reference(filters, h, inner)
				if got != want || ok != wantOK {
					t.Fatalf("inner %t, %+v: queue %d, %t; want %d, %t, of filters %+v", inner, h, got, ok, want, wantOK, filters)
				}
			}
		}
	}
}

func TestRefused(t *testing.T) {
	mac := virtio.MAC{2, 0, 0, 0, 0, 1}
	for _, tt := range []struct {
		filters []Filter
		err     string
	}{
		{[]Filter{{}}, "filter 0: 00:00:00:00:00:00 is no address of a station"},
		{[]Filter{{MAC: mac, Test: 3}}, "VLAN test 3"},
		{[]Filter{{MAC: mac, Test: VLANEqual}}, "VLAN 0, want 1 to 4094"},
		{[]Filter{{MAC: mac, Test: VLANEqual, VLAN: 4095}}, "VLAN 4095, want 1 to 4094"},
		{[]Filter{{MAC: mac, VLAN: 5}}, "VLAN 5 without a test"},
		{[]Filter{{MAC: mac, MatchVSID: true, VSID: 5}}, "VSID 5 of packets that are in no tunnel"},
		{[]Filter{{MAC: mac, Encapsulated: true, MatchVSID: true, VSID: 1 << 24}}, "VSID 16777216, want 0 to 16777215"},
		{[]Filter{{MAC: mac, Encapsulated: true, VSID: 1}}, "VSID 1"},
		{[]Filter{{MAC: mac, Queue: 4}, {MAC: mac, Queue: 5}}, "filter 1: there is one with the same tests, for queue 4"},
	} {
		if _, err := New(tt.filters); err == nil || !strings.Contains(err.Error(), tt.err) {
			t.Errorf("New(%+v) = %v, want an error with %q", tt.filters, err, tt.err)
		}
	}
}

// The work of a match does not grow with the number of filters: as many sets
// are asked, and in each as few slots looked at, whether there is the key or
// not.
func TestWork(t *testing.T) {
	for _, n := range []int{1, 2, 3, 10, 1000, 10_000, 65_536} {
		filters := make([]Filter, n)
		for i := range filters {
			filters[i] = Filter{MAC: virtio.MAC{2, 0, byte(i >> 16), byte(i >> 8), byte(i), 1}}
		}
		table, err := New(filters)
		if err != nil {
			t.Fatal(err)
		}
		s := &table.sets[outer]
		if len(s.slots) < n+n/2 || len(s.slots) > 4*n {
			t.Errorf("%d filters: %d slots, want 1.5 to 4 times as many", n, len(s.slots))
		}
		// looks counts the slots that a search looks at.
		looks := func(key uint64) (count int) {
			for i := s.home(key, 0); ; i++ {
				count++
				if f := &s.slots[i&(len(s.slots)-1)]; f.key == key || f.key == 0 {
					return count
				}
			}
		}
		var there, absent int
		for i := range filters {
			key := 0x0200_0000_0001_0000 | uint64(i)<<24
			there += looks(key)
			absent += looks(key | 0x8000_0000_0000_0000)
		}
		// Knuth, The Art of Computer Programming, 6.4: 2 and 5 at two thirds.
		if float64(there) > 4*float64(n) || float64(absent) > 10*float64(n) {
			t.Errorf("%d filters: %.1f slots looked at to find one, %.1f to find none", n, float64(there)/float64(n), float64(absent)/float64(n))
		}
	}
}

// BenchmarkMatch matches frames to random ones of the filters, by inner MAC,
// VLAN and VSID after the other combinations have been asked for.
func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{10, 100, 1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			rnd := rand.New(rand.NewPCG(1, 2))
			filters := make([]Filter, n)
			headers := make([]Header, 1024)
			for i := range filters {
				mac := virtio.MAC{2, 0, byte(i >> 16), byte(i >> 8), byte(i), 1}
				filters[i] = Filter{MAC: mac, Encapsulated: true, Queue: uint16(i)}
				if i < 3 { // so that there is something of each shape
					filters[i].Test = UntaggedOrZero
					filters[i].MatchVSID = true
				}
			}
			table, err := New(filters)
			if err != nil {
				b.Fatal(err)
			}
			for i := range headers {
				mac := filters[rnd.IntN(n)].MAC
				headers[i].Dst = binary.BigEndian.Uint64(append(mac[:], 0, 0))
			}
			var sum uint16
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				q, _ := table.MatchInner(headers[i&1023])
				sum += q
			}
			if sum == 1 {
				b.Log(sum) // used
			}
		})
	}
}
