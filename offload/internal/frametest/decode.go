package frametest

import (
	"fmt"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// Decode has gopacket decode a frame and verify every checksum in it. Of
// packets with a home address, which gopacket does not know, the checksums are
// not looked at.
func Decode(frame []byte, home bool) (gopacket.Packet, error) {
	pkt := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.NoCopy)
	if err := pkt.ErrorLayer(); err != nil {
		return nil, fmt.Errorf("gopacket: %w\n%x", err.Error(), frame)
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
				return nil, fmt.Errorf("gopacket: %w", err)
			}
		}
	}
	err, bad := pkt.VerifyChecksums()
	if err != nil {
		return nil, fmt.Errorf("gopacket: %w", err)
	}
	if len(bad) > 0 && !home {
		return nil, fmt.Errorf("gopacket finds bad checksums: %+v\n%x", bad, frame)
	}
	if pkt.Metadata().Truncated {
		return nil, fmt.Errorf("gopacket finds the frame truncated\n%x", frame)
	}
	return pkt, nil
}
