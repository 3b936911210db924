package guestmem_test

import (
	"bytes"
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/virtio/guestmem"
)

// file returns a memfd of the given size whose byte i is i*131+i/256.
func file(t testing.TB, size int) int {
	t.Helper()
	return fill(t, memfd(t, 0), size)
}

func memfd(t testing.TB, flags int) int {
	t.Helper()
	fd, err := unix.MemfdCreate("guestmem", unix.MFD_CLOEXEC|flags)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func fill(t testing.TB, fd, size int) int {
	t.Helper()
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		t.Fatal(err)
	}
	b, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		b[i] = content(uint64(i))
	}
	if err := unix.Munmap(b); err != nil {
		t.Fatal(err)
	}
	return fd
}

func content(off uint64) byte { return byte(off*131 + off>>8) }

// region maps a region and unmaps it at the end of the test.
func region(t testing.TB, fd int, info guestmem.RegionInfo) *guestmem.Region {
	t.Helper()
	r, err := guestmem.MapRegion(fd, info)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Unmap(); err != nil {
			t.Errorf("Unmap: %v", err)
		}
	})
	return r
}

// checkRegion compares a region with the file's part that it stands for, in
// both directions.
func checkRegion(t *testing.T, fd int, info guestmem.RegionInfo) {
	t.Helper()
	m, err := guestmem.NewMap(region(t, fd, info))
	if err != nil {
		t.Fatal(err)
	}
	b := m.Guest(info.Guest, info.Size)
	if uint64(len(b)) != info.Size || cap(b) != len(b) {
		t.Fatalf("region %s: %d bytes, capacity %d", info, len(b), cap(b))
	}
	for _, i := range []uint64{0, 1, info.Size / 2, info.Size - 1} {
		if i >= info.Size {
			continue
		}
		if got, want := b[i], content(info.Offset+i); got != want {
			t.Fatalf("region %s: byte %d is %d, want %d", info, i, got, want)
		}
		b[i] ^= 0xff
		other, err := unix.Mmap(fd, 0, int(info.Offset+info.Size+1<<21-1)&^(1<<21-1), unix.PROT_READ, unix.MAP_SHARED)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := other[info.Offset+i], ^content(info.Offset+i); got != want {
			t.Fatalf("region %s: byte %d in the file is %d after a write, want %d", info, i, got, want)
		}
		if err := unix.Munmap(other); err != nil {
			t.Fatal(err)
		}
		b[i] ^= 0xff
	}
}

// Regions may begin and end anywhere in their file.
func TestMapRegionOffsets(t *testing.T) {
	const size = 1 << 16
	fd := file(t, size)
	for _, offset := range []uint64{0, 1, 2047, 4095, 4096, 4097, 8191, size - 4097, size - 4096, size - 1} {
		for _, n := range []uint64{1, 2, 4095, 4096, 4097, 12288, size} {
			if offset+n <= size {
				checkRegion(t, fd, guestmem.RegionInfo{Guest: 0x1234567, User: 0x7654321, Size: n, Offset: offset})
			}
		}
	}
}

// The same in files of huge pages, which can only be mapped in their pages.
// Where the system has none to give, TestPages still shows the arithmetic.
func TestMapRegionHuge(t *testing.T) {
	const page, size = 2 << 20, 4 << 20
	if !reserveHuge(t, size/page) {
		t.Log("no huge pages can be had here")
		checkPages(t, page)
		return
	}
	fd := fill(t, memfd(t, unix.MFD_HUGETLB|unix.MFD_HUGE_2MB), size)
	for _, offset := range []uint64{0, 1, 4096, page - 1, page, page + 1, page + 4096, size - 1} {
		for _, n := range []uint64{1, 4096, page - 1, page, page + 1, size} {
			if offset+n <= size {
				checkRegion(t, fd, guestmem.RegionInfo{Guest: 0x1_0000_0000, User: 0x2_0000_0000, Size: n, Offset: offset})
			}
		}
	}
}

// reserveHuge makes sure of n free huge pages of 2 MiB, for the time of the
// test, and reports whether there are.
func reserveHuge(t *testing.T, n int) bool {
	t.Helper()
	const dir = "/sys/kernel/mm/hugepages/hugepages-2048kB/"
	read := func(name string) int {
		b, err := os.ReadFile(dir + name)
		if err != nil {
			return 0
		}
		v, _ := strconv.Atoi(strings.TrimSpace(string(b)))
		return v
	}
	free := func() int { return read("free_hugepages") - read("resv_hugepages") }
	if free() >= n {
		return true
	}
	had := read("nr_hugepages")
	t.Cleanup(func() { _ = os.WriteFile(dir+"nr_hugepages", strconv.AppendInt(nil, int64(had), 10), 0o644) })
	_ = os.WriteFile(dir+"nr_hugepages", strconv.AppendInt(nil, int64(had+n), 10), 0o644)
	return free() >= n
}

func TestPages(t *testing.T) {
	for _, page := range []uint64{4 << 10, 16 << 10, 64 << 10, 2 << 20, 1 << 30} {
		checkPages(t, page)
	}
}

// checkPages counts pages one by one.
func checkPages(t *testing.T, page uint64) {
	t.Helper()
	offsets := []uint64{0, 1, 4096, page / 2, page - 1, page, page + 1, 7*page - 4096, 7 * page}
	for _, offset := range offsets {
		for _, size := range offsets[1:] {
			info := guestmem.RegionInfo{Offset: offset, Size: size}
			first := uint64(0)
			for first+page <= offset {
				first += page
			}
			end := first
			for end < offset+size {
				end += page
			}
			start, skip, length := guestmem.Pages(info, page)
			if start != first || skip != offset-first || length != end-first {
				t.Errorf("pages of %s in pages of 0x%x: start 0x%x, skip 0x%x, length 0x%x; want 0x%x, 0x%x, 0x%x",
					info, page, start, skip, length, first, offset-first, end-first)
			}
		}
	}
	// The largest that pass the check of a region do not wrap.
	info := guestmem.RegionInfo{Offset: math.MaxInt64 - 1, Size: 1}
	if start, skip, length := guestmem.Pages(info, page); start+skip != info.Offset || length != page {
		t.Errorf("pages of %s: start 0x%x, skip 0x%x, length 0x%x", info, start, skip, length)
	}
}

// Hostile: CVE-2026-86561
func TestMapRegionRefuses(t *testing.T) {
	const size = 0x3000
	memory := file(t, size)
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	readOnly, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer readOnly.Close()
	const top = math.MaxUint64
	for _, tt := range []struct {
		name string
		fd   int
		info guestmem.RegionInfo
		err  string
	}{
		{"size 0", memory, guestmem.RegionInfo{}, "size is 0"},
		{"size 0 behind the file", memory, guestmem.RegionInfo{Offset: size}, "size is 0"},
		{"larger than the file", memory, guestmem.RegionInfo{Size: size + 1}, "file has only 0x3000 bytes"},
		{"ends behind the file", memory, guestmem.RegionInfo{Size: size, Offset: 1}, "file has only 0x3000 bytes"},
		{"starts behind the file", memory, guestmem.RegionInfo{Size: 1, Offset: size}, "file has only 0x3000 bytes"},
		{"far larger than the file", memory, guestmem.RegionInfo{Size: math.MaxInt64}, "file has only 0x3000 bytes"},
		{"size 2^63", memory, guestmem.RegionInfo{Size: 1 << 63}, "exceeds a file's largest offset"},
		{"largest size", memory, guestmem.RegionInfo{Size: top}, "exceeds a file's largest offset"},
		{"offset wraps", memory, guestmem.RegionInfo{Size: 0x1000, Offset: top - 0xfff}, "exceeds a file's largest offset"},
		{"offset wraps into the file", memory, guestmem.RegionInfo{Size: 0x1000, Offset: top - 0xffe}, "exceeds a file's largest offset"},
		{"offset negative", memory, guestmem.RegionInfo{Size: 1, Offset: 1 << 63}, "exceeds a file's largest offset"},
		{"guest address wraps", memory, guestmem.RegionInfo{Size: 0x1000, Guest: top - 0xffe}, "guest address plus size exceeds 64 bits"},
		{"guest address ends at 2^64", memory, guestmem.RegionInfo{Size: 0x1000, Guest: top - 0xfff}, "guest address plus size exceeds 64 bits"},
		{"user address wraps", memory, guestmem.RegionInfo{Size: 0x1000, User: top - 0xffe}, "user address plus size exceeds 64 bits"},
		{"no descriptor", -1, guestmem.RegionInfo{Size: 1}, "fstat"},
		{"pipe", pipe[0], guestmem.RegionInfo{Size: 1}, "descriptor is not a file"},
		{"folder", int(dir.Fd()), guestmem.RegionInfo{Size: 1}, "descriptor is not a file"},
		{"read-only", int(readOnly.Fd()), guestmem.RegionInfo{Size: 1}, "mmap"},
	} {
		r, err := guestmem.MapRegion(tt.fd, tt.info)
		if err == nil {
			r.Unmap()
		}
		if err == nil || !strings.Contains(err.Error(), tt.err) || !strings.Contains(err.Error(), tt.info.String()) {
			t.Errorf("%s: MapRegion(%s) = %v, want an error with %q", tt.name, tt.info, err, tt.err)
		}
	}
}

// A region of a sparse file larger than the address space has room for fails
// to map and says so.
func TestMapRegionTooLarge(t *testing.T) {
	fd := memfd(t, 0)
	if err := unix.Ftruncate(fd, math.MaxInt64); err != nil {
		t.Fatal(err)
	}
	for _, size := range []uint64{1 << 50, math.MaxInt64} {
		r, err := guestmem.MapRegion(fd, guestmem.RegionInfo{Size: size})
		if err == nil {
			r.Unmap()
			t.Errorf("MapRegion of 0x%x bytes succeeded", size)
		}
	}
}

// Hostile: CVE-2026-86561
func TestTruncatedFile(t *testing.T) {
	const size = 0x4000
	fd := file(t, size)
	m, err := guestmem.NewMap(region(t, fd, guestmem.RegionInfo{Guest: 0x1000, User: 0x1000, Size: size - 0x800, Offset: 0x800}))
	if err != nil {
		t.Fatal(err)
	}
	b := m.Guest(0x1000, size-0x800)
	if err := unix.Ftruncate(fd, 0x1000); err != nil {
		t.Fatal(err)
	}
	own := make([]byte, 100)
	for name, touch := range map[string]func(){
		"read":  func() { own[0] = b[0x1000] },
		"write": func() { b[len(b)-1] = 1 },
		"copy":  func() { copy(own, b[0x2000:]) },
		"clear": func() { clear(b[0x2000:0x3000]) },
		"equal": func() { bytes.Equal(b[0x1000:0x1100], b[0x2000:0x2100]) },
	} {
		addr, ok := faultAddress(touch)
		if !ok || !m.Contains(addr) {
			t.Errorf("%s: recovered from a fault %t at 0x%x, in the map %t; want a fault there", name, ok, addr, m.Contains(addr))
		}
		if (&guestmem.Map{}).Contains(addr) {
			t.Errorf("%s: an empty map contains 0x%x", name, addr)
		}
	}
	if _, ok := faultAddress(func() { b[0]++ }); ok {
		t.Error("what is left of the file faults, too")
	}
	if addr := addressOf(own); m.Contains(addr) {
		t.Errorf("the map contains 0x%x of the Go heap", addr)
	}
	// The mapping begins with the page that the region begins in.
	start := addressOf(b) - 0x800
	for addr, want := range map[uintptr]bool{start - 1: false, start: true, start + size - 1: true, start + size: false} {
		if got := m.Contains(addr); got != want {
			t.Errorf("Contains(start%+d) = %t, want %t", int(addr-start), got, want)
		}
	}
}

// faultAddress runs f and returns the address of the memory fault that ended
// it.
func faultAddress(f func()) (addr uintptr, ok bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if fault, is := recover().(interface{ Addr() uintptr }); is {
			addr, ok = fault.Addr(), true
		}
	}()
	f()
	return 0, false
}

// After Unmap there is nothing that a forgotten map could still reach.
func TestUnmap(t *testing.T) {
	r, err := guestmem.MapRegion(file(t, 0x1000), guestmem.RegionInfo{Guest: 0x5000, User: 0x5000, Size: 0x1000})
	if err != nil {
		t.Fatal(err)
	}
	m, err := guestmem.NewMap(r)
	if err != nil {
		t.Fatal(err)
	}
	addr := addressOf(m.Guest(0x5000, 1))
	if err := r.Unmap(); err != nil {
		t.Fatal(err)
	}
	if m.Contains(addr) {
		t.Error("Contains an unmapped address")
	}
	if err := r.Unmap(); err == nil {
		t.Error("second Unmap succeeded")
	}
	defer func() {
		if recover() == nil {
			t.Error("lookup in an unmapped region did not panic")
		}
	}()
	m.Guest(0x5000, 1)
}

// FuzzMapRegion maps only what is in the file, whatever the numbers.
//
// Hostile: CVE-2026-86561, CVE-2020-10722
func FuzzMapRegion(f *testing.F) {
	const size = 0x5000
	fd := file(f, size)
	f.Add(uint64(0), uint64(size), uint64(0), uint64(0))
	f.Add(uint64(1<<63), uint64(0x1001), uint64(1<<47), uint64(0x3fff))
	f.Add(uint64(math.MaxUint64), uint64(1), uint64(math.MaxUint64-1), uint64(math.MaxUint64))
	f.Add(uint64(0), uint64(math.MaxUint64), uint64(0), uint64(2))
	f.Fuzz(func(t *testing.T, guest, n, user, offset uint64) {
		info := guestmem.RegionInfo{Guest: guest, Size: n, User: user, Offset: offset}
		r, err := guestmem.MapRegion(fd, info)
		// In arithmetic that does not wrap, because the file is small.
		inFile := n > 0 && n <= size && offset <= size-n
		inSpace := guest <= math.MaxUint64-n && user <= math.MaxUint64-n
		if (err == nil) != (inFile && inSpace) {
			t.Fatalf("MapRegion(%s) = %v; within the file %t, within 64 bits %t", info, err, inFile, inSpace)
		}
		if err != nil {
			return
		}
		defer r.Unmap()
		m, err := guestmem.NewMap(r)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range []uint64{0, n - 1} {
			if got, want := m.Guest(guest+i, 1)[0], content(offset+i); got != want {
				t.Fatalf("region %s: byte %d is %d, want %d", info, i, got, want)
			}
			if got, want := m.User(user+i, 1)[0], content(offset+i); got != want {
				t.Fatalf("region %s: byte %d by user address is %d, want %d", info, i, got, want)
			}
		}
		if b := m.Guest(guest, n+1); b != nil {
			t.Fatalf("region %s: a byte more than there is", info)
		}
	})
}
