package queues

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/eventfd"
	"vhost-user-nvgre/virtio/guestmem"
	"vhost-user-nvgre/virtio/vring"
)

// sleeper is an engine that never polls, so that every frame needs its kick.
func sleeper(t testing.TB, shards int) *Engine {
	t.Helper()
	cfg := testConfig(shards, &journal{})
	cfg.PollMax = 0
	return startEngine(t, cfg)
}

// idle waits until the shards sleep and want kicks.
func idle(t testing.TB, n *nic) {
	t.Helper()
	n.wait("the shards to ask for kicks", func() bool {
		for _, q := range n.port.tx {
			q.mu.Lock()
			ok := q.armed || !q.running()
			q.mu.Unlock()
			if !ok {
				return false
			}
		}
		return true
	})
}

// A ring that does not start stays stopped and keeps nothing of its kick.
func TestStartQueueFails(t *testing.T) {
	e := sleeper(t, 1)
	n := plug(t, e, 1, nicOptions{pairs: 2, bare: true, features: baseFeatures | virtio.FeatureCtrlVQ | virtio.FeatureMQ})
	plain := plug(t, e, 2, nicOptions{bare: true})
	good := vring.Config{}
	for i := range 5 {
		good = n.layRing(i, 64).Config()
	}
	with := func(change func(c *vring.Config)) vring.Config {
		c := good
		change(&c)
		return c
	}
	kick, closed := n.eventfd(), n.eventfd()
	defer kick.Close()
	closed.Close()
	for _, tt := range []struct {
		name string
		on   *nic
		i    int
		c    vring.Config
		kick *eventfd.FD
		err  string
	}{
		{"size 0", n, 0, with(func(c *vring.Config) { c.Size = 0 }), kick, "port vm1 queue 0: ring size 0: want a power of two"},
		{"size 3", n, 1, with(func(c *vring.Config) { c.Size = 3 }), kick, "port vm1 queue 1: ring size 3: want a power of two"},
		{"size 65536", n, 2, with(func(c *vring.Config) { c.Size = 65536 }), kick, "want a power of two from 1 to 32768"},
		{"base beyond 16 bits", n, 3, with(func(c *vring.Config) { c.Base = 0x10000 }), kick, "ring base 0x10000"},
		{"misaligned", n, 3, with(func(c *vring.Config) { c.Desc++ }), kick, "want an alignment of 16"},
		{"outside memory", n, 3, with(func(c *vring.Config) { c.Used = 1 << 60 }), kick, "used ring at 0x1000000000000000"},
		{"packed", n, 1, with(func(c *vring.Config) { c.Features |= virtio.FeatureRingPacked }), kick, "packed rings are not offered"},
		{"control queue outside memory", n, 4, with(func(c *vring.Config) { c.Avail = 0 }), kick, "port vm1 control queue: available ring"},
		{"control queue without kick", n, 4, good, nil, "without a kick descriptor"},
		{"control queue without feature", plain, 2, good, kick, "queue 2 is the control queue, whose feature was not acknowledged"},
		{"transmit queue with a descriptor that cannot be watched", n, 1, good, closed, "epoll"},
	} {
		err := tt.on.port.StartQueue(tt.i, tt.c, tt.kick)
		if err == nil || !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: StartQueue(%d) = %v, want an error with %q", tt.name, tt.i, err, tt.err)
		}
		if s := tt.on.queueStatus(tt.i); s.State != "absent" && s.State != "stopped" {
			t.Errorf("%s: queue %d is %s, want stopped", tt.name, tt.i, s.State)
		}
		if v := tt.on.port.slots[tt.i]; v.started || v.kick != nil {
			t.Errorf("%s: queue %d: the port still has the kick", tt.name, tt.i)
		}
	}
}

// The number of a kick that a failed start was given may be another port's
// the next moment; that port's kicks must go on coming.
func TestFailedStartForgetsKick(t *testing.T) {
	e := sleeper(t, 1)
	a, b, c := plug(t, e, 1, nicOptions{}), plug(t, e, 2, nicOptions{}), plug(t, e, 3, nicOptions{bare: true})
	r := c.layRing(1, 64)
	bad := r.Config()
	bad.Size = 3
	if err := c.port.StartQueue(1, bad, r.kick); err == nil {
		t.Fatal("StartQueue with size 3 succeeded")
	}
	number := r.kick.Int()
	r.kick.Close()
	kick := a.eventfd()
	defer func() { r.kick = c.eventfd() }()
	if kick.Int() != number {
		t.Fatalf("the system gave descriptor %d, want %d again", kick.Int(), number)
	}
	a.port.SetQueueKick(1, kick)
	a.tx(0).kick.Close()
	a.tx(0).kick = kick
	if err := c.port.StartQueue(1, r.Config(), nil); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		idle(t, a)
		exchange(t, a, b, 60)
	}
}

// The role of an index depends on the features. Rings that were started in
// another role do not go on.
//
// Shows: VNET-003
func TestFeaturesMoveControlQueue(t *testing.T) {
	const mq = baseFeatures | virtio.FeatureCtrlVQ | virtio.FeatureMQ
	for _, next := range []virtio.Features{mq &^ virtio.FeatureMQ, baseFeatures} {
		e := newEngine(t, 2)
		n, peer := plug(t, e, 1, nicOptions{pairs: 2, features: mq}), plug(t, e, 2, nicOptions{})
		n.startRing(4, 64)
		exchange(t, n, peer, 60)
		must(t, n.port.SetFeatures(next))
		n.f = next
		for i, want := range map[int]string{0: "running", 1: "running", 3: "running", 4: "stopped"} {
			if got := n.queueStatus(i).State; got != want && (got != "absent" || want != "stopped") {
				t.Errorf("features now %s: queue %d is %s, want %s", next, i, got, want)
			}
		}
		exchange(t, n, peer, 60)
		n.port.SetMemory(&guestmem.Map{})
		n.port.Detach()
		for i := range 5 {
			q := []*virtqueue{&n.port.rx[0].virtqueue, &n.port.tx[0].virtqueue, &n.port.rx[1].virtqueue, &n.port.tx[1].virtqueue, &n.port.ctrl.virtqueue}[i]
			if q.ring != nil {
				t.Errorf("features changed to %s: queue %d still has its ring after Detach", next, i)
			}
		}
	}
}

// A set of features that is inconsistent or not offered is refused and
// changes nothing; the same set again is no change.
//
// Shows: VNET-001, VNET-002, VNET-004
func TestFeatures(t *testing.T) {
	e := newStill(t, 1)
	p, err := e.AddPort(PortConfig{Name: "x", QueuePairs: 1, MAC: macOf(1)})
	must(t, err)
	n := attach(t, p, nicOptions{})
	for _, tt := range []struct {
		f   virtio.Features
		err string
	}{
		{virtio.FeatureHostTSO4, "host_tso4 acknowledged without csum"},
		{virtio.FeatureGuestECN | virtio.FeatureGuestCSUM, "guest_ecn acknowledged without one of guest_tso4,guest_tso6"},
		{virtio.FeatureMQ, "mq acknowledged but not offered"}, // one pair
		{virtio.FeatureMTU, "mtu acknowledged but not offered"},
		{virtio.FeatureRingPacked, "ring_packed acknowledged but not offered"},
		{virtio.FeatureRingReset, "ring_reset acknowledged but not offered"},
		{virtio.FeatureAccessPlatform, "access_platform acknowledged but not offered"},
		{1 << 26, "bit26 acknowledged but not offered"},
	} {
		err := p.SetFeatures(tt.f)
		if err == nil || !strings.Contains(err.Error(), "port x") || !strings.Contains(err.Error(), tt.err) {
			t.Errorf("SetFeatures(%s) = %v, want an error with %q", tt.f, err, tt.err)
		}
		if got := p.Snapshot().Features; got != baseFeatures {
			t.Errorf("after SetFeatures(%s): features %s, want %s", tt.f, got, baseFeatures)
		}
	}
	must(t, p.SetFeatures(baseFeatures))
	n.port.Detach()
	if got := p.Snapshot(); got.Features != 0 || got.Connected {
		t.Errorf("after Detach: %+v", got)
	}
	p.Attach(n)
	must(t, p.SetFeatures(baseFeatures))

	for name, tt := range map[string]struct {
		c           PortConfig
		has, lacks  virtio.Features
		queues, gso int
	}{
		"all": {PortConfig{QueuePairs: 1, MTU: 1500}, virtio.FeatureMTU | virtio.FeatureCtrlVQ | virtio.FeatureGuestUSO6 | virtio.FeatureHostECN, virtio.FeatureMQ, 3, 0},
		"two pairs without checksum": {
			PortConfig{QueuePairs: 2, Withhold: virtio.FeatureCSUM},
			virtio.FeatureMQ | virtio.FeatureGuestTSO4,
			virtio.FeatureCSUM | virtio.FeatureHostTSO4 | virtio.FeatureHostTSO6 | virtio.FeatureHostECN | virtio.FeatureHostUSO, 5, 0,
		},
		"without receive TSO": {
			PortConfig{QueuePairs: 2, Withhold: virtio.FeatureGuestTSO4 | virtio.FeatureGuestTSO6},
			virtio.FeatureGuestUSO4,
			virtio.FeatureGuestTSO4 | virtio.FeatureGuestTSO6 | virtio.FeatureGuestECN, 5, 0,
		},
		"without control queue": {
			PortConfig{QueuePairs: 64, Withhold: virtio.FeatureCtrlVQ}, virtio.FeatureGuestUSO4, virtio.FeatureCtrlVQ | virtio.FeatureCtrlRX | virtio.FeatureCtrlRXExtra |
				virtio.FeatureCtrlVLAN | virtio.FeatureCtrlMACAddr | virtio.FeatureGuestAnnounce | virtio.FeatureMQ, 129, 0,
		},
	} {
		tt.c.Name, tt.c.MAC = name, macOf(1)
		p, err := e.AddPort(tt.c)
		must(t, err)
		f := p.Features()
		if !f.Has(tt.has) || f&tt.lacks != 0 || f.Strip() != f {
			t.Errorf("%s: features %s, want all of %s and none of %s", name, f, tt.has, tt.lacks)
		}
		if got := p.NumQueues(); got != tt.queues || p.QueuePairs() != tt.c.QueuePairs {
			t.Errorf("%s: %d queues, %d pairs, want %d queues", name, got, p.QueuePairs(), tt.queues)
		}
	}
}

// Shows: VNET-030, VNET-031
func TestPortConfig(t *testing.T) {
	e := newStill(t, 1)
	ok := PortConfig{Name: "x", QueuePairs: 1, MAC: macOf(1)}
	with := func(change func(c *PortConfig)) PortConfig {
		c := ok
		change(&c)
		return c
	}
	for _, tt := range []struct {
		c   PortConfig
		err string
	}{
		{with(func(c *PortConfig) { c.Name = "" }), "a port needs a name"},
		{with(func(c *PortConfig) { c.QueuePairs = 0 }), "port x: 0 queue pairs, want 1 to 64"},
		{with(func(c *PortConfig) { c.QueuePairs = 65 }), "port x: 65 queue pairs, want 1 to 64"},
		{with(func(c *PortConfig) { c.MAC = virtio.MAC{} }), "00:00:00:00:00:00 is no address of a single station"},
		{with(func(c *PortConfig) { c.MAC = broadcast }), "ff:ff:ff:ff:ff:ff is no address of a single station"},
		{with(func(c *PortConfig) { c.MTU = 67 }), "MTU 67, want 68 to 65535"},
		{with(func(c *PortConfig) { c.MTU = 65536 }), "MTU 65536, want 68 to 65535"},
		{with(func(c *PortConfig) { c.MTU = -1 }), "MTU -1, want 68 to 65535"},
	} {
		if _, err := e.AddPort(tt.c); err == nil || !strings.Contains(err.Error(), tt.err) {
			t.Errorf("AddPort(%+v) = %v, want an error with %q", tt.c, err, tt.err)
		}
	}
	for _, c := range []PortConfig{
		ok, with(func(c *PortConfig) { c.Name, c.QueuePairs, c.MTU = "y", 64, 68 }), with(func(c *PortConfig) { c.Name, c.MTU = "z", 65535 }),
	} {
		if _, err := e.AddPort(c); err != nil {
			t.Errorf("AddPort(%+v) = %v", c, err)
		}
	}
	if _, err := e.AddPort(ok); err == nil || !strings.Contains(err.Error(), "there is a port of that name") {
		t.Errorf("a second port of the same name: %v", err)
	}
	if _, err := New(Config{}); err == nil || !strings.Contains(err.Error(), "shards 0: want at least 1") {
		t.Errorf("New without shards: %v", err)
	}
}

// As many ports as there can be, and one more.
func TestMaxPorts(t *testing.T) {
	e := newStill(t, 3)
	var last *Port
	for i := range MaxPorts {
		p, err := e.AddPort(PortConfig{Name: fmt.Sprint(i), QueuePairs: 1, MAC: macOf(i)})
		must(t, err)
		last = p
	}
	extra := PortConfig{Name: "extra", QueuePairs: 1, MAC: macOf(1)}
	if _, err := e.AddPort(extra); err == nil || !strings.Contains(err.Error(), "1024 ports already") {
		t.Errorf("one port more: %v", err)
	}
	e.RemovePort(last)
	p, err := e.AddPort(extra)
	must(t, err)
	e.RemovePort(last) // has no effect on the port that took its place
	if got := e.Ports(); len(got) != MaxPorts || got[MaxPorts-1] != p {
		t.Errorf("%d ports, the last one %s; want %d and extra", len(got), got[len(got)-1].Name(), MaxPorts)
	}
}

// config returns the fields of the configuration space that a driver reads.
func (n *nic) config() (mac virtio.MAC, status, pairs, mtu uint16) {
	var b [virtio.NetConfigSize]byte
	n.port.ReadConfig(b[:], 0)
	le := binary.LittleEndian
	return virtio.MAC(b[:]), le.Uint16(b[6:]), le.Uint16(b[8:]), le.Uint16(b[10:])
}

// Shows: VNET-007, VNET-008, VNET-030, VNET-031, VNET-033, VNET-034, VNET-035, NDIS-181
func TestConfigSpace(t *testing.T) {
	e := newStill(t, 1)
	p, err := e.AddPort(PortConfig{Name: "x", QueuePairs: 3, MAC: macOf(0x102), MTU: 9000, Speed: 25000})
	must(t, err)
	want := []byte{0x52, 0x54, 0, 0, 1, 2, 1, 0, 3, 0, 0x28, 0x23, 0xa8, 0x61, 0, 0, 1, 40, 128, 0, 0xff, 1, 0, 0, 0, 1, 0, 0}
	for off := range uint32(len(want) + 2) {
		for n := range len(want) + 4 {
			b := bytes.Repeat([]byte{0xee}, n)
			p.ReadConfig(b, off)
			for i, got := range b {
				exp := byte(0)
				if at := int(off) + i; at < len(want) {
					exp = want[at]
				}
				if got != exp {
					t.Fatalf("ReadConfig of %d bytes at %d = %x, want byte %d to be 0x%x", n, off, b, i, exp)
				}
			}
		}
	}
	p.ReadConfig(make([]byte, 4), 1<<32-1)
	if err := p.WriteConfig([]byte{1, 2, 3, 4, 5, 6}, 0); err != nil {
		t.Errorf("WriteConfig = %v, want it ignored", err)
	}
	b := make([]byte, len(want))
	if p.ReadConfig(b, 0); !bytes.Equal(b, want) {
		t.Errorf("after a write: %x, want %x", b, want)
	}
	for mtu, fits := range map[uint64]bool{0: false, 67: false, 68: true, 1500: true, 9000: true, 9001: false, 65535: false, 1 << 40: false} {
		if err := p.SetMTU(mtu); (err == nil) != fits {
			t.Errorf("SetMTU(%d) = %v, want acceptance %t", mtu, err, fits)
		}
	}
	open, err := e.AddPort(PortConfig{Name: "y", QueuePairs: 1, MAC: macOf(2)})
	must(t, err)
	for mtu, fits := range map[uint64]bool{67: false, 68: true, 65535: true, 65536: false, 1<<64 - 1: false} {
		if err := open.SetMTU(mtu); (err == nil) != fits {
			t.Errorf("SetMTU(%d) of a port without MTU = %v, want acceptance %t", mtu, err, fits)
		}
	}
}

// Shows: VNET-132
func TestLink(t *testing.T) {
	e := newStill(t, 1)
	a, b := plug(t, e, 1, nicOptions{}), plug(t, e, 2, nicOptions{})
	exchange(t, a, b, 60)
	status := func() uint16 {
		_, s, _, _ := b.config()
		return s
	}
	if status() != virtio.StatusLinkUp {
		t.Errorf("status 0x%x at the beginning, want LINK_UP", status())
	}
	b.port.SetLink(true)
	if b.unheard() {
		t.Error("a link that was up already: the driver was told")
	}
	b.port.SetLink(false)
	b.changed()
	if st := b.port.Snapshot(); status() != 0 || st.LinkUp {
		t.Errorf("link down: status 0x%x, shown as up: %t", status(), st.LinkUp)
	}
	if rows := e.MACTable(); len(rows) != 1 || rows[0].Port != "vm1" {
		t.Errorf("link down: the address table has %+v, want vm1's only", rows)
	}
	a.send(0, virtio.NetHdr{}, frame(b.mac, a.mac, 60))
	b.silent(0)
	b.drops(dropRxLinkDown, 1)
	b.send(0, virtio.NetHdr{}, frame(a.mac, b.mac, 60))
	a.silent(0)
	b.drops(dropTxLinkDown, 1)
	b.reaped(0)
	// A reset does not raise it.
	b.port.Reset()
	if status() != 0 {
		t.Errorf("link down, device reset: status 0x%x", status())
	}
	for i := range 2 {
		b.port.SetQueueEnabled(i, true)
	}
	b.port.SetLink(true)
	b.changed()
	exchange(t, a, b, 60)

	// Announcements need the feature.
	b.port.Announce()
	if status() != virtio.StatusLinkUp || b.unheard() {
		t.Errorf("announcement of a driver that cannot: status 0x%x, told %t", status(), b.unheard())
	}
	must(t, a.port.SetFeatures(baseFeatures|virtio.FeatureCtrlVQ|virtio.FeatureGuestAnnounce))
	a.port.Announce()
	a.changed()
	if _, got, _, _ := a.config(); got != virtio.StatusLinkUp|virtio.StatusAnnounce {
		t.Errorf("announcement: status 0x%x", got)
	}
	a.port.Reset()
	if _, got, _, _ := a.config(); got != virtio.StatusLinkUp {
		t.Errorf("announcement, then reset: status 0x%x", got)
	}
}

// Rings go the way that section "Ring states" of vhost-user says: a started
// ring that is disabled takes what is sent and drops it.
func TestDisabledRing(t *testing.T) {
	e := newStill(t, 1)
	a, b := plug(t, e, 1, nicOptions{}), plug(t, e, 2, nicOptions{})
	exchange(t, a, b, 60)
	a.port.SetQueueEnabled(1, false)
	for range 3 {
		a.send(0, virtio.NetHdr{}, frame(b.mac, a.mac, 60))
	}
	a.reaped(0)
	b.silent(0)
	a.drops(dropTxDisabled, 3)
	if s := a.queueStatus(1); s.State != "disabled" || s.Packets != 1 {
		t.Errorf("disabled ring: %+v", s)
	}
	b.port.SetQueueEnabled(0, false)
	a.port.SetQueueEnabled(1, true)
	a.send(0, virtio.NetHdr{}, frame(b.mac, a.mac, 60))
	b.silent(0)
	b.drops(dropRxStopped, 1)
	b.port.SetQueueEnabled(0, true)
	exchange(t, a, b, 60)

	// Enabling is remembered over a restart of the ring, and may come before.
	a.resume(1, a.port.StopQueue(1))
	exchange(t, a, b, 60)
	c := plug(t, e, 3, nicOptions{bare: true})
	c.port.SetQueueEnabled(0, true)
	c.port.SetQueueEnabled(1, true)
	c.startRing(0, 0).fill(2048)
	c.startRing(1, 0)
	exchange(t, a, c, 60)
	a.all(0)
	b.all(0)
}

// Shows: VNET-003
func TestStopQueue(t *testing.T) {
	e := newStill(t, 1)
	a, b := plug(t, e, 1, nicOptions{}), plug(t, e, 2, nicOptions{})
	frames := fewer(70_000) // without the race detector the indices wrap
	for i := range frames {
		a.send(0, virtio.NetHdr{}, frame(b.mac, a.mac, 60))
		b.all(0)
		if i%10_007 != 0 {
			continue
		}
		// Sent and not yet seen by the device: it comes after the restart.
		a.port.StopQueue(1)
		late := frame(b.mac, a.mac, 61)
		a.queue(0, a.image(virtio.NetHdr{}, late))
		a.ring(0)
		b.silent(0)
		if base := a.port.StopQueue(1); base != uint32(uint16(a.tx(0).AvailIndex()-1)) {
			t.Fatalf("StopQueue of a stopped transmit ring = %d, want %d", base, a.tx(0).AvailIndex()-1)
		}
		base := b.port.StopQueue(0)
		if want := uint32(b.rx(0).UsedIndex()); base != want {
			t.Fatalf("StopQueue of the receive ring = %d, want as many as it used: %d", base, want)
		}
		before := bytes.Clone(b.mem.Bytes())
		a.send(0, virtio.NetHdr{}, frame(b.mac, a.mac, 60))
		a.resume(1, uint32(uint16(a.tx(0).AvailIndex()-2)))
		settle(e)
		if !bytes.Equal(before, b.mem.Bytes()) {
			t.Fatal("the memory of a stopped receive ring changed")
		}
		b.resume(0, base)
		b.silent(0)
		a.send(0, virtio.NetHdr{}, late)
		if got := b.recv(0); !bytes.Equal(got.b, late) {
			t.Fatalf("after the restart: got %x, want %x", got.b, late)
		}
		b.repost(0)
	}
}

// Memory moves under running rings, and a ring whose memory is gone breaks.
func TestSetMemory(t *testing.T) {
	e := newEngine(t, 2)
	a, b := plug(t, e, 1, nicOptions{}), plug(t, e, 2, nicOptions{})
	exchange(t, a, b, 60)
	for range 50 {
		old := b.guest
		next, err := b.mem.Map()
		must(t, err)
		b.port.SetMemory(next)
		must(t, old.Regions()[0].Unmap())
		b.guest, b.region = next, next.Regions()[0]
		exchange(t, a, b, 3000)
	}
	b.port.SetMemory(&guestmem.Map{})
	b.broke(0, "not within one memory region")
	b.broke(1, "not within one memory region")
	// The front end brings the memory back and starts the rings again.
	for i := range 2 {
		base := b.port.StopQueue(i)
		b.port.SetMemory(b.guest)
		b.resume(i, base)
	}
	exchange(t, a, b, 60)
}

// Kicks, calls and error descriptors may be replaced at any time.
//
// Shows: VNET-017
func TestReplaceEventfds(t *testing.T) {
	e := sleeper(t, 2)
	a, b := plug(t, e, 1, nicOptions{}), plug(t, e, 2, nicOptions{})
	for range 20 {
		idle(t, a)
		old := a.tx(0).kick
		a.tx(0).kick = a.eventfd()
		a.port.SetQueueKick(1, a.tx(0).kick)
		old.Close()
		old = b.rx(0).call
		b.rx(0).call = b.eventfd()
		b.port.SetQueueCall(0, b.rx(0).call)
		old.Close()
		exchange(t, a, b, 60)
		idle(t, a)
		b.rx(0).SetInterrupts(true)
		a.send(0, virtio.NetHdr{}, frame(b.mac, a.mac, 60))
		if !b.rx(0).call.Wait(int(patience.Milliseconds())) {
			t.Fatal("the new call eventfd was not signalled")
		}
		b.recv(0)
		b.repost(0)
		for range 3 {
			a.tx(0).kick.Signal() // nothing to do
		}
	}
	// Without call descriptor the driver polls; without kick the device does.
	b.port.SetQueueCall(0, nil)
	a.port.SetQueueKick(1, nil)
	for range 5 {
		exchange(t, a, b, 60)
		time.Sleep(2 * time.Millisecond)
	}
	if s := a.queueStatus(1); s.State != "running" || s.Kicks == 0 {
		t.Errorf("transmit ring: %+v", s)
	}
	// And back to kicks.
	a.port.SetQueueKick(1, a.tx(0).kick)
	idle(t, a)
	exchange(t, a, b, 60)
	closed := a.eventfd()
	closed.Close()
	a.port.SetQueueKick(1, closed)
	if l := e.journal().find("warning", "vm1 queue 1", "watch descriptor"); l == "" {
		t.Error("the log does not say that the new kick cannot be watched")
	}
}

// A ring that breaks signals its descriptor, sets NEEDS_RESET and says so
// once; other queues go on, and a new start clears it.
//
// Shows: VNET-006, VNET-013
func TestBrokenRing(t *testing.T) {
	e := newEngine(t, 2)
	a, b := plug(t, e, 1, nicOptions{pairs: 2}), plug(t, e, 2, nicOptions{})
	a.port.SetStatus(0xf)
	if got := a.port.Status(); got != 0xf {
		t.Errorf("Status() = 0x%x, want 0xf", got)
	}
	r := a.tx(0)
	r.SetDesc(7, 1<<50, 100, 0, 0)
	r.PushAvail(7)
	good := frame(b.mac, a.mac, 60)
	a.queue(1, a.image(virtio.NetHdr{}, good))
	r.Publish()
	r.kick.Signal()
	a.broke(1, "buffer outside guest memory: 0x4000000000000, 100 bytes")
	if got := a.port.Status(); got != 0xf|64 {
		t.Errorf("Status() = 0x%x, want NEEDS_RESET and 0xf", got)
	}
	a.ring(1)
	if got := b.recv(0); !bytes.Equal(got.b, good) {
		t.Errorf("the other queue: got %x, want %x", got.b, good)
	}
	b.repost(0)
	base := a.port.StopQueue(1)
	if base != 0 {
		t.Errorf("StopQueue of the broken ring = %d, want the position of the bad buffer, 0", base)
	}
	if s := a.queueStatus(1); s.State != "broken" || s.Size != 0 {
		t.Errorf("stopped after it broke: %+v, want the reason to be kept", s)
	}
	a.port.SetStatus(0)
	a.startRing(1, 64)
	exchange(t, a, b, 60)
	if got := a.port.Status(); got != 0 {
		t.Errorf("Status() after a reset = 0x%x", got)
	}
}

// What broke under one front end is no concern of the next.
func TestBrokenRingAfterDetach(t *testing.T) {
	e := newEngine(t, 1)
	a := plug(t, e, 1, nicOptions{})
	for range 200 {
		a.tx(0).SetDesc(7, 1<<50, 100, 0, 0)
		a.tx(0).PushAvail(7)
		a.tx(0).Publish()
		a.tx(0).kick.Signal()
		q := a.port.tx[0]
		a.wait("the ring to break", func() bool {
			q.mu.Lock()
			defer q.mu.Unlock()
			return q.broken != nil
		})
		a.port.Detach()
		next := make(tellTale, 100)
		a.port.Attach(next)
		must(t, a.port.SetFeatures(a.f))
		a.port.SetMemory(a.guest)
		time.Sleep(50 * time.Microsecond) // for the late half of breaking
		if got := a.port.Status(); got != 0 || len(next) != 0 {
			t.Fatalf("a new front end finds status 0x%x and %d notifications", got, len(next))
		}
		a.tx(0).close()
		delete(a.rings, 1)
		a.startRing(1, 8)
	}
}

// tellTale is a front end that counts notifications.
type tellTale chan struct{}

func (c tellTale) ConfigChanged() { c <- struct{}{} }

// Methods of two ports in any order, while a third and a fourth exchange
// frames: nothing hangs, nothing faults, the others notice nothing.
func TestAnyOrder(t *testing.T) {
	e := newEngine(t, 2)
	a, b := plug(t, e, 1, nicOptions{}), plug(t, e, 2, nicOptions{})
	const mq = baseFeatures | virtio.FeatureCtrlVQ | virtio.FeatureMQ | virtio.FeatureGuestAnnounce
	sets := []virtio.Features{0, baseFeatures, mq, mq &^ virtio.FeatureMQ, mq &^ virtio.FeatureMrgRxbuf, virtio.FeatureMrgRxbuf, ^virtio.Features(0)}
	for seed := range uint64(fewer(150)) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		n := plug(t, e, 3, nicOptions{pairs: 2, features: mq, bare: true, memory: arenaSize + 1<<20})
		other, err := n.mem.Map(guestmem.RegionInfo{Guest: 0x10_0000, User: 0x7f00_0010_0000, Size: 0x1000}, guestmem.RegionInfo{Guest: 0x8000_0000, User: 0x8000_0000, Size: 0x1000})
		must(t, err)
		maps := []*guestmem.Map{n.guest, n.guest, n.guest, other, {}}
		for i := range 5 {
			n.layRing(i, 16)
		}
		var trace []string
		for range 60 {
			i := rnd.IntN(5)
			r := n.rings[i]
			kick := r.kick
			if rnd.IntN(4) == 0 {
				kick = nil
			}
			switch op := rnd.IntN(14); op {
			case 0, 1, 2:
				c := r.Config()
				c.Base = rnd.Uint32N(3)
				trace = append(trace, fmt.Sprintf("start %d at %d: %v", i, c.Base, n.port.StartQueue(i, c, kick)))
			case 3:
				trace = append(trace, fmt.Sprintf("stop %d: %d", i, n.port.StopQueue(i)))
			case 4, 5:
				on := rnd.IntN(3) > 0
				n.port.SetQueueEnabled(i, on)
				trace = append(trace, fmt.Sprintf("enable %d %t", i, on))
			case 6:
				if n.port.slots[i].started {
					n.port.SetQueueKick(i, kick)
				}
			case 7:
				n.port.SetQueueCall(i, []*eventfd.FD{nil, r.call}[rnd.IntN(2)])
				n.port.SetQueueErr(i, []*eventfd.FD{nil, r.err}[rnd.IntN(2)])
			case 8:
				f := sets[rnd.IntN(len(sets))]
				trace = append(trace, fmt.Sprintf("features %s: %v", f, n.port.SetFeatures(f)))
			case 9:
				k := rnd.IntN(len(maps))
				n.port.SetMemory(maps[k])
				trace = append(trace, fmt.Sprintf("memory %d", k))
			case 10:
				n.port.SetStatus(uint8(rnd.IntN(16)))
				n.port.Status()
				n.port.Announce()
			case 11:
				n.port.SetLink(rnd.IntN(2) == 0)
			case 12:
				if rnd.IntN(4) == 0 {
					n.port.Detach()
					n.port.Attach(n)
					trace = append(trace, "detach, attach")
				} else {
					n.port.Reset()
				}
			case 13:
				if r.Free() > 0 {
					r.post(elem(n.arena, 12+60))
					r.kick.Signal()
				}
			}
			a.send(0, virtio.NetHdr{}, frame(b.mac, a.mac, 60))
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			n.remove()
		}()
		select {
		case <-done:
		case <-time.After(patience):
			t.Fatalf("seed %d: the port cannot be removed after %v", seed, strings.Join(trace, "\n"))
		}
		for _, r := range other.Regions() {
			must(t, r.Unmap())
		}
		a.reaped(0)
		b.all(0)
		exchange(t, a, b, 60)
	}
}

// Frames with numbers flow while the sender's ring is stopped and started
// again and again: none is lost, none comes twice, the order stays.
//
// Shows: VNET-014
func TestRestartUnderTraffic(t *testing.T) {
	for _, poll := range []time.Duration{0, 50 * time.Microsecond} {
		cfg := testConfig(2, &journal{})
		cfg.PollMax = poll
		e := startEngine(t, cfg)
		a, b := plug(t, e, 1, nicOptions{}), plug(t, e, 2, nicOptions{size: 1024})
		exchange(t, a, b, 60)
		stop := make(chan struct{})
		go func() {
			defer close(stop)
			for range 300 {
				base := a.port.StopQueue(1)
				c := a.tx(0).Config()
				c.Base = base
				if err := a.port.StartQueue(1, c, a.tx(0).kick); err != nil {
					t.Errorf("StartQueue at %d: %v", base, err)
					return
				}
				time.Sleep(100 * time.Microsecond)
			}
		}()
		var sent, got uint32
		collect := func() {
			for _, f := range b.all(0) {
				if n := binary.LittleEndian.Uint32(f.b[14:]); n != got {
					t.Fatalf("frame %d came, want %d", n, got)
				}
				got++
			}
		}
		for running := true; running; {
			select {
			case <-stop:
				running = false
			default:
			}
			for range 8 {
				f := frame(b.mac, a.mac, 60)
				binary.LittleEndian.PutUint32(f[14:], sent)
				a.queue(0, a.image(virtio.NetHdr{}, f))
				sent++
			}
			a.ring(0)
			// What came has not gone back to the sender in the same moment.
			a.wait("room", func() bool { collect(); a.reap(0); return sent-got < 200 && a.tx(0).Free() >= 8 })
		}
		a.wait("the last frame", func() bool { collect(); return got == sent })
		a.reaped(0)
		if d := b.dropped(); len(d) > 0 {
			t.Errorf("the receiver dropped %v", d)
		}
		t.Logf("polling %v: %d frames", poll, sent)
	}
}

// The receiver's ring stops and starts under traffic: after StopQueue nothing
// is written any more, and what arrives is in order and whole.
//
// Shows: VNET-003
func TestStopReceiverUnderTraffic(t *testing.T) {
	e := newEngine(t, 1)
	a, b := plug(t, e, 1, nicOptions{}), plug(t, e, 2, nicOptions{rxBuf: 512, memory: arenaSize + 256<<10})
	exchange(t, a, b, 60)
	var sent, last uint32
	burst := func() {
		for range 16 {
			sent++
			f := frame(b.mac, a.mac, 60+int(sent%2000))
			binary.LittleEndian.PutUint32(f[14:], sent)
			a.queue(0, a.image(virtio.NetHdr{}, f))
		}
		a.ring(0)
	}
	for range fewer(200) {
		burst()
		base := b.port.StopQueue(0)
		if want := uint32(b.rx(0).UsedIndex()); base != want {
			t.Fatalf("StopQueue = %d, want as many as were used: %d", base, want)
		}
		before := slices.Clone(b.mem.Bytes())
		b.rx(0).call.Drain()
		burst()
		a.reaped(0)
		if !bytes.Equal(before, b.mem.Bytes()) {
			t.Fatal("the memory of the stopped ring changed")
		}
		if b.rx(0).call.Drain() {
			t.Fatal("the driver of the stopped ring was notified")
		}
		b.resume(0, base)
		for _, f := range b.all(0) {
			n := binary.LittleEndian.Uint32(f.b[14:])
			if n <= last {
				t.Fatalf("frame %d came after %d", n, last)
			}
			want := frame(b.mac, a.mac, 60+int(n%2000))
			binary.LittleEndian.PutUint32(want[14:], n)
			if !bytes.Equal(f.b, want) {
				t.Fatalf("frame %d differs", n)
			}
			last = n
		}
	}
	exchange(t, a, b, 60)
}
