package queues

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/offload/gro"
	"vhost-user-nvgre/virtio"
)

// withCoalescing is a state in which received segments are coalesced.
func withCoalescing() offload.State {
	st := offload.DefaultState()
	st.RSCv4, st.RSCv6, st.URO = true, true, true
	return st
}

// stream sends the segments of a connection, or the datagrams of a flow.
type stream struct {
	flow
	partial bool // checksums are left to the device
	sent    [][]byte
}

// image returns the next frame, with n bytes of payload, as a driver lays it
// out.
func (s *stream) image(t testing.TB, from *nic, n int) []byte {
	t.Helper()
	payload := bytesOf(n, uint64(len(s.sent))<<16|uint64(s.sport))
	var h virtio.NetHdr
	b := s.flow.packet(t, payload)
	if s.partial {
		b, h = s.flow.partial(t, payload)
	}
	s.sent = append(s.sent, payload)
	s.seq += uint32(n)
	return from.image(h, b)
}

// arrived is what a receiver has of a stream.
type arrived struct {
	payloads [][]byte // as sent: a unit's segments one by one
	units    int
}

// take checks a frame and returns its source port. A super-frame is completed
// as a driver would before it passes it on, so that gopacket can look at every
// length and checksum.
func (a *arrived) take(t testing.TB, r received) {
	t.Helper()
	b := bytes.Clone(r.b)
	size := len(b)
	if r.hdr.GSOType != virtio.GSONone {
		a.units++
		size = int(r.hdr.GSOSize)
		if r.hdr.Flags != virtio.HdrNeedsCsum || size == 0 {
			t.Fatalf("packet header %+v", r.hdr)
		}
	}
	if r.hdr.Flags&virtio.HdrNeedsCsum != 0 {
		start := int(r.hdr.CsumStart)
		binary.BigEndian.PutUint16(b[start+int(r.hdr.CsumOffset):], ^sum(b[start:]))
	}
	l4 := checkPacket(t, b)
	header := 8
	if len(b)-len(l4) > 14 && b[14]>>4 == 4 && b[23] == 6 || b[14]>>4 == 6 && b[20] == 6 {
		header = 4 * int(l4[12]>>4)
	}
	for p := l4[header:]; len(p) > 0; p = p[min(size, len(p)):] {
		a.payloads = append(a.payloads, p[:min(size, len(p))])
	}
}

// portOf returns the source port of a TCP or UDP packet without options.
func portOf(b []byte) uint16 {
	if b[14]>>4 == 6 {
		return binary.BigEndian.Uint16(b[54:])
	}
	return binary.BigEndian.Uint16(b[34:])
}

// Segments and datagrams of one batch are coalesced for a driver that takes
// super-frames of their kind, at a port where that is on, whoever has to find
// their checksums good.
//
// Shows: NDIS-153, NDIS-162, NDIS-170, NDIS-175, VNET-065
func TestCoalesce(t *testing.T) {
	const segments, size = 40, 1000
	for _, udp := range []bool{false, true} {
		for _, v6 := range []bool{false, true} {
			for _, partial := range []bool{false, true} {
				e := newStill(t, 1)
				a := plug(t, e, 1, nicOptions{features: baseFeatures | virtio.FeatureCSUM})
				b := plug(t, e, 2, nicOptions{features: takerFeatures})
				poor := plug(t, e, 3, nicOptions{features: baseFeatures | virtio.FeatureGuestCSUM})
				for _, c := range []struct {
					to    *nic
					state offload.State
					want  int
				}{
					{b, offload.DefaultState(), segments},
					{b, withCoalescing(), 1},
					{poor, withCoalescing(), segments},
					{b, withNVGRE(), segments},
				} {
					must(t, c.to.port.SetOffloads(c.state))
					before := c.to.queueStatus(0).Coalescing
					f := flow{dst: c.to.mac, src: a.mac, from: 1, to: 2, sport: 3, dport: 4, udp: udp, v6: v6}
					c.to.send(0, virtio.NetHdr{}, frame(a.mac, c.to.mac, 60)) // be learned
					for _, n := range []*nic{a, b, poor} {
						n.all(0)
					}
					s := &stream{flow: f, partial: partial}
					for range segments {
						a.queue(0, s.image(t, a, size))
					}
					a.ring(0)
					var got arrived
					list := c.to.all(0)
					for _, r := range list {
						got.take(t, r)
					}
					what := fmt.Sprintf("UDP %t, IPv6 %t, partial %t, port with %s, driver with %s", udp, v6, partial, c.state.Names(), c.to.f)
					if len(list) != c.want || !slices.EqualFunc(got.payloads, s.sent, bytes.Equal) {
						t.Errorf("%s: %d frames with %d segments, want %d with %d", what, len(list), len(got.payloads), c.want, segments)
					}
					count := c.to.queueStatus(0).Coalescing
					want := before
					switch {
					case c.want > 1:
					case udp:
						want.Add(&gro.Stats{UROUnits: 1, URODatagrams: segments, UROOctets: segments * size})
					default:
						want.Add(&gro.Stats{CoalesceEvents: 1, CoalescedPkts: segments, CoalescedOctets: segments * size})
					}
					if count != want {
						t.Errorf("%s: counted %+v, want %+v", what, count, want)
					}
				}
			}
		}
	}
}

// What does not belong together leaves alone and in its place: other flows, a
// tunnel, a packet with a bad checksum. Checksums are counted as if nothing
// were coalesced.
//
// Shows: NDIS-156, NDIS-159, NDIS-173, NDIS-174
func TestCoalesceAround(t *testing.T) {
	e := newStill(t, 1)
	a, b := plug(t, e, 1, nicOptions{}), plug(t, e, 2, nicOptions{features: takerFeatures})
	b.send(0, virtio.NetHdr{}, frame(a.mac, b.mac, 60))
	a.all(0)
	st := withCoalescing()
	st.Receive = offload.Validation{IPv4: true, TCPv4: true}
	must(t, b.port.SetOffloads(st))
	s := &stream{flow: flow{dst: b.mac, src: a.mac, from: 1, to: 2, sport: 3, dport: 4}}
	n := tunnel{dst: b.mac, src: a.mac, from: 7, to: 8, vsid: 1}
	inTunnel := n.encap(t, s.packet(t, make([]byte, 50)))
	for i := range 9 {
		image := s.image(t, a, 100)
		switch i {
		case 3:
			image[len(image)-1] ^= 1
		case 5:
			a.queue(0, a.image(virtio.NetHdr{}, inTunnel))
			a.queue(0, a.image(virtio.NetHdr{}, inTunnel))
		}
		a.queue(0, image)
	}
	fin := s.flow
	fin.fin = true
	a.queue(0, a.image(virtio.NetHdr{}, fin.packet(t, []byte("the end"))))
	a.ring(0)
	var got []string
	for _, r := range b.all(0) {
		got = append(got, fmt.Sprintf("%d/%d/%d", r.hdr.GSOType, r.hdr.Flags, len(r.b)))
	}
	// A unit of three, the bad segment, a unit of five, two tunnels, the end;
	// the order of tunnels and units is that of their first frames.
	want := []string{
		"1/1/354", "0/0/154", "1/1/554",
		fmt.Sprintf("0/0/%d", len(inTunnel)), fmt.Sprintf("0/0/%d", len(inTunnel)), "0/2/61",
	}
	if !slices.Equal(got, want) {
		t.Errorf("frames (gso_type/flags/bytes) %v, want %v", got, want)
	}
	q := b.queueStatus(0)
	if want := (gro.Stats{CoalesceEvents: 2, CoalescedPkts: 8, CoalescedOctets: 800, Aborts: 2}); q.Coalescing != want {
		t.Errorf("counted %+v, want %+v", q.Coalescing, want)
	}
	// The tunnels' outer headers are looked at, what is in them is not.
	if want := (ChecksumCounts{
		OuterIP: StateCounts{Good: 12}, InnerIP: StateCounts{NotChecked: 12},
		Transport: StateCounts{Good: 9, Bad: 1, NotChecked: 2},
	}); q.Checksums != want {
		t.Errorf("checksums %+v, want %+v", q.Checksums, want)
	}
}

// mixed returns streams of every kind from one nic to another.
func mixed(from, to *nic, r *rand.Rand, n int) (all []*stream) {
	for i := range n {
		all = append(all, &stream{
			flow: flow{
				dst: to.mac, src: from.mac, from: byte(i), to: 200, sport: uint16(i), dport: 80,
				udp: i%3 == 2, v6: i%2 == 1, seq: r.Uint32(),
			},
			partial: from.f.Has(virtio.FeatureCSUM) && i%4 < 2,
		})
	}
	return all
}

// compareStreams wants everything that was sent, in order and cut as it was.
func compareStreams(t *testing.T, all []*stream, got map[uint16]*arrived) (units int) {
	t.Helper()
	for _, s := range all {
		a := got[s.sport]
		if a == nil {
			a = &arrived{}
		}
		if !slices.EqualFunc(a.payloads, s.sent, bytes.Equal) {
			t.Errorf("stream %d (UDP %t, IPv6 %t): %d segments arrived, %d were sent, and they differ", s.sport, s.udp, s.v6, len(a.payloads), len(s.sent))
		}
		units += a.units
	}
	return units
}

// Streams of all kinds arrive complete and in order at drivers of all kinds,
// whose buffers are often too few: frames wait and are coalesced when there is
// room, or go alone where a unit has none.
//
// Shows: NDIS-171
func TestCoalesceWithLittleRoom(t *testing.T) {
	units := 0
	for round := range fewer(48) {
		r := rand.New(rand.NewPCG(uint64(round), 17))
		e := newStill(t, 1)
		a := plug(t, e, 1, nicOptions{features: []virtio.Features{baseFeatures, senderFeatures}[round%2], size: 256})
		o := nicOptions{features: takerFeatures, rxBuf: noBuffers, size: []uint32{4, 16, 64, 256}[round/2%4], memory: 64 << 20}
		bufs := []uint32{1526, 512, 4096}
		if round%3 == 0 {
			o.features &^= virtio.FeatureMrgRxbuf
			bufs = []uint32{2000, 66000, 9000}
		}
		b := plug(t, e, 2, o)
		b.send(0, virtio.NetHdr{}, frame(a.mac, b.mac, 60))
		a.all(0)
		must(t, b.port.SetOffloads(withCoalescing()))
		all, got := mixed(a, b, r, 1+r.IntN(9)), map[uint16]*arrived{}
		q := a.port.tx[0]
		receive := func() {
			for q.shard.step(q) > 0 { // with the clock standing still: no frame waits too long
			}
			for {
				f, ok := b.poll(0)
				if !ok {
					break
				}
				port := portOf(f.b)
				if got[port] == nil {
					got[port] = &arrived{}
				}
				got[port].take(t, f)
			}
			b.rx(0).popped = nil
			for range r.IntN(12) {
				if b.rx(0).Free() > 0 {
					b.rx(0).room(bufs[r.IntN(len(bufs))])
				}
			}
		}
		sent := 0
		for range 12 {
			s := all[0]
			for range r.IntN(40) {
				if r.IntN(4) == 0 {
					s = all[r.IntN(len(all))]
				}
				size := 1000
				if r.IntN(6) == 0 {
					size = 20 + r.IntN(1400) // no padding
				}
				a.queue(0, s.image(t, a, size))
				sent++
			}
			a.tx(0).Publish()
			receive()
			// Half of the ring may wait before frames are dropped.
			for deadline := time.Now().Add(patience); a.tx(0).AvailIndex()-a.tx(0).UsedIndex() > 60; receive() {
				a.reap(0)
				if time.Now().After(deadline) {
					t.Fatalf("round %d: frames are stuck: %+v", round, b.port.Snapshot())
				}
			}
		}
		for deadline := time.Now().Add(patience); ; receive() {
			n := 0
			for _, a := range got {
				n += len(a.payloads)
			}
			if n >= sent || time.Now().After(deadline) {
				break
			}
		}
		units += compareStreams(t, all, got)
		if d := b.dropped(); len(d) != 0 {
			t.Errorf("round %d: drops %v", round, d)
		}
		if t.Failed() {
			t.Fatalf("round %d: %+v", round, o)
		}
	}
	t.Logf("%d units", units)
	if units < fewer(500) {
		t.Errorf("only %d units", units)
	}
}

// Coalescing is turned on and off while frames flow: none is lost or out of
// order, and when turning it off has returned nothing is coalesced any more.
//
// Shows: NDIS-154, NDIS-178
func TestCoalesceOnAndOff(t *testing.T) {
	e := newEngine(t, 1)
	a := plug(t, e, 1, nicOptions{features: senderFeatures, size: 512})
	b := plug(t, e, 2, nicOptions{features: takerFeatures, size: 1024})
	b.send(0, virtio.NetHdr{}, frame(a.mac, b.mac, 60))
	a.recv(0)
	late := 0
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range fewer(600) {
			st := offload.DefaultState()
			if i%2 == 0 {
				st = withCoalescing()
			}
			if err := b.port.SetOffloads(st); err != nil {
				t.Error(err)
				return
			}
			before := b.queueStatus(0).Coalescing
			time.Sleep(300 * time.Microsecond)
			if i%2 == 1 && b.queueStatus(0).Coalescing != before {
				late++
			}
		}
	}()
	all, got := mixed(a, b, rand.New(rand.NewPCG(1, 2)), 4), map[uint16]*arrived{}
	sent, alone := 0, 0
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		for i := range 48 {
			a.queue(0, all[i/12].image(t, a, 1000))
			sent++
		}
		a.ring(0)
		b.wait("what was sent", func() bool {
			n := 0
			for _, r := range b.all(0) {
				port := portOf(r.b)
				if got[port] == nil {
					got[port] = &arrived{}
				}
				got[port].take(t, r)
				if r.hdr.GSOType == virtio.GSONone {
					alone++
				}
			}
			for _, a := range got {
				n += len(a.payloads)
			}
			return n == sent
		})
	}
	units := compareStreams(t, all, got)
	t.Logf("%d frames: %d arrived alone, the others in %d units", sent, alone, units)
	if units == 0 || alone == 0 {
		t.Error("the load did not meet both states")
	}
	if late > 0 {
		t.Errorf("frames were coalesced after %d changes to off had returned", late)
	}
	if d := b.dropped(); len(d) != 0 {
		t.Errorf("drops %v, want none", d)
	}
}

// Frames for several ports are coalesced at each that wants it.
func TestCoalesceFlooded(t *testing.T) {
	e := newStill(t, 1)
	a := plug(t, e, 1, nicOptions{features: senderFeatures})
	b, c := plug(t, e, 2, nicOptions{features: takerFeatures}), plug(t, e, 3, nicOptions{})
	d := plug(t, e, 4, nicOptions{features: takerFeatures, rxBuf: noBuffers})
	for _, n := range []*nic{b, c, d} {
		must(t, n.port.SetOffloads(withCoalescing()))
	}
	d.rx(0).room(4000)
	s := &stream{partial: true, flow: flow{
		dst: virtio.MAC{1, 0, 0x5e, 0, 0, 1}, src: a.mac, from: 1, to: 2, sport: 3, dport: 4, udp: true,
	}}
	for range 20 {
		a.queue(0, s.image(t, a, 1000))
	}
	a.ring(0)
	for _, x := range []struct {
		to          *nic
		frames, all int
	}{{b, 1, 20}, {c, 20, 20}, {d, 1, 3}} {
		var got arrived
		list := x.to.all(0)
		for _, r := range list {
			got.take(t, r)
		}
		if len(list) != x.frames || !slices.EqualFunc(got.payloads, s.sent[:x.all], bytes.Equal) {
			t.Errorf("port %s: %d frames with %d datagrams, want %d with %d", x.to.port.Name(), len(list), len(got.payloads), x.frames, x.all)
		}
	}
	d.drops(dropRxFull, 17)
}

// A receive queue that breaks in the middle of a batch gets nothing more.
func TestCoalesceIntoBrokenQueue(t *testing.T) {
	e := newStill(t, 1)
	a := plug(t, e, 1, nicOptions{features: senderFeatures})
	b := plug(t, e, 2, nicOptions{features: takerFeatures, rxBuf: noBuffers})
	b.send(0, virtio.NetHdr{}, frame(a.mac, b.mac, 60))
	a.all(0)
	must(t, b.port.SetOffloads(withCoalescing()))
	b.rx(0).room(1500)
	b.rx(0).room(5) // shorter than a packet header
	s := &stream{partial: true, flow: flow{dst: b.mac, src: a.mac, from: 1, to: 2, sport: 3, dport: 4}}
	for range 20 {
		a.queue(0, s.image(t, a, 1000))
	}
	a.ring(0)
	b.broke(0, "receive buffer of 5 bytes")
	a.reaped(0)
	b.drops(dropRxStopped, 20)
}

// Options that a unit cannot have stay with their segment.
//
// Shows: NDIS-157
func TestCoalesceOptions(t *testing.T) {
	e := newStill(t, 1)
	a, b := plug(t, e, 1, nicOptions{}), plug(t, e, 2, nicOptions{features: takerFeatures})
	b.send(0, virtio.NetHdr{}, frame(a.mac, b.mac, 60))
	a.all(0)
	must(t, b.port.SetOffloads(withCoalescing()))
	s := &stream{flow: flow{dst: b.mac, src: a.mac, from: 1, to: 2, sport: 3, dport: 4}}
	for i := range 6 {
		s.options = nil
		if i == 3 {
			s.options = []layers.TCPOption{{OptionType: layers.TCPOptionKindSACK, OptionLength: 10, OptionData: make([]byte, 8)}}
		}
		a.queue(0, s.image(t, a, 100))
	}
	a.ring(0)
	var sizes []int
	for _, r := range b.all(0) {
		sizes = append(sizes, len(r.b)-54)
	}
	if want := []int{300, 112, 200}; !slices.Equal(sizes, want) {
		t.Errorf("frames with %v bytes behind their headers, want %v", sizes, want)
	}
}

// TestCoalesceAllocates wants a batch to cost no allocation.
func TestCoalesceAllocates(t *testing.T) {
	e := newStill(t, 1)
	r, q, s := coalesceScene(t, e, withCoalescing(), true)
	var sent uint16
	if n := testing.AllocsPerRun(50, func() {
		r.turn(batchSize, &sent)
		if n := s.step(q); n != batchSize {
			t.Fatalf("step took %d frames, want %d", n, batchSize)
		}
	}); n != 0 {
		t.Errorf("%v allocations for a batch, want 0", n)
	}
}
