package gso_test

import (
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"vhost-user-nvgre/offload/packet"
)

// decode has gopacket decode a frame and verify every checksum in it.
func decode(t *testing.T, what string, frame []byte) gopacket.Packet {
	t.Helper()
	pkt := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.NoCopy)
	if err := pkt.ErrorLayer(); err != nil {
		t.Fatalf("%s: gopacket: %v\n%x", what, err.Error(), frame)
	}
	var net gopacket.NetworkLayer
	for _, layer := range pkt.Layers() {
		switch v := layer.(type) {
		case gopacket.NetworkLayer:
			net = v
		case interface {
			SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
		}:
			if err := v.SetNetworkLayerForChecksum(net); err != nil {
				t.Fatalf("%s: gopacket: %v", what, err)
			}
		}
	}
	err, bad := pkt.VerifyChecksums()
	if err != nil {
		t.Fatalf("%s: gopacket: %v", what, err)
	}
	var p packet.Info
	packet.Parse(&p, frame, len(frame))
	// gopacket does not know home addresses.
	if len(bad) > 0 && p.Innermost().HomeAddr == 0 {
		t.Fatalf("%s: gopacket finds bad checksums: %+v\n%x", what, bad, frame)
	}
	if pkt.Metadata().Truncated {
		t.Fatalf("%s: gopacket finds the frame truncated\n%x", what, frame)
	}
	return pkt
}
