package queues

import (
	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/queues/rxfilter"
)

// portState is what the data path needs to know of a port: an immutable
// snapshot, compiled anew from Port whenever anything in it changes. A shard
// loads it once a frame and holds it until the end of the batch.
type portState struct {
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
}

// refuses says why the port does not take a frame, if it does not.
func (st *portState) refuses(f *offload.Frame) dropReason {
	h := f.Ethernet()
	switch {
	case !st.linkUp:
		return dropRxLinkDown
	case len(st.rx) == 0:
		return dropRxStopped
	case !st.filter.Accept(h.Dst, h.TCI, h.Tagged):
		return dropRxFilter
	case f.Len > st.maxFrame+h.TagBytes && !f.IsSuper():
		return dropRxMTU // VNET-032
	}
	return dropNone
}

// steer chooses the receive queue of a frame.
func (st *portState) steer(f *offload.Frame) *rxQueue {
	if len(st.rx) == 1 {
		return st.rx[0]
	}
	return st.rx[st.steering.queue(f)]
}
