package queues

import (
	"fmt"
	"slices"

	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/queues/vmq"
)

// VMQ is a set of receive filters. A frame that matches one goes to the
// filter's queue pair before anything else is asked, and is taken whatever the
// driver's own filters say; one that matches none goes to the default queue, and
// so does one for a pair that the driver does not use. Filters that look into
// tunnels match nothing while the offloads have no VMQ for NVGRE.
type VMQ struct {
	Filters []vmq.Filter // each names a queue pair
	Default uint16       // queue pair of frames that match none, unless there is RSS
}

// table checks v for a port with the given number of queue pairs, and returns
// its filters as a table.
func (v *VMQ) table(pairs int) (*vmq.Table, error) {
	for i := range v.Filters {
		if q := v.Filters[i].Queue; int(q) >= pairs {
			return nil, fmt.Errorf("filter %d: queue pair %d, want 0 to %d", i, q, pairs-1)
		}
	}
	if int(v.Default) >= pairs {
		return nil, fmt.Errorf("default queue pair %d, want 0 to %d", v.Default, pairs-1)
	}
	return vmq.New(v.Filters)
}

// filtering chooses receive queues by filters. It is immutable.
type filtering struct {
	table  *vmq.Table
	tunnel offload.Tunnel
	queues []*rxQueue // by queue pair
}

// queue returns the queue of the filter that matches the frame, nil if none
// does.
func (v *filtering) queue(f *offload.Frame) *rxQueue {
	if v.table.Inner() {
		if in, ok := f.InnerEthernet(v.tunnel.VMQ, v.tunnel.MaxHeader); ok {
			if q, ok := v.table.MatchInner(vmq.Header{Dst: in.Dst, VLAN: in.VLAN, VSID: in.VSID}); ok {
				return v.queues[q]
			}
		}
	}
	if q, ok := v.table.MatchOuter(outerHeader(f.Ethernet())); ok {
		return v.queues[q]
	}
	return nil
}

// admits reports whether a filter matches the outer header.
func (v *filtering) admits(h *offload.Ethernet) bool {
	_, ok := v.table.MatchOuter(outerHeader(h))
	return ok
}

func outerHeader(h *offload.Ethernet) vmq.Header {
	vlan := uint16(0)
	if h.Tagged() {
		vlan = h.TCI & 0xfff
	}
	return vmq.Header{Dst: h.Dst, VLAN: vlan}
}

// filterBy adds the port's receive filters to a new state. The caller holds mu.
func (p *Port) filterBy(st *portState) {
	n := &p.now
	if n.VMQ == nil || len(st.rx) == 0 {
		return
	}
	if n.RSS != nil && n.RSS.ByDriver {
		st.rx = running(p.rx) // a filter may name what the driver did not
	}
	usable := st.rx
	standIn := st.rx[0]
	if q := p.rx[n.VMQ.Default]; slices.Contains(usable, q) {
		standIn = q
	}
	v := &filtering{table: n.filters, tunnel: n.Offloads.NVGRE}
	for _, q := range p.rx {
		if !slices.Contains(usable, q) {
			q = standIn
		}
		v.queues = append(v.queues, q)
	}
	st.vmq = v
	if n.RSS == nil {
		st.steering = &steering{only: standIn}
	}
}
