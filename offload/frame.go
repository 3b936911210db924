package offload

import (
	"vhost-user-nvgre/offload/gso"
	"vhost-user-nvgre/offload/packet"
	"vhost-user-nvgre/virtio"
)

// Sizes in bytes.
const (
	// HeadSize bounds the private part of a frame and so the headers that can
	// be looked at.
	HeadSize = 512
	// firstHead is how much of a frame is made private at once; it covers the
	// headers of all but unusual frames.
	firstHead = 128

	ethHeader = 14

	// MaxFrame is the largest frame taken: an Ethernet header with two tags
	// before an IPv6 packet with the largest payload length.
	MaxFrame = ethHeader + 8 + 40 + 65535
)

// Frame is an Ethernet frame taken from a sender, with what the sender's
// packet header asks for. It is reused from batch to batch and belongs to one
// goroutine.
type Frame struct {
	// Hdr is what the sender asked for. After Admit it is consistent with the
	// frame.
	Hdr virtio.NetHdr
	// Head is a private copy of the first bytes, at least an Ethernet header.
	Head []byte
	// Tail is the rest, in the sender's memory. Its bytes may change at any
	// time; the slices live until the sender's buffer is returned.
	Tail [][]byte
	// Len is the length of the frame in bytes.
	Len int

	eth    Ethernet
	info   packet.Info
	parsed bool
	// What Admit found out: inner says that what the sender asks for concerns
	// the packet in the NVGRE tunnel; split and limits are for super-frames.
	inner  bool
	split  gso.Request
	limits *gso.Limits
	kept   [][]byte
	buf    [HeadSize]byte
}

// KeepTail makes the frame independent of the slices given to Load, though not
// of the memory they lie in.
func (f *Frame) KeepTail() {
	f.kept = append(f.kept[:0], f.Tail...)
	f.Tail = f.kept
}

// Load fills f from the readable elements of a buffer: a packet header of
// hdrLen bytes, then the frame, split in any way. It changes elements of segs:
// bytes made private are cut off.
func (f *Frame) Load(segs [][]byte, hdrLen int) Verdict {
	f.parsed = false
	if len(segs) == 1 && len(segs[0])-hdrLen >= ethHeader && len(segs[0])-hdrLen <= MaxFrame {
		// Nearly always all is in one piece. The header is decoded where it
		// is: its fields are loaded once, in two words.
		b := segs[0]
		f.Hdr.Decode(b)
		b = b[hdrLen:]
		f.Len = len(b)
		f.Head = f.buf[:min(len(b), firstHead)]
		copy(f.Head, b)
		segs[0] = b[len(f.Head):]
		f.Tail = segs
		f.eth.read(f.Head)
		return OK
	}
	return f.loadScattered(segs, hdrLen)
}

func (f *Frame) loadScattered(segs [][]byte, hdrLen int) Verdict {
	total := 0
	for _, s := range segs {
		total += len(s)
	}
	f.Len = total - hdrLen
	if f.Len < ethHeader {
		return TooShort
	}
	if f.Len > MaxFrame {
		return TooLong
	}
	var hdr [virtio.NetHdrMaxSize]byte
	segs = take(hdr[:hdrLen], segs)
	f.Hdr.Decode(hdr[:])
	f.Head = f.buf[:min(f.Len, firstHead)]
	f.Tail = take(f.Head, segs)
	f.eth.read(f.Head)
	return OK
}

// take fills dst from the front of segs and returns what is left of segs, the
// first element cut where dst ended.
func take(dst []byte, segs [][]byte) [][]byte {
	for {
		n := copy(dst, segs[0])
		dst = dst[n:]
		if n < len(segs[0]) {
			segs[0] = segs[0][n:]
			return segs
		}
		segs = segs[1:]
		if len(dst) == 0 {
			return segs
		}
	}
}

// Ethernet returns the addresses and the tag of the frame.
func (f *Frame) Ethernet() *Ethernet { return &f.eth }

// Info returns the headers of the frame, parsing them on first use.
func (f *Frame) Info() *packet.Info {
	if !f.parsed {
		f.parse()
	}
	return &f.info
}

// parse finds the headers, making more of the frame private where they are
// longer than expected.
func (f *Frame) parse() {
	f.parsed = true
	packet.Parse(&f.info, f.Head, f.Len)
	if f.info.MoreHead() && len(f.Head) < HeadSize && len(f.Tail) > 0 {
		had := len(f.Head)
		f.Head = f.buf[:min(f.Len, HeadSize)]
		f.Tail = take(f.Head[had:], f.Tail)
		packet.Parse(&f.info, f.Head, f.Len)
	}
}

// Split returns the lengths in bytes of what a super-frame is split into: the
// header of each segment, the payload of all, and that of each but the last,
// above 0. It holds after Admit.
func (f *Frame) Split() (header, payload, size int) {
	return int(f.Hdr.HdrLen), f.Len - int(f.Hdr.HdrLen), int(f.Hdr.GSOSize)
}

// IsSuper reports whether the frame is to be segmented somewhere. It holds
// after Admit.
func (f *Frame) IsSuper() bool { return f.Hdr.GSOType != virtio.GSONone }
