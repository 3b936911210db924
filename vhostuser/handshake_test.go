package vhostuser

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"vhost-user-nvgre/vhostuser/frontendtest"
	"vhost-user-nvgre/vhostuser/wire"
	"vhost-user-nvgre/virtio"
)

// TestFrontEnds runs the life of a device as each front end lives it.
func TestFrontEnds(t *testing.T) {
	for _, style := range []struct {
		name string
		o    frontendtest.Options
	}{
		{"netdev", frontendtest.Options{}},
		{"netdev with 4 pairs", frontendtest.Options{QueuePairs: 4}},
		{"netdev of QEMU 7.2 with 4 pairs", frontendtest.Options{Old: true, QueuePairs: 4}},
		{"generic with 2 pairs", frontendtest.Options{Style: frontendtest.Generic, QueuePairs: 2}},
	} {
		for _, without := range []wire.ProtocolFeatures{
			0, wire.ProtocolReplyAck, wire.ProtocolConfigureMemSlots, wire.ProtocolStatus, wire.ProtocolBackendReq,
			wire.ProtocolReplyAck | wire.ProtocolConfigureMemSlots | wire.ProtocolMQ,
		} {
			name := style.name
			if without != 0 {
				name += " without " + without.String()
			}
			t.Run(name, func(t *testing.T) {
				o := style.o
				o.Protocol = (frontendtest.QEMUProtocol | wire.ProtocolConfig) &^ without
				o.MTU = 9000
				o.Memory = []frontendtest.Region{{Size: 256 << 20, Pieces: 3}, {Guest: 1 << 32, Size: 256 << 20}}
				testLife(t, o)
			})
		}
	}
}

func testLife(t *testing.T, o frontendtest.Options) {
	b := newFake(t)
	b.pairs = max(1, o.QueuePairs)
	r := newRig(t, b)
	f := newVM(t, o)
	must(t, f.Handshake(r.Conn))
	if f.Offered != offered {
		t.Errorf("offered %s, want %s", f.Offered, offered)
	}
	if want := protocolOffered & o.Protocol; f.Protocol != want {
		t.Errorf("protocol features %s, want %s", f.Protocol, want)
	}
	if f.Protocol.Has(wire.ProtocolMQ) && f.QueueNum != uint64(b.pairs) {
		t.Errorf("GET_QUEUE_NUM = %d, want %d", f.QueueNum, b.pairs)
	}
	if f.Protocol.Has(wire.ProtocolConfigureMemSlots) && f.MemSlots < 32 {
		t.Errorf("GET_MAX_MEM_SLOTS = %d, want at least 32", f.MemSlots)
	}

	rings := 2 * b.pairs
	if o.Style == frontendtest.Generic {
		rings++
	}
	running := func(when string, want int) {
		t.Helper()
		b.mu.Lock()
		defer b.mu.Unlock()
		if len(b.rings) != want {
			t.Errorf("%s: %d rings are running, want %d", when, len(b.rings), want)
		}
	}
	enabled := func(when string, want int) {
		t.Helper()
		b.mu.Lock()
		defer b.mu.Unlock()
		n := 0
		for _, on := range b.enabled {
			if on {
				n++
			}
		}
		if n != want {
			t.Errorf("%s: %d rings are enabled, want %d", when, n, want)
		}
	}
	all := 2
	if o.Style == frontendtest.Generic {
		all = rings
	}
	must(t, f.Start())
	running("start", rings)
	enabled("start", all)
	if o.Style == frontendtest.Netdev {
		must(t, f.SetQueuePairs(b.pairs))
		enabled("all pairs", rings)
	}
	snap := r.e.Snapshot()
	if !snap.Connected || snap.MemoryRegions != len(f.RAM.Announced) || snap.MemoryBytes != 512<<20 || snap.Sessions != 1 ||
		!snap.Features.Has(virtio.FeatureVersion1) || snap.Protocol != f.Protocol ||
		snap.ConfigChannel != f.Protocol.Has(wire.ProtocolBackendReq) {
		t.Errorf("Snapshot() = %+v", snap)
	}
	for i := range rings {
		if got, want := snap.Rings[i], (RingSnapshot{Size: 256, Started: true, Enabled: true}); got != want {
			t.Errorf("Snapshot().Rings[%d] = %+v, want %+v", i, got, want)
		}
	}

	must(t, f.Stop())
	running("stop", 0)
	must(t, f.Start())
	running("restart", rings)
	must(t, f.Reset())
	running("reset", 0)
	must(t, f.Start())
	running("start after a reset", rings)
	if snap := r.e.Snapshot(); snap.MemoryRegions != len(f.RAM.Announced) {
		t.Errorf("%d memory regions after a reset, want %d", snap.MemoryRegions, len(f.RAM.Announced))
	}

	// A new connection goes on at the used index.
	used, err := f.RAM.At(f.RX[0].Driver.Used+2, 2)
	must(t, err)
	binary.LittleEndian.PutUint16(used, 7)
	f.Disconnect()
	b2 := newFake(t)
	b2.pairs = b.pairs
	r2 := newRig(t, b2)
	must(t, f.Reconnect(r2.Conn))
	if calls := b2.take(); !slices.Contains(calls, "StartQueue 0 size 256 base 7 kick true") {
		t.Errorf("after a reconnect: calls %q, want ring 0 started with base 7", calls)
	}
	f.Disconnect()
	if r.log.has("warn") || r2.log.has("warn") {
		t.Errorf("complaints about a front end that did nothing wrong:\n%s\n%s", r.log, r2.log)
	}
}

func TestFeatures(t *testing.T) {
	b := newFake(t)
	b.features = offered | wire.FeatureLogAll | wire.FeatureProtocol | virtio.FeatureAccessPlatform | virtio.FeatureRingReset
	r := newRig(t, b)
	for range 3 {
		v, err := r.U64(wire.GetFeatures, nil)
		if want := uint64(offered) | 1<<30; err != nil || v != want {
			t.Errorf("GET_FEATURES = 0x%x, %v, want 0x%x", v, err, want)
		}
		v, err = r.U64(wire.GetProtocolFeatures, nil)
		if want := uint64(1<<0 | 1<<3 | 1<<4 | 1<<5 | 1<<9 | 1<<13 | 1<<15 | 1<<16); err != nil || v != want {
			t.Errorf("GET_PROTOCOL_FEATURES = 0x%x, %v, want 0x%x", v, err, want)
		}
	}
	r.protocol(wire.ProtocolReplyAck)
	must(t, r.Do(wire.SetOwner, nil))
	must(t, r.Do(wire.SetOwner, nil))
	must(t, r.Do(wire.ResetOwner, nil))
	b.want("Attach")

	must(t, r.Do(wire.SetFeatures, wire.AppendU64(nil, 1<<30|uint64(virtio.FeatureVersion1|virtio.FeatureMrgRxbuf))))
	b.want("SetFeatures mrg_rxbuf,version_1")
	for _, bad := range []uint64{1 << 26, uint64(virtio.FeatureRingReset), uint64(virtio.FeatureRingPacked), 1 << 49} {
		r.refused(wire.SetFeatures, wire.AppendU64(nil, bad|1<<30))
	}
	for _, bad := range []wire.ProtocolFeatures{wire.ProtocolLogShmFD, wire.ProtocolInbandNotifications, wire.ProtocolGPAAddresses, 1 << 63} {
		r.refused(wire.SetProtocolFeatures, wire.AppendU64(nil, uint64(bad)))
	}
	b.want()
	if got := r.e.Snapshot().Features; got != virtio.FeatureVersion1|virtio.FeatureMrgRxbuf {
		t.Errorf("Snapshot().Features = %s after refusals, want them unchanged", got)
	}
}

// TestFeaturesWithoutProtocolBit: rings are then enabled from the start.
func TestFeaturesWithoutProtocolBit(t *testing.T) {
	b := newFake(t)
	r := newRig(t, b)
	must(t, r.Send(wire.SetFeatures, 0, wire.AppendU64(nil, uint64(virtio.FeatureVersion1))))
	r.goesOn()
	b.want("Attach", "SetFeatures version_1", "SetQueueEnabled 0 true", "SetQueueEnabled 1 true", "SetQueueEnabled 2 true",
		"SetQueueEnabled 3 true", "SetQueueEnabled 4 true")
}

// Shows: VNET-002
func TestFeaturesRefusedByBackend(t *testing.T) {
	b := newFake(t)
	r := ready(t, b)
	status := func(want uint64) {
		t.Helper()
		must(t, r.Do(wire.SetStatus, wire.AppendU64(nil, 0xb)))
		if v, err := r.U64(wire.GetStatus, nil); err != nil || v != want {
			t.Errorf("GET_STATUS after SET_STATUS 0xb = 0x%x, %v, want 0x%x", v, err, want)
		}
	}
	b.answer(func() { b.refuseFeatures = errors.New("guest_tso4 without guest_csum") })
	features := wire.AppendU64(nil, 1<<30|uint64(virtio.FeatureVersion1|virtio.FeatureGuestTSO4))
	r.refused(wire.SetFeatures, features)
	// The driver chose them: the session survives even if nobody is told.
	must(t, r.Send(wire.SetFeatures, 0, features))
	r.goesOn()
	if !r.log.has("warn SET_FEATURES refused: guest_tso4 without guest_csum") {
		t.Errorf("log lacks the reason:\n%s", r.log)
	}
	status(3) // without FEATURES_OK
	b.take()
	r.place(0, 0)
	r.refused(wire.SetVringKick, ringFDOf(0), newEventfd(t).Int())
	b.want()
	if got := r.e.Snapshot().Rings[0]; !got.Started || !strings.Contains(got.Fault, "features were refused: guest_tso4") {
		t.Errorf("Snapshot().Rings[0] = %+v, want a fault", got)
	}

	// Good features start what had to wait for them.
	b.answer(func() { b.refuseFeatures = nil })
	must(t, r.Do(wire.SetFeatures, features))
	b.want("SetFeatures guest_tso4,version_1", "StartQueue 0 size 256 base 0 kick true")
	status(0xb)
	if got := r.e.Snapshot().Rings[0]; got.Fault != "" {
		t.Errorf("Snapshot().Rings[0] = %+v, want no fault", got)
	}
}

// TestFeaturesWhileRunning: QEMU repeats them for each pair while the rings of
// the pairs before run; a change is not possible then.
func TestFeaturesWhileRunning(t *testing.T) {
	b := newFake(t)
	r := ready(t, b)
	r.startRing(0)
	b.take()
	must(t, r.Do(wire.SetFeatures, wire.AppendU64(nil, 1<<30|uint64(virtio.FeatureVersion1))))
	r.refused(wire.SetFeatures, wire.AppendU64(nil, 1<<30|uint64(virtio.FeatureVersion1|virtio.FeatureMrgRxbuf)))
	b.want()
}

// TestReplyAck: without REPLY_ACK nobody waits for an acknowledgement, and one
// that came nevertheless would be taken for the next reply.
func TestReplyAck(t *testing.T) {
	r := newRig(t, newFake(t))
	must(t, r.Send(wire.SetOwner, wire.FlagNeedReply, nil))
	must(t, r.Send(wire.GetFeatures, wire.FlagNeedReply, nil))
	m, err := r.Reply(wire.GetFeatures)
	if err != nil || len(m.Payload) != 8 {
		t.Fatalf("reply to GET_FEATURES: %+v, %v", m, err)
	}
	r.protocol(wire.ProtocolReplyAck)
	must(t, r.Acked(wire.SetOwner, nil))
	// A request with a reply of its own has just that, asked for or not.
	must(t, r.Send(wire.GetFeatures, wire.FlagNeedReply, nil))
	if m, err = r.Reply(wire.GetFeatures); err != nil || len(m.Payload) != 8 {
		t.Fatalf("reply to GET_FEATURES: %+v, %v", m, err)
	}
	r.goesOn()
}

// TestRefusedRequests has the requests whose features are not offered, sent
// with and without a wish for an acknowledgement. The session goes on, every
// descriptor is closed, and a front end that waits gets an answer.
//
// Hostile: CVE-2020-10722, CVE-2020-10724, CVE-2020-10726, CVE-2021-3839, CVE-2022-0669, CVE-2026-86563, CVE-2026-86565, CVE-2021-3544, af74f7db38
func TestRefusedRequests(t *testing.T) {
	one, refused := wire.AppendU64(nil, 1), []byte(nil)
	inflight := func(n int, queues uint16) []byte {
		b := bytes.Repeat([]byte{0xff}, n)
		b[16], b[17] = byte(queues), byte(queues>>8)
		return b
	}
	noBuffer := func(n int, queues uint16) []byte {
		b := inflight(n, queues)
		clear(b[:16])
		return b
	}
	object := bytes.Repeat([]byte{7}, 16)
	for _, c := range []struct {
		request wire.Request
		payload []byte
		fds     int
		reply   []byte // of its own; nil means that there is none
	}{
		{wire.SetLogBase, bytes.Repeat([]byte{0xff}, 16), 1, refused},
		{wire.SetLogBase, append(wire.AppendU64(nil, 1<<20), wire.AppendU64(nil, 4096)...), 1, refused},
		{wire.SetLogBase, make([]byte, 8), 0, refused},
		{wire.SetLogFD, nil, 1, refused},
		{wire.SendRARP, make([]byte, 8), 0, refused},
		{wire.IOTLBMsg, make([]byte, 32), 0, one},
		{wire.SetVringEndian, state(0, 1), 0, refused},
		{wire.CloseCryptoSession, make([]byte, 8), 0, refused},
		{wire.PostcopyAdvise, nil, 0, []byte{}},
		{wire.PostcopyListen, nil, 0, refused},
		{wire.PostcopyEnd, nil, 0, one},
		{wire.GetInflightFD, inflight(24, 2), 0, noBuffer(24, 2)},
		{wire.GetInflightFD, inflight(20, 0xffff), 0, noBuffer(20, 0xffff)},
		{wire.SetInflightFD, inflight(24, 0xffff), 1, refused},
		{wire.SetInflightFD, inflight(20, 0), 0, refused},
		{wire.GPUSetSocket, nil, 1, refused},
		{wire.VringKick, state(0, 0), 0, refused},
		{wire.GetSharedObject, object, 0, object},
		{wire.SetDeviceStateFD, make([]byte, 8), 1, wire.AppendU64(nil, 0x101)},
		{wire.CheckDeviceState, nil, 0, one},
		{wire.GetShmemConfig, nil, 0, make([]byte, 2056)},
		{45, nil, 0, refused},
		{0, make([]byte, wire.MaxPayload), 0, refused},
		{99, make([]byte, 100), 3, refused},
		{0xffffffff, nil, 0, refused},
	} {
		t.Run(fmt.Sprintf("%s of %d bytes", c.request, len(c.payload)), func(t *testing.T) {
			b := newFake(t)
			r := newRig(t, b)
			r.protocol(wire.ProtocolReplyAck)
			var fds []int
			for range c.fds {
				fds = append(fds, newEventfd(t).Int())
			}
			r.goesOn()
			before := openFDs(t)
			if c.reply != nil {
				got, err := r.Call(c.request, c.payload, fds...)
				if err != nil || !bytes.Equal(got, c.reply) {
					t.Errorf("reply % x, %v, want % x", got, err, c.reply)
				}
			} else {
				r.refused(c.request, c.payload, fds...)
				must(t, r.Send(c.request, 0, c.payload, fds...))
			}
			r.goesOn()
			if after := openFDs(t); after != before {
				t.Errorf("%d descriptors are open, want %d as before the request", after, before)
			}
			b.want("Attach")
		})
	}
}

// TestPostcopyListen: its acknowledgement is awaited without REPLY_ACK too.
func TestPostcopyListen(t *testing.T) {
	r := newRig(t, newFake(t))
	r.refused(wire.PostcopyListen, nil)
	r.goesOn()
}

// TestCryptoSession: there is no reply that could say no.
//
// Hostile: CVE-2020-10724, CVE-2020-14374, CVE-2026-86845
func TestCryptoSession(t *testing.T) {
	r := newRig(t, newFake(t))
	must(t, r.Send(wire.CreateCryptoSession, 0, make([]byte, 1000)))
	r.ends("CREATE_CRYPTO_SESSION: not supported")
}
