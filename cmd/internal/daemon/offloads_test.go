package daemon

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"vhost-user-nvgre/cmd/internal/config"
	"vhost-user-nvgre/cmd/internal/control"
	"vhost-user-nvgre/offload/ndis"
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
		"nvgre_tx_checksum", "nvgre_rx_checksum", "nvgre_lso", "nvgre_rss", // UDP segmentation is off in tunnels too
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

// A setting that cannot be put into force stays as it was, and the next reload
// tries again.
func TestReloadFails(t *testing.T) {
	var state string
	r := run(t, func(dir string, s *config.Settings) {
		state = filepath.Join(dir, "state")
		s.StateDir, s.Ports = state, []config.Port{portIn(dir, "b"), portIn(dir, "mark")}
	})
	r.attach("b", frontendtest.Options{})
	c := r.admin("b")
	// Settings take the place of keywords, which are kept in a file.
	r.setOID(c, ndis.OIDTCPOffloadParameters, &ndis.OffloadParameters{LSOv2IPv4: ndis.SwitchEnabled})
	r.next.Ports = slices.Clone(r.next.Ports)
	r.next.Ports[0].LSO = false
	sends := func() bool { _, p := r.status("b"); return slices.Contains(p.Offloads, "lso_ipv4") }
	reload := func() {
		t.Helper()
		r.next.Ports = slices.Clone(r.next.Ports)
		up := !r.next.Ports[1].LinkUp
		r.next.Ports[1].LinkUp = up // comes last, and shows when it is done
		r.signals <- syscall.SIGHUP
		r.until("reloaded", func() bool { _, p := r.status("mark"); return p.LinkUp == up })
	}
	for _, err := range []error{os.Rename(state, state+".away"), os.WriteFile(state, nil, 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	reload()
	if !sends() {
		t.Error("large send is off although that could not be remembered")
	}
	if err := os.Remove(state); err != nil {
		t.Fatal(err)
	}
	reload()
	if sends() {
		t.Error("large send is on after a reload that nothing was in the way of")
	}
}

// Segments that come together are coalesced at a port whose settings say so,
// and counted.
func TestCoalescing(t *testing.T) {
	const segments, size = 10, 100
	r := run(t, func(dir string, s *config.Settings) {
		b := portIn(dir, "b")
		b.RSC, b.URO = true, true
		s.Ports = []config.Port{portIn(dir, "a"), b}
	})
	const lacking = virtio.FeatureHostUSO | virtio.FeatureGuestUSO4 | virtio.FeatureGuestUSO6 | virtio.FeatureGuestTSO6
	for _, tt := range []struct {
		driver virtio.Features
		want   []string
	}{
		{frontendtest.DriverFeatures &^ lacking, []string{"lso_ipv4", "lso_ipv6", "rsc_ipv4"}},
		{frontendtest.DriverFeatures, []string{"lso_ipv4", "lso_ipv6", "uso_ipv4", "uso_ipv6", "rsc_ipv4", "rsc_ipv6", "uro"}},
	} {
		f := r.attach("b", frontendtest.Options{Style: frontendtest.Generic, Features: tt.driver})
		if _, p := r.status("b"); !slices.Equal(p.Offloads, tt.want) {
			t.Errorf("offloads: %v, want those that the driver can have, %v", p.Offloads, tt.want)
		}
		f.Close()
		r.until("without a driver", func() bool { _, p := r.status("b"); return !p.FrontEnd.Connected && len(p.Offloads) == 0 })
	}
	a, b := r.attach("a", frontendtest.Options{}), r.attach("b", frontendtest.Options{})
	pa, pb := portIn(r.dir, "a"), portIn(r.dir, "b")
	src, dst := pa.Address(), pb.Address()
	for n := range segments {
		eth := &layers.Ethernet{SrcMAC: src[:], DstMAC: dst[:], EthernetType: layers.EthernetTypeIPv4}
		ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: net.IP{192, 0, 2, 1}, DstIP: net.IP{192, 0, 2, 2}}
		tcp := &layers.TCP{SrcPort: 1, DstPort: 2, Seq: uint32(n * size), ACK: true}
		if err := tcp.SetNetworkLayerForChecksum(ip); err != nil {
			t.Fatal(err)
		}
		buf := gopacket.NewSerializeBuffer()
		options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
		if err := gopacket.SerializeLayers(buf, options, eth, ip, tcp, gopacket.Payload(make([]byte, size))); err != nil {
			t.Fatal(err)
		}
		if ok, err := a.TX[0].Add(virtio.NetHdr{}, buf.Bytes()); !ok || err != nil {
			t.Fatalf("Add = %v, %v", ok, err)
		}
	}
	if err := a.TX[0].Publish(); err != nil {
		t.Fatal(err)
	}
	got := b.RX[0].MustRecv(t)
	if got.Hdr.GSOType != virtio.GSOTCPv4 || got.Hdr.GSOSize != size || len(got.Data) != 54+segments*size {
		t.Errorf("b received %d bytes, %+v; want %d segments as one", len(got.Data), got.Hdr, segments)
	}
	_, p := r.status("b")
	want := control.Coalescing{Packets: segments, Octets: segments * size, Events: 1}
	if q := queueOf(p, 0); q.Coalescing == nil || *q.Coalescing != want {
		t.Errorf("b's receive queue: %+v with coalescing %+v, want %+v", q, q.Coalescing, want)
	}
}
