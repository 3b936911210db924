package daemon

import (
	"context"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"vhost-user-nvgre/cmd/internal/config"
	"vhost-user-nvgre/cmd/internal/oid"
	"vhost-user-nvgre/cmd/qmp/qmptest"
	"vhost-user-nvgre/offload/ndis"
	"vhost-user-nvgre/vhostuser/frontendtest"
	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/ctrl"
)

// everybody is all who change a port, each at it without regard for the others
// and for whether the port is there.
type everybody struct {
	*running
	q  *qmptest.QEMU
	on atomic.Bool

	// What succeeded.
	sessions, commands, requests, filters, shown atomic.Uint64
}

// driver comes, sends commands and goes. Every other one leaves the control
// queue to its front end, and its filter is that of QEMU.
func (e *everybody) driver(rnd *rand.Rand) {
	o := frontendtest.Options{MaxFrame: 2000, Features: frontendtest.DriverFeatures | virtio.FeatureHashTunnel}
	if rnd.IntN(2) == 0 {
		o.Style = frontendtest.Generic
	}
	c, err := frontendtest.Dial(filepath.Join(e.dir, "b.sock"))
	if err != nil {
		time.Sleep(time.Millisecond)
		return
	}
	f, err := frontendtest.Connect(c, o)
	if err != nil {
		return
	}
	defer f.Close()
	e.sessions.Add(1)
	if o.Style != frontendtest.Generic {
		time.Sleep(time.Duration(rnd.IntN(20)) * time.Millisecond)
		return
	}
	for range rnd.IntN(20) {
		cmd := []ctrl.Command{
			ctrl.HashConfig{HashTypes: rnd.Uint32N(4), Key: make([]byte, ndis.HashKeySize)},
			ctrl.HashTunnel{Types: ctrl.TunnelNVGRE * rnd.Uint32N(2)},
			ctrl.GuestOffloads{},
			ctrl.RX{Mode: ctrl.Promisc, On: true},
		}[rnd.IntN(4)]
		class, code := cmd.Code()
		if _, err := f.Ctrl.Command(class, code, cmd.AppendData(nil), 200*time.Millisecond); err != nil {
			return // the port has gone
		}
		e.commands.Add(1)
	}
}

// client sends OID requests over one of the two sockets.
func (e *everybody) client(rnd *rand.Rand) {
	path := oid.AdminSocket(filepath.Join(e.dir, "control.sock"))
	if rnd.IntN(2) == 0 {
		path = filepath.Join(e.dir, "b.oid")
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		time.Sleep(time.Millisecond)
		return
	}
	c, err := oid.Connect(e.t.Context(), conn, "b", true)
	if err != nil {
		return
	}
	defer func() {
		c.Close()
		for range c.Indications() { // until its goroutine has ended
		}
	}()
	ctx, cancel := context.WithTimeout(e.t.Context(), patience)
	defer cancel()
	for range 50 {
		if _, err := c.Do(ctx, stormRequest(rnd, 1, false)); err != nil {
			if ctx.Err() != nil {
				e.t.Errorf("a request: %v", err)
			}
			return // the port has gone
		}
		e.requests.Add(1)
	}
}

// qemu is what QEMU does with the filter.
func (e *everybody) qemu(rnd *rand.Rand) {
	switch rnd.IntN(20) {
	case 0:
		e.q.Hangup()
	case 1:
		e.q.Reset("nic0")
	default:
		e.q.Change("nic0", qmptest.ResetFilter().With(qmptest.Filter{"promiscuous": rnd.IntN(2) == 0}))
	}
	time.Sleep(time.Millisecond)
}

// operator looks at the status and sets the link.
func (e *everybody) operator(rnd *rand.Rand) {
	s, err := e.running.client.Status(e.t.Context())
	if err != nil {
		e.t.Error(err)
		return
	}
	e.shown.Add(1)
	for i := range s.Ports {
		if f := s.Ports[i].RXFilter; f != nil && f.Source == "qmp" {
			e.filters.Add(1)
		}
	}
	_ = e.running.client.SetLink(e.t.Context(), "b", rnd.IntN(2) == 0) // which may have gone
}

// Settings, OIDs, the driver, QEMU, the link and the status at once, while
// drivers come and go and the port is taken away and added again: nobody waits
// for ever, and afterwards the port does what it is told.
func TestEverybodyAtOnce(t *testing.T) {
	const reloads = 41 // the last of which has a monitor
	e := &everybody{}
	e.running = run(t, func(dir string, s *config.Settings) {
		s.StateDir, s.Ports = filepath.Join(dir, "state"), []config.Port{portIn(dir, "a")}
	})
	b := portIn(e.dir, "b")
	b.OIDSocket = filepath.Join(e.dir, "b.oid")
	monitor := filepath.Join(e.dir, "qmp")
	e.q = qmptest.Start(t, monitor, qmptest.NIC{ID: "nic0", Socket: b.Socket})
	reload := func(ports ...config.Port) {
		t.Helper()
		mark := portIn(e.dir, "mark") // shows that it is under way
		mark.LinkUp = slices.ContainsFunc(e.next.Ports, func(p config.Port) bool { return p.Name == "mark" && !p.LinkUp })
		e.next.Ports = append(ports, mark)
		e.signals <- syscall.SIGHUP
		e.until("reloading", func() bool {
			_, p := e.status("mark")
			return p != nil && p.LinkUp == mark.LinkUp
		})
	}
	e.on.Store(true)
	var working sync.WaitGroup
	for i, work := range []func(*rand.Rand){e.driver, e.client, e.client, e.qemu, e.operator} {
		working.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(i), 3))
			for e.on.Load() {
				work(rnd)
			}
		})
	}
	rnd := rand.New(rand.NewPCG(9, 3))
	for i := range reloads {
		if i%8 == 7 {
			reload(portIn(e.dir, "a"))
		}
		p := b
		p.NVGRE, p.RxChecksum, p.LSO = rnd.IntN(2) == 0, rnd.IntN(2) == 0, rnd.IntN(2) == 0
		if i%3 > 0 {
			p.QMP = monitor
		}
		reload(portIn(e.dir, "a"), p)
	}
	// Whatever was slower than the reloads has its time.
	for end := time.Now().Add(patience); time.Now().Before(end) && e.least() == 0; time.Sleep(time.Millisecond) {
	}
	e.on.Store(false)
	working.Wait()
	t.Logf("%d sessions, %d commands, %d requests, %d times a filter in %d statuses", e.sessions.Load(), e.commands.Load(), e.requests.Load(), e.filters.Load(), e.shown.Load())
	if e.least() == 0 {
		t.Error("somebody had no success at all")
	}

	p := b
	p.NVGRE, p.RxChecksum = true, true
	for n, ports := range [][]config.Port{{portIn(e.dir, "a")}, {portIn(e.dir, "a"), p}} {
		reload(ports...)
		e.until("at the last settings", func() bool { _, p := e.status("b"); return (p != nil) == (n == 1) })
	}
	fa, fb := e.attach("a", frontendtest.Options{}), e.attach("b", frontendtest.Options{})
	c := e.admin("b")
	var now ndis.Offload
	if err := c.Query(t.Context(), ndis.OIDTCPOffloadCurrentConfig, &now); err != nil || now.EncapsulationTypes != ndis.EncapsulationGREMAC {
		t.Errorf("afterwards %s is active, %v; want %s, as the settings say", now.EncapsulationTypes, err, ndis.EncapsulationGREMAC)
	}
	pa := portIn(e.dir, "a")
	want := frame(b.Address(), pa.Address(), 100)
	fa.TX[0].MustSend(t, virtio.NetHdr{}, want)
	if got := fb.RX[0].MustRecv(t); !slices.Equal(got.Data, want) {
		t.Errorf("afterwards %x arrives, want %x", got.Data, want)
	}
}

// least returns the least of what succeeded.
func (e *everybody) least() uint64 {
	return min(e.sessions.Load(), e.commands.Load(), e.requests.Load(), e.filters.Load(), e.shown.Load())
}
