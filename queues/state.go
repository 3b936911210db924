package queues

import (
	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/queues/rxfilter"
)

// portState is what the data path needs to know of a port: an immutable
// snapshot, compiled anew from Port whenever anything in it changes. A shard
// loads it once a frame and holds it until the end of the batch.
type portState struct {
	port      *switchPort
	linkUp    bool
	hdrLen    int
	mergeable bool
	pairs     int // queue pairs in use
	sender    offload.Sender
	receiver  offload.Receiver
	filter    *rxfilter.Filter
	maxFrame  int        // of a frame that is not a super-frame, without VLAN tags
	rx        []*rxQueue // receive queues in use
	steering  *steering
	vmq       *filtering // nil: no receive filters
}

// refuses says why the port does not take frames with the given addresses, if
// it does not. It takes them then until its state changes.
func (st *portState) refuses(h *offload.Ethernet) dropReason {
	switch {
	case !st.linkUp:
		return dropRxLinkDown
	case len(st.rx) == 0:
		return dropRxStopped
	case !st.filter.Accept(h.DstMAC(), h.TCI, h.Tagged()) && (st.vmq == nil || !st.vmq.admits(h)):
		return dropRxFilter
	}
	return dropNone
}

// tooLong reports whether the frame, or what becomes of it for this receiver,
// exceeds the port's MTU (VNET-032).
func (st *portState) tooLong(f *offload.Frame) bool {
	return f.Len > st.maxFrame && f.Longest(&st.receiver) > st.maxFrame+int(f.Ethernet().TagBytes)
}

// steer chooses the receive queue of a frame that the port does not refuse.
func (st *portState) steer(f *offload.Frame) *rxQueue {
	if st.vmq != nil {
		if q := st.vmq.queue(f); q != nil {
			return q
		}
	}
	return st.steering.queue(f)
}
