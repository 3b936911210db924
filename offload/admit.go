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
	f.inner = false
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
	super := kind != virtio.GSONone
	switch {
	case h.Flags == 0 || super && h.GSOSize == 0:
		return BadGSO // VNET-045
	case !tx.Checksum || super && !tx.offers(h.GSOType):
		return NotNegotiated
	case h.CsumStart < ethHeader || int(h.CsumStart)+int(h.CsumOffset)+2 > f.Len:
		return BadChecksum // VNET-043
	case super:
		return w.admitSuper(f, tx)
	}
	h.GSOType, h.GSOSize = virtio.GSONone, 0
	h.HdrLen = h.CsumStart + h.CsumOffset + 2
	if tx.NVGRE.TxChecksum != 0 {
		info := f.Info()
		f.inner = info.Inner.L4 == h.CsumStart && tx.NVGRE.covers(tx.NVGRE.TxChecksum, info)
	}
	return OK
}

// offers reports whether super-frames of a type may be sent at all.
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
		return tx.USO4 || tx.USO6
	}
	return false
}

// admitSuper checks a super-frame's headers by the rules of segmentation, be
// it segmented here or passed on. virtio has no type for tunnels: csum_start
// tells which of the transport headers is meant.
func (w *Worker) admitSuper(f *Frame, tx *Sender) Verdict {
	h, info := &f.Hdr, f.Info()
	l := &info.Outer
	if info.Tunnelled() && h.CsumStart >= info.Inner.L2 {
		l = &info.Inner
		f.inner = true
	}
	if !l.HasPorts() || l.L4 != h.CsumStart || h.CsumOffset != checksumOffset(l.Trans) {
		return BadGSO
	}
	h.HdrLen = l.Payload // the sender's is a hint (VNET-044)
	f.split = gso.Request{Inner: f.inner, MSS: int(h.GSOSize)}
	families := tx.NVGRE.LSO
	switch h.GSOType &^ virtio.GSOECN {
	case virtio.GSOTCPv4:
		f.split.Kind, f.limits = gso.TCPv4, &tx.Limits.LSOv4
	case virtio.GSOTCPv6:
		f.split.Kind, f.limits = gso.TCPv6, &tx.Limits.LSOv6
	default:
		f.split.Kind, f.limits = gso.UDP, &tx.Limits.USO
		families = tx.NVGRE.USO
		if l.Net == packet.IPv4 && !tx.USO4 || l.Net == packet.IPv6 && !tx.USO6 {
			return NotNegotiated
		}
	}
	if v := w.start(f); v != OK {
		return v
	}
	if f.inner && !families.Cover(info) {
		return TunnelOff
	}
	return OK
}

// checksumOffset returns where in a TCP or UDP header the checksum is.
func checksumOffset(t packet.Transport) uint16 {
	if t == packet.TCP {
		return 16
	}
	return 6
}

// start prepares the segmenter for a super-frame.
func (w *Worker) start(f *Frame) Verdict {
	return refused(w.segmenter.Start(f.Head, f.Info(), f.split, f.limits))
}
