package queues

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"vhost-user-nvgre/virtio"
)

// decoded has gopacket decode a frame and verify its checksums, and returns the
// payload of its transport.
func decoded(t *testing.T, what string, b []byte) []byte {
	t.Helper()
	pkt := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.NoCopy)
	if err := pkt.ErrorLayer(); err != nil {
		t.Fatalf("%s: gopacket: %v\n%x", what, err.Error(), b)
	}
	l4 := pkt.TransportLayer()
	switch l := l4.(type) {
	case *layers.TCP:
		must(t, l.SetNetworkLayerForChecksum(pkt.NetworkLayer()))
	case *layers.UDP:
		must(t, l.SetNetworkLayerForChecksum(pkt.NetworkLayer()))
	default:
		t.Fatalf("%s: gopacket finds no transport\n%x", what, b)
	}
	if err, bad := pkt.VerifyChecksums(); err != nil || len(bad) > 0 {
		t.Fatalf("%s: gopacket: checksums %+v, %v\n%x", what, bad, err, b)
	}
	return l4.LayerPayload()
}

// What a sender leaves open is done for a receiver that does not take it, and
// handed on to one that does: through the rings, from any pieces into small
// buffers and large ones, to several receivers at once.
//
// Shows: VNET-042, VNET-046, VNET-063, VNET-064, VNET-065, VNET-066, VNET-068, VNET-070, VNET-140
func TestUnfinishedFrames(t *testing.T) {
	e := newStill(t, 1)
	a := plug(t, e, 1, nicOptions{features: senderFeatures | virtio.FeatureHostECN})
	receivers := []struct {
		n          *nic
		tso4, tso6 bool
		uso4, uso6 bool
		ecn        bool
	}{
		{n: plug(t, e, 2, nicOptions{})},
		{n: plug(t, e, 3, nicOptions{features: baseFeatures &^ virtio.FeatureMrgRxbuf, rxBuf: 1600})},
		{n: plug(t, e, 4, nicOptions{features: baseFeatures | virtio.FeatureGuestCSUM, rxBuf: 128, size: 1024})},
		{n: plug(t, e, 5, nicOptions{features: takerFeatures}), tso4: true, tso6: true, uso4: true, uso6: true},
		{n: plug(t, e, 6, nicOptions{features: takerFeatures | virtio.FeatureGuestECN}), tso4: true, tso6: true, uso4: true, uso6: true, ecn: true},
		{n: plug(t, e, 7, nicOptions{features: baseFeatures | virtio.FeatureGuestCSUM | virtio.FeatureGuestTSO4}), tso4: true},
		{n: plug(t, e, 8, nicOptions{features: baseFeatures | virtio.FeatureGuestCSUM | virtio.FeatureGuestUSO6}), uso6: true},
	}
	for i, f := range []flow{
		{fin: true, psh: true},
		{v6: true, psh: true},
		{udp: true},
		{udp: true, v6: true},
		{vlan: 7, cwr: true, id: 0x7fff},
		{vlan: 7, v6: true, udp: true},
		{udp: true, noUDPSum: true},
		{options: []layers.TCPOption{{OptionType: 8, OptionLength: 10, OptionData: make([]byte, 8)}}},
		{v6: true, cwr: true},
	} {
		f.dst, f.src, f.from, f.to, f.sport, f.dport, f.seq = groupMAC, a.mac, 1, 2, 3, 4, 1<<32-1000
		for _, size := range []int{20, 101, 1400, 1401, 20_000} {
			for _, mss := range []int{0, 1400} { // 0: only the checksum is open
				if mss == 0 && (size > 1400 || f.noUDPSum) {
					continue
				}
				payload := bytesOf(size, uint64(i))
				sent, h := f.partial(t, payload)
				if mss != 0 {
					sent, h = f.super(t, payload, mss)
					if f.noUDPSum {
						sent[f.l4()+6], sent[f.l4()+7] = 0, 0
					}
					if f.cwr {
						h.GSOType |= virtio.GSOECN
					}
				}
				a.send(0, h, sent, []int{1, 11, 3, 500, 7, 9000}[i%6:]...)
				a.reaped(0)
				for _, r := range receivers {
					what := fmt.Sprintf("%+v, %d bytes by %d, receiver %s", f, size, mss, r.n.f)
					takes := r.n.f.Has(virtio.FeatureGuestCSUM)
					switch {
					case mss == 0:
					case f.udp && f.v6:
						takes = r.uso6
					case f.udp:
						takes = r.uso4
					case f.v6:
						takes = r.tso6
					default:
						takes = r.tso4
					}
					takes = takes && (mss == 0 || !f.cwr || r.ecn)
					list := r.n.all(0)
					if takes {
						want := h
						want.HdrLen = uint16(len(sent) - size)
						if mss == 0 {
							want.HdrLen = h.CsumStart + h.CsumOffset + 2
						}
						if len(list) != 1 || !bytes.Equal(list[0].b, sent) {
							t.Fatalf("%s: %d frames, want it as it was sent", what, len(list))
						}
						want.NumBuffers = list[0].hdr.NumBuffers
						if list[0].hdr != want {
							t.Errorf("%s: header %+v, want %+v", what, list[0].hdr, want)
						}
						continue
					}
					var got []byte
					for k, d := range list {
						part := decoded(t, what, d.b)
						if mss != 0 && len(part) != mss && k < len(list)-1 {
							t.Errorf("%s: segment %d has %d bytes", what, k, len(part))
						}
						got = append(got, part...)
						want := virtio.NetHdr{NumBuffers: d.hdr.NumBuffers}
						if r.n.f.Has(virtio.FeatureGuestCSUM) {
							want.Flags = virtio.HdrDataValid
						}
						if d.hdr != want {
							t.Errorf("%s: segment %d has the header %+v, want %+v", what, k, d.hdr, want)
						}
						if zero := d.b[f.l4()+f.csumOffset()]|d.b[f.l4()+f.csumOffset()+1] == 0; f.udp && zero != f.noUDPSum {
							t.Errorf("%s: segment %d without UDP checksum: %t, want %t", what, k, zero, f.noUDPSum)
						}
					}
					if n := max(1, (size+1399)/1400); !bytes.Equal(got, payload) || mss != 0 && len(list) != n {
						t.Errorf("%s: %d frames with %d bytes, want %d with what was sent", what, len(list), len(got), n)
					}
				}
			}
		}
	}
}

// A super-frame's buffer goes back when all of its segments are where they
// belong, or given up; never does a part of it arrive.
//
// Shows: NDIS-152, VNET-062
func TestSuperFrameCompletes(t *testing.T) {
	for _, room := range []int{0, 1, 4} {
		e := newStill(t, 1)
		a, b := plug(t, e, 1, nicOptions{features: senderFeatures}), plug(t, e, 2, nicOptions{rxBuf: noBuffers})
		b.send(0, virtio.NetHdr{}, frame(a.mac, b.mac, 60)) // be learned
		a.recv(0)
		for range room {
			b.rx(0).room(2048)
		}
		payload := bytesOf(5*1000, 3)
		image, h := flow{dst: b.mac, src: a.mac, udp: true, from: 1, to: 2, sport: 3, dport: 4}.super(t, payload, 1000)
		a.send(0, h, image)
		b.silent(0)
		if n := a.reap(0); n != 0 {
			t.Errorf("room for %d of 5 datagrams: the buffer came back before they had left", n)
		}
		for range 5 - room {
			b.rx(0).room(2048)
		}
		var got []byte
		for _, f := range b.all(0) {
			got = append(got, decoded(t, "datagram", f.b)...)
		}
		if !bytes.Equal(got, payload) {
			t.Errorf("room for %d, then for all: %d bytes came, want the %d that were sent", room, len(got), len(payload))
		}
		a.reaped(0)
		if q := b.queueStatus(0); q.Packets != 5 || len(q.Drops) != 0 {
			t.Errorf("counted %d datagrams and the drops %v, want 5 and none", q.Packets, q.Drops)
		}
		// Nobody makes room.
		for b.rx(0).Free() < 256 {
			b.port.StopQueue(0)
			b.startRing(0, 0)
		}
		a.send(0, h, image)
		if n := a.reap(0); n != 0 {
			t.Errorf("no room: the buffer came back at once")
		}
		e.start = e.start.Add(-2 * parkLimit)
		settle(e)
		if n := a.reap(0); n != 1 {
			t.Errorf("no room for long: %d buffers came back, want the one", n)
		}
		b.silent(0)
		b.drops(dropRxFull, 1)
	}
}
