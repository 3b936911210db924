package offload

import (
	"vhost-user-nvgre/offload/gso"
	"vhost-user-nvgre/offload/packet"
	"vhost-user-nvgre/virtio"
)

// Worker does what frames need. It is the state that one shard reuses from
// frame to frame, and belongs to one goroutine.
type Worker struct {
	segmenter gso.Segmenter
	done      virtio.NetHdr // of frames finished here
}

// Admit checks what the sender's packet header asks for against what was
// negotiated and against the frame, and reduces the header to what holds of
// it. After OK, Hdr names a checksum to finish only if it lies within the
// frame, and a segmentation only if the frame's headers fit it.
func (w *Worker) Admit(f *Frame, tx *Sender) Verdict {
	h := &f.Hdr
	// Unknown flags, and those of the other direction, are ignored (VNET-040,
	// VNET-055). ECN alone says nothing (VNET-032).
	if h.Flags&virtio.HdrNeedsCsum == 0 && h.GSOType&^virtio.GSOECN == virtio.GSONone {
		*h = virtio.NetHdr{} // csum_start and csum_offset are unused (VNET-041)
		return OK
	}
	return w.admitWork(f, tx)
}

// admitWork is Admit for frames that want something done.
func (w *Worker) admitWork(f *Frame, tx *Sender) Verdict {
	h := &f.Hdr
	h.Flags &= virtio.HdrNeedsCsum
	kind := h.GSOType &^ virtio.GSOECN
	switch {
	case kind != virtio.GSONone && !tx.offers(h.GSOType), h.Flags != 0 && !tx.Checksum:
		return NotNegotiated
	case h.Flags == 0 || kind != virtio.GSONone && h.GSOSize == 0:
		return BadGSO // VNET-045
	case h.CsumStart < ethHeader || int(h.CsumStart)+int(h.CsumOffset)+2 > f.Len:
		return BadChecksum // VNET-043
	case kind == virtio.GSONone:
		h.GSOType, h.GSOSize = virtio.GSONone, 0
		h.HdrLen = h.CsumStart + h.CsumOffset + 2
		return OK
	}
	return w.admitSuper(f)
}

// offers reports whether super-frames of a type may be sent.
func (tx *Sender) offers(gsoType uint8) bool {
	if gsoType&virtio.GSOECN != 0 && !tx.ECN {
		return false
	}
	switch gsoType &^ virtio.GSOECN {
	case virtio.GSOTCPv4:
		return tx.TSO4
	case virtio.GSOTCPv6:
		return tx.TSO6
	case virtio.GSOUDPL4:
		return tx.USO
	}
	return false
}

// admitSuper checks a super-frame's headers by the rules of segmentation, be
// it segmented here or passed on.
func (w *Worker) admitSuper(f *Frame) Verdict {
	h, l := &f.Hdr, &f.Info().Outer
	if !l.HasPorts() || l.L4 != h.CsumStart || h.CsumOffset != checksumOffset(l.Trans) {
		return BadGSO
	}
	h.HdrLen = l.Payload // the sender's is a hint (VNET-044)
	return w.start(f)
}

// checksumOffset returns where in a TCP or UDP header the checksum is.
func checksumOffset(t packet.Transport) uint16 {
	if t == packet.TCP {
		return 16
	}
	return 6
}

// limits are what is offered to senders. Linux makes super-frames of a single
// segment. The number of segments is bounded because a small frame could
// otherwise cause tens of thousands; even TCP's smallest segments stay below.
var limits = gso.Limits{
	MaxPayload:  65535,
	MinSegments: 1,
	MaxSegments: 2048,
	MaxHeader:   gso.MaxHeader,
	SubMSS:      true,
}

// start prepares the segmenter for a super-frame.
func (w *Worker) start(f *Frame) Verdict {
	r := gso.Request{MSS: int(f.Hdr.GSOSize)}
	switch f.Hdr.GSOType &^ virtio.GSOECN {
	case virtio.GSOTCPv4:
		r.Kind = gso.TCPv4
	case virtio.GSOTCPv6:
		r.Kind = gso.TCPv6
	default:
		r.Kind = gso.UDP
	}
	return refused(w.segmenter.Start(f.Head, f.Info(), r, &limits))
}
