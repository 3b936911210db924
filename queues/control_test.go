package queues

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/ctrl"
	"vhost-user-nvgre/virtio/vringtest"
)

// ctrlFeatures are all that have to do with the control queue of one pair.
const ctrlFeatures = baseFeatures | virtio.FeatureStatus | virtio.FeatureMAC | virtio.FeatureCtrlVQ | virtio.FeatureCtrlRX | virtio.FeatureCtrlRXExtra |
	virtio.FeatureCtrlVLAN | virtio.FeatureCtrlMACAddr | virtio.FeatureGuestAnnounce

// ctrlIndex returns where the driver of the nic finds its control queue.
func (n *nic) ctrlIndex() int {
	if n.f&(virtio.FeatureMQ|virtio.FeatureRSS) != 0 {
		return 2 * n.port.QueuePairs()
	}
	return 2
}

// startCtrl starts the control queue.
func (n *nic) startCtrl() *ring {
	n.t.Helper()
	r := n.startRing(n.ctrlIndex(), 64)
	n.port.SetQueueEnabled(n.ctrlIndex(), true)
	return r
}

// raw sends bytes as a command, with room for that many bytes of an answer,
// split as told, and returns what was written.
func (n *nic) raw(b []byte, room int, pieces ...int) []byte {
	n.t.Helper()
	r := n.rings[n.ctrlIndex()]
	var elems []vringtest.Elem
	for len(b) > 0 {
		k := len(b)
		if len(pieces) > 0 {
			k, pieces = min(k, pieces[0]), pieces[1:]
		}
		elems = append(elems, elem(n.place(b[:k]), k))
		b = b[k:]
	}
	at := n.place(bytes.Repeat([]byte{0xee}, room+1))
	for i := 0; i < room; {
		k := 1
		if room > 32 { // more than the ring has room for in single bytes
			k = min(11, room-i)
		}
		elems = append(elems, vringtest.Elem{Addr: at + uint64(i), Len: uint32(k), Write: true})
		i += k
	}
	if _, ok := r.Add(elems...); !ok {
		n.t.Fatal("control ring full")
	}
	r.Publish()
	r.kick.Signal()
	var size uint32
	n.wait("the answer to a command", func() (ok bool) {
		_, size, ok = r.Pop()
		return ok
	})
	if int(size) > room || n.mem.At(at+uint64(room), 1)[0] != 0xee {
		n.t.Fatalf("an answer of %d bytes in a buffer of %d", size, room)
	}
	return bytes.Clone(n.mem.At(at, uint64(size)))
}

// do sends a command and reports whether it was acknowledged.
func (n *nic) do(c ctrl.Command) bool {
	n.t.Helper()
	class, cmd := c.Code()
	answer := n.raw(c.AppendData([]byte{class, cmd}), 1)
	if len(answer) != 1 || answer[0] > 1 {
		n.t.Fatalf("%s: answer %x, want 00 or 01", ctrl.Name(class, cmd), answer)
	}
	return answer[0] == 0
}

func (n *nic) mustDo(list ...ctrl.Command) {
	n.t.Helper()
	for _, c := range list {
		if !n.do(c) {
			n.t.Fatalf("%T%+v was refused", c, c)
		}
	}
}

// Addresses of probes besides those of ports.
var (
	otherMAC   = virtio.MAC{0x52, 0x54, 0, 9, 9, 9}
	listedMAC  = virtio.MAC{0x52, 0x54, 0, 9, 9, 10}
	groupMAC   = virtio.MAC{0x33, 0x33, 0, 0, 0, 1}
	listedMult = virtio.MAC{0x01, 0, 0x5e, 0, 0, 9}
)

// probes sends a frame of every kind that filters tell apart to the nic, all
// by flooding, and returns the letters of those that came.
func probes(from, to *nic) string {
	from.t.Helper()
	var want [][]byte
	letters := "uolbgmtvp"
	for _, c := range letters {
		dst := map[rune]virtio.MAC{'u': to.mac, 'o': otherMAC, 'l': listedMAC, 'b': broadcast, 'g': groupMAC, 'm': listedMult}[c]
		f := frame(dst, from.mac, 60)
		switch c {
		case 't':
			f = tagged(frame(to.mac, from.mac, 60), 0x8100, 5)
		case 'v':
			f = tagged(frame(to.mac, from.mac, 60), 0x88a8, 0xe006)
		case 'p': // priority only: VLAN 0
			f = tagged(frame(to.mac, from.mac, 60), 0x8100, 0xe000)
		}
		want = append(want, f)
		from.send(0, virtio.NetHdr{}, f)
	}
	from.reaped(0)
	var out []byte
	for _, f := range to.all(0) {
		i := slices.IndexFunc(want, func(b []byte) bool { return bytes.Equal(b, f.b) })
		if i < 0 {
			from.t.Fatalf("a frame came that was not sent: %x", f.b)
		}
		out = append(out, letters[i])
	}
	return string(out)
}

func rx(m ctrl.RXMode, on bool) ctrl.RX { return ctrl.RX{Mode: m, On: on} }

var bothTables = ctrl.MACTable{Unicast: []virtio.MAC{listedMAC}, Multicast: []virtio.MAC{listedMult}}

// Every command changes what is received, and just that, before it is
// answered.
//
// Shows: VNET-110, VNET-111, VNET-112, VNET-114, VNET-115, VNET-117, VNET-119, VNET-121, VNET-122, VNET-124, VNET-183
func TestControlFilters(t *testing.T) {
	many := make([]virtio.MAC, 1025)
	for i := range many {
		many[i] = macOf(0x4000 + i)
	}
	manyGroups := slices.Clone(many)
	for i := range manyGroups {
		manyGroups[i][0] |= 1
	}
	full := ctrl.MACTable{Unicast: append(slices.Clone(many[:1023]), listedMAC), Multicast: append(slices.Clone(manyGroups[:1023]), listedMult)}
	for _, tt := range []struct {
		features virtio.Features
		commands []ctrl.Command
		want     string
	}{
		{ctrlFeatures, nil, "ub"},
		{baseFeatures, nil, "uolbgmtvp"},
		{ctrlFeatures &^ (virtio.FeatureCtrlRX | virtio.FeatureCtrlRXExtra), nil, "uolbgm"},
		{ctrlFeatures &^ virtio.FeatureCtrlVLAN, nil, "ubtvp"},
		{ctrlFeatures, []ctrl.Command{rx(ctrl.Promisc, true)}, "uolbgmtvp"},
		{ctrlFeatures, []ctrl.Command{rx(ctrl.Promisc, true), rx(ctrl.Promisc, false)}, "ub"},
		{ctrlFeatures, []ctrl.Command{rx(ctrl.Promisc, true), rx(ctrl.NoUni, true), rx(ctrl.NoMulti, true), rx(ctrl.NoBcast, true)}, "uolbgmtvp"},
		{ctrlFeatures, []ctrl.Command{rx(ctrl.AllMulti, true)}, "ubgm"},
		{ctrlFeatures, []ctrl.Command{rx(ctrl.AllMulti, true), rx(ctrl.AllMulti, false)}, "ub"},
		{ctrlFeatures, []ctrl.Command{rx(ctrl.AllUni, true)}, "uolb"},
		{ctrlFeatures, []ctrl.Command{rx(ctrl.NoMulti, true), rx(ctrl.AllMulti, true)}, "ub"},
		{ctrlFeatures, []ctrl.Command{rx(ctrl.NoUni, true), rx(ctrl.AllUni, true)}, "b"},
		{ctrlFeatures, []ctrl.Command{rx(ctrl.NoBcast, true), rx(ctrl.AllMulti, true)}, "ugm"},
		{ctrlFeatures, []ctrl.Command{rx(ctrl.NoBcast, true), rx(ctrl.NoBcast, false)}, "ub"},
		{ctrlFeatures, []ctrl.Command{bothTables}, "ulbm"},
		{ctrlFeatures, []ctrl.Command{bothTables, rx(ctrl.NoMulti, true)}, "ulb"},
		{ctrlFeatures, []ctrl.Command{bothTables, ctrl.MACTable{Unicast: []virtio.MAC{otherMAC}}}, "uob"},
		{ctrlFeatures, []ctrl.Command{bothTables, ctrl.MACTable{}}, "ub"},
		{ctrlFeatures, []ctrl.Command{full}, "ulbm"},
		{ctrlFeatures, []ctrl.Command{ctrl.MACTable{Unicast: many}}, "uolb"},
		{ctrlFeatures, []ctrl.Command{ctrl.MACTable{Multicast: manyGroups}}, "ubgm"},
		{ctrlFeatures, []ctrl.Command{ctrl.VLAN{ID: 5, Add: true}}, "ubt"},
		{ctrlFeatures, []ctrl.Command{ctrl.VLAN{ID: 5, Add: true}, ctrl.VLAN{ID: 6, Add: true}, ctrl.VLAN{ID: 0, Add: true}}, "ubtvp"},
		{ctrlFeatures, []ctrl.Command{ctrl.VLAN{ID: 5, Add: true}, ctrl.VLAN{ID: 6, Add: true}, ctrl.VLAN{ID: 5}}, "ubv"},
		{ctrlFeatures, []ctrl.Command{ctrl.VLAN{ID: 5}}, "ub"},
		{ctrlFeatures, []ctrl.Command{ctrl.MACAddr{MAC: otherMAC}}, "ob"},
		{ctrlFeatures &^ virtio.FeatureCtrlMACAddr, []ctrl.Command{ctrl.MACAddr{MAC: otherMAC}}, "ob"},
	} {
		e := newStill(t, 1)
		a, b := plug(t, e, 1, nicOptions{}), plug(t, e, 2, nicOptions{features: tt.features})
		var names []string
		if tt.features.Has(virtio.FeatureCtrlVQ) {
			b.startCtrl()
		}
		for _, c := range tt.commands {
			b.mustDo(c)
			class, cmd := c.Code()
			names = append(names, ctrl.Name(class, cmd))
		}
		if got := probes(a, b); got != tt.want {
			t.Errorf("features %s, %v: got frames %q, want %q", tt.features, names, got, tt.want)
		}
		if n := b.dropped()[dropRxFilter.String()]; int(n) != len("uolbgmtvp")-len(tt.want) {
			t.Errorf("features %s, %v: %d drops by the filter, want %d", tt.features, names, n, len("uolbgmtvp")-len(tt.want))
		}
		b.port.Reset()
		must(t, b.port.SetFeatures(tt.features))
		for i := range 2 {
			b.port.SetQueueEnabled(i, true)
		}
		fresh := tt.want
		if len(tt.commands) > 0 {
			fresh = "ub"
		}
		// The addresses of replies would be learned, hence another engine's
		// probe only for those that reset to the same.
		if got := probes(a, b); got != fresh {
			t.Errorf("features %s, %v, then a reset: got frames %q, want %q", tt.features, names, got, fresh)
		}
	}
}

// Shows: VNET-116, VNET-120
func TestControlAddress(t *testing.T) {
	e := newStill(t, 1)
	n := plug(t, e, 1, nicOptions{features: ctrlFeatures})
	n.startCtrl()
	for i := range 20 {
		want := macOf(100 + i)
		n.mustDo(ctrl.MACAddr{MAC: want})
		if got, _, _, _ := n.config(); got != want || n.port.Snapshot().MAC != want {
			t.Errorf("address in the configuration space %s, want %s", got, want)
		}
		if n.do(ctrl.MACAddr{MAC: groupMAC}) {
			t.Error("a group address was taken")
		}
		if got, _, _, _ := n.config(); got != want {
			t.Errorf("after a refused command: %s, want %s", got, want)
		}
	}
	n.port.Reset()
	if got, _, _, _ := n.config(); got != n.mac {
		t.Errorf("after a reset: %s, want %s", got, n.mac)
	}
}

// Shows: VNET-130, VNET-131, VNET-132
func TestControlAnnounce(t *testing.T) {
	e := newStill(t, 1)
	n := plug(t, e, 1, nicOptions{features: ctrlFeatures})
	n.startCtrl()
	if n.do(ctrl.AnnounceAck{}) {
		t.Error("an announcement was acknowledged that was not asked for")
	}
	for range 3 {
		n.port.Announce()
		n.changed()
		n.mustDo(ctrl.AnnounceAck{})
		if _, status, _, _ := n.config(); status != virtio.StatusLinkUp {
			t.Errorf("status 0x%x after the acknowledgement", status)
		}
		if n.do(ctrl.AnnounceAck{}) {
			t.Error("acknowledged twice")
		}
	}
}

// What is unknown, malformed or not negotiated answers VIRTIO_NET_ERR in one
// byte and changes nothing; the queue goes on. The split of the elements does
// not matter.
//
// Shows: VNET-082, VNET-113, VNET-118, VNET-123, VNET-180, VNET-182
func TestControlRefusals(t *testing.T) {
	e := newStill(t, 1)
	mq := ctrlFeatures | virtio.FeatureMQ
	a := plug(t, e, 1, nicOptions{})
	n := plug(t, e, 2, nicOptions{features: mq, pairs: 4})
	n.startCtrl()
	n.mustDo(bothTables, ctrl.VLAN{ID: 6, Add: true}, rx(ctrl.AllMulti, true), ctrl.Pairs{N: 3})
	const want = "ulbgmv"
	le := binary.LittleEndian
	macs := func(n uint32, bytes int) []byte { return append(le.AppendUint32(nil, n), make([]byte, bytes)...) }
	bad := [][]byte{
		{0, 0},
		{0, 0, 1, 1},
		{0, 1},
		{0, 5, 0, 0},
		{0, 6, 1},
		{0, 255, 1},
		{1, 0},
		{1, 1},
		{1, 1, 2, 0, 0, 0, 0},
		{1, 1, 2, 0, 0, 0, 0, 0, 0},
		{1, 1, 1, 0, 0, 0, 0, 0},
		{1, 2},
		append([]byte{1, 0}, macs(1, 6)...), // no second table
		append(append([]byte{1, 0}, macs(2, 6)...), macs(0, 0)...),          // one entry short
		append(append([]byte{1, 0}, macs(0, 0)...), macs(0, 1)...),          // one byte more
		append(append([]byte{1, 0}, macs(0, 0)...), macs(1<<32-1, 6)...),    // far too many
		append(append([]byte{1, 0}, macs(0x2aaaaaab, 0)...), macs(0, 0)...), // times 6 wraps to 2
		append(append([]byte{1, 0}, macs(1<<31+1, 6)...), macs(0, 0)...),    // times 6 wraps to 6
		append([]byte{1, 0}, bytes.Repeat([]byte{0}, ctrl.MaxData+1)...),    // more than is ever read
		{2, 0},
		{2, 0, 5},
		{2, 0, 5, 0, 0},
		{2, 0, 0, 0x10},
		{2, 1, 0, 0x10}, // VLAN 4096
		{2, 2, 5, 0},
		{3, 0},
		{3, 0, 1},
		{3, 1},
		{4, 0},
		{4, 0, 0, 0},
		{4, 0, 5, 0},
		{4, 0, 0, 0x80},
		{4, 0, 1},
		{4, 0, 1, 0, 0},
		{4, 1, 1, 0},
		{4, 2},
		{4, 3},
		{5, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		{6, 0, 1, 0, 0, 0, 1, 0, 0, 0},
		{7, 0, 0, 1, 0, 0},
		{8, 0},
		{8, 1},
		{9, 0},
		{255, 255},
	}
	for i, b := range bad {
		if got := n.raw(b, 1+i%5, []int{1, 1 + i%7, 2}[:i%4]...); !bytes.Equal(got, []byte{1}) {
			t.Errorf("command %x...: answer %x, want 01 alone", b[:min(len(b), 20)], got)
		}
	}
	if l := e.journal().find("debug", "vm2", "refused", "MAC_TABLE_SET", "unicast table: 2 entries"); l == "" {
		t.Error("the log does not say what was refused")
	}
	if got := n.port.Snapshot(); got.Pairs != 3 || got.MAC != n.mac {
		t.Errorf("after commands that were refused: %d pairs, address %s; want 3 and %s", got.Pairs, got.MAC, n.mac)
	}
	var got []byte
	for _, c := range probes(a, n) {
		got = append(got, byte(c))
	}
	if string(got) != want {
		t.Errorf("after commands that were refused: frames %q, want %q", got, want)
	}
	// The same commands in as many elements as there are bytes.
	for _, c := range []ctrl.Command{rx(ctrl.AllMulti, false), bothTables, ctrl.Pairs{N: 2}, ctrl.MACAddr{MAC: n.mac}} {
		class, cmd := c.Code()
		b := c.AppendData([]byte{class, cmd})
		if got := n.raw(b, 1, slices.Repeat([]int{1}, len(b))...); !bytes.Equal(got, []byte{0}) {
			t.Errorf("%s in single bytes: answer %x, want 00", ctrl.Name(class, cmd), got)
		}
	}
	if got := n.queueStatus(8); got.State != "running" || got.Kind != "ctrl" || int(got.Packets) != len(bad)+8 {
		t.Errorf("control queue: %+v, want %d commands", got, len(bad)+8)
	}
}

// Filters that a driver acknowledged without the control queue, as DPDK's
// virtio-user does, are as if not acknowledged: it could not set them.
func TestFiltersWithoutControlQueue(t *testing.T) {
	e := newStill(t, 1)
	from := plug(t, e, 1, nicOptions{})
	to := plug(t, e, 2, nicOptions{features: baseFeatures | virtio.FeatureCtrlRX | virtio.FeatureCtrlVLAN})
	from.send(0, virtio.NetHdr{}, tagged(frame(macOf(77), from.mac, 60), 0x8100, 5))
	if got := to.recv(0); len(got.b) != 64 {
		t.Errorf("%d bytes received, want 64", len(got.b))
	}
}

// Commands go to nobody when the front end keeps the control queue.
func TestControlNotNegotiated(t *testing.T) {
	e := newStill(t, 1)
	n := plug(t, e, 1, nicOptions{features: baseFeatures | virtio.FeatureCtrlVQ})
	n.startCtrl()
	for _, c := range []ctrl.Command{
		rx(ctrl.Promisc, true), rx(ctrl.AllUni, true), bothTables,
		ctrl.MACAddr{MAC: otherMAC},
		ctrl.VLAN{ID: 1, Add: true},
		ctrl.AnnounceAck{},
		ctrl.Pairs{N: 1},
		ctrl.RSS{Table: make([]uint16, 1), MaxTxVQ: 1},
		ctrl.HashConfig{},
		ctrl.GuestOffloads{},
		ctrl.HashTunnel{},
		ctrl.StatsQuery{},
	} {
		if n.do(c) {
			t.Errorf("%T was acknowledged, whose feature was not negotiated", c)
		}
	}
	if got := n.port.Snapshot().ControlQueue; got != "device" {
		t.Errorf("the control queue is served by %q, want device", got)
	}
}

// Hostile chains break the control queue only, however they are wrong.
//
// Shows: VNET-013, VNET-181
// Hostile: 6ec1778134, CVE-2026-86562, CVE-2019-9547, CVE-2018-1059, CVE-2020-10724, CVE-2026-93683
func TestControlHostileChains(t *testing.T) {
	const write, next, indirect = vringtest.Write, vringtest.Next, vringtest.Indirect
	for _, tt := range []struct {
		name string
		make func(n *nic, r *ring, in uint64)
		err  string
	}{
		{"no room for the ack", func(_ *nic, r *ring, in uint64) { r.SetDesc(9, in, 3, 0, 0); r.PushAvail(9) }, "no room for the ack byte"},
		{"empty room for the ack", func(_ *nic, r *ring, in uint64) {
			r.SetDesc(9, in, 3, next, 10)
			r.SetDesc(10, in, 0, write, 0)
			r.PushAvail(9)
		}, "no room for the ack byte"},
		{"nothing to read", func(_ *nic, r *ring, in uint64) { r.SetDesc(9, in, 1, write, 0); r.PushAvail(9) }, "0 readable bytes, want at least 2"},
		{"one byte to read", func(_ *nic, r *ring, in uint64) {
			r.SetDesc(9, in, 1, next, 10)
			r.SetDesc(10, in, 1, write, 0)
			r.PushAvail(9)
		}, "1 readable bytes, want at least 2"},
		{"chain to itself", func(_ *nic, r *ring, in uint64) { r.SetDesc(9, in, 3, next, 9); r.PushAvail(9) }, "descriptor chain longer than the table"},
		{"circle", func(_ *nic, r *ring, in uint64) {
			r.SetDesc(9, in, 3, next, 10)
			r.SetDesc(10, in, 1, next, 9)
			r.PushAvail(9)
		}, "descriptor chain longer than the table"},
		{"next beyond the ring", func(_ *nic, r *ring, in uint64) { r.SetDesc(9, in, 3, next, 64); r.PushAvail(9) }, "next descriptor beyond the table"},
		{"head beyond the ring", func(_ *nic, r *ring, _ uint64) { r.PushAvail(64) }, "head descriptor beyond the ring"},
		{"available index", func(_ *nic, r *ring, _ uint64) { r.SetAvailIndex(r.AvailIndex() + 65) }, "available index moved by more than the ring size"},
		{"read after write", func(_ *nic, r *ring, in uint64) {
			r.SetDesc(9, in, 1, write|next, 10)
			r.SetDesc(10, in, 3, 0, 0)
			r.PushAvail(9)
		}, "device-readable element after a device-writable one"},
		{"outside memory", func(_ *nic, r *ring, _ uint64) { r.SetDesc(9, 1, 3, 0, 0); r.PushAvail(9) }, "buffer outside guest memory"},
		{"across the end of memory", func(n *nic, r *ring, _ uint64) {
			r.SetDesc(9, n.mem.Info.Guest+n.mem.Info.Size-1, 2, 0, 0)
			r.PushAvail(9)
		}, "buffer outside guest memory"},
		{"address wraps", func(_ *nic, r *ring, _ uint64) { r.SetDesc(9, 1<<64-1, 3, 0, 0); r.PushAvail(9) }, "buffer outside guest memory"},
		{"nested tables", func(n *nic, r *ring, _ uint64) {
			table := n.mem.Alloc(32, 16)
			n.mem.SetDesc(table, 0, table, 16, indirect, 0)
			r.SetDesc(9, table, 16, indirect, 0)
			r.PushAvail(9)
		}, "indirect descriptor within an indirect table"},
		{"circle in a table", func(n *nic, r *ring, in uint64) {
			table := n.mem.Alloc(32, 16)
			n.mem.SetDesc(table, 0, in, 1, next, 1)
			n.mem.SetDesc(table, 1, in, 1, next, 0)
			r.SetDesc(9, table, 32, indirect, 0)
			r.PushAvail(9)
		}, "descriptor chain longer than the table"},
		{"table of 17 bytes", func(_ *nic, r *ring, in uint64) { r.SetDesc(9, in, 17, indirect, 0); r.PushAvail(9) }, "indirect table of wrong length"},
	} {
		e := newEngine(t, 1)
		a, n := plug(t, e, 1, nicOptions{}), plug(t, e, 2, nicOptions{features: ctrlFeatures})
		n.startCtrl()
		n.mustDo(rx(ctrl.Promisc, true))
		r := n.rings[2]
		tt.make(n, r, n.place([]byte{0, 0, 1}))
		if tt.name != "available index" {
			r.Publish()
		}
		r.kick.Signal()
		n.broke(2, tt.err)
		for _, i := range []int{0, 1} {
			if s := n.queueStatus(i); s.State != "running" {
				t.Errorf("%s: queue %d is %s (%s), want running", tt.name, i, s.State, s.Reason)
			}
		}
		exchange(t, a, n, 60)
		if got := probes(a, n); got != "uolbgmtvp" {
			t.Errorf("%s: frames %q came, want all", tt.name, got)
		}
	}
}

// Whoever asks for the state of a port gets it, also while its driver sends
// commands without end, and other ports go on.
func TestControlFlood(t *testing.T) {
	e := newEngine(t, 1)
	a, b := plug(t, e, 1, nicOptions{}), plug(t, e, 2, nicOptions{})
	n := plug(t, e, 3, nicOptions{features: ctrlFeatures})
	r := n.startCtrl()
	in, out := n.place([]byte{0, 0, 1}), n.place([]byte{0})
	for i := range uint16(32) {
		r.SetDesc(2*i, in, 3, vringtest.Next, 2*i+1)
		r.SetDesc(2*i+1, out, 1, vringtest.Write, 0)
		r.PushAvail(2 * i)
		r.PushAvail(2 * i)
	}
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; !stop.Load(); i++ {
			r.SetAvailIndex(r.UsedIndex() + 60)
			if i%1000 == 0 {
				r.kick.Signal()
			}
		}
	}()
	defer func() {
		stop.Store(true)
		<-done
	}()
	n.wait("commands", func() bool { return n.queueStatus(2).Packets > 1000 })
	for range 20 {
		start := time.Now()
		st := n.port.Snapshot()
		if d := time.Since(start); d > patience/4 {
			t.Fatalf("Snapshot took %v", d)
		}
		if st.Queues[2].State != "running" {
			t.Fatalf("control queue: %+v", st.Queues[2])
		}
		exchange(t, a, b, 60)
	}
	n.port.StopQueue(2)
	before := n.queueStatus(2).Packets
	time.Sleep(time.Millisecond)
	if after := n.queueStatus(2).Packets; after != before {
		t.Errorf("%d commands were served after the queue had stopped", after-before)
	}
}

// Many commands under one kick are answered in order.
//
// Shows: VNET-183
func TestControlBatch(t *testing.T) {
	e := newStill(t, 1)
	n := plug(t, e, 1, nicOptions{features: ctrlFeatures})
	r := n.startRing(2, 512)
	const count = 200 // more than are handled at a time
	var acks []uint64
	for i := range count {
		want := macOf(1000 + i)
		if i%2 == 1 {
			want[0] |= 1
		}
		class, cmd := ctrl.MACAddr{}.Code()
		in := n.place(ctrl.MACAddr{MAC: want}.AppendData([]byte{class, cmd}))
		out := n.place([]byte{0xee})
		r.Add(elem(in, 8), vringtest.Elem{Addr: out, Len: 1, Write: true})
		acks = append(acks, out)
	}
	// The first of them in place of the queue's own goroutine.
	file, other, err := os.Pipe()
	must(t, err)
	defer other.Close()
	n.port.mu.Lock()
	n.port.ctrl.unwatch()
	n.port.ctrl.kick = file
	n.port.mu.Unlock()
	r.Publish()
	if more := n.port.control(file); !more || r.UsedIndex() != maxCommands {
		t.Errorf("%d commands were served at a time, more: %t; want %d, true", r.UsedIndex(), more, maxCommands)
	}
	n.port.SetQueueKick(2, r.kick)
	n.wait("all commands", func() bool { return int(r.UsedIndex()) == count })
	for i, at := range acks {
		if got := n.mem.At(at, 1)[0]; int(got) != i%2 {
			t.Errorf("command %d: ack %d, want %d", i, got, i%2)
		}
	}
	if got, _, _, _ := n.config(); got != macOf(1000+count-2) {
		t.Errorf("address %s, want that of the last good command", got)
	}
	if !r.call.Drain() {
		t.Error("the driver was not notified")
	}
}

// A pause stops and starts the rings where they were and keeps what the driver
// configured; a reset starts them at 0 and forgets it. A new front end finds
// nothing of the old one's.
//
// Shows: VNET-005, VNET-080
func TestControlPauseAndReset(t *testing.T) {
	mq := ctrlFeatures | virtio.FeatureMQ
	type state struct {
		probes string
		pairs  int
		mac    virtio.MAC
	}
	for _, tt := range []struct {
		name string
		do   func(n *nic)
		kept bool
	}{
		{"pause", func(n *nic) {
			for i := range 5 {
				n.resume(i, n.port.StopQueue(i))
			}
		}, true},
		{"two pauses", func(n *nic) {
			for range 2 {
				var bases [5]uint32
				for i := range 5 {
					n.port.SetQueueEnabled(i, false)
					bases[i] = n.port.StopQueue(i)
				}
				n.port.SetStatus(0)
				for i := range 5 {
					n.resume(i, bases[i])
					n.port.SetQueueEnabled(i, true)
				}
			}
		}, true},
		{"replaced kick", func(n *nic) {
			n.rings[4].kick.Close()
			n.rings[4].kick = n.eventfd()
			n.port.SetQueueKick(4, n.rings[4].kick)
		}, true},
		{"same features again", func(n *nic) { must(n.t, n.port.SetFeatures(n.f)) }, true},
		{"reset of the guest", func(n *nic) {
			for i := range 5 {
				n.port.StopQueue(i)
			}
			for i := range 5 {
				old := n.rings[i]
				n.startRing(i, 64)
				old.close()
			}
			n.rings[0].fill(2048)
			n.rings[2].fill(2048)
		}, false},
		{"RESET_DEVICE", func(n *nic) {
			n.port.Reset()
			for i := range 5 {
				n.port.SetQueueEnabled(i, true)
			}
		}, false},
		{"other features", func(n *nic) {
			n.f &^= virtio.FeatureGuestAnnounce
			must(n.t, n.port.SetFeatures(n.f))
		}, false},
		{"another front end", func(n *nic) {
			n.port.Detach()
			n.port.Attach(n)
			must(n.t, n.port.SetFeatures(n.f))
			n.port.SetMemory(n.guest)
			for i := range 5 {
				old := n.rings[i]
				n.startRing(i, 64)
				old.close()
				n.port.SetQueueEnabled(i, true)
			}
			n.rings[0].fill(2048)
			n.rings[2].fill(2048)
		}, false},
	} {
		e := newStill(t, 1)
		a, n := plug(t, e, 1, nicOptions{}), plug(t, e, 2, nicOptions{features: mq, pairs: 2})
		n.startCtrl()
		n.mustDo(rx(ctrl.AllMulti, true), ctrl.VLAN{ID: 5, Add: true}, bothTables, ctrl.MACAddr{MAC: otherMAC}, ctrl.Pairs{N: 2})
		look := func() state {
			st := n.port.Snapshot()
			n.all(1)
			return state{probes(a, n), st.Pairs, st.MAC}
		}
		set := state{"olbgm", 2, otherMAC}
		if got := look(); got != set {
			t.Fatalf("%s: before: %+v, want %+v", tt.name, got, set)
		}
		tt.do(n)
		want := set
		if !tt.kept {
			want = state{"ub", 1, n.mac}
		}
		if got := look(); got != want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, want)
		}
		// The queue works.
		n.mustDo(rx(ctrl.Promisc, true))
		if got := look(); got.probes != "uolbgmtvp" {
			t.Errorf("%s, then promiscuous: %+v", tt.name, got)
		}
	}
}

// The control queue is where the features say.
func TestControlIndex(t *testing.T) {
	for _, tt := range []struct {
		pairs    int
		features virtio.Features
		want     int
	}{
		{1, ctrlFeatures, 2},
		{1, baseFeatures, -1},
		{2, ctrlFeatures, 2},
		{2, ctrlFeatures | virtio.FeatureMQ, 4},
		{64, ctrlFeatures | virtio.FeatureMQ, 128},
		{64, ctrlFeatures, 2},
	} {
		e := newStill(t, 1)
		n := plug(t, e, 1, nicOptions{pairs: tt.pairs, features: tt.features, bare: true})
		if tt.want >= 0 {
			n.startCtrl()
			n.mustDo(rx(ctrl.Promisc, true))
		}
		var at []string
		for _, q := range n.port.Snapshot().Queues {
			at = append(at, fmt.Sprintf("%s %d", q.Kind, q.Index))
		}
		want := fmt.Sprintf("ctrl %d", tt.want)
		if tt.want < 0 {
			want = ""
		}
		if got := strings.Join(at, ", "); got != want {
			t.Errorf("%d pairs, features %s: queues %q, want %q", tt.pairs, tt.features, got, want)
		}
	}
}
