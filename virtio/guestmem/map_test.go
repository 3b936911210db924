package guestmem_test

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"vhost-user-nvgre/virtio/guestmem"
)

// Shows: VNET-013
func TestOverlap(t *testing.T) {
	fd := file(t, 0x10000)
	base := guestmem.RegionInfo{Guest: 0x10000, User: 0x70000, Size: 0x4000}
	for _, tt := range []struct {
		name        string
		guest, user uint64
		size        uint64
		overlap     bool
	}{
		{"equal", 0x10000, 0x70000, 0x4000, true},
		{"equal guest addresses", 0x10000, 0x90000, 0x4000, true},
		{"equal user addresses", 0x90000, 0x70000, 0x4000, true},
		{"guest: last byte", 0x13fff, 0x90000, 1, true},
		{"guest: first byte", 0xffff, 0x90000, 2, true},
		{"guest: inside", 0x11000, 0x90000, 0x1000, true},
		{"guest: around", 0xf000, 0x90000, 0x8000, true},
		{"guest: right behind", 0x14000, 0x90000, 0x1000, false},
		{"guest: right before", 0xf000, 0x90000, 0x1000, false},
		{"user: last byte", 0x90000, 0x73fff, 1, true},
		{"user: first byte", 0x90000, 0x6ffff, 2, true},
		{"user: inside", 0x90000, 0x71000, 0x1000, true},
		{"user: around", 0x90000, 0x6f000, 0x8000, true},
		{"user: right behind", 0x90000, 0x74000, 0x1000, false},
		{"user: right before", 0x90000, 0x6f000, 0x1000, false},
		{"guest in the user range", 0x70000, 0x10000, 0x4000, false},
		{"far apart", 1 << 60, 1 << 61, 0x1000, false},
		{"highest", math.MaxUint64 - 0x1000, math.MaxUint64 - 0x1000, 0x1000, false},
	} {
		one := region(t, fd, base)
		two := region(t, fd, guestmem.RegionInfo{Guest: tt.guest, User: tt.user, Size: tt.size})
		for _, order := range [][]*guestmem.Region{{one, two}, {two, one}} {
			m, err := guestmem.NewMap(order...)
			if (err != nil) != tt.overlap {
				t.Errorf("%s: NewMap = %v, want overlap %t", tt.name, err, tt.overlap)
			}
			if err != nil && (m != nil || !strings.Contains(err.Error(), one.String()) || !strings.Contains(err.Error(), two.String())) {
				t.Errorf("%s: NewMap = %v, %v; want an error that names both", tt.name, m, err)
			}
		}
	}
}

// model is guest memory byte by byte.
type model struct {
	regions []guestmem.RegionInfo
}

// at returns the region and offset of an address in one space.
func (m *model) at(addr uint64, user bool) (region int, off uint64, ok bool) {
	for i, r := range m.regions {
		start := r.Guest
		if user {
			start = r.User
		}
		if addr >= start && addr < start+r.Size {
			return i, addr - start, true
		}
	}
	return 0, 0, false
}

// pieces returns the file offsets of the n bytes at addr, split where a region
// ends, or false where there is none.
func (m *model) pieces(addr, n uint64, user bool) (list [][]uint64, ok bool) {
	last := -1
	for i := range n {
		r, off, ok := m.at(addr+i, user)
		if !ok {
			return nil, false
		}
		if r != last {
			list = append(list, nil)
			last = r
		}
		list[len(list)-1] = append(list[len(list)-1], m.regions[r].Offset+off)
	}
	return list, true
}

// same compares slices of guest memory with file offsets.
func same(got [][]byte, want [][]uint64) bool {
	if len(got) != len(want) {
		return false
	}
	for i, b := range got {
		if len(b) != len(want[i]) || cap(b) != len(b) {
			return false
		}
		for j, off := range want[i] {
			if b[j] != content(off) {
				return false
			}
		}
	}
	return true
}

// Every address and length around small regions, some adjacent, in all the
// ways to look one up.
//
// Hostile: CVE-2018-1059
// Shows: VNET-013
func TestLookup(t *testing.T) {
	const span = 80
	fd := file(t, 0x10000)
	random := rand.New(rand.NewPCG(1, 2))
	bases := []uint64{0, 1000, 1<<32 - 30, math.MaxUint64 - span}
	for round := range 60 {
		base := bases[round%len(bases)]
		var ref model
		var regions []*guestmem.Region
		// Regions of 1 to 20 bytes with gaps of 0 to 3, shuffled.
		for at := uint64(random.IntN(4)); at < span-21; {
			info := guestmem.RegionInfo{
				Guest: base + at, Size: 1 + random.Uint64N(20),
				User: 0x5000_0000 + at*3, Offset: random.Uint64N(0xf000),
			}
			ref.regions = append(ref.regions, info)
			at += info.Size + random.Uint64N(4)*random.Uint64N(2)
		}
		random.Shuffle(len(ref.regions), func(i, j int) {
			ref.regions[i], ref.regions[j] = ref.regions[j], ref.regions[i]
		})
		for _, info := range ref.regions {
			regions = append(regions, region(t, fd, info))
		}
		m, err := guestmem.NewMap(regions...)
		if err != nil {
			t.Fatal(err)
		}
		ordered := m.Regions()
		if len(ordered) != len(regions) {
			t.Fatalf("Regions has %d of %d regions", len(ordered), len(regions))
		}
		for i := 1; i < len(ordered); i++ {
			if ordered[i-1].Guest >= ordered[i].Guest {
				t.Fatalf("Regions: %s stands before %s", ordered[i-1], ordered[i])
			}
		}
		cursor := m.Cursor()
		for off := range uint64(span) {
			for n := range uint64(50) {
				addr := base + off
				want, ok := ref.pieces(addr, n, false)
				_, _, mapped := ref.at(addr, false)
				one := ok && len(want) == 1 || n == 0 && mapped
				name := fmt.Sprintf("round %d, 0x%x, %d bytes", round, addr, n)
				for how, got := range map[string][]byte{
					"Map": m.Guest(addr, n), "Cursor": cursor.Guest(addr, n), "Window": cursor.Window().At(addr, n),
				} {
					if how == "Window" && got == nil {
						continue // of another region, perhaps
					}
					if (got != nil) != one || one && n > 0 && !same([][]byte{got}, want) {
						t.Fatalf("%s: %s gave %v, want in one region %t", name, how, got, one)
					}
				}
				if one && n > 0 && cursor.Window().At(addr, n) == nil {
					t.Fatalf("%s: the window is not where the cursor was", name)
				}
				before := [][]byte{{1}}
				for how, find := range map[string]func([][]byte, uint64, uint64) ([][]byte, bool){
					"Map": m.AppendGuest, "Cursor": cursor.AppendGuest,
				} {
					got, found := find(before, addr, n)
					if found != ok || len(got) < 1 || &got[0][0] != &before[0][0] {
						t.Fatalf("%s: %s.AppendGuest = %v, %t; want %t", name, how, got, found, ok)
					}
					if n > 0 && (ok && !same(got[1:], want) || !ok && len(got) != 1) {
						t.Fatalf("%s: %s.AppendGuest = %v, want offsets %v", name, how, got, want)
					}
				}
				user := 0x5000_0000 + off*3
				want, ok = ref.pieces(user, n, true)
				if got := m.User(user, n); n > 0 && (got != nil) != (ok && len(want) == 1) || got != nil && n > 0 && !same([][]byte{got}, want) {
					t.Fatalf("%s: User(0x%x) = %v, want offsets %v", name, user, got, want)
				}
			}
		}
		for _, n := range []uint64{1 << 31, 1 << 32, 1 << 63, math.MaxUint64, -base, -base - 1} {
			for _, addr := range []uint64{base + 5, math.MaxUint64} {
				if got := m.Guest(addr, n); got != nil && n > span {
					t.Fatalf("Guest(0x%x, 0x%x) gave %d bytes", addr, n, len(got))
				}
				if got, ok := m.AppendGuest(nil, addr, n); ok && n > span {
					t.Fatalf("AppendGuest(0x%x, 0x%x) gave %d pieces", addr, n, len(got))
				}
				if got := m.User(addr, n); got != nil && n > span {
					t.Fatalf("User(0x%x, 0x%x) gave %d bytes", addr, n, len(got))
				}
			}
		}
	}
}

// A range that goes beyond the top of the address space does not continue at
// its bottom.
//
// Hostile: CVE-2018-1059
func TestNoWrapAround(t *testing.T) {
	fd := file(t, 0x2000)
	m, err := guestmem.NewMap(
		region(t, fd, guestmem.RegionInfo{Guest: 0, User: 0x8000, Size: 0x1000}),
		region(t, fd, guestmem.RegionInfo{Guest: math.MaxUint64 - 0x1000, User: 0x4000, Size: 0x1000, Offset: 0x1000}),
	)
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := m.AppendGuest(nil, math.MaxUint64-0x1000, 0x1000); !ok || len(got) != 1 {
		t.Errorf("AppendGuest of the last region = %d pieces, %t", len(got), ok)
	}
	for _, n := range []uint64{2, 3, 0x1000} {
		if got, ok := m.AppendGuest(nil, math.MaxUint64-1, n); ok {
			t.Errorf("AppendGuest(2^64-2, %d) = %d pieces; the last address has no memory", n, len(got))
		}
	}
}

func TestEmptyMap(t *testing.T) {
	var m guestmem.Map
	cursor := m.Cursor()
	var zero guestmem.Cursor
	for _, n := range []uint64{0, 1} {
		if m.Guest(0, n) != nil || m.User(0, n) != nil || cursor.Guest(0, n) != nil || zero.Guest(0, n) != nil || zero.Window().At(0, n) != nil {
			t.Errorf("an empty map has %d bytes at 0", n)
		}
		for how, find := range map[string]func([][]byte, uint64, uint64) ([][]byte, bool){
			"Map": m.AppendGuest, "Cursor": cursor.AppendGuest, "zero Cursor": zero.AppendGuest,
		} {
			if got, ok := find(nil, 0, n); ok != (n == 0) || got != nil {
				t.Errorf("%s.AppendGuest(0, %d) = %v, %t", how, n, got, ok)
			}
		}
	}
	if len(m.Regions()) != 0 || m.Contains(0) {
		t.Error("an empty map has regions")
	}
}

// With and Without make new maps and leave the old ones alone.
func TestSnapshots(t *testing.T) {
	fd := file(t, 0x3000)
	info := func(i uint64) guestmem.RegionInfo {
		return guestmem.RegionInfo{Guest: i << 12, User: i << 16, Size: 0x1000, Offset: 0}
	}
	one, two := region(t, fd, info(1)), region(t, fd, info(2))
	m1, err := guestmem.NewMap(one)
	if err != nil {
		t.Fatal(err)
	}
	m2, err := m1.With(two)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		info guestmem.RegionInfo
	}{
		{"another guest address", guestmem.RegionInfo{Guest: 0x1001, User: 1 << 16, Size: 0x1000}},
		{"another user address", guestmem.RegionInfo{Guest: 0x1000, User: 2 << 16, Size: 0x1000}},
		{"another size", guestmem.RegionInfo{Guest: 0x1000, User: 1 << 16, Size: 0xfff}},
		{"nothing", guestmem.RegionInfo{}},
	} {
		if m, r, err := m2.Without(tt.info); err == nil || m != nil || r != nil || !strings.Contains(err.Error(), fmt.Sprintf("0x%x", tt.info.Guest)) {
			t.Errorf("Without(%s) = %v, %v, %v; want an error", tt.name, m, r, err)
		}
	}
	gone := info(1)
	gone.Offset = 77 // does not count
	m3, r, err := m2.Without(gone)
	if err != nil || r != one {
		t.Fatalf("Without = %v, %v; want the first region", r, err)
	}
	for name, tt := range map[string]struct {
		m    *guestmem.Map
		have [2]bool
	}{"first": {m1, [2]bool{true, false}}, "both": {m2, [2]bool{true, true}}, "second": {m3, [2]bool{false, true}}} {
		for i := range uint64(2) {
			if got := tt.m.Guest((i+1)<<12, 0x1000) != nil; got != tt.have[i] {
				t.Errorf("map of %s: has region %d %t, want %t", name, i+1, got, tt.have[i])
			}
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	fd := file(b, 1<<20)
	for _, n := range []int{1, 2, 8, 32} {
		var regions []*guestmem.Region
		for i := range uint64(n) {
			regions = append(regions, region(b, fd, guestmem.RegionInfo{Guest: i << 20, User: i << 20, Size: 1 << 20}))
		}
		m, err := guestmem.NewMap(regions...)
		if err != nil {
			b.Fatal(err)
		}
		cursor := m.Cursor()
		last := uint64(n-1) << 20
		cursor.Guest(last, 1)
		var got []byte
		for name, find := range map[string]func(addr uint64) []byte{
			"map":    func(addr uint64) []byte { return m.Guest(last+addr, 1500) },
			"cursor": func(addr uint64) []byte { return cursor.Guest(last+addr, 1500) },
			"window": func(addr uint64) []byte { return cursor.Window().At(last+addr, 1500) },
		} {
			b.Run(fmt.Sprintf("%s/regions=%d", name, n), func(b *testing.B) {
				for i := range b.N {
					got = find(uint64(i) & 0xfffff &^ 0xfff)
				}
			})
		}
		if bytes.Equal(got, nil) {
			b.Fatal("nothing found")
		}
	}
}
