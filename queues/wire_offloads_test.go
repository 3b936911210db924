package queues

import (
	"bytes"
	"strings"
	"testing"

	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/virtio"
)

// Large sends in tunnels come from a wire, as from a guest, only while NVGRE is
// operational at its port, and leave by one in segments.
//
// Shows: NDIS-002, NDIS-136
func TestWireNVGRE(t *testing.T) {
	e := newStill(t, 1)
	w := newMemoryWire(t, 1, 64, true)
	p := addWire(t, e, WireConfig{Name: "w"}, w)
	vm := plug(t, e, 1, nicOptions{features: senderFeatures})
	payload := bytesOf(20_000, 4)
	in := flow{dst: otherMAC, src: listedMAC, from: 1, to: 2, sport: 3, dport: 4, psh: true}
	inner, ask := in.super(t, payload, 1400)
	check := func(what string, n tunnel, frames []received) {
		t.Helper()
		var got []byte
		for _, f := range frames {
			l4 := checkPacket(t, n.checkTunnel(t, f.b))
			got = append(got, l4[20:]...)
		}
		if len(frames) != 15 || !bytes.Equal(got, payload) {
			t.Errorf("%s: %d segments with %d bytes, want 15 with the %d that were sent", what, len(frames), len(got), len(payload))
		}
	}
	for _, v6 := range []bool{false, true} {
		toVM := tunnel{dst: vm.mac, src: macOf(100), v6: v6, from: 7, to: 8, vsid: 9, flow: 1}
		b, h := toVM.carry(t, inner, ask)
		must(t, p.SetOffloads(offload.DefaultState()))
		before := wireStatus(p, 1).Drops[dropOf(offload.TunnelOff).String()]
		w.in[0].give(h, b)
		settle(e)
		if got := wireStatus(p, 1).Drops[dropOf(offload.TunnelOff).String()]; got != before+1 {
			t.Errorf("NVGRE off: %d large sends from the wire refused, want %d", got, before+1)
		}
		vm.silent(0)
		must(t, p.SetOffloads(withNVGRE()))
		w.in[0].give(h, b)
		check("from the wire", toVM, vm.all(0))

		toWire := tunnel{dst: macOf(100), src: vm.mac, v6: v6, from: 7, to: 8, vsid: 9, flow: 1}
		b, h = toWire.carry(t, inner, ask)
		must(t, vm.port.SetOffloads(withNVGRE()))
		vm.send(0, h, b)
		check("to the wire", toWire, w.out[0].got)
		w.out[0].got = nil
	}
	bad := withNVGRE()
	bad.NVGRE.MaxHeader = 257
	if err := p.SetOffloads(bad); err == nil || !strings.Contains(err.Error(), "port w: NVGRE headers of 257 bytes at most") {
		t.Errorf("SetOffloads of headers too long = %v", err)
	}
	removeWire(e, p, w)
	must(t, p.SetOffloads(offload.DefaultState())) // changes nothing any more
	vm.send(0, virtio.NetHdr{}, frame(macOf(100), vm.mac, 60))
	vm.reaped(0)
}
