package daemon

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/mdlayher/vsock"

	"vhost-user-nvgre/cmd/internal/config"
	"vhost-user-nvgre/cmd/internal/oid"
	"vhost-user-nvgre/offload/ndis"
	"vhost-user-nvgre/offload/ndis/adapter"
	"vhost-user-nvgre/vhostuser/frontendtest"
	"vhost-user-nvgre/virtio"
)

// fakeVsock is a Unix listener that says of all its peers that they are one
// guest.
type fakeVsock struct {
	net.Listener
	cid uint32
}

type fakeVsockConn struct {
	net.Conn
	cid uint32
}

func (l fakeVsock) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return fakeVsockConn{c, l.cid}, err
}

func (c fakeVsockConn) RemoteAddr() net.Addr { return &vsock.Addr{ContextID: c.cid, Port: 5000} }

// A guest reaches its port also when that is the first one for a guest and was
// added by a reload. While it cannot be listened for guests the port is not
// made, and the next reload tries again.
func TestReloadFirstCID(t *testing.T) {
	const cid = 42
	path, attempts := filepath.Join(t.TempDir(), "vsock"), 0
	listenVsock = func(port uint32) (net.Listener, error) {
		if attempts++; attempts == 1 {
			return nil, errors.New("AF_VSOCK is not to be had")
		}
		if attempts > 2 || port != oid.DefaultPort {
			t.Errorf("attempt %d to listen, at port %d, want 2 attempts, at %d", attempts, port, oid.DefaultPort)
		}
		l, err := net.Listen("unix", path)
		return fakeVsock{l, cid}, err
	}
	t.Cleanup(func() { listenVsock = oid.ListenVsock })
	r := run(t, func(dir string, s *config.Settings) { s.Ports = []config.Port{portIn(dir, "a")} })
	for i, name := range []string{"b", "c"} {
		p := portIn(r.dir, name)
		p.OIDCID = cid + uint32(i)
		r.next.Ports = append(r.next.Ports, p)
	}
	r.signals <- syscall.SIGHUP
	r.until("at c", func() bool { _, p := r.status("c"); return p != nil })
	if _, p := r.status("b"); p != nil {
		t.Error("port b is there although no guest can reach it")
	}
	r.signals <- syscall.SIGHUP
	r.until("at b", func() bool { _, p := r.status("b"); return p != nil })
	if got := r.dialOID(path, "", false).Port(); got != "b" {
		t.Errorf("the guest with context id %d reaches port %q, want b", cid, got)
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := oid.Connect(t.Context(), conn, "c", false); !errors.Is(err, oid.ErrRefused) {
		t.Errorf("the same guest asks for port c: %v, want %v", err, oid.ErrRefused)
	}
}

// Whoever speaks with a port that a reload takes away is told so, and does not
// speak with, nor write keywords for, another port of that name.
func TestRemovedPortEndsItsClients(t *testing.T) {
	r := run(t, func(dir string, s *config.Settings) {
		s.Ports = []config.Port{portIn(dir, "a"), portIn(dir, "b")}
	})
	c := r.admin("b")
	all := r.next.Ports
	for n, ports := range [][]config.Port{all[:1], all} {
		r.next.Ports = ports
		r.signals <- syscall.SIGHUP
		r.until("reloaded", func() bool { _, p := r.status("b"); return (p != nil) == (n == 1) })
	}
	for range c.Indications() { // until the end
	}
	var o ndis.Offload
	if err := c.Query(t.Context(), ndis.OIDTCPOffloadCurrentConfig, &o); !errors.Is(err, oid.ErrRefused) || !strings.Contains(err.Error(), "port b has been removed") {
		t.Errorf("a query of the port that was there: %v, want to be told that it has been removed", err)
	}
	if err := r.admin("b").Query(t.Context(), ndis.OIDTCPOffloadHardwareCaps, &o); err != nil {
		t.Errorf("a query of the port that is there: %v", err)
	}
}

// dialOID connects to the adapter of a port at a socket.
func (r *running) dialOID(socket, port string, watch bool) *oid.Client {
	r.t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		r.t.Fatal(err)
	}
	c, err := oid.Connect(r.t.Context(), conn, port, watch)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		c.Close()
		for range c.Indications() { // until its goroutine has ended
		}
	})
	return c
}

func (r *running) admin(port string) *oid.Client {
	r.t.Helper()
	return r.dialOID(oid.AdminSocket(filepath.Join(r.dir, "control.sock")), port, true)
}

func (r *running) setOID(c *oid.Client, o ndis.OID, s ndis.Structure) {
	r.t.Helper()
	if err := c.Set(r.t.Context(), o, s); err != nil {
		r.t.Fatal(err)
	}
}

// tcpFrame returns a TCP segment, in an NVGRE packet if outer is not nil.
func tcpFrame(t *testing.T, dst, src virtio.MAC, nvgre bool) []byte {
	t.Helper()
	eth := func() *layers.Ethernet {
		return &layers.Ethernet{SrcMAC: src[:], DstMAC: dst[:], EthernetType: layers.EthernetTypeIPv4}
	}
	ip := func(p layers.IPProtocol) *layers.IPv4 {
		return &layers.IPv4{Version: 4, TTL: 64, Protocol: p, SrcIP: net.IP{192, 0, 2, 1}, DstIP: net.IP{192, 0, 2, 2}}
	}
	inner := ip(layers.IPProtocolTCP)
	tcp := &layers.TCP{SrcPort: 1, DstPort: 2, ACK: true}
	if err := tcp.SetNetworkLayerForChecksum(inner); err != nil {
		t.Fatal(err)
	}
	list := []gopacket.SerializableLayer{eth(), inner, tcp, gopacket.Payload(make([]byte, 100))}
	if nvgre {
		gre := &layers.GRE{KeyPresent: true, Key: 0x123456 << 8, Protocol: layers.EthernetTypeTransparentEthernetBridging}
		list = append([]gopacket.SerializableLayer{eth(), ip(layers.IPProtocolGRE), gre}, list...)
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, list...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

var framingOn = &ndis.OffloadEncapsulation{
	IPv4: ndis.FamilyFraming{Enabled: ndis.SetOn, Encapsulation: ndis.FramingIEEE8023, HeaderSize: 14},
	IPv6: ndis.FamilyFraming{Enabled: ndis.SetOn, Encapsulation: ndis.FramingIEEE8023, HeaderSize: 14},
}

// Frames get what the state says, after each step of the life cycle: whether
// checksums are validated outside and inside the tunnel is seen in what the
// driver is told of a frame.
//
// Shows: NDIS-026, NDIS-027, NDIS-034, NDIS-035, NDIS-057, NDIS-082, NDIS-088, NDIS-089, NDIS-096
func TestOIDsReachFrames(t *testing.T) {
	var state string
	r := run(t, func(dir string, s *config.Settings) {
		state = filepath.Join(dir, "state")
		s.StateDir = state
		s.Ports = []config.Port{portIn(dir, "a"), portIn(dir, "b")}
	})
	a, b := r.attach("a", frontendtest.Options{}), r.attach("b", frontendtest.Options{})
	c := r.admin("b")
	pa, pb := portIn(r.dir, "a"), portIn(r.dir, "b")
	plain, tunnelled := tcpFrame(t, pb.Address(), pa.Address(), false), tcpFrame(t, pb.Address(), pa.Address(), true)
	check := func(when string, wantPlain, wantTunnelled bool) {
		t.Helper()
		for i, frame := range [][]byte{plain, tunnelled} {
			a.TX[0].MustSend(t, virtio.NetHdr{}, frame)
			got := b.RX[0].MustRecv(t)
			valid := got.Hdr.Flags&virtio.HdrDataValid != 0
			if want := []bool{wantPlain, wantTunnelled}[i]; valid != want || !slices.Equal(got.Data, frame) {
				t.Errorf("%s, frame %d: validated %t, want %t and the frame as it was", when, i, valid, want)
			}
		}
	}
	nvgre := func(on bool) {
		t.Helper()
		p := &ndis.OffloadParameters{EncapsulatedTaskOffload: ndis.SetOff}
		if on {
			p = &ndis.OffloadParameters{EncapsulatedTaskOffload: ndis.SetOn, EncapsulationTypes: ndis.EncapsulationGREMAC}
		}
		r.setOID(c, ndis.OIDTCPOffloadParameters, p)
	}
	check("at first", false, false)
	nvgre(true)
	check("with NVGRE on and no framing", false, false)
	r.setOID(c, ndis.OIDOffloadEncapsulation, framingOn)
	check("with framing on", true, true)
	if _, p := r.status("b"); !slices.Contains(p.Offloads, "nvgre_lso") || !slices.Contains(p.Offloads, "rx_checksum_tcp_ipv4") {
		t.Errorf("status: offloads %v, want NVGRE and receive checksums", p.Offloads)
	}
	nvgre(false)
	check("with NVGRE off", true, false) // a packet without a transport that could be validated
	r.setOID(c, ndis.OIDTCPOffloadParameters, &ndis.OffloadParameters{TCPIPv4Checksum: ndis.ChecksumTx, LSOv2IPv4: ndis.SwitchDisabled})
	check("with TCP off", false, false)
	off := ndis.FamilyFraming{Enabled: ndis.SetOff}
	r.setOID(c, ndis.OIDOffloadEncapsulation, &ndis.OffloadEncapsulation{IPv4: off, IPv6: off})
	check("with framing off", false, false)

	// Each step was indicated, the driver's start too.
	seen := 0
	for end := time.After(patience); seen < 5; {
		select {
		case i := <-c.Indications():
			if i.Status == ndis.StatusTaskOffloadCurrentConfig {
				seen++
			}
		case <-end:
			t.Fatalf("%d indications of the configuration, want 5", seen)
		}
	}

	// What was set is kept, and what another driver finds.
	kept, err := os.ReadFile(filepath.Join(state, "b.keywords.json"))
	if err != nil || !strings.Contains(string(kept), `"*LsoV2IPv4": 0`) {
		t.Errorf("keywords kept: %s, %v, want *LsoV2IPv4 0", kept, err)
	}
	b.Close()
	r.until("without a driver", func() bool { _, p := r.status("b"); return !p.FrontEnd.Connected })
	r.attach("b", frontendtest.Options{})
	var now ndis.Offload
	if err := c.Query(t.Context(), ndis.OIDTCPOffloadCurrentConfig, &now); err != nil || now.LSOv2.IPv4.Encapsulation != 0 || now.LSOv2.IPv6.Encapsulation == 0 {
		t.Errorf("configuration of another driver: %+v, %v, want no LSOv2 of IPv4", now.LSOv2, err)
	}
	r.until("at the start again", func() bool {
		_, p := r.status("b")
		return slices.Contains(p.Offloads, "lso_ipv6") && !slices.Contains(p.Offloads, "lso_ipv4")
	})
}

// An OID changes what it is about. What the port's settings say of the rest
// stays in force, also what a reload has changed since the driver's start.
func TestOIDsLeaveSettingsAlone(t *testing.T) {
	r := run(t, func(dir string, s *config.Settings) {
		b := portIn(dir, "b")
		b.NVGRE = true
		s.Ports = []config.Port{portIn(dir, "a"), b}
	})
	r.attach("b", frontendtest.Options{})
	c := r.admin("b")
	r.setOID(c, ndis.OIDTCPOffloadParameters, &ndis.OffloadParameters{LSOv2IPv4: ndis.SwitchDisabled})
	_, p := r.status("b")
	for name, want := range map[string]bool{"lso_ipv4": false, "lso_ipv6": true, "rx_checksum_ipv4": false, "nvgre_rx_checksum": true} {
		if slices.Contains(p.Offloads, name) != want {
			t.Errorf("%s in force: %t, want %t; all: %v", name, !want, want, p.Offloads)
		}
	}
	next := portIn(r.dir, "b")
	next.NVGRE, next.USO = true, false
	r.next.Ports = []config.Port{portIn(r.dir, "a"), next}
	r.signals <- syscall.SIGHUP
	r.until("without USO", func() bool { _, p := r.status("b"); return !slices.Contains(p.Offloads, "uso_ipv4") })
	r.setOID(c, ndis.OIDTCPOffloadParameters, &ndis.OffloadParameters{LSOv2IPv6: ndis.SwitchDisabled})
	if _, p := r.status("b"); slices.Contains(p.Offloads, "uso_ipv4") || slices.Contains(p.Offloads, "lso_ipv6") {
		t.Errorf("in force: %v, want neither USO nor LSO for IPv6", p.Offloads)
	}
}

// Receive filters lead frames to the queue pairs of their queues, and ones that
// were refused, or whose queue is gone, lead none.
//
// Shows: NDIS-204, NDIS-208, NDIS-210, NDIS-216, NDIS-228, NDIS-231
func TestFiltersByOID(t *testing.T) {
	r := run(t, func(dir string, s *config.Settings) {
		b := portIn(dir, "b")
		b.QueuePairs, b.VMQ = 2, true
		s.Ports = []config.Port{portIn(dir, "a"), b}
	})
	a, b := r.attach("a", frontendtest.Options{}), r.attach("b", frontendtest.Options{QueuePairs: 2})
	c := r.admin("b")
	pa := portIn(r.dir, "a")
	station := virtio.MAC{2, 0, 0, 0, 0, 9}
	arrives := func(when string, queue int) {
		t.Helper()
		f := frame(station, pa.Address(), 60)
		a.TX[0].MustSend(t, virtio.NetHdr{}, f)
		if got := b.RX[queue].MustRecv(t); !slices.Equal(got.Data, f) {
			t.Errorf("%s: %x on queue %d, want %x", when, got.Data, queue, f)
		}
	}
	method := func(o ndis.OID, s ndis.Structure) {
		t.Helper()
		resp, err := c.Do(t.Context(), adapter.Request{Type: adapter.Method, OID: o, Input: s.Encode(), OutputLength: oid.MaxOutput})
		if err != nil || resp.Status != ndis.StatusSuccess {
			t.Fatalf("%s: %s %s, %v", o, resp.Status, resp.Detail, err)
		}
		if err := s.Decode(resp.Output); err != nil {
			t.Fatal(err)
		}
	}
	arrives("without filters", 0)
	q := ndis.ReceiveQueueParameters{Type: ndis.QueueTypeVMQueue, Affinity: ndis.Affinity{Mask: 2}}
	method(ndis.OIDFilterAllocateQueue, &q)
	p := ndis.ReceiveFilterParameters{Type: ndis.FilterVMQueue, QueueID: q.QueueID, Fields: []ndis.FilterField{ndis.DestinationIs(station, 0)}}
	method(ndis.OIDFilterSetFilter, &p)
	arrives("before the allocation is complete", 0)
	method(ndis.OIDFilterAllocationComplete, &ndis.AllocationCompleteArray{Queues: []ndis.AllocationComplete{{QueueID: q.QueueID}}})
	arrives("running", 1)

	// A filter that has everything but room for its answer.
	refused, other := p, virtio.MAC{2, 0, 0, 0, 0, 8}
	refused.FilterID, refused.Fields = 0, []ndis.FilterField{ndis.DestinationIs(other, 0)}
	in := refused.Encode()
	resp, err := c.Do(t.Context(), adapter.Request{Type: adapter.Method, OID: ndis.OIDFilterSetFilter, Input: in, OutputLength: len(in) - 1})
	if err != nil || resp.Status != ndis.StatusInvalidLength || resp.BytesNeeded != len(in) {
		t.Errorf("filter without room for the answer: %s, %d bytes needed, %v; want %s, %d", resp.Status, resp.BytesNeeded, err, ndis.StatusInvalidLength, len(in))
	}
	f := frame(other, pa.Address(), 60)
	a.TX[0].MustSend(t, virtio.NetHdr{}, f)
	if got := b.RX[0].MustRecv(t); !slices.Equal(got.Data, f) {
		t.Errorf("a refused filter: %x on queue 0, want %x", got.Data, f)
	}
	r.setOID(c, ndis.OIDFilterClearFilter, &ndis.ReceiveFilterClearParameters{QueueID: q.QueueID, FilterID: p.FilterID})
	arrives("cleared", 0)
	r.setOID(c, ndis.OIDFilterFreeQueue, &ndis.ReceiveQueueFreeParameters{QueueID: q.QueueID})
	if err := c.Set(t.Context(), ndis.OIDFilterFreeQueue, &ndis.ReceiveQueueFreeParameters{QueueID: q.QueueID}); err == nil {
		t.Error("a queue was freed twice")
	}
	arrives("queue freed", 0)
}

// RSS parameters set by OID reach the data path, and a wrong set does not.
func TestRSSByOID(t *testing.T) {
	r := run(t, func(dir string, s *config.Settings) {
		b := portIn(dir, "b")
		b.QueuePairs = 2
		s.Ports = []config.Port{portIn(dir, "a"), b}
	})
	a, b := r.attach("a", frontendtest.Options{}), r.attach("b", frontendtest.Options{QueuePairs: 2})
	c := r.admin("b")
	pa, pb := portIn(r.dir, "a"), portIn(r.dir, "b")
	f := tcpFrame(t, pb.Address(), pa.Address(), false)
	for _, pair := range []uint8{1, 0, 1} {
		table := []ndis.ProcessorNumber{{Number: pair}, {Number: pair}}
		r.setOID(c, ndis.OIDReceiveScaleParameters, &ndis.ReceiveScaleParameters{
			HashInformation: ndis.HashToeplitz | ndis.HashTCPIPv4, Table: table, Key: make([]byte, ndis.HashKeySize),
		})
		a.TX[0].MustSend(t, virtio.NetHdr{}, f)
		if got := b.RX[pair].MustRecv(t); !slices.Equal(got.Data, f) {
			t.Errorf("queue %d: %x, want %x", pair, got.Data, f)
		}
	}
}

// OID_GEN_STATISTICS counts what went over the port, the driver before
// included.
func TestStatisticsByOID(t *testing.T) {
	r := run(t, func(dir string, s *config.Settings) {
		s.Ports = []config.Port{portIn(dir, "a"), portIn(dir, "b")}
	})
	a, b := r.attach("a", frontendtest.Options{}), r.attach("b", frontendtest.Options{})
	pa, pb := portIn(r.dir, "a"), portIn(r.dir, "b")
	for _, dst := range []virtio.MAC{pb.Address(), {255, 255, 255, 255, 255, 255}, {0x33, 0x33, 0, 0, 0, 1}} {
		a.TX[0].MustSend(t, virtio.NetHdr{}, frame(dst, pa.Address(), 100))
		b.RX[0].MustRecv(t)
	}
	sent := ndis.Statistics{
		Supported: ndis.AllStatistics, OutOctets: 300, OutUcastPkts: 1, OutMulticastPkts: 1, OutBroadcastPkts: 1,
		OutUcastOctets: 100, OutMulticastOctets: 100, OutBroadcastOctets: 100,
	}
	received := ndis.Statistics{
		Supported: ndis.AllStatistics, InOctets: 300, InUcastPkts: 1, InMulticastPkts: 1, InBroadcastPkts: 1,
		InUcastOctets: 100, InMulticastOctets: 100, InBroadcastOctets: 100,
	}
	check := func(port string, want ndis.Statistics) {
		t.Helper()
		var got ndis.Statistics
		if err := r.admin(port).Query(t.Context(), ndis.OIDStatistics, &got); err != nil || got != want {
			t.Errorf("statistics of %s: %+v, %v, want %+v", port, got, err, want)
		}
	}
	check("a", sent)
	check("b", received)
	b.Close()
	r.until("without a driver", func() bool { _, p := r.status("b"); return !p.FrontEnd.Connected })
	check("b", received)
}

// Who reaches which port.
func TestOIDSockets(t *testing.T) {
	r := run(t, func(dir string, s *config.Settings) {
		b := portIn(dir, "b")
		b.OIDSocket = filepath.Join(dir, "b.oid")
		s.Ports = []config.Port{portIn(dir, "a"), b}
	})
	own := filepath.Join(r.dir, "b.oid")
	if c := r.dialOID(own, "", false); c.Port() != "b" {
		t.Errorf("the port's own socket leads to %q, want b", c.Port())
	}
	for _, tt := range []struct{ socket, port, want string }{
		{own, "a", "port a cannot be reached here"},
		{oid.AdminSocket(filepath.Join(r.dir, "control.sock")), "zzz", "there is no such port"},
		{oid.AdminSocket(filepath.Join(r.dir, "control.sock")), "", "there is no such port"},
	} {
		conn, err := net.Dial("unix", tt.socket)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := oid.Connect(context.Background(), conn, tt.port, false); !errors.Is(err, oid.ErrRefused) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("port %q at %s: %v, want a refusal with %q", tt.port, tt.socket, err, tt.want)
		}
	}
}

// Keywords in a file that cannot be are refused at start.
func TestBadKeywords(t *testing.T) {
	file := keywordsFile(t.TempDir(), "a")
	for _, text := range []string{"{", `{"*Nonsense": 1}`, `{"*LsoV2IPv4": 7}`} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if k, err := readKeywords(file); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v, %v, want an error that names the file", text, k, err)
		}
	}
	if err := writeKeywords(file, adapter.Keywords{"*LsoV2IPv4": 0}); err != nil {
		t.Fatal(err)
	}
	if k, err := readKeywords(file); err != nil || k["*LsoV2IPv4"] != 0 || len(k) != 1 {
		t.Errorf("%v, %v, want what was written", k, err)
	}
	if left, err := os.ReadDir(filepath.Dir(file)); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
