package daemon

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"vhost-user-nvgre/offload/ndis"
	"vhost-user-nvgre/vhostuser/wire"
	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/ctrl"
)

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

// The driver's commands and OIDs at once: whichever of them was the last, OIDs
// show what frames get.
func TestWritersAtOnce(t *testing.T) {
	const requests = 200
	s := newSyncRig(t, nil)
	random := func(rnd *rand.Rand) (w world) {
		w = start(false, false)
		w.pairs, w.rss = syncPairs, &hashes{types: 1 + rnd.Uint32N(3)}
		for i := range w.rss.key {
			w.rss.key[i] = byte(rnd.Uint32())
		}
		for range 1 << rnd.IntN(8) {
			w.table = append(w.table, uint16(rnd.IntN(syncPairs)))
		}
		w.rest = uint16(rnd.IntN(syncPairs))
		return w
	}
	for round := range uint64(3) {
		var oids sync.WaitGroup
		oids.Go(func() {
			rnd := rand.New(rand.NewPCG(round, 1))
			for range requests {
				w := random(rnd)
				p := ndis.ReceiveScaleParameters{
					Revision: 3, HashInformation: infoOf(w.rss.types), Key: w.rss.key[:], DefaultProcessor: ndis.ProcessorNumber{Number: uint8(w.rest)},
				}
				for _, n := range w.table {
					p.Table = append(p.Table, ndis.ProcessorNumber{Number: uint8(n)})
				}
				if err := s.c.Set(t.Context(), ndis.OIDReceiveScaleParameters, &p); err != nil {
					t.Error(err)
				}
			}
		})
		rnd := rand.New(rand.NewPCG(round, 2))
		for range requests {
			w := random(rnd)
			s.command(t, ctrl.RSS{HashTypes: w.rss.types, Table: w.table, Unclassified: w.rest, MaxTxVQ: syncPairs, Key: w.rss.key[:]})
		}
		oids.Wait()
		var p ndis.ReceiveScaleParameters
		if err := s.c.Query(t.Context(), ndis.OIDReceiveScaleParameters, &p); err != nil {
			t.Fatal(err)
		}
		w := start(false, false)
		w.pairs, w.rest, w.rss = syncPairs, uint16(p.DefaultProcessor.Number), &hashes{}
		copy(w.rss.key[:], p.Key)
		for types := range uint32(4) {
			if infoOf(types) == p.HashInformation {
				w.rss.types = types
			}
		}
		for _, n := range p.Table {
			w.table = append(w.table, uint16(n.Number))
		}
		for port := range uint16(50) {
			f := flow{port: port, tunnelled: port%2 == 0}
			if got, want := s.arrives(t, f), w.expect(f); got != want {
				t.Fatalf("round %d: %+v arrives as %+v, want %+v by what OIDs show: %+v", round, f, got, want, p)
			}
		}
	}
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
