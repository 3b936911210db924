package queues

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/offload/toeplitz/toeplitztest"
	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/ctrl"
)

// rssFeatures are those of a driver that configures everything about hashes.
const rssFeatures = ctrlFeatures&^virtio.FeatureCtrlVLAN | virtio.FeatureMQ | virtio.FeatureRSS | virtio.FeatureHashReport | virtio.FeatureHashTunnel

// hashOf returns the hash that virtio's text prescribes for the packet, and
// what is to be reported of it.
func (f *flow) hashOf(key []byte, types uint32) (hash uint32, report uint16) {
	src, dst := f.addrs()
	input := append(append([]byte{}, src...), dst...)
	ip, transport := 0, 1 // bits of the types
	if f.v6 {
		ip = 3
	}
	if f.udp {
		transport = 2
	}
	transport += ip
	ports := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, f.sport), f.dport)
	switch {
	case types>>transport&1 != 0 && f.fragment == 0:
		return toeplitztest.Hash(key, append(input, ports...)), uint16(transport + 1)
	case types>>ip&1 != 0:
		return toeplitztest.Hash(key, input), uint16(ip + 1)
	}
	return 0, 0
}

// randomFlow returns a flow between two stations.
func randomFlow(rnd *rand.Rand, dst, src virtio.MAC) flow {
	f := flow{
		dst: dst, src: src, v6: rnd.IntN(2) == 0, udp: rnd.IntN(2) == 0,
		from: byte(rnd.Uint32()), to: byte(rnd.Uint32()), sport: uint16(rnd.Uint32()), dport: uint16(rnd.Uint32()),
	}
	if !f.v6 && rnd.IntN(5) == 0 {
		f.fragment = []uint16{0x2000, 0x2005, 0x0005}[rnd.IntN(3)]
	}
	return f
}

// randomRSS returns a configuration for a number of queue pairs.
func randomRSS(rnd *rand.Rand, pairs int) ctrl.RSS {
	c := ctrl.RSS{
		HashTypes: rnd.Uint32N(0x40), Unclassified: uint16(rnd.IntN(pairs)), MaxTxVQ: uint16(1 + rnd.IntN(pairs)),
		Table: make([]uint16, 1<<rnd.IntN(8)), Key: make([]byte, 40),
	}
	for i := range c.Table {
		c.Table[i] = uint16(rnd.IntN(pairs))
	}
	for i := range c.Key {
		c.Key[i] = byte(rnd.Uint32())
	}
	return c
}

// queueOf returns the pair that a configuration chooses.
func queueOf(c *ctrl.RSS, hash uint32, report uint16) int {
	if report == 0 {
		return int(c.Unclassified)
	}
	return int(c.Table[hash%uint32(len(c.Table))])
}

// expect sends a frame and wants it in one receive queue with a hash, and none
// elsewhere.
func expect(t *testing.T, what string, from, to *nic, b []byte, pair int, hash uint32, report uint16) {
	t.Helper()
	from.send(0, virtio.NetHdr{}, b)
	for i := range to.port.QueuePairs() {
		got := to.all(i)
		if i != pair {
			if len(got) > 0 {
				t.Errorf("%s: came on pair %d, want %d", what, i, pair)
			}
			continue
		}
		want := virtio.NetHdr{NumBuffers: 1, HashValue: hash, HashReport: report}
		if len(got) != 1 || !bytes.Equal(got[0].b, b) || got[0].hdr != want {
			t.Errorf("%s: on pair %d came %+v, want one frame with header %+v", what, i, got, want)
		}
	}
}

// Frames go where key, types and table say, and bring the hash with them,
// whatever the driver chose.
//
// Shows: VNET-085, VNET-087, VNET-090, VNET-091, VNET-092, VNET-093, VNET-095, VNET-051
// Shows: NDIS-180, NDIS-182, NDIS-183, NDIS-184, NDIS-185, NDIS-188, NDIS-191
func TestRSSConfig(t *testing.T) {
	const pairs = 4
	rnd := rand.New(rand.NewPCG(1, 2))
	e := newStill(t, 1)
	a := plug(t, e, 1, nicOptions{})
	b := plug(t, e, 2, nicOptions{features: rssFeatures, pairs: pairs})
	b.startCtrl()
	first := flow{dst: b.mac, src: a.mac, from: 1, to: 2, sport: 3, dport: 4}
	expect(t, "after a reset", a, b, first.packet(t, nil), 0, 0, 0)
	for i := range fewer(40) {
		c := randomRSS(rnd, pairs)
		b.mustDo(c)
		for range 25 {
			f := randomFlow(rnd, b.mac, a.mac)
			hash, report := f.hashOf(c.Key, c.HashTypes)
			what := fmt.Sprintf("configuration %d, types %#x, %d entries, %+v", i, c.HashTypes, len(c.Table), f)
			expect(t, what, a, b, f.packet(t, bytesOf(40, 1)), queueOf(&c, hash, report), hash, report)
		}
		expect(t, "no IP", a, b, frame(b.mac, a.mac, 60), int(c.Unclassified), 0, 0)
		// Of the transmit queues as many are in use as it says.
		for pair := range pairs {
			before := b.dropped()[dropTxDisabled.String()]
			b.send(pair, virtio.NetHdr{}, frame(a.mac, b.mac, 60))
			refused := b.dropped()[dropTxDisabled.String()] != before
			if got := len(a.all(0)) == 1; got == refused || got != (pair < int(c.MaxTxVQ)) {
				t.Errorf("configuration %d: a frame sent on pair %d arrived: %t, with max_tx_vq %d", i, pair, got, c.MaxTxVQ)
			}
		}
	}
}

// An encapsulated packet is hashed by its outer addresses until NVGRE is
// operational, then by the inner ones and ports if there are any; with virtio's
// inner hash by the inner headers whatever they are. VSID and FlowID have no
// influence.
//
// Shows: NDIS-062, NDIS-063, NDIS-064, NDIS-066, NDIS-069, VNET-097, VNET-098, VNET-099, VNET-100
func TestRSSEncapsulated(t *testing.T) {
	const pairs = 3
	rnd := rand.New(rand.NewPCG(3, 4))
	for _, nvgre := range []bool{false, true} {
		for _, inner := range []bool{false, true} {
			e := newStill(t, 1)
			a := plug(t, e, 1, nicOptions{})
			b := plug(t, e, 2, nicOptions{features: rssFeatures, pairs: pairs})
			b.startCtrl()
			if nvgre {
				must(t, b.port.SetOffloads(withNVGRE()))
			}
			c := randomRSS(rnd, pairs)
			c.HashTypes = 0x3f
			b.mustDo(c, ctrl.HashTunnel{Types: ctrl.TunnelNVGRE})
			if !inner {
				b.mustDo(ctrl.HashTunnel{})
			}
			for range fewer(200) {
				f := randomFlow(rnd, otherMAC, listedMAC)
				n := tunnel{
					dst: b.mac, src: a.mac, v6: rnd.IntN(2) == 0, from: byte(rnd.Uint32()), to: byte(rnd.Uint32()),
					vsid: rnd.Uint32N(1 << 24), flow: byte(rnd.Uint32()),
				}
				outer := flow{v6: n.v6, from: n.from, to: n.to, fragment: 1}
				var input []byte
				if n.v6 {
					input = append(append([]byte{0xfd, 0xf0, 15: n.from}, 0xfd, 0xf0), make([]byte, 14)...)
					input[31] = n.to
				} else {
					input = []byte{192, 0, 2, n.from, 192, 0, 2, n.to}
				}
				hash, report := toeplitztest.Hash(c.Key, input), uint16(1)
				if n.v6 {
					report = 4
				}
				if inner || nvgre && f.fragment == 0 {
					hash, report = f.hashOf(c.Key, c.HashTypes)
				}
				what := fmt.Sprintf("NVGRE %t, inner hash %t, %+v in %+v", nvgre, inner, f, outer)
				expect(t, what, a, b, n.encap(t, f.packet(t, bytesOf(40, 1))), queueOf(&c, hash, report), hash, report)
				// No IP in it.
				hash, report = toeplitztest.Hash(c.Key, input), uint16(1)
				if n.v6 {
					report = 4
				}
				if inner {
					hash, report = 0, 0
				}
				expect(t, what+", no IP", a, b, n.encap(t, frame(otherMAC, listedMAC, 60)), queueOf(&c, hash, report), hash, report)
			}
		}
	}
}

// The hash is that of the whole packet on every segment, and on frames that
// are finished or validated on their way.
//
// Shows: VNET-090
func TestHashOfWork(t *testing.T) {
	key := bytesOf(40, 77)
	f := flow{from: 1, to: 2, sport: 3, dport: 4}
	for _, features := range []virtio.Features{0, virtio.FeatureGuestCSUM, takerFeatures} {
		e := newStill(t, 1)
		a := plug(t, e, 1, nicOptions{features: senderFeatures})
		b := plug(t, e, 2, nicOptions{features: features | ctrlFeatures&^virtio.FeatureCtrlVLAN | virtio.FeatureHashReport})
		plain := plug(t, e, 3, nicOptions{})
		b.startCtrl()
		b.mustDo(ctrl.HashConfig{HashTypes: 0x3f, Key: key})
		st := offload.DefaultState()
		st.Receive.TCPv4 = true
		must(t, b.port.SetOffloads(st))
		f.dst, f.src = b.mac, a.mac
		hash, report := f.hashOf(key, 0x3f)
		for i, send := range []func(){
			func() { a.send(0, virtio.NetHdr{}, f.packet(t, bytesOf(100, 1))) },
			func() { b, h := f.partial(t, bytesOf(100, 1)); a.send(0, h, b) },
			func() { b, h := f.super(t, bytesOf(10_000, 1), 1000); a.send(0, h, b) },
		} {
			send()
			got := b.all(0)
			if len(got) == 0 {
				t.Errorf("receiver with %s, frame %d: nothing came", features, i)
			}
			for _, r := range got {
				if r.hdr.HashValue != hash || r.hdr.HashReport != report {
					t.Errorf("receiver with %s, frame %d: header %+v, want hash %#x, report %d", features, i, r.hdr, hash, report)
				}
			}
		}
		// Coalesced, where the driver takes that: as one unit.
		st.RSCv4 = true
		must(t, b.port.SetOffloads(st))
		for i := range 3 {
			next := f
			next.seq = uint32(1000 * i)
			a.queue(0, a.image(virtio.NetHdr{}, next.packet(t, bytesOf(1000, 1))))
		}
		a.ring(0)
		got, want := b.all(0), 3
		if features.Has(virtio.FeatureGuestTSO4) {
			want = 1
		}
		if len(got) != want || got[0].hdr.HashValue != hash || got[0].hdr.HashReport != report {
			t.Errorf("receiver with %s: three segments came as %d frames, the first with %+v; want %d with hash %#x", features, len(got), got[0].hdr, want, hash)
		}
		// Flooded: the other receiver has no such fields, and a third frame for
		// b, of no IP, has none of the hash of the one before.
		a.send(0, virtio.NetHdr{}, frame(broadcast, a.mac, 60))
		if got := b.all(0); len(got) != 1 || got[0].hdr != (virtio.NetHdr{NumBuffers: 1}) {
			t.Errorf("receiver with %s: a frame without a hash came as %+v", features, got)
		}
		plain.all(0)
	}
}

// What is wrong is refused, and what was there stays.
//
// Shows: VNET-086, VNET-096, VNET-102, VNET-141
func TestRSSRefusals(t *testing.T) {
	const pairs = 4
	e := newStill(t, 1)
	a := plug(t, e, 1, nicOptions{})
	b := plug(t, e, 2, nicOptions{features: rssFeatures | virtio.FeatureCtrlGuestOffload | virtio.FeatureGuestCSUM, pairs: pairs})
	b.startCtrl()
	good := randomRSS(rand.New(rand.NewPCG(5, 6)), pairs)
	good.HashTypes, good.Table, good.MaxTxVQ = 0x3f, []uint16{3, 1}, 2
	b.mustDo(good)
	with := func(change func(c *ctrl.RSS)) ctrl.RSS {
		c := good
		c.Table = slices.Clone(good.Table)
		change(&c)
		return c
	}
	for i, c := range []ctrl.Command{
		with(func(c *ctrl.RSS) { c.HashTypes = 1 << 9 }),
		with(func(c *ctrl.RSS) { c.Table = make([]uint16, 3) }),
		with(func(c *ctrl.RSS) { c.Table = make([]uint16, 256) }),
		with(func(c *ctrl.RSS) { c.Table[1] = pairs }),
		with(func(c *ctrl.RSS) { c.Table[0] |= 0x8000 }),
		with(func(c *ctrl.RSS) { c.Unclassified = pairs }),
		with(func(c *ctrl.RSS) { c.MaxTxVQ = 0 }),
		with(func(c *ctrl.RSS) { c.MaxTxVQ = pairs + 1 }),
		with(func(c *ctrl.RSS) { c.Key = make([]byte, 41) }),
		ctrl.HashConfig{HashTypes: 1 << 10, Key: good.Key},
		ctrl.HashConfig{HashTypes: 1, Key: make([]byte, 41)},
		ctrl.HashTunnel{Types: 1 << 4},
		ctrl.HashTunnel{Types: ctrl.TunnelNVGRE | 1},
		ctrl.GuestOffloads{On: virtio.FeatureGuestTSO4},
		ctrl.GuestOffloads{On: virtio.FeatureCSUM},
	} {
		if b.do(c) {
			t.Errorf("command %d, %T%+v, was accepted", i, c, c)
		}
	}
	for _, raw := range [][]byte{
		good.AppendData([]byte{4, 1})[:len(good.AppendData(nil))+1],
		good.AppendData([]byte{4, 1})[:20],
		{7, 0, 0, 1, 0},
		{7, 0, 0, 1, 0, 0, 0},
	} {
		if got := b.raw(raw, 1); !bytes.Equal(got, []byte{1}) {
			t.Errorf("command %x: answer %x, want 01", raw, got)
		}
	}
	for port := range uint16(20) {
		f := flow{dst: b.mac, src: a.mac, from: 1, to: 2, sport: port, dport: 4}
		hash, report := f.hashOf(good.Key, good.HashTypes)
		expect(t, "after commands that were refused", a, b, f.packet(t, nil), queueOf(&good, hash, report), hash, report)
	}
}

// The last command of the class decides how frames are steered, a reset
// returns to one queue and no hash.
//
// Shows: VNET-005, VNET-080, VNET-084
func TestRSSModes(t *testing.T) {
	const pairs = 4
	e := newStill(t, 1)
	a := plug(t, e, 1, nicOptions{})
	b := plug(t, e, 2, nicOptions{features: rssFeatures, pairs: pairs})
	b.startCtrl()
	third := ctrl.RSS{HashTypes: 2, Table: []uint16{3}, Unclassified: 3, MaxTxVQ: 4, Key: bytesOf(40, 1)}
	used := func() (pairs []int, reported bool) {
		for port := range uint16(64) {
			f := flow{dst: b.mac, src: a.mac, from: 1, to: 2, sport: port, dport: 4}
			a.send(0, virtio.NetHdr{}, f.packet(t, nil))
		}
		for i := range b.port.QueuePairs() {
			got := b.all(i)
			if len(got) > 0 {
				pairs = append(pairs, i)
				reported = reported || got[0].hdr.HashReport != 0
			}
		}
		return pairs, reported
	}
	check := func(what string, want []int, report bool) {
		t.Helper()
		if got, reported := used(); !slices.Equal(got, want) || reported != report {
			t.Errorf("%s: frames on pairs %v, hash reported: %t; want %v, %t", what, got, reported, want, report)
		}
	}
	all := []int{0, 1, 2, 3}
	check("at first", []int{0}, false)
	b.mustDo(third)
	check("RSS_CONFIG", []int{3}, true)
	b.mustDo(ctrl.Pairs{N: 4})
	check("VQ_PAIRS_SET", all, true)
	b.mustDo(third, ctrl.HashConfig{HashTypes: 0})
	check("HASH_CONFIG without types", all, false)
	b.mustDo(third)
	b.port.SetQueueEnabled(6, false)
	if got, _ := used(); len(got) != 0 || b.dropped()[dropRxStopped.String()] != 64 {
		t.Errorf("RSS_CONFIG names a disabled queue: frames on pairs %v, dropped %v", got, b.dropped())
	}
	b.port.SetQueueEnabled(6, true)
	check("enabled again", []int{3}, true)

	// What others set counts as well, and holds for the pairs in use.
	must(t, b.port.SetRSS(&RSS{Hash: Hash{Types: offload.HashTCPv4}, Table: []uint16{2}, Default: 1}))
	check("SetRSS", []int{2}, true)
	b.mustDo(ctrl.Pairs{N: 2})
	must(t, b.port.SetRSS(&RSS{Hash: Hash{Types: offload.HashTCPv4}, Table: []uint16{3}, Default: 3}))
	check("SetRSS to a pair that is not in use", []int{1}, true)
	must(t, b.port.SetRSS(nil))
	check("SetRSS(nil)", []int{0, 1}, false)
	must(t, b.port.SetHash(&Hash{Types: offload.HashTCPv4}))
	check("SetHash", []int{0, 1}, true)
	b.mustDo(third)
	if r := b.port.Setting().RSS; r == nil || !r.ByDriver || !slices.Equal(r.Table, third.Table) || r.Types != offload.HashTCPv4 {
		t.Errorf("RSS = %+v; want what the driver sent", r)
	}
	b.port.Reset()
	for i := range 2*pairs + 1 {
		b.port.SetQueueEnabled(i, true)
	}
	check("reset", []int{0}, false)
	for _, r := range []*RSS{
		{Table: nil},
		{Table: make([]uint16, 3)},
		{Table: make([]uint16, 256)},
		{Table: []uint16{4}},
		{Table: []uint16{0}, Default: 4},
		{Table: []uint16{0}, Hash: Hash{Types: 1 << 9}},
	} {
		if err := b.port.SetRSS(r); err == nil {
			t.Errorf("SetRSS(%+v) succeeded", r)
		}
	}
	check("SetRSS refused", []int{0}, false)
}

// keeper notes what it is told of, and at what times.
type keeper struct {
	sync.Mutex
	port      *Port // nil: nothing is followed yet
	followed  uint64
	commanded []Driver
}

func (k *keeper) Follow() uint64 {
	if k.port != nil {
		k.followed = k.port.Driver().Restarts
	}
	return k.followed
}

func (k *keeper) Commanded(d Driver) {
	if d.Restarts != k.followed {
		panic("told of a driver that it has not followed")
	}
	k.commanded = append(k.commanded, d)
}

// heard returns what the keeper was told of since it was asked last.
func (k *keeper) heard() []Driver {
	k.Lock()
	defer k.Unlock()
	d := k.commanded
	k.commanded = nil
	return d
}

// The keeper is told of what the driver's commands change before they are
// completed, and has followed the driver before that.
func TestKeeper(t *testing.T) {
	e := newStill(t, 1)
	k := &keeper{}
	const features = rssFeatures | virtio.FeatureCtrlGuestOffload | virtio.FeatureGuestCSUM
	p, err := e.AddPort(PortConfig{Name: "x", QueuePairs: 2, MAC: macOf(1), Keeper: k})
	must(t, err)
	k.Lock()
	k.port = p
	k.Unlock()
	n := attach(t, p, nicOptions{features: features, pairs: 2})
	n.startCtrl()
	start := p.Driver()
	if start.Features != features || start.RSS != nil || start.Off != 0 {
		t.Errorf("Driver() = %+v at first", start)
	}
	r := ctrl.RSS{HashTypes: 1, Table: []uint16{1}, MaxTxVQ: 1, Key: make([]byte, 40)}
	ours := Hash{Types: offload.HashTCPv4}
	for _, tt := range []struct {
		name string
		do   func()
		told int
		want func(d *Driver) bool
	}{
		{"RSS_CONFIG", func() { n.mustDo(r) }, 1, func(d *Driver) bool {
			return d.RSS != nil && d.RSS.ByDriver && slices.Equal(d.RSS.Table, r.Table) && d.Hash == nil
		}},
		{"RSS_CONFIG refused", func() { n.do(ctrl.RSS{HashTypes: 1, Table: []uint16{7}, MaxTxVQ: 1}) }, 0, nil},
		{"a filter", func() { n.mustDo(ctrl.RX{Mode: ctrl.Promisc, On: true}) }, 1, func(d *Driver) bool { return d.RSS != nil }},
		{"VQ_PAIRS_SET", func() { n.mustDo(ctrl.Pairs{N: 2}) }, 1, func(d *Driver) bool {
			return d.RSS == nil && d.Hash != nil && d.Hash.Types == 1 && d.Hash.ByDriver
		}},
		{"HASH_CONFIG", func() { n.mustDo(ctrl.HashConfig{HashTypes: 4, Key: r.Key}) }, 1, func(d *Driver) bool {
			return d.RSS == nil && d.Hash != nil && d.Hash.Types == 4 && d.Hash.ByDriver
		}},
		{"SetHash", func() { must(t, p.SetHash(&ours)) }, 0, nil},
		{"GUEST_OFFLOADS_SET", func() { n.mustDo(ctrl.GuestOffloads{}) }, 1, func(d *Driver) bool {
			return d.Off == virtio.FeatureGuestCSUM && d.Hash == &ours
		}},
		{"HASH_TUNNEL", func() { n.mustDo(ctrl.HashTunnel{Types: ctrl.TunnelNVGRE}) }, 1, func(d *Driver) bool { return d.InnerHash }},
		{"SetOffloads", func() { must(t, p.SetOffloads(withNVGRE())) }, 0, nil},
	} {
		tt.do()
		told := k.heard()
		if len(told) != tt.told || len(told) > 0 && !tt.want(&told[0]) {
			t.Errorf("%s: told of %+v, want %d", tt.name, told, tt.told)
		}
	}
	p.Reset()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		k.Lock()
		followed := k.followed
		k.Unlock()
		if followed == start.Restarts+1 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("a reset is not followed")
		}
	}
	if d := p.Driver(); d.RSS != nil || d.Hash != nil || d.Off != 0 || d.InnerHash || d.Restarts != start.Restarts+1 {
		t.Errorf("Driver() = %+v after a reset", d)
	}
	if got := p.Setting(); got.Offloads != withNVGRE() {
		t.Errorf("offloads after a reset: %v, want the initial ones", got.Offloads.Names())
	}
}

// However often a driver begins anew while those who are to be told are busy,
// few goroutines wait to tell them, and what comes last is told.
func TestBusyFollowers(t *testing.T) {
	const restarts = 1000
	e := newStill(t, 1)
	k := &keeper{}
	var asked sync.Mutex
	asks := 0
	p, err := e.AddPort(PortConfig{Name: "x", QueuePairs: 1, MAC: macOf(1), Keeper: k, AskFilter: func() {
		asked.Lock()
		defer asked.Unlock()
		asks++
	}})
	must(t, err)
	k.Lock()
	k.port = p
	asked.Lock()
	before := runtime.NumGoroutine()
	for range restarts {
		p.Reset()
	}
	if n := runtime.NumGoroutine() - before; n > 4 {
		t.Errorf("%d goroutines more after %d restarts, want 4 at most", n, restarts)
	}
	asks = 0
	k.Unlock()
	asked.Unlock()
	want := p.Driver().Restarts
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		k.Lock()
		followed := k.followed
		k.Unlock()
		asked.Lock()
		n := asks
		asked.Unlock()
		if followed == want && n > 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("followed %d of %d restarts, asked for the filter %d times", followed, want, n)
		}
	}
}

// A driver whose RSS or hash is replaced is told by a change of its
// configuration, and not of anything else.
func TestOverruledDriver(t *testing.T) {
	e := newStill(t, 1)
	b := plug(t, e, 1, nicOptions{features: rssFeatures, pairs: 2})
	b.startCtrl()
	told := 0
	b.port.Attach(configChanges{&told})
	ours := &RSS{Hash: Hash{Types: offload.HashTCPv4}, Table: []uint16{1}}
	theirs := ctrl.RSS{HashTypes: 1, Table: []uint16{1}, MaxTxVQ: 2, Key: make([]byte, 40)}
	for _, tt := range []struct {
		name string
		do   func()
		want int
	}{
		{"RSS where the driver set none", func() { must(t, b.port.SetRSS(ours)) }, 0},
		{"RSS_CONFIG", func() { b.mustDo(theirs) }, 0},
		{"other offloads", func() { must(t, b.port.SetOffloads(withNVGRE())) }, 0},
		{"RSS", func() { must(t, b.port.SetRSS(ours)) }, 1},
		{"RSS again", func() { must(t, b.port.SetRSS(nil)) }, 0},
		{"HASH_CONFIG", func() { b.mustDo(ctrl.HashConfig{HashTypes: 1, Key: theirs.Key}) }, 0},
		{"a hash", func() { must(t, b.port.SetHash(&Hash{})) }, 1},
	} {
		told = 0
		if tt.do(); told != tt.want {
			t.Errorf("%s: the driver was told of %d changes, want %d", tt.name, told, tt.want)
		}
	}
}

type configChanges struct{ n *int }

func (c configChanges) ConfigChanged() { *c.n++ }

// Receive offloads are switched off and on for the next frame; those that
// depend on one that is off are off too.
//
// Shows: VNET-072, VNET-140, VNET-142, VNET-005
func TestGuestOffloads(t *testing.T) {
	const own = takerFeatures &^ baseFeatures
	e := newStill(t, 1)
	a := plug(t, e, 1, nicOptions{features: senderFeatures})
	b := plug(t, e, 2, nicOptions{features: takerFeatures | ctrlFeatures&^virtio.FeatureCtrlVLAN | virtio.FeatureCtrlGuestOffload, size: 64})
	b.startCtrl()
	b.rx(0).fill(2048)
	f := flow{dst: b.mac, src: a.mac, from: 1, to: 2, sport: 3, dport: 4}
	f6 := f
	f6.v6 = true
	// look returns how a partial checksum and large sends of both families come.
	look := func() string {
		var s []byte
		frame, h := f.partial(t, bytesOf(100, 1))
		a.send(0, h, frame)
		for _, r := range b.all(0) {
			s = append(s, '0'+r.hdr.Flags)
		}
		for _, f := range []flow{f, f6} {
			frame, h := f.super(t, bytesOf(4000, 1), 1000)
			a.send(0, h, frame)
			s = append(s, ' ', '0'+byte(len(b.all(0))))
		}
		return string(s)
	}
	for _, tt := range []struct {
		name string
		do   func()
		want string
	}{
		{"at first", func() {}, "1 1 1"},
		{"none", func() { b.mustDo(ctrl.GuestOffloads{}) }, "0 4 4"},
		{"checksums", func() { b.mustDo(ctrl.GuestOffloads{On: virtio.FeatureGuestCSUM}) }, "1 4 4"},
		{"TSO6", func() { b.mustDo(ctrl.GuestOffloads{On: virtio.FeatureGuestCSUM | virtio.FeatureGuestTSO6}) }, "1 4 1"},
		{"TSO without checksums", func() { b.mustDo(ctrl.GuestOffloads{On: own &^ virtio.FeatureGuestCSUM}) }, "0 4 4"},
		{"all", func() { b.mustDo(ctrl.GuestOffloads{On: own}) }, "1 1 1"},
		{"all with the bit that Linux adds", func() {
			b.mustDo(ctrl.GuestOffloads{})
			b.mustDo(ctrl.GuestOffloads{On: own | virtio.FeatureGuestHdrLen})
		}, "1 1 1"},
		{"reset", func() {
			b.mustDo(ctrl.GuestOffloads{})
			b.port.Reset()
			b.port.SetQueueEnabled(0, true)
		}, "1 1 1"},
	} {
		tt.do()
		if got := look(); got != tt.want {
			t.Errorf("%s: flags and numbers of frames %q, want %q", tt.name, got, tt.want)
		}
	}
}
