package queues

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/ctrl"
)

// statsReply is one entry of an answer to STATS_GET.
type statsReply struct {
	typ      uint8
	vq       uint16
	counters []uint64
}

// stats asks for statistics with room for that many bytes of an answer, and
// reports false if the command was refused.
func (n *nic) stats(room int, requests ...ctrl.StatsRequest) (list []statsReply, ok bool) {
	n.t.Helper()
	c := ctrl.StatsGet{Requests: requests}
	class, cmd := c.Code()
	b := n.raw(c.AppendData([]byte{class, cmd}), room)
	if b[0] != 0 {
		if len(b) != 1 {
			n.t.Errorf("a refusal of %d bytes: %x", len(b), b)
		}
		return nil, false
	}
	for b = b[1:]; len(b) >= 8; {
		r := statsReply{typ: b[0], vq: binary.LittleEndian.Uint16(b[2:])}
		size := int(binary.LittleEndian.Uint16(b[6:]))
		if size > len(b) {
			break // cut off
		}
		for at := 8; at < size; at += 8 {
			r.counters = append(r.counters, binary.LittleEndian.Uint64(b[at:]))
		}
		list, b = append(list, r), b[size:]
	}
	return list, true
}

// The driver sees what the device counts of each queue; a request with any
// fault is refused as a whole.
//
// Shows: VNET-170, VNET-171, VNET-172, VNET-173
func TestDeviceStats(t *testing.T) {
	e := newStill(t, 1)
	a := plug(t, e, 1, nicOptions{})
	b := plug(t, e, 2, nicOptions{features: ctrlFeatures&^virtio.FeatureCtrlVLAN | virtio.FeatureMQ | virtio.FeatureDeviceStats, pairs: 2, size: 64})
	b.startCtrl()
	class, cmd := ctrl.StatsQuery{}.Code()
	want := append([]byte{0}, ctrl.AppendStatTypes(nil, statTypes)...)
	if got := b.raw([]byte{class, cmd}, 9); !bytes.Equal(got, want) {
		t.Errorf("STATS_QUERY: %x, want %x", got, want)
	}
	const received, sent = 80, 3
	b.repost(0)
	for range received {
		a.send(0, virtio.NetHdr{}, frame(b.mac, a.mac, 100))
	}
	for range sent {
		b.send(0, virtio.NetHdr{}, frame(a.mac, b.mac, 200))
	}
	b.sendRaw(0, make([]byte, 5))
	b.send(0, virtio.NetHdr{}, frame(a.mac, broadcast, 60))
	st := b.port.Snapshot()
	rx, tx := st.Queues[0], st.Queues[1]
	full := rx.Drops["rx_full"]
	if rx.Packets == 0 || tx.Packets != sent+1 {
		t.Fatalf("queues %+v", st.Queues)
	}
	got, ok := b.stats(500,
		ctrl.StatsRequest{VQ: 0, Types: ctrl.StatRXBasic},
		ctrl.StatsRequest{VQ: 4, Types: ctrl.StatCVQ},
		ctrl.StatsRequest{VQ: 1, Types: ctrl.StatTXBasic},
		ctrl.StatsRequest{VQ: 2, Types: ctrl.StatRXBasic},
		ctrl.StatsRequest{VQ: 3, Types: 0},
	)
	list := []statsReply{
		{0, 0, []uint64{rx.Kicks, rx.Packets, rx.Bytes, rx.Calls, full, full}},
		{32, 4, []uint64{1, 1}},
		{16, 1, []uint64{tx.Kicks, tx.Packets, tx.Bytes, tx.Calls, 2, 1}},
		{0, 2, make([]uint64, 6)},
	}
	if !ok || !slices.EqualFunc(got, list, func(a, b statsReply) bool {
		return a.typ == b.typ && a.vq == b.vq && slices.Equal(a.counters, b.counters)
	}) {
		t.Errorf("STATS_GET: %+v, %t; want %+v", got, ok, list)
	}
	// A smaller buffer gets the front.
	if got, ok := b.stats(1+56+10, ctrl.StatsRequest{VQ: 0, Types: ctrl.StatRXBasic}, ctrl.StatsRequest{VQ: 1, Types: ctrl.StatTXBasic}); !ok || len(got) != 1 {
		t.Errorf("STATS_GET with room for one: %+v, %t", got, ok)
	}
	for _, r := range []ctrl.StatsRequest{
		{VQ: 5, Types: ctrl.StatCVQ},
		{VQ: 0, Types: ctrl.StatTXBasic},
		{VQ: 1, Types: ctrl.StatRXBasic},
		{VQ: 4, Types: ctrl.StatRXBasic},
		{VQ: 0, Types: ctrl.StatRXCsum},
		{VQ: 0, Types: 1 << 40},
	} {
		if got, ok := b.stats(500, ctrl.StatsRequest{VQ: 0, Types: ctrl.StatRXBasic}, r); ok {
			t.Errorf("STATS_GET %+v: %+v, want it refused", r, got)
		}
	}
	if got, ok := b.stats(500, ctrl.StatsRequest{VQ: 4, Types: ctrl.StatCVQ}); !ok || !slices.Equal(got[0].counters, []uint64{9, 3}) {
		t.Errorf("control queue after 9 commands, 6 of them refused: %+v, %t", got, ok)
	}
}

// Counters have 64 bits and start over after the last value.
//
// Shows: VNET-174
func TestStatsWrap(t *testing.T) {
	e := newStill(t, 1)
	a := plug(t, e, 1, nicOptions{})
	b := plug(t, e, 2, nicOptions{features: ctrlFeatures | virtio.FeatureDeviceStats})
	b.startCtrl()
	q := b.port.rx[0]
	q.mu.Lock()
	q.count.packets, q.count.bytes = 1<<64-2, 1<<64-70
	q.mu.Unlock()
	for _, want := range [][2]uint64{{1<<64 - 2, 1<<64 - 70}, {1<<64 - 1, 1<<64 - 10}, {0, 50}, {1, 110}} {
		got, ok := b.stats(500, ctrl.StatsRequest{VQ: 0, Types: ctrl.StatRXBasic})
		if !ok || [2]uint64(got[0].counters[1:]) != want {
			t.Fatalf("packets and bytes: %+v, %t; want %v", got, ok, want)
		}
		a.send(0, virtio.NetHdr{}, frame(b.mac, a.mac, 60))
		b.recv(0)
	}
}
