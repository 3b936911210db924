package daemon

import (
	"context"
	"slices"
	"syscall"
	"testing"

	"vhost-user-nvgre/cmd/internal/config"
	"vhost-user-nvgre/vhostuser/frontendtest"
	"vhost-user-nvgre/virtio"
)

// A reload changes a port's offloads under its front end, and leaves alone
// what was set at run time; the status shows what is operational and what was
// found out of received frames.
func TestReloadOffloads(t *testing.T) {
	r := run(t, func(dir string, s *config.Settings) {
		s.Ports = []config.Port{portIn(dir, "a"), portIn(dir, "b")}
	})
	a := r.attach("a", frontendtest.Options{})
	b := r.attach("b", frontendtest.Options{})
	if _, p := r.status("b"); slices.Contains(p.Offloads, "nvgre_lso") || !slices.Contains(p.Offloads, "lso_ipv4") {
		t.Errorf("offloads at first: %v", p.Offloads)
	}
	if err := r.client.SetLink(context.Background(), "b", false); err != nil {
		t.Fatal(err)
	}
	if err := r.client.SetLink(context.Background(), "b", true); err != nil {
		t.Fatal(err)
	}
	next := portIn(r.dir, "b")
	next.NVGRE, next.RxChecksum, next.USO = true, true, false
	r.next.Ports = []config.Port{portIn(r.dir, "a"), next}
	r.signals <- syscall.SIGHUP
	want := []string{
		"lso_ipv4", "lso_ipv6", "rx_checksum_ipv4", "rx_checksum_tcp_ipv4", "rx_checksum_udp_ipv4", "rx_checksum_tcp_ipv6", "rx_checksum_udp_ipv6",
		"nvgre_tx_checksum", "nvgre_rx_checksum", "nvgre_lso", "nvgre_uso", "nvgre_rss", "nvgre_vmq",
	}
	r.until("at the new offloads", func() bool { _, p := r.status("b"); return slices.Equal(p.Offloads, want) })
	if _, p := r.status("a"); slices.Contains(p.Offloads, "nvgre_lso") {
		t.Errorf("offloads of the other port: %v", p.Offloads)
	}

	// An IPv4 packet of protocol 253 without payload, its header checksum
	// wrong.
	pa, pb := portIn(r.dir, "a"), portIn(r.dir, "b")
	packet := frame(pb.Address(), pa.Address(), 34)
	copy(packet[12:], []byte{8, 0, 0x45, 0, 0, 20, 0, 0, 0, 0, 64, 253, 1, 2, 192, 0, 2, 1, 192, 0, 2, 2})
	a.TX[0].MustSend(t, virtio.NetHdr{}, packet)
	if got := b.RX[0].MustRecv(t); !slices.Equal(got.Data, packet) || got.Hdr.Flags != 0 {
		t.Errorf("b received %+v, want the packet as it is with flags 0", got)
	}
	_, p := r.status("b")
	if q := queueOf(p, 0); q.Checksums == nil || q.Checksums.OuterIP.Bad != 1 || q.Checksums.OuterIP.Good != 0 {
		t.Errorf("b's receive queue: %+v with checksums %+v, want one bad outer IP header", q, q.Checksums)
	}
}
