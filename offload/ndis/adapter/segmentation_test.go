package adapter_test

import (
	"testing"

	"vhost-user-nvgre/offload/ndis"
)

// Segmentation goes on when the transmit checksums that it includes are turned
// off as offloads of their own.
//
// Shows: NDIS-138, NDIS-150
func TestSegmentationWithoutChecksums(t *testing.T) {
	r := newRig(t, config())
	r.set(ndis.OIDOffloadEncapsulation, framed(ndis.SetOn), ndis.StatusSuccess)
	r.parameters(nvgreOn, ndis.StatusSuccess)
	before := r.operational()
	r.parameters(ndis.OffloadParameters{
		IPv4Checksum: ndis.ChecksumRx, TCPIPv4Checksum: ndis.ChecksumRx, UDPIPv4Checksum: ndis.ChecksumRx,
		TCPIPv6Checksum: ndis.ChecksumRx, UDPIPv6Checksum: ndis.ChecksumRx,
	}, ndis.StatusSuccess)
	after := r.operational()
	if !after.LSOv4 || !after.LSOv6 || !after.USOv4 || !after.USOv6 || after.NVGRE.LSO != before.NVGRE.LSO || after.NVGRE.USO != before.NVGRE.USO {
		t.Errorf("operational without transmit checksums: %v, before: %v; want the same segmentation", after.Names(), before.Names())
	}
	if after.NVGRE.TxChecksum != 0 {
		t.Errorf("operational without transmit checksums: NVGRE %+v, want none", after.NVGRE)
	}
}
