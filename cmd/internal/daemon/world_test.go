package daemon

import (
	"encoding/binary"
	"slices"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"vhost-user-nvgre/offload/ndis"
	"vhost-user-nvgre/offload/toeplitz"
	"vhost-user-nvgre/offload/toeplitz/toeplitztest"
	"vhost-user-nvgre/virtio"
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

// of returns the hash of a TCP segment, or of a packet with nothing that is
// looked into, and what is reported of it.
func (h *hashes) of(addrs, ports []byte) (hash uint32, report uint16) {
	switch {
	case ports != nil && h.types&typeTCPv4 != 0:
		return toeplitztest.Hash(h.key[:], append(slices.Clone(addrs), ports...)), 2
	case h.types&typeIPv4 != 0:
		return toeplitztest.Hash(h.key[:], addrs), 1
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

func (f flow) frame(t fataler, dst, src virtio.MAC) []byte {
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
