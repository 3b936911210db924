package gso_test

import (
	"testing"

	"github.com/gopacket/gopacket"

	"vhost-user-nvgre/offload/internal/frametest"
	"vhost-user-nvgre/offload/packet"
)

// decode has gopacket decode a frame and verify every checksum in it.
func decode(t *testing.T, what string, frame []byte) gopacket.Packet {
	t.Helper()
	var p packet.Info
	packet.Parse(&p, frame, len(frame))
	pkt, err := frametest.Decode(frame, p.Innermost().HomeAddr != 0)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	return pkt
}
