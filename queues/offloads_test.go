package queues

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/vringtest"
)

// senderFeatures let a driver leave everything to the device.
const senderFeatures = baseFeatures | virtio.FeatureCSUM | virtio.FeatureHostTSO4 | virtio.FeatureHostTSO6 | virtio.FeatureHostUSO

// takerFeatures let a driver take everything unfinished.
const takerFeatures = baseFeatures | virtio.FeatureGuestCSUM | virtio.FeatureGuestTSO4 | virtio.FeatureGuestTSO6 |
	virtio.FeatureGuestUSO4 | virtio.FeatureGuestUSO6

func withNVGRE() offload.State {
	st := offload.DefaultState()
	st.NVGRE = offload.AllNVGRE()
	return st
}

// Large sends in a tunnel are split if NVGRE is operational at the sender, for
// every receiver, for virtio has no way to hand one on; else they are dropped
// and counted, never sent whole.
//
// Shows: NDIS-002, NDIS-003, NDIS-021, NDIS-039, VNET-064
func TestNVGRELargeSend(t *testing.T) {
	for _, taker := range []virtio.Features{baseFeatures, takerFeatures} {
		e := newStill(t, 1)
		a := plug(t, e, 1, nicOptions{features: senderFeatures})
		b := plug(t, e, 2, nicOptions{features: taker, size: 512})
		for _, outer6 := range []bool{false, true} {
			for _, f := range []flow{
				{from: 1, to: 2, sport: 3, dport: 4, seq: 1 << 31, psh: true},
				{v6: true, from: 1, to: 2, sport: 3, dport: 4, fin: true},
				{udp: true, from: 1, to: 2, sport: 3, dport: 4},
				{udp: true, v6: true, from: 1, to: 2, sport: 3, dport: 4},
			} {
				f.dst, f.src = otherMAC, listedMAC
				n := tunnel{dst: b.mac, src: a.mac, v6: outer6, from: 7, to: 8, vsid: 0xabcdef, flow: 0x5a}
				payload := bytesOf(60_000, 5)
				what := fmt.Sprintf("receiver with %s, outer IPv6 %t, inner %+v", b.f, outer6, f)
				inner, ask := f.super(t, payload, 1400)
				frame, h := n.carry(t, inner, ask)

				must(t, a.port.SetOffloads(offload.DefaultState()))
				before := a.dropped()[dropOf(offload.TunnelOff).String()]
				a.send(0, h, frame)
				b.silent(0)
				a.drops(dropOf(offload.TunnelOff), before+1)

				must(t, a.port.SetOffloads(withNVGRE()))
				a.send(0, h, frame)
				var got []byte
				list := b.all(0)
				for i, r := range list {
					inner := n.checkTunnel(t, r.b)
					l4 := checkPacket(t, inner)
					head := 20
					if f.udp {
						head = 8
					} else if seq := binary.BigEndian.Uint32(l4[4:]); seq != f.seq+uint32(len(got)) {
						t.Errorf("%s: segment %d has sequence number %d, want %d", what, i, seq, f.seq+uint32(len(got)))
					}
					got = append(got, l4[head:]...)
					if !bytes.Equal(inner[:14], f.packet(t, nil)[:14]) {
						t.Errorf("%s: segment %d: inner Ethernet header %x", what, i, inner[:14])
					}
					want := virtio.NetHdr{NumBuffers: 1}
					if b.f.Has(virtio.FeatureGuestCSUM) {
						want.Flags = virtio.HdrDataValid
					}
					if r.hdr != want {
						t.Errorf("%s: segment %d has the packet header %+v, want %+v", what, i, r.hdr, want)
					}
				}
				if len(list) != 43 || !bytes.Equal(got, payload) {
					t.Errorf("%s: %d segments with %d bytes; want 43 with the %d that were sent", what, len(list), len(got), len(payload))
				}
			}
		}
	}
}

// Partial checksums in a tunnel are filled in by the sender's device if NVGRE
// is operational there; else they are as any partial checksum.
//
// Shows: NDIS-053, NDIS-055, NDIS-108, VNET-042
func TestNVGREPartialChecksum(t *testing.T) {
	for _, tt := range []struct {
		taker virtio.Features
		on    bool
		want  virtio.NetHdr
	}{
		{baseFeatures, true, virtio.NetHdr{}},
		{baseFeatures, false, virtio.NetHdr{}},
		{takerFeatures, true, virtio.NetHdr{Flags: virtio.HdrDataValid}},
		{takerFeatures, false, virtio.NetHdr{Flags: virtio.HdrNeedsCsum}},
	} {
		e := newStill(t, 1)
		a := plug(t, e, 1, nicOptions{features: senderFeatures})
		b := plug(t, e, 2, nicOptions{features: tt.taker})
		if tt.on {
			must(t, a.port.SetOffloads(withNVGRE()))
		}
		for _, f := range []flow{{from: 1, to: 2, sport: 3, dport: 4}, {v6: true, udp: true, from: 1, to: 2, sport: 3, dport: 4}} {
			n := tunnel{dst: b.mac, src: a.mac, v6: f.v6, from: 7, to: 8, vsid: 1}
			inner, ask := f.partial(t, bytesOf(1400, 6))
			frame, h := n.carry(t, inner, ask)
			whole := n.encap(t, f.packet(t, bytesOf(1400, 6)))
			a.send(0, h, frame)
			got := b.recv(0)
			what := fmt.Sprintf("receiver with %s, NVGRE %t, inner %+v", b.f, tt.on, f)
			want, wantHdr := whole, tt.want
			if tt.want.Flags == virtio.HdrNeedsCsum {
				want = frame
				wantHdr.CsumStart, wantHdr.CsumOffset = h.CsumStart, h.CsumOffset
				wantHdr.HdrLen = h.CsumStart + h.CsumOffset + 2
			}
			wantHdr.NumBuffers = 1
			if !bytes.Equal(got.b, want) || got.hdr != wantHdr {
				t.Errorf("%s: got header %+v, frame\n%x\nwant %+v\n%x", what, got.hdr, got.b, wantHdr, want)
			}
		}
	}
}

// A driver is told that checksums are good if it can be told, the offload is
// operational, and all of them were found good. Every frame arrives as it was
// sent. What was found is counted.
//
// Shows: NDIS-057, NDIS-058, NDIS-069, NDIS-112, NDIS-113, VNET-063, VNET-067
func TestReceiveValidation(t *testing.T) {
	plain := offload.DefaultState()
	plain.Receive = offload.Validation{IPv4: true, TCPv4: true, UDPv4: true, TCPv6: true, UDPv6: true}
	both := plain
	both.NVGRE = offload.AllNVGRE()
	v4only := withNVGRE()
	v4only.NVGRE.RxChecksum = offload.InnerIPv4 | offload.OuterIPv4
	tcp, udp6 := flow{from: 1, to: 2, sport: 3, dport: 4}, flow{v6: true, udp: true, from: 1, to: 2, sport: 3, dport: 4}
	for _, tt := range []struct {
		name  string
		state offload.State
		plain [2]string // verdicts on plain frames of both flows
		inner [2]string // ... in a tunnel over IPv4
	}{
		{"nothing", offload.DefaultState(), [2]string{"", ""}, [2]string{"", ""}},
		{"plain", plain, [2]string{"o t", "t"}, [2]string{"o", "o"}},
		{"NVGRE", withNVGRE(), [2]string{"", ""}, [2]string{"o i t", "o t"}},
		{"both", both, [2]string{"o t", "t"}, [2]string{"o i t", "o t"}},
		{"NVGRE IPv4 in IPv4", v4only, [2]string{"", ""}, [2]string{"o i t", ""}},
	} {
		for i, f := range []flow{tcp, udp6} {
			for _, inTunnel := range []bool{false, true} {
				for _, told := range []bool{true, false} {
					e := newStill(t, 1)
					features := takerFeatures
					if !told {
						features = baseFeatures
					}
					a, b := plug(t, e, 1, nicOptions{}), plug(t, e, 2, nicOptions{features: features})
					must(t, b.port.SetOffloads(tt.state))
					f.dst, f.src = b.mac, a.mac
					good, checked := f.packet(t, bytesOf(333, 9)), tt.plain[i]
					if inTunnel {
						n := tunnel{dst: b.mac, src: a.mac, from: 7, to: 8, vsid: 77}
						good, checked = n.encap(t, good), tt.inner[i]
					}
					if !told {
						checked = ""
					}
					bad := bytes.Clone(good)
					bad[len(bad)-1]++
					what := fmt.Sprintf("%s operational, %+v, in a tunnel: %t, GUEST_CSUM: %t", tt.name, f, inTunnel, told)
					for _, frame := range [][]byte{good, bad} {
						a.send(0, virtio.NetHdr{}, frame)
						got := b.recv(0)
						want := uint8(0)
						if strings.Contains(checked, "t") && &frame[0] == &good[0] {
							want = virtio.HdrDataValid
						}
						if !bytes.Equal(got.b, frame) || got.hdr.Flags != want {
							t.Errorf("%s: flags %d, frame unchanged: %t; want flags %d, true", what, got.hdr.Flags, bytes.Equal(got.b, frame), want)
						}
					}
					var want ChecksumCounts
					count := func(s *StateCounts, letter string, good, bad uint64) {
						switch {
						case checked == "":
						case strings.Contains(checked, letter):
							s.Good, s.Bad = good, bad
						default:
							s.NotChecked = good + bad
						}
					}
					count(&want.OuterIP, "o", 2, 0)
					count(&want.InnerIP, "i", 2, 0)
					count(&want.Transport, "t", 1, 1)
					if got := b.queueStatus(0).Checksums; got != want {
						t.Errorf("%s: counted %+v, want %+v", what, got, want)
					}
				}
			}
		}
	}
}

// A state no device can be in changes nothing.
func TestOffloadsRefused(t *testing.T) {
	e := newStill(t, 1)
	n := plug(t, e, 1, nicOptions{})
	families, header, limits := withNVGRE(), withNVGRE(), withNVGRE()
	families.NVGRE.LSO = 0x10
	header.NVGRE.MaxHeader = 257
	limits.Limits.LSOv6.MaxPayload = 0
	for _, tt := range []struct {
		state offload.State
		err   string
	}{
		{families, "port vm1: families 0x10 of NVGRE offloads: want a subset of 0xf"},
		{header, "NVGRE headers of 257 bytes at most: want 0 to 256"},
		{limits, "LSOv6 with super-frames of 0 bytes of payload at most"},
	} {
		if err := n.port.SetOffloads(tt.state); err == nil || !strings.Contains(err.Error(), tt.err) {
			t.Errorf("SetOffloads = %v, want an error with %q", err, tt.err)
		}
	}
	if got := n.port.Offloads(); got != offload.DefaultState() {
		t.Errorf("after states that were refused: %+v", got)
	}
}

// saturate keeps the shards busy with NVGRE large sends between two more ports
// until stop is set. The function it returns waits for the end.
func saturate(t testing.TB, e *Engine, stop *atomic.Bool) (wait func()) {
	t.Helper()
	from := plug(t, e, 101, nicOptions{features: senderFeatures, size: 64})
	to := plug(t, e, 102, nicOptions{size: 1024})
	must(t, from.port.SetOffloads(withNVGRE()))
	to.send(0, virtio.NetHdr{}, frame(from.mac, to.mac, 60)) // be learned
	from.recv(0)
	n := tunnel{dst: to.mac, src: from.mac, from: 1, to: 2, vsid: 5}
	inner, ask := flow{from: 1, to: 2, sport: 3, dport: 4}.super(t, bytesOf(30_000, 1), 1400)
	b, h := n.carry(t, inner, ask)
	image := from.image(h, b)
	at := from.mem.Write(image)
	tx := from.tx(0)
	for tx.Free() > 0 {
		tx.Add(vringtest.Elem{Addr: at, Len: uint32(len(image))})
	}
	tx.SetInterrupts(false)
	to.rx(0).SetInterrupts(false)
	r := &republisher{tx: tx, rx: to.rx(0), next: to.rx(0).AvailIndex()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for sent := uint16(0); !stop.Load(); runtime.Gosched() {
			if tx.UsedIndex() != sent {
				continue
			}
			r.turn(32, &sent)
			if tx.NeedKick() {
				tx.kick.Signal()
			}
		}
	}()
	return func() {
		<-done
		if got := to.queueStatus(0).Packets; got == 0 {
			t.Error("nothing of the load arrived")
		}
	}
}

// NVGRE is turned on and off at sender and receiver a thousand times while
// large sends and ordinary NVGRE frames go through as fast as they can. Every
// large send arrives whole, in correct segments, or is counted as refused;
// every other frame arrives; and from the moment a change to off returns, no
// checksum is looked at.
//
// Shows: NDIS-034
func TestToggleUnderLoad(t *testing.T) {
	const mss, size, window = 1400, 30_000, 12
	const segments = (size + mss - 1) / mss
	e := newEngine(t, 1)
	a := plug(t, e, 1, nicOptions{features: senderFeatures})
	b := plug(t, e, 2, nicOptions{features: takerFeatures, size: 1024})
	var stop atomic.Bool
	defer saturate(t, e, &stop)()
	defer stop.Store(true)
	b.send(0, virtio.NetHdr{}, frame(a.mac, b.mac, 60)) // be learned
	a.recv(0)
	b.recv(0) // what the other ports were learned by

	var took []time.Duration
	var peeked int
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer stop.Store(true)
		looked := func() StateCounts {
			q := b.port.rx[0]
			q.mu.Lock()
			defer q.mu.Unlock()
			return q.count.checksums.counts().Transport
		}
		for i := range 1000 {
			st := offload.DefaultState()
			if i%2 == 0 {
				st = withNVGRE()
			}
			for _, p := range []*Port{a.port, b.port} {
				start := time.Now()
				if err := p.SetOffloads(st); err != nil {
					t.Error(err)
					return
				}
				took = append(took, time.Since(start))
			}
			before := looked()
			for start := time.Now(); time.Since(start) < 200*time.Microsecond; {
				if i%2 == 1 && looked() != before {
					peeked++
					break
				}
			}
		}
	}()

	f := flow{dst: otherMAC, src: listedMAC, from: 1, to: 2, sport: 3, dport: 4}
	n := tunnel{dst: b.mac, src: a.mac, from: 7, to: 8, vsid: 0x123456}
	payload := bytesOf(size, 5)
	superInner, ask := f.super(t, payload, mss)
	super, h := n.carry(t, superInner, ask)
	const seqAt = 42 + 14 + 20 + 4
	plainFlow := f
	plainFlow.sport = 99
	single := n.encap(t, plainFlow.packet(t, bytesOf(500, 8)))

	var sent, whole, singles, valid, gotSingles int
	parts := map[uint32]int{}
	refused := func() int { return int(a.queueStatus(1).Drops[dropOf(offload.TunnelOff).String()]) }
	receive := func() {
		for _, r := range b.all(0) {
			if bytes.Equal(r.b, single) {
				gotSingles++
				if r.hdr.Flags == virtio.HdrDataValid {
					valid++
				}
				continue
			}
			l4 := checkPacket(t, n.checkTunnel(t, r.b))
			seq := binary.BigEndian.Uint32(l4[4:])
			id, off := seq>>16, int(seq&0xffff)
			if off > size || off%mss != 0 || !bytes.Equal(l4[20:], payload[off:min(off+mss, size)]) {
				t.Fatalf("a segment at %d of super-frame %d with %d bytes is not what was sent", off, id, len(l4)-20)
			}
			if parts[id]++; parts[id] == segments {
				whole++
				delete(parts, id)
			}
		}
	}
	settled := func() bool { return whole+refused() == sent && gotSingles == singles }
	for !stop.Load() && !t.Failed() {
		for range window {
			binary.BigEndian.PutUint32(super[seqAt:], uint32(sent)<<16)
			a.send(0, h, super)
			a.send(0, virtio.NetHdr{}, single)
			sent++
			singles++
		}
		n := sent
		b.wait(fmt.Sprintf("%d super-frames", n), func() bool {
			receive()
			return settled() || t.Failed()
		})
	}
	<-done
	slices.Sort(took)
	t.Logf("%d super-frames: %d arrived, %d refused; %d frames, %d validated; a change took %v at the median, %v at 99 %%, %v at most",
		sent, whole, refused(), gotSingles, valid, took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
	if len(parts) > 0 {
		t.Errorf("%d super-frames arrived in part", len(parts))
	}
	if whole == 0 || refused() == 0 || valid == 0 || valid == gotSingles {
		t.Error("the load did not meet both states")
	}
	if peeked > 0 {
		t.Errorf("checksums were looked at after %d of 500 changes to off had returned", peeked)
	}
	for why, count := range b.dropped() {
		t.Errorf("the receiver dropped %d frames: %s", count, why)
	}
	if median := took[len(took)/2]; median > 10*time.Millisecond {
		t.Errorf("a change took %v at the median, want less than 10 ms", median)
	}
}
