package offload_test

import (
	"bytes"
	"math/rand/v2"
	"net"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/offload/internal/frametest"
	"vhost-user-nvgre/offload/packet"
	"vhost-user-nvgre/virtio"
)

// Buffers of every length around the limits, with headers of every length, in
// pieces down to single bytes: the frame is the same, or the buffer holds none.
//
// Shows: VNET-010, VNET-052
// Hostile: CVE-2022-2132
func TestLoad(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var f offload.Frame
	want := virtio.NetHdr{Flags: 0x81, GSOType: 0x85, HdrLen: 0x1234, GSOSize: 0x2345, CsumStart: 0x3456, CsumOffset: 0x4567}
	for _, hdrLen := range []int{virtio.NetHdrLegacy, virtio.NetHdrSize, virtio.NetHdrHashSize} {
		for _, size := range []int{0, 1, 13, 14, 15, 60, 127, 128, 129, 511, 512, 513, 9014, 65535, offload.MaxFrame, offload.MaxFrame + 1, offload.MaxFrame + 100} {
			b := append(make([]byte, hdrLen), randomBytes(r, size)...)
			want.Encode(b[:hdrLen])
			for layout := range 3 {
				got := f.Load(cut(r, b, layout), hdrLen)
				expected := offload.OK
				switch {
				case size < 14:
					expected = offload.TooShort
				case size > offload.MaxFrame:
					expected = offload.TooLong
				}
				if got != expected {
					t.Fatalf("Load of %d bytes behind a header of %d, layout %d = %v, want %v", size, hdrLen, layout, got, expected)
				}
				if got != offload.OK {
					continue
				}
				if f.Len != size || !bytes.Equal(bytesOf(&f), b[hdrLen:]) || len(f.Head) < 14 {
					t.Errorf("Load of %d bytes behind a header of %d, layout %d: %d bytes in Head, Len %d, frame differs or has another length", size, hdrLen, layout, len(f.Head), f.Len)
				}
				if f.Hdr != want {
					t.Errorf("Load, header of %d, layout %d: %+v, want %+v", hdrLen, layout, f.Hdr, want)
				}
			}
		}
		for size := range hdrLen {
			for layout := range 3 {
				if got := f.Load(cut(r, make([]byte, size), layout), hdrLen); got != offload.TooShort {
					t.Errorf("Load of %d bytes in all, header of %d = %v, want %v", size, hdrLen, got, offload.TooShort)
				}
			}
		}
	}
	if got := f.Load(nil, virtio.NetHdrSize); got != offload.TooShort {
		t.Errorf("Load of no pieces = %v, want %v", got, offload.TooShort)
	}
}

// What Load copied stays, whatever the sender writes afterwards: the header is
// read once.
//
// Hostile: 285e6b8b18
func TestLoadOnce(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	s := frametest.Spec{Proto: frametest.TCP, Payload: randomBytes(r, 3000)}
	b, h := super(r, &s, 1000)
	for layout := range 3 {
		var (
			f offload.Frame
			w offload.Worker
		)
		guest := image(h, b)
		if v := f.Load(cut(r, guest, layout), virtio.NetHdrSize); v != offload.OK {
			t.Fatal(v)
		}
		private := virtio.NetHdrSize + len(f.Head)
		for i := range guest[:private] {
			guest[i] = 0xff
		}
		tx, rx := offload.SenderOf(txAll, stateWith(false)), offload.ReceiverOf(0, stateWith(false))
		got := sink{t: t, r: r, limit: -1}
		if v := w.Admit(&f, &tx); v != offload.OK {
			t.Fatalf("layout %d: Admit = %v", layout, v)
		}
		if v := deliver(&w, &f, &rx, &got); v != offload.OK {
			t.Fatalf("layout %d: Deliver = %v", layout, v)
		}
		want := s.Segments(1000)
		if len(got.frames) != len(want) {
			t.Fatalf("layout %d: %d frames, want %d", layout, len(got.frames), len(want))
		}
		for i := range want {
			if !bytes.Equal(got.frames[i].b, want[i]) {
				t.Errorf("layout %d, segment %d:\n got %x\nwant %x", layout, i, got.frames[i].b, want[i])
			}
		}
	}
}

// The headers found in a frame in pieces are those of the same frame in one,
// however long they are.
func TestInfo(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	var all []frametest.Named
	for i, l := range frametest.Levels(randomBytes(r, 200)) {
		all = append(all, l)
		all = append(all, frametest.Tunnels(l, i%9 == 0)...)
	}
	long := frametest.Spec{V6: true, Proto: frametest.TCP, Payload: make([]byte, 100)}
	for range 4 { // longer than what is made private at once, and than what ever is
		long.Ext = append(long.Ext, frametest.ExtLong)
		all = append(all, frametest.Named{Name: "long", Spec: long})
	}
	for i, c := range all {
		b := c.Spec.Build().Bytes
		var want packet.Info
		packet.Parse(&want, b[:min(len(b), offload.HeadSize)], len(b))
		for layout := range 3 {
			var f offload.Frame
			if v := f.Load(cut(r, image(virtio.NetHdr{}, b), layout), virtio.NetHdrSize); v != offload.OK {
				t.Fatal(v)
			}
			got := f.Info()
			if *got != want {
				t.Errorf("%s (%d), layout %d: Info\n got %+v\nwant %+v", c.Name, i, layout, *got, want)
			}
			if again := f.Info(); again != got {
				t.Errorf("%s: the second Info is another one", c.Name)
			}
			if !bytes.Equal(bytesOf(&f), b) {
				t.Errorf("%s, layout %d: after Info the frame differs", c.Name, layout)
			}
		}
	}
}

// Addresses and the first tag are those that gopacket finds.
func TestEthernet(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for _, tags := range [][]uint16{nil, {0}, {1}, {0x0fff}, {0x6123}, {5, 6}, {0xe001, 7}, {1, 2, 3}} {
		for i := range 4 {
			eth := &layers.Ethernet{DstMAC: randomBytes(r, 6), SrcMAC: randomBytes(r, 6), EthernetType: 0x88b5}
			eth.DstMAC[0], eth.SrcMAC[0] = eth.DstMAC[0]&^1|byte(i&1), eth.SrcMAC[0]&^1|byte(i>>1)
			stack := []gopacket.SerializableLayer{eth}
			next := &eth.EthernetType
			for k, tci := range tags {
				q := &layers.Dot1Q{VLANIdentifier: tci & 0xfff, Priority: uint8(tci >> 13), Type: *next}
				*next = layers.EthernetTypeDot1Q
				if k == 0 && len(tags) > 1 {
					*next = layers.EthernetTypeQinQ
				}
				stack, next = append(stack, q), &q.Type
			}
			buf := gopacket.NewSerializeBuffer()
			if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{}, append(stack, gopacket.Payload(make([]byte, 46)))...); err != nil {
				t.Fatal(err)
			}
			var f offload.Frame
			if v := f.Load(cut(r, image(virtio.NetHdr{}, buf.Bytes()), i%3), virtio.NetHdrSize); v != offload.OK {
				t.Fatal(v)
			}
			e := f.Ethernet()
			var tci uint16
			if len(tags) > 0 {
				tci = tags[0] &^ 0x1000 // gopacket's tag has no DEI bit of its own
			}
			dst := e.DstMAC()
			if !bytes.Equal(dst[:], eth.DstMAC) || e.Tagged() != (len(tags) > 0) || e.TCI != tci || int(e.TagBytes) != 4*min(len(tags), 2) {
				t.Errorf("tags %x: destination %s, tagged %t, TCI %#x, %d bytes of tags; want %s, %t, %#x, %d",
					tags, net.HardwareAddr(dst[:]), e.Tagged(), e.TCI, e.TagBytes, eth.DstMAC, len(tags) > 0, tci, 4*min(len(tags), 2))
			}
			if e.ToGroup() != (i&1 == 1) || e.FromGroup() != (i>>1 == 1) {
				t.Errorf("%s to %s: to a group %t, from one %t", eth.SrcMAC, eth.DstMAC, e.ToGroup(), e.FromGroup())
			}
			// The keys hold address and VLAN.
			if e.Dst&0xfff != uint64(tci&0xfff) || e.Src&0xfff != uint64(tci&0xfff) || e.Src>>16 != key(eth.SrcMAC) || e.Dst>>16 != key(eth.DstMAC) {
				t.Errorf("%s to %s, TCI %#x: keys %#x, %#x", eth.SrcMAC, eth.DstMAC, tci, e.Src, e.Dst)
			}
		}
	}
}

func key(a net.HardwareAddr) (k uint64) {
	for _, b := range a {
		k = k<<8 | uint64(b)
	}
	return k
}
