package queues

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/ctrl"
)

// where returns the receive queues on which frames came, in order, and empties
// them.
func where(n *nic) (pairs []int) {
	for i := range n.port.QueuePairs() {
		for range n.all(i) {
			pairs = append(pairs, i)
		}
	}
	return pairs
}

// Whatever a flow sends, and in whatever form, comes on one queue: small and
// large, whole and segmented, tagged or not, from any queue of its sender.
// Many flows use all queues about equally. Fragments of a flow stay together,
// and what has no addresses comes on the first queue.
//
// Shows: VNET-095, NDIS-184, NDIS-185
func TestFlowsStay(t *testing.T) {
	e := newStill(t, 2)
	a := plug(t, e, 1, nicOptions{pairs: 4, features: senderFeatures | virtio.FeatureMQ})
	b := plug(t, e, 2, nicOptions{pairs: 4, features: takerFeatures | virtio.FeatureMQ})
	plain := plug(t, e, 3, nicOptions{pairs: 4, size: 1024})
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range []*nic{b, plain} { // be learned, in every VLAN used
		n.send(0, virtio.NetHdr{}, frame(a.mac, n.mac, 60))
		for i := range 100 {
			n.send(0, virtio.NetHdr{}, tagged(frame(a.mac, n.mac, 60), 0x8100, uint16(1+i)))
			where(a)
		}
	}
	for _, n := range []*nic{a, b, plain} {
		where(n)
	}
	for _, to := range []*nic{b, plain} {
		used := map[int]int{}
		const flows = 400
		for i := range flows {
			f := flow{
				dst: to.mac, src: a.mac, v6: i&1 != 0, udp: i&2 != 0, from: byte(r.Uint32()), to: byte(r.Uint32()),
				sport: uint16(r.Uint32()), dport: uint16(r.Uint32()), seq: r.Uint32(),
			}
			send := func(b []byte, h virtio.NetHdr) { a.send(r.IntN(4), h, b) }
			send(f.packet(t, bytesOf(i%1400, 1)), virtio.NetHdr{})
			send(f.partial(t, bytesOf(700, 1)))
			send(f.super(t, bytesOf(3000, 1), 1000))
			in := f
			in.vlan = uint16(1 + i%100)
			send(in.packet(t, nil), virtio.NetHdr{})
			pairs := where(to)
			if want := 4; to == b && len(pairs) != want || to == plain && len(pairs) != want+2 {
				t.Fatalf("%+v: %d frames came at %s", f, len(pairs), to.port.Name())
			}
			if pairs[0] != pairs[len(pairs)-1] {
				t.Fatalf("%+v came on queues %v, want one", f, pairs)
			}
			used[pairs[0]]++

			if !f.v6 {
				first, later := f, f
				first.fragment, later.fragment = 0x2000, 0x00b9
				send(first.packet(t, bytesOf(1480, 1)), virtio.NetHdr{})
				send(later.packet(t, bytesOf(100, 1)), virtio.NetHdr{})
				if pairs := where(to); len(pairs) != 2 || pairs[0] != pairs[1] {
					t.Fatalf("fragments of %+v came on queues %v, want one", f, pairs)
				}
			}
			send(frame(to.mac, a.mac, 60), virtio.NetHdr{})
			if pairs := where(to); len(pairs) != 1 || pairs[0] != 0 {
				t.Fatalf("a frame that is not IP came on queues %v, want the first", pairs)
			}
		}
		for pair := range 4 {
			if n := used[pair]; n < flows/8 || n > flows/2 {
				t.Errorf("%d of %d flows came on queue %d of %s, want about a quarter", n, flows, pair, to.port.Name())
			}
		}
	}
}

// As many pairs are used as the driver asks for, from the moment the command is
// answered, and by those that send too: what comes on another pair is dropped.
//
// Shows: VNET-054, VNET-080, VNET-081
func TestPairsSet(t *testing.T) {
	e := newStill(t, 2)
	a := plug(t, e, 1, nicOptions{})
	b := plug(t, e, 2, nicOptions{pairs: 4, features: ctrlFeatures | virtio.FeatureMQ})
	b.startCtrl()
	spread := func() []int {
		for i := range 100 {
			f := flow{dst: b.mac, src: a.mac, from: byte(i), to: 2, sport: uint16(i * 77), dport: 5}
			a.send(0, virtio.NetHdr{}, f.packet(t, nil))
		}
		pairs := where(b)
		if len(pairs) != 100 {
			t.Fatalf("%d of 100 frames came", len(pairs))
		}
		return slices.Compact(pairs)
	}
	if got := spread(); !slices.Equal(got, []int{0}) {
		t.Errorf("at first frames came on queues %v, want 0", got)
	}
	var dropped uint64
	for _, n := range []int{4, 1, 3, 2, 4, 2, 1} {
		b.mustDo(ctrl.Pairs{N: uint16(n)})
		if got, want := spread(), []int{0, 1, 2, 3}[:n]; !slices.Equal(got, want) {
			t.Errorf("with %d pairs frames came on queues %v, want %v", n, got, want)
		}
		for pair := range 4 {
			b.send(pair, virtio.NetHdr{}, frame(a.mac, b.mac, 60))
			b.reaped(pair)
			if pair >= n {
				dropped++
			}
		}
		if got := len(a.all(0)); got != n {
			t.Errorf("with %d pairs in use, frames of %d came", n, got)
		}
		b.drops(dropTxDisabled, dropped)
	}
}

// Frames of a flow come in the order in which they were sent, while many flows
// go through several shards at once.
func TestFlowOrder(t *testing.T) {
	e := newEngine(t, 2)
	a := plug(t, e, 1, nicOptions{pairs: 2})
	b := plug(t, e, 2, nicOptions{pairs: 4, size: 1024})
	b.send(0, virtio.NetHdr{}, frame(a.mac, b.mac, 60)) // be learned
	a.recv(0)
	const flows = 16
	var sent, seen [flows]uint32
	total := fewer(20_000)
	collect := func() (n int) {
		for pair := range 4 {
			for f, ok := b.poll(pair); ok; f, ok = b.poll(pair) {
				at := 14 + 20
				id, seq := f.b[at+1], binary.BigEndian.Uint32(f.b[at+4:])
				if seq != seen[id] {
					t.Fatalf("flow %d: frame %d came, want %d", id, seq, seen[id])
				}
				seen[id]++
				n++
			}
			b.repost(pair)
		}
		return n
	}
	templates := make([][]byte, flows)
	for i := range templates {
		templates[i] = flow{dst: b.mac, src: a.mac, from: 1, to: 2, sport: uint16(i), dport: 9}.packet(t, make([]byte, 20))
	}
	on := 0
	for i := range total {
		id := i % flows
		p := slices.Clone(templates[id])
		binary.BigEndian.PutUint32(p[14+20+4:], sent[id])
		sent[id]++
		a.send(id%2, virtio.NetHdr{}, p)
		on++
		for on > 200 {
			on -= collect()
		}
	}
	b.wait(fmt.Sprintf("%d frames", on), func() bool { on -= collect(); return on == 0 })
	if seen != sent {
		t.Errorf("came %v, were sent %v", seen, sent)
	}
}
