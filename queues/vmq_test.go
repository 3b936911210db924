package queues

import (
	"bytes"
	"fmt"
	"testing"

	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/queues/vmq"
	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/ctrl"
)

// Frames go to the queue of the filter that matches, by the outer header or,
// where NVGRE is operational, by the inner one; others to the default queue.
//
// Shows: NDIS-067, NDIS-068, NDIS-069, NDIS-070, NDIS-072, NDIS-073, NDIS-204, NDIS-208, NDIS-216
func TestVMQ(t *testing.T) {
	const pairs = 6
	e := newStill(t, 1)
	a := plug(t, e, 1, nicOptions{})
	b := plug(t, e, 2, nicOptions{pairs: pairs})
	tenant, vlanned := virtio.MAC{2, 1, 0, 0, 0, 1}, virtio.MAC{2, 1, 0, 0, 0, 2}
	filters := []vmq.Filter{
		{MAC: tenant, Queue: 1},
		{MAC: vlanned, Test: vmq.VLANEqual, VLAN: 7, Queue: 2},
		{MAC: vlanned, Test: vmq.UntaggedOrZero, Queue: 3},
		{MAC: tenant, Encapsulated: true, Queue: 4},
		{MAC: tenant, Encapsulated: true, MatchVSID: true, VSID: 9, Queue: 5},
	}
	must(t, b.port.SetVMQ(&VMQ{Filters: filters}))
	outer := tunnel{dst: b.mac, src: a.mac, from: 1, to: 2, vsid: 8}
	nine, toTenant, outer6 := outer, outer, outer
	nine.vsid, toTenant.dst, outer6.v6 = 9, tenant, true
	inner := flow{dst: tenant, src: otherMAC, from: 1, to: 2, sport: 3, dport: 4}.packet(t, bytesOf(80, 1))
	plainGRE := outer.encap(t, inner[14:])
	plainGRE[14+20+2], plainGRE[14+20+3] = 0x08, 0x00 // IPv4 in GRE, with a key
	v4 := withNVGRE()
	v4.NVGRE.VMQ = offload.InnerIPv4 | offload.OuterIPv4
	off := offload.DefaultState()
	for _, tt := range []struct {
		name  string
		state offload.State
		b     []byte
		want  int
	}{
		{"own address", off, frame(b.mac, a.mac, 60), 0},
		{"broadcast", off, frame(broadcast, a.mac, 60), 0},
		{"filtered address", off, frame(tenant, a.mac, 60), 1},
		{"filtered address, tagged", off, tagged(frame(tenant, a.mac, 60), 0x8100, 7), 1},
		{"VLAN", off, tagged(frame(vlanned, a.mac, 60), 0x8100, 0xe007), 2},
		{"other VLAN", off, tagged(frame(vlanned, a.mac, 60), 0x8100, 8), 0},
		{"no VLAN", off, frame(vlanned, a.mac, 60), 3},
		{"VLAN 0", off, tagged(frame(vlanned, a.mac, 60), 0x8100, 0xe000), 3},
		{"NVGRE, off", off, outer.encap(t, inner), 0},
		{"NVGRE to a filtered address, off", off, toTenant.encap(t, inner), 1},
		{"NVGRE", withNVGRE(), outer.encap(t, inner), 4},
		{"NVGRE of VSID 9", withNVGRE(), nine.encap(t, inner), 5},
		{"NVGRE over IPv6", withNVGRE(), outer6.encap(t, inner), 4},
		{"NVGRE over IPv6, IPv4 operational", v4, outer6.encap(t, inner), 0},
		{"NVGRE without IP", withNVGRE(), outer.encap(t, frame(tenant, otherMAC, 60)), 4},
		{"NVGRE, tagged within", withNVGRE(), outer.encap(t, tagged(inner, 0x8100, 5)), 4},
		{"NVGRE to another inner address", withNVGRE(), outer.encap(t, frame(otherMAC, tenant, 60)), 0},
		{"NVGRE to a filtered outer address only", withNVGRE(), toTenant.encap(t, frame(otherMAC, otherMAC, 60)), 1},
		{"no Ethernet in GRE", withNVGRE(), plainGRE, 0},
		{"plain frame to the filtered address", withNVGRE(), frame(tenant, a.mac, 60), 1},
	} {
		must(t, b.port.SetOffloads(tt.state))
		expect(t, tt.name, a, b, tt.b, tt.want, 0, 0)
	}
	// Without a filter a queue gets nothing any more.
	must(t, b.port.SetVMQ(&VMQ{Filters: filters[1:], Default: 3}))
	expect(t, "filter removed", a, b, frame(tenant, a.mac, 60), 3, 0, 0)
	// A queue that is not in use is stood in for.
	b.port.SetQueueEnabled(4, false)
	expect(t, "queue disabled", a, b, tagged(frame(vlanned, a.mac, 60), 0x8100, 7), 3, 0, 0)
	b.port.SetQueueEnabled(4, true)
	expect(t, "queue enabled", a, b, tagged(frame(vlanned, a.mac, 60), 0x8100, 7), 2, 0, 0)
	must(t, b.port.SetVMQ(nil))
	f := flow{dst: b.mac, src: a.mac, from: 1, to: 2, sport: 3, dport: 4}
	hash, _ := f.hashOf(defaultKeyBytes[:], 0x3f)
	expect(t, "no filters", a, b, f.packet(t, nil), int(hash%tableSize)%pairs, 0, 0)

	for _, v := range []VMQ{
		{Filters: []vmq.Filter{{MAC: tenant, Queue: pairs}}},
		{Default: pairs},
		{Filters: []vmq.Filter{{Queue: 1}}},
		{Filters: []vmq.Filter{{MAC: tenant}, {MAC: tenant}}},
	} {
		if err := b.port.SetVMQ(&v); err == nil {
			t.Errorf("SetVMQ(%+v) succeeded", v)
		}
	}
}

// A filter has frames taken that the driver's own filters refuse, and wins over
// RSS; a reset forgets the filters.
//
// Shows: NDIS-219
func TestVMQBesidesFiltersAndRSS(t *testing.T) {
	e := newStill(t, 1)
	a := plug(t, e, 1, nicOptions{})
	b := plug(t, e, 2, nicOptions{features: rssFeatures, pairs: 4})
	b.startCtrl()
	c := ctrl.RSS{HashTypes: 0x3f, Table: []uint16{2}, Unclassified: 1, MaxTxVQ: 4, Key: bytesOf(40, 3)}
	b.mustDo(c)
	must(t, b.port.SetVMQ(&VMQ{Filters: []vmq.Filter{{MAC: otherMAC, Queue: 3}}}))
	f := flow{dst: b.mac, src: a.mac, from: 1, to: 2, sport: 3, dport: 4}
	hash, report := f.hashOf(c.Key, c.HashTypes)
	expect(t, "own address", a, b, f.packet(t, nil), 2, hash, report)
	f.dst = otherMAC
	expect(t, "filtered address", a, b, f.packet(t, nil), 3, hash, report)
	expect(t, "without a hash", a, b, frame(b.mac, a.mac, 60), 1, 0, 0)
	f.dst = listedMAC
	before := b.dropped()[dropRxFilter.String()]
	a.send(0, virtio.NetHdr{}, f.packet(t, nil))
	b.drops(dropRxFilter, before+1)
	b.port.Reset()
	for i := range 9 {
		b.port.SetQueueEnabled(i, true)
	}
	f.dst = otherMAC
	a.send(0, virtio.NetHdr{}, f.packet(t, nil))
	b.drops(dropRxFilter, before+2)
}

// A frame that waits for room goes where the filters say when there is some,
// not where those said that were in force when it came.
//
// Shows: NDIS-216, NDIS-231
func TestVMQWaitingFrames(t *testing.T) {
	e := newStill(t, 1)
	a := plug(t, e, 1, nicOptions{})
	b := plug(t, e, 2, nicOptions{pairs: 2, rxBuf: noBuffers})
	filters := VMQ{Filters: []vmq.Filter{{MAC: otherMAC, Queue: 1}}}
	must(t, b.port.SetVMQ(&filters))
	b.send(0, virtio.NetHdr{}, frame(a.mac, otherMAC, 60)) // be learned
	a.recv(0)
	want := frame(otherMAC, a.mac, 60)
	a.send(0, virtio.NetHdr{}, want)
	b.silent(1)
	must(t, b.port.SetVMQ(&VMQ{}))
	for i := range 2 {
		b.rx(i).room(2048)
	}
	if got := b.recv(0); !bytes.Equal(got.b, want) {
		t.Errorf("got %x, want %x", got.b, want)
	}
	b.silent(1)
}

// BenchmarkVMQ is BenchmarkForward with receive filters for NVGRE packets.
func BenchmarkVMQ(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			e := newEngine(b, 1)
			from, to := plug(b, e, 1, nicOptions{size: 1024}), plug(b, e, 2, nicOptions{size: 1024})
			filters := make([]vmq.Filter, n)
			for i := range filters {
				filters[i] = vmq.Filter{MAC: virtio.MAC{2, 1, 0, byte(i >> 16), byte(i >> 8), byte(i)}, Encapsulated: true}
			}
			must(b, to.port.SetOffloads(withNVGRE()))
			must(b, to.port.SetVMQ(&VMQ{Filters: filters}))
			to.send(0, virtio.NetHdr{}, frame(from.mac, to.mac, 60)) // be learned
			from.recv(0)
			tx := from.tx(0)
			out := tunnel{dst: to.mac, src: from.mac, from: 1, to: 2, vsid: 5}
			for i := 0; tx.Free() > 0; i++ {
				inner := flow{dst: filters[i*7919%n].MAC, src: otherMAC, from: 1, to: 2, sport: 3, dport: 4}.packet(b, nil)
				from.queue(0, from.image(virtio.NetHdr{}, out.encap(b, inner)))
			}
			tx.SetInterrupts(false)
			to.rx(0).SetInterrupts(false)
			r := &republisher{tx: tx, rx: to.rx(0), next: to.rx(0).AvailIndex()}
			s, err := newShard(e, 9, -1, 0)
			if err != nil {
				b.Fatal(err)
			}
			defer s.poll.close()
			q := from.port.tx[0]
			var sent uint16
			b.ReportAllocs()
			b.ResetTimer()
			for done := 0; done < b.N; {
				r.turn(batchSize, &sent)
				n := s.step(q)
				if n != batchSize {
					b.Fatalf("step took %d frames", n)
				}
				done += n
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "Mpps")
		})
	}
}

var defaultKeyBytes = defaultKey.Bytes()
