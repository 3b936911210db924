package daemon

import (
	"slices"
	"sync"
	"time"

	"vhost-user-nvgre/cmd/internal/oid"
	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/offload/ndis"
	"vhost-user-nvgre/offload/ndis/adapter"
	"vhost-user-nvgre/vhostuser/frontendtest"
	"vhost-user-nvgre/virtio"
)

// consistent compares what OIDs say of b with what the data path does.
func (r *running) consistent(c *oid.Client, a, b *frontendtest.Frontend, vmq bool) {
	r.t.Helper()
	// A change that changes nothing is indicated as what it is.
	for drained := false; !drained; {
		select {
		case <-c.Indications():
		default:
			drained = true
		}
	}
	r.setOID(c, ndis.OIDTCPOffloadParameters, &ndis.OffloadParameters{})
	var now, told ndis.Offload
	if err := c.Query(r.t.Context(), ndis.OIDTCPOffloadCurrentConfig, &now); err != nil {
		r.t.Fatal(err)
	}
	select {
	case i := <-c.Indications():
		if err := told.Decode(i.Body); err != nil || told != now {
			r.t.Errorf("indicated %+v, %v; a query says %+v", told, err, now)
		}
	case <-time.After(patience):
		r.t.Error("nothing is indicated")
	}
	var framing ndis.OffloadEncapsulation
	_ = c.Query(r.t.Context(), ndis.OIDOffloadEncapsulation, &framing) // fails as long as none was set
	want := meaning(&now, &framing, vmq)
	_, p := r.status("b")
	if !slices.Equal(p.Offloads, want.Names()) {
		r.t.Errorf("in force: %v\nOIDs say: %v", p.Offloads, want.Names())
	}
	r.t.Logf("in force: %v", p.Offloads)

	queue := r.queueOf(c, &want, vmq)
	pa, pb := portIn(r.dir, "a"), portIn(r.dir, "b")
	for n := -1; n < 8; n++ {
		dst := pb.Address()
		if n >= 0 {
			dst = station(n)
		}
		for _, nvgre := range []bool{false, true} {
			valid := want.Receive.IPv4 && want.Receive.TCPv4
			if nvgre {
				const both = offload.InnerIPv4 | offload.OuterIPv4
				valid = want.NVGRE.RxChecksum&both == both
			}
			f := tcpFrame(r.t, dst, pa.Address(), nvgre)
			at := queue(dst, nvgre)
			a.TX[0].MustSend(r.t, virtio.NetHdr{}, f)
			got := b.RX[at].MustRecv(r.t)
			if !slices.Equal(got.Data, f) || got.Hdr.Flags&virtio.HdrDataValid != 0 != valid {
				r.t.Errorf("frame to %s, NVGRE: %t: %d bytes, flags %#x on queue %d, want %d, validated: %t", dst, nvgre, len(got.Data), got.Hdr.Flags, at, len(f), valid)
			}
		}
	}
}

// meaning returns what is to be in force by what OIDs say of the configuration
// and of the framing, on which receive checksums wait.
func meaning(now *ndis.Offload, framing *ndis.OffloadEncapsulation, vmq bool) offload.State {
	on4, on6 := framing.IPv4.Enabled == ndis.SetOn, framing.IPv6.Enabled == ndis.SetOn
	v4, v6 := &now.Checksum.IPv4Receive, &now.Checksum.IPv6Receive
	st := offload.State{
		LSOv4: now.LSOv2.IPv4.Encapsulation != 0, LSOv6: now.LSOv2.IPv6.Encapsulation != 0,
		USOv4: now.USO.IPv4.Encapsulation != 0, USOv6: now.USO.IPv6.Encapsulation != 0,
		RSCv4: now.RSC.IPv4, RSCv6: now.RSC.IPv6, URO: now.UDPRSC,
		Receive: offload.Validation{
			IPv4: on4 && v4.IPChecksum.On(), TCPv4: on4 && v4.TCPChecksum.On(), UDPv4: on4 && v4.UDPChecksum.On(),
			TCPv6: on6 && v6.TCPChecksum.On(), UDPv6: on6 && v6.UDPChecksum.On(),
		},
	}
	if now.EncapsulationTypes&ndis.EncapsulationGREMAC == 0 {
		return st
	}
	g := now.GRE
	if !on4 {
		g.ReceiveChecksum &^= ndis.InnerIPv4 | ndis.OuterIPv4
	}
	if !on6 {
		g.ReceiveChecksum &^= ndis.InnerIPv6 | ndis.OuterIPv6
	}
	inner, outer := g.ReceiveChecksum&(ndis.InnerIPv4|ndis.InnerIPv6), g.ReceiveChecksum&(ndis.OuterIPv4|ndis.OuterIPv6)
	if inner == 0 || outer == 0 {
		g.ReceiveChecksum = 0
	}
	if !vmq {
		g.VMQ = 0
	}
	st.NVGRE = offload.Tunnel{
		TxChecksum: offload.Families(g.TransmitChecksum), RxChecksum: offload.Families(g.ReceiveChecksum),
		LSO: offload.Families(g.LSOv2), USO: offload.Families(g.USO), RSS: offload.Families(g.RSS), VMQ: offload.Families(g.VMQ),
	}
	return st
}

// queueOf returns a function that says, by what OIDs say, where a frame comes
// that is addressed to a station, outside and inside its tunnel.
func (r *running) queueOf(c *oid.Client, st *offload.State, vmq bool) func(dst virtio.MAC, nvgre bool) int {
	r.t.Helper()
	const v4 = offload.InnerIPv4 | offload.OuterIPv4
	if !vmq {
		var setting sync.WaitGroup
		for n := range stormPairs {
			setting.Go(func() {
				if err := c.Set(r.t.Context(), ndis.OIDReceiveScaleParameters, rssTo(n)); err != nil {
					r.t.Error(err)
				}
			})
		}
		setting.Wait()
		var p ndis.ReceiveScaleParameters
		if err := c.Query(r.t.Context(), ndis.OIDReceiveScaleParameters, &p); err != nil || len(p.Table) == 0 {
			r.t.Fatalf("RSS parameters: %+v, %v", p, err)
		}
		return func(_ virtio.MAC, nvgre bool) int {
			if nvgre && st.NVGRE.RSS&v4 != v4 {
				return 0 // no TCP to be seen, so no hash
			}
			return int(p.Table[0].Number)
		}
	}
	type key struct {
		mac   virtio.MAC
		inner bool
		vlan  bool // a test that an untagged frame passes
	}
	filters := map[key]int{}
	var all ndis.ReceiveQueueInfoArray
	if err := c.Query(r.t.Context(), ndis.OIDFilterEnumQueues, &all); err != nil {
		r.t.Fatal(err)
	}
	for _, q := range all.Queues {
		if q.State != ndis.QueueStateRunning {
			continue
		}
		list := ndis.ReceiveFilterInfoArray{QueueID: q.QueueID}
		r.method(c, ndis.OIDFilterEnumFilters, &list)
		for _, f := range list.Filters {
			p := ndis.ReceiveFilterParameters{FilterID: f.FilterID}
			r.method(c, ndis.OIDFilterParameters, &p)
			k := key{virtio.MAC(p.Fields[0].Value[:6]), p.Flags != 0, p.Fields[0].Flags != 0}
			filters[k] = int(q.QueueID)
		}
	}
	r.t.Logf("filters: %v", filters)
	return func(dst virtio.MAC, nvgre bool) int {
		for _, inner := range []bool{true, false} {
			if inner && (!nvgre || st.NVGRE.VMQ&v4 != v4) {
				continue
			}
			for _, vlan := range []bool{true, false} {
				if q, ok := filters[key{dst, inner, vlan}]; ok {
					return q
				}
			}
		}
		return 0
	}
}

// method calls a method of an OID, which has to succeed.
func (r *running) method(c *oid.Client, o ndis.OID, s ndis.Structure) {
	r.t.Helper()
	resp, err := c.Do(r.t.Context(), adapter.Request{Type: adapter.Method, OID: o, Input: s.Encode(), OutputLength: oid.MaxOutput})
	if err != nil || resp.Status != ndis.StatusSuccess {
		r.t.Fatalf("%s: %s %s, %v", o, resp.Status, resp.Detail, err)
	}
	if err := s.Decode(resp.Output); err != nil {
		r.t.Fatal(err)
	}
}
