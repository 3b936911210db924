package loadgen

import (
	"encoding/binary"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"vhost-user-nvgre/virtio"
)

// finish does what a device does with NEEDS_CSUM: it sums from csum_start to the
// end, seed included (VIRTIO 1.4, section "Packet Transmission").
func finish(f *frame) []byte {
	b := append([]byte{}, f.bytes...)
	sum := uint32(0)
	for i := int(f.hdr.CsumStart); i < len(b); i += 2 {
		sum += uint32(b[i]) << 8
		if i+1 < len(b) {
			sum += uint32(b[i+1])
		}
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(b[f.hdr.CsumStart+f.hdr.CsumOffset:], ^uint16(sum))
	return b
}

func TestFrames(t *testing.T) {
	for _, kind := range Kinds() {
		for _, size := range []int{kinds[kind].headers + tagSize, 200, 1401} {
			t.Run(string(kind), func(t *testing.T) {
				f, err := newFrame(kind, size, 100, 3)
				if err != nil {
					t.Fatalf("newFrame(%s, %d): %v", kind, size, err)
				}
				if len(f.bytes) != size {
					t.Errorf("newFrame(%s, %d) has %d bytes", kind, size, len(f.bytes))
				}
				p := gopacket.NewPacket(f.final, layers.LayerTypeEthernet, gopacket.Default)
				if e := p.ErrorLayer(); e != nil {
					t.Fatalf("%s of %d bytes does not decode: %v", kind, size, e.Error())
				}
				if got, want := len(f.bytes)-len(p.ApplicationLayer().Payload()), kinds[kind].headers; got != want {
					t.Errorf("%s has headers of %d bytes, want %d", kind, got, want)
				}
				if !f.spec.partial {
					return
				}
				if f.hdr.Flags != virtio.HdrNeedsCsum {
					t.Errorf("%s has header flags 0x%x, want NEEDS_CSUM", kind, f.hdr.Flags)
				}
				if err := differ("finished frame", finish(f), f.final); err != nil {
					t.Errorf("%s: %v", kind, err)
				}
			})
		}
	}
}
