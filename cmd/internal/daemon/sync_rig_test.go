package daemon

import (
	"slices"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"vhost-user-nvgre/cmd/internal/config"
	"vhost-user-nvgre/cmd/internal/oid"
	"vhost-user-nvgre/offload/ndis"
	"vhost-user-nvgre/vhostuser/frontendtest"
	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/ctrl"
)

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

// fataler is what *testing.T and *rapid.T have in common.
type fataler interface {
	Helper()
	Fatal(args ...any)
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
func (s *syncRig) arrives(t fataler, f flow) expected {
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
