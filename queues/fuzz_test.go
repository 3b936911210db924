package queues

import (
	"encoding/binary"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/ctrl"
	"vhost-user-nvgre/virtio/vringtest"
)

// script hands out the bytes of a fuzzer's input, zeros at its end.
type script []byte

func (s *script) byte() byte {
	if len(*s) == 0 {
		return 0
	}
	b := (*s)[0]
	*s = (*s)[1:]
	return b
}

func (s *script) pick(n int) int { return int(s.byte()) % n }

// FuzzPort has a driver that lays descriptors at random, on all its queues, over
// memory that holds frames and commands and may change meanwhile. Whatever
// becomes of its port, there is no fault of ours, and two other ports go on.
//
// Shows: VNET-013
// Hostile: CVE-2019-9547, CVE-2020-10725, CVE-2022-2132, CVE-2026-86562, CVE-2026-86566, CVE-2026-93683, CVE-2026-86845, 6ec1778134, 93ed2f49de, 285e6b8b18
func FuzzPort(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 40 {
		b := make([]byte, 20+10*i)
		for k := range b {
			b[k] = byte(r.Uint32())
		}
		f.Add(b, uint64(i))
	}
	f.Fuzz(func(t *testing.T, input []byte, seed uint64) {
		e := newStill(t, 1)
		small := nicOptions{size: 32, memory: arenaSize + 128<<10}
		a := plug(t, e, 1, small)
		// The driver's frames are coalesced for one of the others.
		small.features = takerFeatures
		b := plug(t, e, 2, small)
		must(t, b.port.SetOffloads(withCoalescing()))
		exchange(t, a, b, 60)
		features := ctrlFeatures | senderFeatures | takerFeatures
		if seed&1 != 0 {
			features &^= virtio.FeatureMrgRxbuf
		}
		if seed&2 != 0 {
			features &^= virtio.FeatureIndirectDesc | virtio.FeatureEventIdx
		}
		if seed&8 != 0 { // all commands, and the longer packet header
			features |= virtio.FeatureHashReport | virtio.FeatureHashTunnel | virtio.FeatureRSS | virtio.FeatureCtrlGuestOffload |
				virtio.FeatureNotfCoal | virtio.FeatureVQNotfCoal | virtio.FeatureDeviceStats
		}
		n := plug(t, e, 3, nicOptions{features: features & offered, size: 16, memory: arenaSize + 512<<10, rxBuf: noBuffers})
		n.startCtrl()
		st := withCoalescing()
		st.NVGRE = offload.AllNVGRE()
		must(t, n.port.SetOffloads(st))
		s := script(input[:min(len(input), 2000)])
		h := &hostile{nic: n, script: &s, r: rand.New(rand.NewPCG(seed, 1))}
		h.fill(t, b.mac)
		quit := h.disturb(seed&4 != 0)
		for len(s) > 0 {
			h.act()
			// Frames for it, one alone and one for all.
			a.send(0, virtio.NetHdr{}, frame(n.mac, a.mac, 14+int(s.byte())*12))
			a.send(0, virtio.NetHdr{}, frame(broadcast, a.mac, 60))
			b.all(0)
			a.all(0)
		}
		quit()
		settle(e)
		b.all(0)
		a.all(0)
		exchange(t, a, b, 1000)
		for _, p := range []*nic{a, b} {
			for i := range 2 {
				if q := p.queueStatus(i); q.State != "running" {
					t.Errorf("port %s queue %d: %s (%s)", p.port.Name(), i, q.State, q.Reason)
				}
			}
		}
	})
}

// hostile is a driver that does what a script says.
type hostile struct {
	*nic
	*script
	r      *rand.Rand
	frames [][2]uint64 // where there are frames and commands, and their lengths
	tables uint64      // of descriptors, for indirect ones
}

// fill lays frames of every kind and commands into memory.
func (h *hostile) fill(t testing.TB, to virtio.MAC) {
	lay := func(b []byte) { h.frames = append(h.frames, [2]uint64{h.place(b), uint64(len(b))}) }
	for _, f := range []flow{{}, {v6: true}, {udp: true}, {udp: true, v6: true}, {vlan: 5}} {
		f.dst, f.src, f.from, f.to, f.sport, f.dport = to, h.mac, 1, 2, 3, 4
		lay(h.image(virtio.NetHdr{}, f.packet(t, bytesOf(100, 1))))
		b, hdr := f.partial(t, bytesOf(200, 1))
		lay(h.image(hdr, b))
		b, hdr = f.super(t, bytesOf(3000, 1), 500)
		lay(h.image(hdr, b))
		b, hdr = tunnel{dst: to, src: h.mac, vsid: 3}.carry(t, b, hdr)
		lay(h.image(hdr, b))
	}
	for _, c := range []ctrl.Command{
		rx(ctrl.Promisc, true), bothTables,
		ctrl.MACAddr{MAC: otherMAC},
		ctrl.VLAN{ID: 5, Add: true},
		ctrl.AnnounceAck{},
		ctrl.Pairs{N: 1},
		ctrl.RSS{HashTypes: 0x1ff, Table: make([]uint16, 128), MaxTxVQ: 1, Key: bytesOf(40, 1)},
		ctrl.HashConfig{HashTypes: 0x1ff, Key: bytesOf(40, 2)},
		ctrl.GuestOffloads{},
		ctrl.HashTunnel{},
		ctrl.Coal{},
		ctrl.QueueCoal{},
		ctrl.StatsQuery{},
	} {
		class, cmd := c.Code()
		lay(c.AppendData([]byte{class, cmd}))
	}
	lay(make([]byte, 70))
	h.tables = h.mem.Alloc(4096, 16)
}

// desc returns the fields of a descriptor.
func (h *hostile) desc() (addr uint64, n uint32, flags, next uint16) {
	at := h.frames[h.pick(len(h.frames))]
	addr, n = at[0], uint32(at[1])
	switch h.pick(12) {
	case 0:
		n = uint32(h.byte())
	case 1:
		addr = h.tables + 16*uint64(h.pick(128))
		n = 16 * uint32(h.byte())
	case 2:
		addr = []uint64{0, 1<<64 - 1, h.mem.Info.Guest - 1, h.mem.Info.Guest + h.mem.Info.Size - 5, 1 << 63}[h.pick(5)]
	case 3:
		n = []uint32{0, 1, 17, 1 << 31, 1<<32 - 1, 1 << 16, 12, 11}[h.pick(8)]
	case 4:
		addr = h.rings[h.pick(3)].Config().Desc // of a ring, as its user sees it
	}
	flags = []uint16{0, vringtest.Write, vringtest.Next, vringtest.Next, vringtest.Next | vringtest.Write, vringtest.Indirect, vringtest.Indirect | vringtest.Next, 0xffff}[h.pick(8)]
	return addr, n, flags, uint16(h.pick(17))
}

// act changes a ring and kicks.
func (h *hostile) act() {
	i := h.pick(3)
	if h.queueStatus(i).State == "broken" {
		h.port.StopQueue(i)
		h.startRing(i, 16)
		h.port.SetQueueEnabled(i, true)
	}
	r := h.rings[i]
	for range 1 + h.pick(6) {
		addr, n, flags, next := h.desc()
		if h.pick(3) == 0 {
			h.mem.SetDesc(h.tables, uint16(h.pick(128)), addr, n, flags, next)
		} else {
			r.SetDesc(uint16(h.pick(16)), addr, n, flags, next)
		}
	}
	for range 1 + h.pick(4) {
		r.PushAvail(uint16(h.pick(16)))
	}
	switch h.pick(16) {
	case 0:
		r.PushAvail(16 + uint16(h.byte()))
		r.Publish()
	case 1:
		r.SetAvailIndex(r.AvailIndex() + uint16(h.byte()))
	default:
		r.Publish()
	}
	r.kick.Signal()
	settle(h.port.engine)
}

// disturb writes to the memory all the time, until the function that it
// returns is called.
func (h *hostile) disturb(really bool) (end func()) {
	if !really {
		return func() {}
	}
	var quit atomic.Bool
	done := make(chan struct{})
	mem, seed := h.mem.Bytes(), h.r.Uint64()
	go func() {
		defer close(done)
		r := rand.New(rand.NewPCG(seed, 0))
		for !quit.Load() {
			for range 16 {
				at := r.IntN(64<<10) &^ 1 // frames
				if r.IntN(2) == 0 {
					at = arenaSize + r.IntN(len(mem)-arenaSize)&^1 // rings and tables
				}
				binary.LittleEndian.PutUint16(mem[at:], uint16(r.Uint32()))
			}
		}
	}()
	return func() {
		quit.Store(true)
		<-done
	}
}
