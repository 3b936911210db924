package offload

import (
	"vhost-user-nvgre/offload/checksum"
	"vhost-user-nvgre/offload/finish"
	"vhost-user-nvgre/offload/packet"
	"vhost-user-nvgre/offload/verify"
	"vhost-user-nvgre/virtio"
)

// Sink is where a frame goes: a receive queue, or a wire. Its slices are
// memory that others may read and write at any time; they are written once
// and never read.
type Sink interface {
	// Reserve returns room for a frame of n bytes, in pieces of any length. It
	// reports false when there is none. The pieces live until the next call.
	Reserve(n int) ([][]byte, bool)
	// Commit hands over the frame stored in the room reserved last, with what
	// its receiver is to know of it. The header is not kept.
	Commit(h *virtio.NetHdr)
	// Validated tells, before Commit, what the frame's checksums were found to
	// be.
	Validated(r verify.Result)
}

// Whole reports whether the receiver takes the frame as it is, with the packet
// header that Admit left, and nothing is to be found out for it. It is then
// for the caller to copy; otherwise Deliver does.
//
// It is to be called for every receiver, for it calls Report.
func (f *Frame) Whole(rx *Receiver) bool {
	f.Report(rx)
	if f.Hdr.Flags&virtio.HdrNeedsCsum == 0 {
		return !rx.validate
	}
	return rx.Checksum && !f.inner && (!f.IsSuper() || rx.takes(f))
}

// Report puts what the receiver is to know of the frame's hash into Hdr.
func (f *Frame) Report(rx *Receiver) {
	f.Hdr.HashValue, f.Hdr.HashReport = 0, 0
	if rx.Hash != nil {
		f.Hdr.HashValue, f.Hdr.HashReport = rx.Hash.Hash(f)
	}
}

// Deliver puts a frame that is not Whole into sink: its
// checksums are validated or filled in, or it is split into segments. What was
// delivered before a Verdict other than OK stays delivered.
func (w *Worker) Deliver(f *Frame, rx *Receiver, sink Sink) Verdict {
	switch {
	case f.Hdr.Flags&virtio.HdrNeedsCsum == 0:
		return w.validate(f, rx, sink)
	case f.IsSuper():
		return w.segment(f, rx, sink)
	default:
		return w.finish(f, rx, sink)
	}
}

// validate copies the frame and looks at its checksums on the way. The driver
// is told that they are good if all that there are were checked and found so,
// and nothing otherwise; the frame arrives as it came.
func (w *Worker) validate(f *Frame, rx *Receiver, sink Sink) Verdict {
	check, tunnel := rx.covers(f.Info())
	room, ok := sink.Reserve(f.Len)
	if !ok {
		return NoRoom
	}
	dst, tail := checksum.NewCursor(room), checksum.NewCursor(f.Tail)
	w.begin(f, virtio.NetHdr{})
	if !check {
		dst.Write(f.Head)
		checksum.Move(&dst, &tail, f.Len-len(f.Head))
		sink.Commit(&w.done)
		return OK
	}
	result, ok := verify.Deliver(&dst, f.Head, &tail, &f.info, tunnel)
	if !ok {
		return NoRoom
	}
	if result.Transport == verify.Good && !result.AnyBad() {
		w.done.Flags = virtio.HdrDataValid
	}
	sink.Validated(result)
	sink.Commit(&w.done)
	return OK
}

// segment splits a super-frame on its way.
func (w *Worker) segment(f *Frame, rx *Receiver, sink Sink) Verdict {
	if v := w.start(f); v != OK {
		return v
	}
	w.begin(f, rx.finished())
	src := checksum.NewCursorAt(f.Head[w.segmenter.HeaderLen():], f.Tail)
	for n := w.segmenter.NextLen(); n > 0; n = w.segmenter.NextLen() {
		room, ok := sink.Reserve(n)
		if !ok {
			return NoRoom
		}
		dst := checksum.NewCursor(room)
		if !w.segmenter.Next(&dst, &src) {
			return NoRoom
		}
		sink.Commit(&w.done)
	}
	return OK
}

// begin makes h, with the frame's hash, the packet header of what is delivered.
func (w *Worker) begin(f *Frame, h virtio.NetHdr) {
	w.done = h
	w.done.HashValue, w.done.HashReport = f.Hdr.HashValue, f.Hdr.HashReport
}

// finished is the packet header of a frame whose checksums are all in place.
func (rx *Receiver) finished() virtio.NetHdr {
	if rx.Checksum {
		return virtio.NetHdr{Flags: virtio.HdrDataValid}
	}
	return virtio.NetHdr{} // VNET-063
}

// finish copies the frame and fills its checksum in on the way, and that of
// the IPv4 header too: a device that touches a frame leaves it correct.
func (w *Worker) finish(f *Frame, rx *Receiver, sink Sink) Verdict {
	info := f.Info() // before Head and Tail are used: it may move bytes between them
	w.begin(f, rx.finished())
	partial := finish.Partial{Start: int(f.Hdr.CsumStart), Offset: int(f.Hdr.CsumOffset)}
	// The checksum goes through Head, where the next receiver of a flooded
	// frame wants to find the sender's value again.
	if field := partial.Start + partial.Offset; field+2 <= len(f.Head) {
		seed := [2]byte(f.Head[field:])
		defer func() { copy(f.Head[field:], seed[:]) }()
	}
	room, ok := sink.Reserve(f.Len)
	if !ok {
		return NoRoom
	}
	dst, tail := checksum.NewCursor(room), checksum.NewCursor(f.Tail)
	work := finish.Work{Transport: true, Partial: partial, IPv4: true, Tunnel: f.inner}
	if !finish.Deliver(&dst, f.Head, &tail, info, work) {
		return BadChecksum
	}
	sink.Commit(&w.done)
	return OK
}

// takes reports whether the receiver takes the super-frame whole.
func (rx *Receiver) takes(f *Frame) bool {
	if f.Hdr.GSOType&virtio.GSOECN != 0 && !rx.ECN {
		return false // VNET-068
	}
	switch f.Hdr.GSOType &^ virtio.GSOECN {
	case virtio.GSOTCPv4:
		return rx.TSO4
	case virtio.GSOTCPv6:
		return rx.TSO6
	case virtio.GSOUDPL4:
		if f.Info().Outer.Net == packet.IPv4 {
			return rx.USO4
		}
		return rx.USO6
	}
	return false
}
