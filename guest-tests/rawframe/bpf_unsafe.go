package rawframe

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// bpf makes the system call with the attributes of a command (bpf(2)), which
// refer to memory that the caller has pinned.
func bpf[T any](cmd int, attr *T) (int, error) {
	n, _, errno := unix.Syscall(unix.SYS_BPF, uintptr(cmd), uintptr(unsafe.Pointer(attr)), unsafe.Sizeof(*attr))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// newArray returns an array of n values of a size in bytes, all zero.
func newArray(size, n int) (int, error) {
	attr := struct{ kind, key, value, entries uint32 }{unix.BPF_MAP_TYPE_ARRAY, 4, uint32(size), uint32(n)}
	fd, err := bpf(unix.BPF_MAP_CREATE, &attr)
	if err != nil {
		return 0, fmt.Errorf("rawframe: BPF array of %d values: %w", n, err)
	}
	return fd, nil
}

// lookup returns a value of an array.
func lookup(fd int, key uint32, size int) ([]byte, error) {
	var pins runtime.Pinner
	defer pins.Unpin()
	k, v := new(uint32), make([]byte, size)
	*k = key
	pins.Pin(k)
	pins.Pin(&v[0])
	attr := struct {
		fd, _             uint32
		key, value, flags uint64
	}{fd: uint32(fd), key: uint64(uintptr(unsafe.Pointer(k))), value: uint64(uintptr(unsafe.Pointer(&v[0])))}
	if _, err := bpf(unix.BPF_MAP_LOOKUP_ELEM, &attr); err != nil {
		return nil, fmt.Errorf("rawframe: value %d of a BPF array: %w", key, err)
	}
	return v, nil
}

// loadFilter loads a socket filter.
func loadFilter(program []insn) (int, error) {
	var pins runtime.Pinner
	defer pins.Unpin()
	license, log := []byte("Apache-2.0\x00"), make([]byte, 1<<16)
	pins.Pin(&program[0])
	pins.Pin(&license[0])
	pins.Pin(&log[0])
	attr := struct {
		kind, count       uint32
		insns, license    uint64
		logLevel, logSize uint32
		log               uint64
		version, flags    uint32
	}{
		kind: unix.BPF_PROG_TYPE_SOCKET_FILTER, count: uint32(len(program)),
		insns: uint64(uintptr(unsafe.Pointer(&program[0]))), license: uint64(uintptr(unsafe.Pointer(&license[0]))),
		logLevel: 1, logSize: uint32(len(log)), log: uint64(uintptr(unsafe.Pointer(&log[0]))),
	}
	fd, err := bpf(unix.BPF_PROG_LOAD, &attr)
	if err != nil {
		return 0, fmt.Errorf("rawframe: BPF program: %w: %s", err, unix.ByteSliceToString(log))
	}
	return fd, nil
}
