package wire

import (
	"encoding/binary"
	"fmt"
)

// HeaderSize is the size in bytes of the header of every message.
const HeaderSize = 12

// MaxPayload bounds the payload of any message in bytes. The largest one that
// the document defines is the table of shared memory regions with 2,056; the
// rest is room for requests that are newer than this package.
const MaxPayload = 4096

// Bits of Header.Flags (section "Header").
const (
	Version       = 1 // the only version there is
	FlagReply     = 1 << 2
	FlagNeedReply = 1 << 3

	versionMask = 3
	flagsMask   = versionMask | FlagReply | FlagNeedReply
)

// Header precedes every payload (section "Header").
type Header struct {
	Request uint32
	Flags   uint32
	Size    uint32 // of the payload, in bytes
}

// DecodeHeader reads a header. Nothing about it is checked.
func DecodeHeader(b *[HeaderSize]byte) Header {
	return Header{
		Request: binary.NativeEndian.Uint32(b[0:]),
		Flags:   binary.NativeEndian.Uint32(b[4:]),
		Size:    binary.NativeEndian.Uint32(b[8:]),
	}
}

// Append adds the encoded header to b.
func (h Header) Append(b []byte) []byte {
	b = binary.NativeEndian.AppendUint32(b, h.Request)
	b = binary.NativeEndian.AppendUint32(b, h.Flags)
	return binary.NativeEndian.AppendUint32(b, h.Size)
}

// NeedReply reports whether the sender asks for an acknowledgement (section
// "REPLY_ACK").
func (h Header) NeedReply() bool { return h.Flags&FlagNeedReply != 0 }

// CheckRequest returns an error unless h can stand before a request. A reply
// flag means that the two sides have lost step, after which no later message
// can be trusted.
func (h Header) CheckRequest() error {
	if err := h.check(); err != nil {
		return err
	}
	if h.Flags&FlagReply != 0 {
		return fmt.Errorf("%w: flags 0x%x: want a request, got a reply that nobody asked for", ErrHeader, h.Flags)
	}
	return nil
}

// CheckReply returns an error unless h can stand before the reply to a
// request of the given number.
func (h Header) CheckReply(request uint32) error {
	if err := h.check(); err != nil {
		return err
	}
	if h.Flags&FlagReply == 0 {
		return fmt.Errorf("%w: flags 0x%x: want a reply, got a request", ErrHeader, h.Flags)
	}
	if h.Request != request {
		return fmt.Errorf("%w: reply to request %d: want one to request %d", ErrHeader, h.Request, request)
	}
	return nil
}

func (h Header) check() error {
	switch {
	case h.Flags&versionMask != Version:
		return fmt.Errorf("%w: flags 0x%x: protocol version %d, want %d", ErrHeader, h.Flags, h.Flags&versionMask, Version)
	case h.Flags&^flagsMask != 0:
		return fmt.Errorf("%w: flags 0x%x: unknown bits 0x%x", ErrHeader, h.Flags, h.Flags&^flagsMask)
	case h.Size > MaxPayload:
		return fmt.Errorf("%w: payload of %d bytes, want at most %d", ErrHeader, h.Size, MaxPayload)
	}
	return nil
}

// Reply returns the header of the reply to request: version 1, the reply bit
// and nothing else, as the document demands.
func Reply(request, size uint32) Header {
	return Header{Request: request, Flags: Version | FlagReply, Size: size}
}
