package daemon

import (
	"encoding/binary"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"pgregory.net/rapid"

	"vhost-user-nvgre/cmd/internal/config"
	"vhost-user-nvgre/cmd/internal/oid"
	"vhost-user-nvgre/offload/ndis"
	"vhost-user-nvgre/offload/toeplitz"
	"vhost-user-nvgre/vhostuser/frontendtest"
	"vhost-user-nvgre/vhostuser/wire"
	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/ctrl"
)

const syncPairs = 4

// Hash types of virtio.
const (
	typeIPv4  = 1 << 0
	typeTCPv4 = 1 << 1
)

// hashes are a key and the types of packets that have a hash.
type hashes struct {
	key   [ndis.HashKeySize]byte
	types uint32
}

// toeplitzOf is the hash by its definition, bit by bit.
func (h *hashes) toeplitzOf(input []byte) (hash uint32) {
	for i := range 8 * len(input) {
		if input[i/8]<<(i%8)&0x80 == 0 {
			continue
		}
		for j := range 32 {
			hash ^= uint32(h.key[(i+j)/8]<<((i+j)%8)&0x80) >> 7 << (31 - j)
		}
	}
	return hash
}

// of returns the hash of a TCP segment, or of a packet with nothing that is
// looked into, and what is reported of it.
func (h *hashes) of(addrs, ports []byte) (hash uint32, report uint16) {
	switch {
	case ports != nil && h.types&typeTCPv4 != 0:
		return h.toeplitzOf(append(slices.Clone(addrs), ports...)), 2
	case h.types&typeIPv4 != 0:
		return h.toeplitzOf(addrs), 1
	}
	return 0, 0
}

// world is what the three writers of a port's state have made of it: settings,
// OIDs, and commands of the driver, whoever came last.
type world struct {
	// Settings.
	nvgreSet, rxSet bool

	pairs    int // in use
	rss      *hashes
	byDriver bool
	table    []uint16
	rest     uint16  // pair of frames without a hash
	hash     *hashes // reported without RSS
	// hashByDriver says that it is not an OID's.
	hashByDriver bool
	inner        bool // HASH_TUNNEL
	noSums       bool // GUEST_OFFLOADS_SET without checksums
	nvgre        bool
	framing      string // "", "on", "off", or "tunnels"
}

func start(nvgre, rx bool) world {
	w := world{nvgreSet: nvgre, rxSet: rx, pairs: 1, nvgre: nvgre}
	switch {
	case rx:
		w.framing = "on"
	case nvgre:
		w.framing = "tunnels"
	}
	return w
}

// flow is a TCP flow, in NVGRE packets or not.
type flow struct {
	port      uint16
	tunnelled bool
}

var (
	innerFrom, innerTo = []byte{192, 0, 2, 1}, []byte{192, 0, 2, 2}
	outerFrom, outerTo = []byte{198, 51, 100, 1}, []byte{198, 51, 100, 2}
)

func (f flow) frame(t *rapid.T, dst, src virtio.MAC) []byte {
	eth := func() *layers.Ethernet {
		return &layers.Ethernet{SrcMAC: src[:], DstMAC: dst[:], EthernetType: layers.EthernetTypeIPv4}
	}
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: innerFrom, DstIP: innerTo}
	tcp := &layers.TCP{SrcPort: layers.TCPPort(f.port), DstPort: 80, ACK: true}
	if err := tcp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	list := []gopacket.SerializableLayer{eth(), ip, tcp, gopacket.Payload(make([]byte, 20))}
	if f.tunnelled {
		outer := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolGRE, SrcIP: outerFrom, DstIP: outerTo}
		gre := &layers.GRE{KeyPresent: true, Key: 0x123456 << 8, Protocol: layers.EthernetTypeTransparentEthernetBridging}
		list = append([]gopacket.SerializableLayer{eth(), outer, gre}, list...)
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, list...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// hashedBy returns a flow's hash.
func (w *world) hashedBy(h *hashes, f flow) (hash uint32, report uint16) {
	addrs := append(slices.Clone(innerFrom), innerTo...)
	ports := binary.BigEndian.AppendUint16(nil, f.port)
	ports = binary.BigEndian.AppendUint16(ports, 80)
	operational := w.nvgre && w.framing != "off"
	if f.tunnelled && !w.inner && !(operational && h.types&typeTCPv4 != 0) {
		return h.of(append(slices.Clone(outerFrom), outerTo...), nil)
	}
	return h.of(addrs, ports)
}

// expected is what a frame is to arrive as.
type expected struct {
	pair   int
	hash   uint32
	report uint16
	valid  bool
}

func (w *world) expect(f flow) (e expected) {
	h := w.hash
	if w.rss != nil {
		h = w.rss
	}
	if h != nil {
		e.hash, e.report = w.hashedBy(h, f)
	}
	switch {
	case w.rss == nil:
		even := hashes{toeplitz.DefaultKey(), typeIPv4 | typeTCPv4}
		hash, _ := w.hashedBy(&even, f)
		e.pair = int(hash%128) % w.pairs
	default:
		e.pair = int(w.rest)
		if e.report != 0 {
			e.pair = int(w.table[int(e.hash)%len(w.table)])
		}
		if e.pair >= w.pairs && !w.byDriver {
			e.pair %= w.pairs
		}
	}
	on := w.framing == "on"
	if f.tunnelled {
		on = w.nvgre && (on || w.framing == "tunnels")
	}
	e.valid = on && !w.noSums
	return e
}

// syncRig is a port with all its writers.
type syncRig struct {
	*running
	from, to *frontendtest.Frontend
	c        *oid.Client
	src, dst virtio.MAC
	marked   bool
}

func newSyncRig(t *testing.T, change func(*config.Port)) *syncRig {
	t.Helper()
	s := &syncRig{}
	s.running = run(t, func(dir string, all *config.Settings) {
		all.Ports = []config.Port{portIn(dir, "a"), syncPort(dir)}
		if change != nil {
			change(&all.Ports[1])
		}
		s.src, s.dst = all.Ports[0].Address(), all.Ports[1].Address()
	})
	s.from = s.attach("a", frontendtest.Options{})
	s.c = s.admin("b")
	s.connect()
	return s
}

func syncPort(dir string) config.Port {
	p := portIn(dir, "b")
	p.QueuePairs = syncPairs
	return p
}

// connect lets another driver begin.
func (s *syncRig) connect() {
	s.t.Helper()
	if s.to != nil {
		s.to.Close()
		s.until("without a driver", func() bool { _, p := s.status("b"); return !p.FrontEnd.Connected })
	}
	s.to = s.attach("b", frontendtest.Options{
		Style: frontendtest.Generic, QueuePairs: syncPairs, MaxFrame: 2000,
		Features: frontendtest.DriverFeatures&^(virtio.FeatureGuestTSO4|virtio.FeatureGuestTSO6) | virtio.FeatureHashTunnel,
	})
	if !s.to.Features.Has(virtio.FeatureRSS | virtio.FeatureHashReport | virtio.FeatureHashTunnel | virtio.FeatureCtrlGuestOffload) {
		s.t.Fatalf("negotiated %s", s.to.Features)
	}
	if err := s.to.SetQueuePairs(1); err != nil {
		s.t.Fatal(err)
	}
}

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// command is the driver's.
func (s *syncRig) command(t fataler, c ctrl.Command) {
	t.Helper()
	class, cmd := c.Code()
	if ack, err := s.to.Ctrl.Command(class, cmd, c.AppendData(nil), patience); err != nil || ack != 0 {
		t.Fatalf("%T: answer %d, %v", c, ack, err)
	}
}

// set is a protocol driver's.
func (s *syncRig) set(t fataler, o ndis.OID, p ndis.Structure) {
	t.Helper()
	if err := s.c.Set(s.t.Context(), o, p); err != nil {
		t.Fatalf("%v", err)
	}
}

// settings are the administrator's: a reload. The third port shows when it is
// done.
func (s *syncRig) settings(t fataler, nvgre, rx bool) {
	t.Helper()
	b := syncPort(s.dir)
	b.NVGRE, b.RxChecksum = nvgre, rx
	s.next.Ports = []config.Port{portIn(s.dir, "a"), b}
	if s.marked = !s.marked; s.marked {
		s.next.Ports = append(s.next.Ports, portIn(s.dir, "mark"))
	}
	s.signals <- syscall.SIGHUP
	s.until("reloaded", func() bool { _, p := s.status("mark"); return (p != nil) == s.marked })
}

// arrives sends a frame and returns where and how it comes.
func (s *syncRig) arrives(t *rapid.T, f flow) expected {
	b := f.frame(t, s.dst, s.src)
	if err := s.from.TX[0].Send(virtio.NetHdr{}, b, patience); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Microsecond) {
		for i, q := range s.to.RX {
			got, err := q.Recv(0)
			if err != nil {
				continue
			}
			if !slices.Equal(got.Data, b) {
				t.Fatalf("%+v arrived as %x, want %x", f, got.Data, b)
			}
			return expected{i, got.Hdr.HashValue, got.Hdr.HashReport, got.Hdr.Flags&virtio.HdrDataValid != 0}
		}
	}
	t.Fatalf("%+v does not arrive", f)
	return expected{}
}

// check compares what frames get and what OIDs show with the world.
func (s *syncRig) check(t *rapid.T, w *world) {
	for _, tunnelled := range []bool{false, true} {
		f := flow{port: rapid.Uint16().Draw(t, "port"), tunnelled: tunnelled}
		if got, want := s.arrives(t, f), w.expect(f); got != want {
			t.Fatalf("%+v arrives as %+v, want %+v", f, got, want)
		}
	}
	var p ndis.ReceiveScaleParameters
	if err := s.c.Query(s.t.Context(), ndis.OIDReceiveScaleParameters, &p); err != nil {
		t.Fatal(err)
	}
	if w.rss == nil {
		if p.HashInformation != 0 {
			t.Fatalf("RSS is shown as %+v, want none", p)
		}
	} else {
		var table []uint16
		for _, n := range p.Table {
			table = append(table, uint16(n.Number))
		}
		if !slices.Equal(table, w.table) || !slices.Equal(p.Key, w.rss.key[:]) || uint16(p.DefaultProcessor.Number) != w.rest || p.HashInformation != infoOf(w.rss.types) {
			t.Fatalf("RSS is shown as %+v, want %+v", p, w)
		}
	}
	var h ndis.ReceiveHashParameters
	if err := s.c.Query(s.t.Context(), ndis.OIDReceiveHash, &h); err != nil {
		t.Fatal(err)
	}
	on := w.rss == nil && w.hash != nil && w.hash.types != 0
	if on != (h.Flags == ndis.ReceiveHashEnable) || on && (h.HashInformation != infoOf(w.hash.types) || !slices.Equal(h.Key, w.hash.key[:])) {
		t.Fatalf("the hash is shown as %+v, want %+v", h, w.hash)
	}
	var now ndis.Offload
	if err := s.c.Query(s.t.Context(), ndis.OIDTCPOffloadCurrentConfig, &now); err != nil {
		t.Fatal(err)
	}
	off := w.framing == "off"
	if got, want := now.Checksum.IPv4Receive.TCPChecksum.On(), !off && !w.noSums; got != want {
		t.Fatalf("receive checksums are configured: %t, want %t", got, want)
	}
	if got, want := now.EncapsulationTypes == ndis.EncapsulationGREMAC, w.nvgre && !off; got != want {
		t.Fatalf("NVGRE is active: %t, want %t", got, want)
	}
	if w.inner && now.GRE.RSS != ndis.AllFamilies {
		t.Fatalf("with the inner hash RSS of NVGRE is configured for %s", now.GRE.RSS)
	}
	if last, ok := s.indicated(t); ok && last != now {
		t.Fatalf("indicated last: %+v, want %+v", last, now)
	}
}

func infoOf(types uint32) ndis.HashInformation {
	info := ndis.HashToeplitz
	if types&typeIPv4 != 0 {
		info |= ndis.HashIPv4
	}
	if types&typeTCPv4 != 0 {
		info |= ndis.HashTCPIPv4
	}
	return info
}

// indicated returns the current configuration as it was indicated last, if it
// was.
func (s *syncRig) indicated(t fataler) (last ndis.Offload, any bool) {
	for {
		select {
		case i := <-s.c.Indications():
			if i.Status != ndis.StatusTaskOffloadCurrentConfig {
				continue
			}
			if any = true; last.Decode(i.Body) != nil {
				t.Fatalf("indicated: %x", i.Body)
			}
		default:
			return last, any
		}
	}
}

// step has one of the writers do something.
func (s *syncRig) step(t *rapid.T, w *world) {
	types := func(label string) uint32 { return rapid.Uint32Range(0, 3).Draw(t, label) }
	key := func() (k [ndis.HashKeySize]byte) {
		copy(k[:], rapid.SliceOfN(rapid.Byte(), len(k), len(k)).Draw(t, "key"))
		return k
	}
	table := func() []uint16 {
		n := 1 << rapid.IntRange(0, 7).Draw(t, "bits")
		return rapid.SliceOfN(rapid.Uint16Range(0, syncPairs-1), n, n).Draw(t, "table")
	}
	pair := func(label string) uint16 { return rapid.Uint16Range(0, syncPairs-1).Draw(t, label) }
	toggle := func() (bool, ndis.Toggle) {
		on := rapid.Bool().Draw(t, "on")
		return on, map[bool]ndis.Toggle{true: ndis.SetOn, false: ndis.SetOff}[on]
	}
	switch what := rapid.SampledFrom([]string{
		"RSS_CONFIG", "HASH_CONFIG", "VQ_PAIRS_SET", "HASH_TUNNEL", "GUEST_OFFLOADS_SET",
		"OID RSS", "OID RSS key", "OID RSS off", "OID hash", "OID NVGRE", "OID framing", "settings", "restart",
	}).Draw(t, "what"); what {
	case "RSS_CONFIG":
		h := hashes{key(), types("types")}
		w.rss, w.byDriver, w.hash, w.table, w.rest, w.pairs = &h, true, nil, table(), pair("unclassified"), int(1+pair("pairs"))
		s.command(t, ctrl.RSS{HashTypes: h.types, Table: w.table, Unclassified: w.rest, MaxTxVQ: uint16(w.pairs), Key: h.key[:]})
	case "HASH_CONFIG":
		h := hashes{key(), types("types")}
		w.rss, w.hash, w.hashByDriver = nil, &h, true
		s.command(t, ctrl.HashConfig{HashTypes: h.types, Key: h.key[:]})
	case "VQ_PAIRS_SET":
		if w.rss != nil {
			w.rss, w.hash, w.hashByDriver = nil, w.rss, true
		}
		w.pairs = int(1 + pair("pairs"))
		s.command(t, ctrl.Pairs{N: uint16(w.pairs)})
	case "HASH_TUNNEL":
		w.inner = rapid.Bool().Draw(t, "inner")
		s.command(t, ctrl.HashTunnel{Types: map[bool]uint32{true: ctrl.TunnelNVGRE}[w.inner]})
	case "GUEST_OFFLOADS_SET":
		w.noSums = rapid.Bool().Draw(t, "without checksums")
		s.command(t, ctrl.GuestOffloads{On: map[bool]virtio.Features{false: virtio.FeatureGuestCSUM}[w.noSums]})
	case "OID RSS", "OID RSS key":
		p := ndis.ReceiveScaleParameters{Revision: 3, DefaultProcessor: ndis.ProcessorNumber{Number: uint8(w.rest)}}
		h := hashes{key: key()}
		if what == "OID RSS key" && w.rss != nil && w.rss.types != 0 {
			p.Flags = ndis.RSSHashInfoUnchanged | ndis.RSSTableUnchanged | ndis.RSSDefaultProcessorUnchanged
			h.types = w.rss.types
		} else {
			h.types = 1 + types("types")%3
			w.table, w.rest = table(), pair("default")
			p.HashInformation, p.DefaultProcessor.Number = infoOf(h.types), uint8(w.rest)
			for _, n := range w.table {
				p.Table = append(p.Table, ndis.ProcessorNumber{Number: uint8(n)})
			}
		}
		p.Key = h.key[:]
		if w.rss == nil && w.hash != nil && !w.hashByDriver {
			// It excludes RSS.
			s.set(t, ndis.OIDReceiveHash, &ndis.ReceiveHashParameters{})
		}
		w.rss, w.byDriver, w.hash = &h, false, nil
		s.set(t, ndis.OIDReceiveScaleParameters, &p)
	case "OID RSS off":
		w.rss = nil
		s.set(t, ndis.OIDReceiveScaleParameters, &ndis.ReceiveScaleParameters{Flags: ndis.RSSDisable})
	case "OID hash":
		if w.rss != nil && !w.byDriver {
			return // which excludes it
		}
		h := hashes{key(), 1 + types("types")%3}
		w.rss, w.hash, w.hashByDriver = nil, &h, false
		s.set(t, ndis.OIDReceiveHash, &ndis.ReceiveHashParameters{Flags: ndis.ReceiveHashEnable, HashInformation: infoOf(h.types), Key: h.key[:]})
	case "OID NVGRE":
		on, v := toggle()
		p := ndis.OffloadParameters{EncapsulatedTaskOffload: v, Flags: ndis.SkipRegistryUpdate}
		if w.nvgre = on; on {
			p.EncapsulationTypes = ndis.EncapsulationGREMAC
		}
		s.set(t, ndis.OIDTCPOffloadParameters, &p)
	case "OID framing":
		on, v := toggle()
		f := ndis.FamilyFraming{Enabled: v}
		if w.framing = "off"; on {
			w.framing, f.Encapsulation, f.HeaderSize = "on", ndis.FramingIEEE8023, 14
		}
		s.set(t, ndis.OIDOffloadEncapsulation, &ndis.OffloadEncapsulation{IPv4: f, IPv6: f})
	case "settings":
		nvgre, rx := rapid.Bool().Draw(t, "nvgre"), rapid.Bool().Draw(t, "rx-checksum")
		fresh := start(nvgre, rx)
		switch {
		case rx != w.rxSet:
			w.framing = fresh.framing
		case nvgre != w.nvgreSet && w.framing != "on" && (nvgre || w.framing == "tunnels"):
			w.framing = fresh.framing
		}
		if nvgre != w.nvgreSet {
			w.nvgre = nvgre
		}
		w.nvgreSet, w.rxSet = nvgre, rx
		s.settings(t, nvgre, rx)
	case "restart":
		*w = start(w.nvgreSet, w.rxSet)
		s.connect()
	}
}

// The driver's commands, OIDs and settings change one state: what each frame
// gets and what OIDs show is what whoever came last wants, in any order.
//
// Shows: VNET-084, VNET-085, VNET-087, VNET-090, VNET-092, VNET-099, VNET-140, NDIS-064, NDIS-066, NDIS-069
// Shows: NDIS-082, NDIS-086, NDIS-088, NDIS-097, NDIS-182, NDIS-183, NDIS-188, NDIS-189, NDIS-191, NDIS-194
func TestWriters(t *testing.T) {
	s := newSyncRig(t, nil)
	rapid.Check(t, func(rt *rapid.T) {
		s.settings(rt, false, false)
		s.connect()
		w := start(false, false)
		s.check(rt, &w)
		for range rapid.IntRange(1, 15).Draw(rt, "steps") {
			s.step(rt, &w)
			s.check(rt, &w)
		}
	})
}

// Each writer is told of what the others change: those who listen to OIDs by
// an indication that is there before the driver's command is completed, the
// driver by a change of its configuration when its own choice is replaced.
func TestWritersAreTold(t *testing.T) {
	s := newSyncRig(t, nil)
	key := make([]byte, ndis.HashKeySize)
	s.indicated(t)
	told := func(what string, want bool) {
		t.Helper()
		// The response to a request comes behind indications made before it.
		var p ndis.ReceiveScaleParameters
		if err := s.c.Query(t.Context(), ndis.OIDReceiveScaleParameters, &p); err != nil {
			t.Fatal(err)
		}
		if _, got := s.indicated(t); got != want {
			t.Errorf("%s: indicated: %t, want %t", what, got, want)
		}
	}
	driver := func(what string, want bool) {
		t.Helper()
		if err := s.to.Conn.Sync(); err != nil {
			t.Fatal(err)
		}
		deadline := time.After(50 * time.Millisecond)
		if want {
			deadline = time.After(patience)
		}
		got := false
		select {
		case r := <-s.to.BackendRequests:
			got = r == wire.BackendConfigChange
		case <-deadline:
		}
		if got != want {
			t.Errorf("%s: the driver is told: %t, want %t", what, got, want)
		}
	}
	theirs := ctrl.RSS{HashTypes: 2, Table: []uint16{1}, MaxTxVQ: 4, Key: key}
	ours := &ndis.ReceiveScaleParameters{HashInformation: ndis.HashToeplitz | ndis.HashTCPIPv4, Table: []ndis.ProcessorNumber{{Number: 2}}, Key: key}
	for i, tt := range []struct {
		c    ctrl.Command
		want bool
	}{
		{theirs, true},
		{theirs, false},
		{ctrl.HashTunnel{Types: ctrl.TunnelNVGRE}, true},
		{ctrl.HashTunnel{Types: ctrl.TunnelNVGRE}, false},
		{ctrl.GuestOffloads{}, true},
		{ctrl.GuestOffloads{}, false},
		{ctrl.GuestOffloads{On: virtio.FeatureGuestCSUM}, true},
		{ctrl.RX{Mode: ctrl.Promisc, On: true}, false},
		{ctrl.Pairs{N: 4}, true},
		{ctrl.HashConfig{}, true},
		{ctrl.HashConfig{}, false},
		{theirs, true},
	} {
		s.command(t, tt.c)
		told(fmt.Sprintf("command %d, %T", i, tt.c), tt.want)
	}
	driver("commands", false)
	s.set(t, ndis.OIDTCPOffloadParameters, &ndis.OffloadParameters{LSOv2IPv4: ndis.SwitchDisabled})
	driver("large send off", false)
	s.set(t, ndis.OIDReceiveScaleParameters, ours)
	driver("RSS by OID", true)
	s.set(t, ndis.OIDReceiveScaleParameters, ours)
	driver("RSS by OID again", false)
	s.indicated(t)
	s.settings(t, true, false)
	told("nvgre in the settings", true)
}
