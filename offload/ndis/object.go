package ndis

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ObjectType is the Type of an NDIS_OBJECT_HEADER.
type ObjectType uint8

// Object types.
const (
	TypeDefault             ObjectType = 0x80
	TypeRSSCapabilities     ObjectType = 0x88
	TypeRSSParameters       ObjectType = 0x89
	TypeStatusIndication    ObjectType = 0x98
	TypeOffload             ObjectType = 0xa7
	TypeOffloadEncap        ObjectType = 0xa8
	TypeRSSParametersV2     ObjectType = 0xc8
	TypeRSSIndirectionEntry ObjectType = 0xc9
)

// Structure is what travels in an information buffer.
type Structure interface {
	// Decode reads the structure from the start of b. The error is a
	// *FormatError.
	Decode(b []byte) error
	// Encode returns the structure in the revision it names.
	Encode() []byte
}

// Errors of Decode.
var (
	// ErrShort says that the buffer ends before the structure does.
	ErrShort = errors.New("the buffer is too short")
	// ErrMalformed says that the structure contradicts itself or its type.
	ErrMalformed = errors.New("malformed")
)

// FormatError says why bytes are not the structure they should be. It is
// ErrShort or ErrMalformed.
type FormatError struct {
	Struct string // NDIS name
	Need   int    // bytes that would do, when the buffer is too short; else 0
	Reason string
}

// Error returns the structure and what is wrong.
func (e *FormatError) Error() string { return e.Struct + ": " + e.Reason }

// Unwrap returns ErrShort or ErrMalformed.
func (e *FormatError) Unwrap() error {
	if e.Need > 0 {
		return ErrShort
	}
	return ErrMalformed
}

// headerSize is the size of an NDIS_OBJECT_HEADER.
const headerSize = 4

// layout is what all instances of a structure have in common.
type layout struct {
	name  string
	typ   ObjectType
	sizes []int // by revision, from 1 on: through the last field, without padding
}

// full returns the size of the last revision.
func (l *layout) full() int { return l.sizes[len(l.sizes)-1] }

// open checks the header and returns a copy of the fields that the revision
// has, zeros behind them up to the size of the last revision, and the
// revision, lowered to the last known.
func (l *layout) open(b []byte) (fields, uint8, error) {
	if len(b) < headerSize {
		return nil, 0, l.short(len(b), headerSize)
	}
	typ, rev, size := ObjectType(b[0]), int(b[1]), int(binary.LittleEndian.Uint16(b[2:]))
	if typ != l.typ {
		return nil, 0, l.malformed("object type 0x%02x, want 0x%02x", uint8(typ), uint8(l.typ))
	}
	if rev == 0 {
		return nil, 0, l.malformed("revision 0, want 1 to %d", len(l.sizes))
	}
	rev = min(rev, len(l.sizes))
	has := l.sizes[rev-1]
	if size < has {
		return nil, 0, l.malformed("size %d, want %d or more for revision %d", size, has, rev)
	}
	if len(b) < size {
		return nil, 0, l.short(len(b), size)
	}
	f := make(fields, l.full())
	copy(f, b[:has])
	return f, uint8(rev), nil
}

// revision returns the revision to write: the one asked for, or the last.
func (l *layout) revision(rev uint8) int {
	if rev == 0 || int(rev) > len(l.sizes) {
		return len(l.sizes)
	}
	return int(rev)
}

// room returns the fields to write, all zero, those of later revisions
// included.
func (l *layout) room() fields { return make(fields, l.full()) }

// seal writes the header and cuts off what the revision does not have.
func (l *layout) seal(f fields, rev uint8) []byte {
	r := l.revision(rev)
	f[0], f[1] = byte(l.typ), byte(r)
	f.put16(2, uint16(l.sizes[r-1]))
	return f[:l.sizes[r-1]]
}

func (l *layout) short(have, need int) error {
	return &FormatError{Struct: l.name, Need: need, Reason: fmt.Sprintf("%d bytes, want %d", have, need)}
}

func (l *layout) malformed(format string, args ...any) error {
	return &FormatError{Struct: l.name, Reason: fmt.Sprintf(format, args...)}
}

// tail returns a copy of count elements of size bytes at an offset that a
// structure names, counted from the structure's first byte.
func (l *layout) tail(b []byte, what string, offset uint32, size, count uint64) ([]byte, error) {
	length := size * count
	if count == 0 || size == 0 {
		return nil, nil
	}
	if length/size != count || length > maxTail {
		return nil, l.malformed("%s of %d elements of %d bytes, want at most %d bytes", what, count, size, maxTail)
	}
	end := uint64(offset) + length
	if end > uint64(len(b)) {
		if end > maxTail {
			return nil, l.malformed("%s at offset %d with %d bytes", what, offset, length)
		}
		return nil, l.short(len(b), int(end))
	}
	if int(offset) < headerSize {
		return nil, l.malformed("%s at offset %d, which is in the header", what, offset)
	}
	return append([]byte(nil), b[offset:end]...), nil
}

// maxTail bounds what a structure can refer to, so that no length overflows
// and the bytes needed that are reported are plausible.
const maxTail = 1 << 20

// attach appends a tail to a structure at an offset that is a multiple of 8,
// and returns that offset.
func attach(b, tail []byte) ([]byte, uint32) {
	for len(b)%8 != 0 {
		b = append(b, 0)
	}
	return append(b, tail...), uint32(len(b))
}

// fields are the bytes of a structure.
type fields []byte

func (f fields) u8(at int) uint8   { return f[at] }
func (f fields) u16(at int) uint16 { return binary.LittleEndian.Uint16(f[at:]) }
func (f fields) u32(at int) uint32 { return binary.LittleEndian.Uint32(f[at:]) }
func (f fields) u64(at int) uint64 { return binary.LittleEndian.Uint64(f[at:]) }

func (f fields) put8(at int, v uint8)   { f[at] = v }
func (f fields) put16(at int, v uint16) { binary.LittleEndian.PutUint16(f[at:], v) }
func (f fields) put32(at int, v uint32) { binary.LittleEndian.PutUint32(f[at:], v) }
func (f fields) put64(at int, v uint64) { binary.LittleEndian.PutUint64(f[at:], v) }

// putBool writes a BOOLEAN.
func (f fields) putBool(at int, v bool) {
	if v {
		f[at] = 1
	}
}

// bitField returns a bit-field of a ULONG.
func bitField(word uint32, shift, width uint) uint32 { return word >> shift & (1<<width - 1) }
