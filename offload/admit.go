package offload

import (
	"vhost-user-nvgre/offload/packet"
	"vhost-user-nvgre/virtio"
)

// Admit checks what the sender's packet header asks for against what was
// negotiated and against the frame, and reduces the header to what holds of
// it. After OK, Hdr names a checksum to finish only if it lies within the
// frame, and a segmentation only if the frame's headers fit it.
func (f *Frame) Admit(tx Sender) Verdict {
	h := &f.Hdr
	// Unknown flags, and those of the other direction, are ignored (VNET-040,
	// VNET-055). ECN alone says nothing (VNET-032).
	h.Flags &= virtio.HdrNeedsCsum
	kind := h.GSOType &^ virtio.GSOECN
	if h.Flags == 0 && kind == virtio.GSONone {
		*h = virtio.NetHdr{} // csum_start and csum_offset are unused (VNET-041)
		return OK
	}
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
	return f.admitSuper(kind)
}

// offers reports whether super-frames of a type may be sent.
func (tx Sender) offers(gsoType uint8) bool {
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

// admitSuper checks a super-frame's headers.
func (f *Frame) admitSuper(kind uint8) Verdict {
	h, info := &f.Hdr, f.Info()
	l := &info.Outer
	if !l.HasPorts() || l.L4 != h.CsumStart || int(l.Payload) >= f.Len {
		return BadGSO
	}
	fits := false
	switch kind {
	case virtio.GSOTCPv4:
		fits = l.Net == packet.IPv4 && l.Trans == packet.TCP
	case virtio.GSOTCPv6:
		fits = l.Net == packet.IPv6 && l.Trans == packet.TCP
	case virtio.GSOUDPL4:
		fits = l.Trans == packet.UDP
	}
	if !fits || h.CsumOffset != checksumOffset(l.Trans) {
		return BadGSO
	}
	h.HdrLen = l.Payload // the sender's is a hint (VNET-044)
	return OK
}

// checksumOffset returns where in a TCP or UDP header the checksum is.
func checksumOffset(t packet.Transport) uint16 {
	if t == packet.TCP {
		return 16
	}
	return 6
}
