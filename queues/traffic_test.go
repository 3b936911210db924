package queues

import (
	"testing"

	"vhost-user-nvgre/virtio"
)

// Frames are counted by the kind of address that they are for, segments and
// units as the driver sees them; what is lost by what was wrong.
func TestTraffic(t *testing.T) {
	e := newStill(t, 1)
	a := plug(t, e, 1, nicOptions{features: senderFeatures})
	b := plug(t, e, 2, nicOptions{features: takerFeatures, size: 64})
	must(t, b.port.SetOffloads(withCoalescing()))
	group := virtio.MAC{1, 0, 0x5e, 0, 0, 1}
	send := func(n int, b []byte) {
		for range n {
			a.send(0, virtio.NetHdr{}, b)
		}
	}
	check := func(what string, p *Port, received bool, want Traffic) {
		t.Helper()
		got := p.Sent()
		if received {
			got = p.Received()
		}
		if got != want {
			t.Errorf("%s: %+v, want %+v", what, got, want)
		}
	}
	send(3, frame(b.mac, a.mac, 100))
	send(2, frame(group, a.mac, 70))
	send(1, frame(broadcast, a.mac, 60))
	want := Traffic{Unicast: Frames{3, 300}, Multicast: Frames{2, 140}, Broadcast: Frames{1, 60}}
	check("sent", a.port, false, want)
	check("received", b.port, true, want)
	check("received by the sender", a.port, true, Traffic{})
	b.all(0)

	// Coalesced datagrams to a group are one frame to it.
	f := flow{dst: group, src: a.mac, udp: true, from: 1, to: 2, sport: 3, dport: 4}
	size := uint64(len(f.packet(t, bytesOf(100, 1))))
	for range 3 {
		a.queue(0, a.image(virtio.NetHdr{}, f.packet(t, bytesOf(100, 1))))
	}
	a.ring(0)
	want.Multicast.add(3, 3*size)
	check("sent with datagrams", a.port, false, want)
	got := b.all(0)
	if len(got) != 1 {
		t.Fatalf("three datagrams came as %d", len(got))
	}
	want.Multicast = Frames{3, 140 + uint64(len(got[0].b))}
	check("received with datagrams", b.port, true, want)

	// What is wrong is an error, what is lost for want of room a discard; what
	// is not for the port is neither.
	was := a.port.Sent()
	a.sendRaw(0, make([]byte, 5))
	send(1, frame(b.mac, group, 60))
	after := a.port.Sent()
	if after.Errors != 2 || after.Discards != 0 || after.Multicast != was.Multicast {
		t.Errorf("after two frames that are wrong: %+v, before: %+v", after, was)
	}
	b.port.SetLink(false)
	send(1, frame(broadcast, a.mac, 60))
	b.port.SetLink(true)
	check("with the link down", b.port, true, want)
	b.port.SetQueueEnabled(0, false)
	send(1, frame(broadcast, a.mac, 60))
	want.Discards = 1
	check("with the queue disabled", b.port, true, want)
}

// What a driver leaves to be segmented counts as segments with their headers,
// whether the receiver has them cut or takes them whole.
//
// Shows: NDIS-151
func TestTrafficOfSuperFrames(t *testing.T) {
	e := newStill(t, 1)
	a := plug(t, e, 1, nicOptions{features: senderFeatures})
	whole, cut := plug(t, e, 2, nicOptions{features: takerFeatures, size: 64}), plug(t, e, 3, nicOptions{size: 64})
	var want Traffic
	for _, tt := range []struct {
		udp        bool
		dst        virtio.MAC
		size, mss  int
		count      *Frames
		n, headers uint64
	}{
		{false, whole.mac, 4000, 1000, &want.Unicast, 4, 14 + 20 + 20},
		{false, cut.mac, 4001, 1000, &want.Unicast, 5, 14 + 20 + 20},
		{false, cut.mac, 999, 1000, &want.Unicast, 1, 14 + 20 + 20},
		{true, cut.mac, 3000, 1400, &want.Unicast, 3, 14 + 20 + 8},
		{true, virtio.MAC{1, 0, 0x5e, 0, 0, 1}, 3000, 1400, &want.Multicast, 3, 14 + 20 + 8},
	} {
		f := flow{dst: tt.dst, src: a.mac, udp: tt.udp, from: 1, to: 2, sport: 3, dport: 4}
		b, h := f.super(t, bytesOf(tt.size, 1), tt.mss)
		a.send(0, h, b)
		tt.count.add(tt.n, uint64(tt.size)+tt.n*tt.headers)
		if got := a.port.Sent(); got != want {
			t.Errorf("after %d bytes at %d: %+v, want %+v", tt.size, tt.mss, got, want)
		}
	}
	// Nobody was learned, so the second receiver got all there was.
	if got := cut.port.Received(); got != want {
		t.Errorf("received in segments: %+v, want %+v", got, want)
	}
}
