package daemon

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"vhost-user-nvgre/cmd/internal/config"
	"vhost-user-nvgre/cmd/internal/control"
	"vhost-user-nvgre/vhostuser/frontendtest"
	"vhost-user-nvgre/virtio"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what should take milliseconds.
const patience = 20 * time.Second

// running is a daemon in this process.
type running struct {
	t       *testing.T
	dir     string
	signals chan os.Signal
	next    config.Settings // what load returns
	done    chan error
	client  *control.Client
}

// portIn returns the settings of a port whose socket is in dir.
func portIn(dir, name string) config.Port {
	p := config.DefaultPort()
	p.Name, p.Socket, p.Origin = name, filepath.Join(dir, name+".sock"), "test"
	return p
}

// run starts a daemon with the given ports and returns when it answers.
func run(t *testing.T, change func(dir string, s *config.Settings)) *running {
	t.Helper()
	dir := t.TempDir()
	s := config.Default()
	s.Shards = 1
	s.ControlSocket = filepath.Join(dir, "control.sock")
	change(dir, &s)
	log := logrus.New()
	log.SetOutput(testOutput{t})
	r := &running{
		t: t, dir: dir, signals: make(chan os.Signal, 2), next: s,
		done: make(chan error, 1), client: control.NewClient(s.ControlSocket),
	}
	go func() {
		r.done <- Run(&s, func() (config.Settings, error) { return r.next, nil }, log, r.signals)
	}()
	t.Cleanup(func() {
		select {
		case err := <-r.done: // has ended before
			r.done <- err
		case r.signals <- syscall.SIGTERM:
		}
		if err := r.wait(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	r.until("answering", func() bool {
		_, err := r.client.Status(context.Background())
		return err == nil
	})
	return r
}

// testOutput hands log lines to the test.
type testOutput struct{ t *testing.T }

func (o testOutput) Write(b []byte) (int, error) {
	o.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// wait returns what Run returned.
func (r *running) wait() error {
	r.t.Helper()
	select {
	case err := <-r.done:
		r.done <- err
		return err
	case <-time.After(patience):
		r.t.Fatal("Run did not return")
		return nil
	}
}

// until waits for a state that others bring about.
func (r *running) until(what string, cond func() bool) {
	r.t.Helper()
	for end := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("the daemon is not %s", what)
		}
	}
}

// status returns the status of the daemon and of one port.
func (r *running) status(name string) (*control.Status, *control.Port) {
	r.t.Helper()
	s, err := r.client.Status(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	for i := range s.Ports {
		if s.Ports[i].Name == name {
			return s, &s.Ports[i]
		}
	}
	return s, nil
}

// attach connects a front end to a port; its rings run when it returns.
func (r *running) attach(name string, o frontendtest.Options) *frontendtest.Frontend {
	r.t.Helper()
	f := frontendtest.MustConnect(r.t, frontendtest.MustDial(r.t, filepath.Join(r.dir, name+".sock")), o)
	return f
}

// frame returns an Ethernet frame of a protocol that nobody looks into.
func frame(dst, src virtio.MAC, n int) []byte {
	b := make([]byte, n)
	copy(b, dst[:])
	copy(b[6:], src[:])
	b[12], b[13] = 0x88, 0xb5
	for i := 14; i < n; i++ {
		b[i] = byte(i)
	}
	return b
}

func TestTwoFrontEnds(t *testing.T) {
	var mac [2]virtio.MAC
	r := run(t, func(dir string, s *config.Settings) {
		a, b := portIn(dir, "a"), portIn(dir, "b")
		a.QueuePairs, a.MTU = 2, 1500
		s.Ports = []config.Port{a, b}
		mac = [2]virtio.MAC{a.Address(), b.Address()}
	})
	a := r.attach("a", frontendtest.Options{QueuePairs: 2, MTU: 1500})
	b := r.attach("b", frontendtest.Options{Style: frontendtest.Generic})

	want := frame(mac[1], mac[0], 500)
	a.TX[0].MustSend(t, virtio.NetHdr{}, want)
	if got := b.RX[0].MustRecv(t); !slices.Equal(got.Data, want) {
		t.Errorf("b received %d bytes, want the %d that a sent", len(got.Data), len(want))
	}

	s, pa := r.status("a")
	_, pb := r.status("b")
	if !pa.FrontEnd.Connected || pa.FrontEnd.PID != os.Getpid() || pa.FrontEnd.Sessions != 1 || pa.FrontEnd.ConnectedAt == nil {
		t.Errorf("front end of a: %+v", pa.FrontEnd)
	}
	if pa.FrontEnd.MemoryRegions != 1 || pa.FrontEnd.MemoryBytes == 0 || !slices.Contains(pa.FrontEnd.ProtocolFeatures, "reply_ack") {
		t.Errorf("front end of a: %+v", pa.FrontEnd)
	}
	if pa.ControlQueue != "front end" || pb.ControlQueue != "device" {
		t.Errorf("control queues are served by %q and %q, want the front end and the device", pa.ControlQueue, pb.ControlQueue)
	}
	if !slices.Contains(pa.Negotiated, "mrg_rxbuf") || !slices.Contains(pa.Negotiated, "mtu") || slices.Contains(pb.Negotiated, "mtu") {
		t.Errorf("negotiated:\na %v\nb %v", pa.Negotiated, pb.Negotiated)
	}
	if q := queueOf(pa, 1); q == nil || q.Kind != "tx" || q.State != "running" || q.Packets != 1 || q.Bytes != 500 || q.Shard != 0 || q.Size != 256 {
		t.Errorf("transmit queue of a: %+v", q)
	}
	if q := queueOf(pb, 0); q == nil || q.Kind != "rx" || q.Packets != 1 || q.Bytes != 500 || q.Shard != -1 {
		t.Errorf("receive queue of b: %+v", q)
	}
	if len(s.MACTable) != 1 || s.MACTable[0].MAC != mac[0].String() || s.MACTable[0].Port != "a" {
		t.Errorf("MAC table %+v, want a's address", s.MACTable)
	}
	if s.UptimeNS == 0 || s.CPUNS == 0 || len(s.ShardLoad) != 1 {
		t.Errorf("a daemon that runs for %d ns and took %d of a processor has shards %+v", s.UptimeNS, s.CPUNS, s.ShardLoad)
	}
	r.until("showing what its shard did", func() bool {
		s, _ := r.status("a")
		l := s.ShardLoad[0]
		return l.ID == 0 && l.CPU == -1 && l.Frames == 1 && l.Wakeups > 0 && l.BusyNS > 0 && l.AsleepNS > 0
	})

	r.checkLink(b)
	r.checkAnnounce(b)

	// The end: both are told by the end of their connections.
	r.signals <- syscall.SIGTERM
	if err := r.wait(); err != nil {
		t.Fatalf("Run: %v", err)
	}
	for name, f := range map[string]*frontendtest.Frontend{"a": a, "b": b} {
		if err := f.Conn.WaitEnd(); err != nil {
			t.Errorf("%s: the connection did not end cleanly: %v", name, err)
		}
	}
	if left, err := filepath.Glob(filepath.Join(r.dir, "*.sock")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// checkLink sets b's link down and up by the control socket.
func (r *running) checkLink(b *frontendtest.Frontend) {
	t := r.t
	t.Helper()
	const statusOffset = 6
	for _, up := range []bool{false, true} {
		if err := r.client.SetLink(context.Background(), "b", up); err != nil {
			t.Fatal(err)
		}
		if _, p := r.status("b"); p.LinkUp != up {
			t.Errorf("link of b is up: %v, want %v", p.LinkUp, up)
		}
		raw, err := b.Config(statusOffset, 2)
		if err != nil {
			t.Fatal(err)
		}
		if got := raw[0]&virtio.StatusLinkUp != 0; got != up {
			t.Errorf("the driver reads link up: %v, want %v", got, up)
		}
	}
}

// checkAnnounce asks both drivers to announce themselves; a's front end keeps
// the control queue, so it cannot be asked.
func (r *running) checkAnnounce(b *frontendtest.Frontend) {
	t := r.t
	t.Helper()
	if err := r.client.Announce(context.Background(), "b"); err != nil {
		t.Errorf("announce b: %v", err)
	}
	raw, err := b.Config(6, 2)
	if err != nil || raw[0]&virtio.StatusAnnounce == 0 {
		t.Errorf("status after announce is %v, %v; want the announce bit", raw, err)
	}
	err = r.client.Announce(context.Background(), "a")
	if !errors.Is(err, control.ErrState) || !strings.Contains(err.Error(), "guest_announce") {
		t.Errorf("announce a: %v, want that it is not possible", err)
	}
	if err := r.client.Announce(context.Background(), "c"); !errors.Is(err, control.ErrNoPort) {
		t.Errorf("announce c: %v, want that there is no such port", err)
	}
}

func queueOf(p *control.Port, index int) *control.Queue {
	for i := range p.Queues {
		if p.Queues[i].Index == index {
			return &p.Queues[i]
		}
	}
	return nil
}

func TestReloadLeavesOtherPortsAlone(t *testing.T) {
	r := run(t, func(dir string, s *config.Settings) {
		s.Ports = []config.Port{portIn(dir, "a"), portIn(dir, "b")}
	})
	a := r.attach("a", frontendtest.Options{})
	b := r.attach("b", frontendtest.Options{})
	r.next.Ports = []config.Port{portIn(r.dir, "b"), portIn(r.dir, "c")}
	r.signals <- syscall.SIGHUP
	r.until("without port a", func() bool { _, p := r.status("a"); return p == nil })
	if err := a.Conn.WaitEnd(); err != nil {
		t.Errorf("a: %v", err)
	}
	r.until("with port c", func() bool { _, p := r.status("c"); return p != nil })
	c := r.attach("c", frontendtest.Options{})

	p := portIn(r.dir, "b")
	broadcast := virtio.MAC{255, 255, 255, 255, 255, 255}
	b.TX[0].MustSend(t, virtio.NetHdr{}, frame(broadcast, p.Address(), 100))
	if got := c.RX[0].MustRecv(t); len(got.Data) != 100 {
		t.Errorf("c received %d bytes, want 100", len(got.Data))
	}
	if _, p := r.status("b"); p.FrontEnd.Sessions != 1 || !p.FrontEnd.Connected {
		t.Errorf("b: %+v, want the first session to go on", p.FrontEnd)
	}
}

func TestInheritedConnection(t *testing.T) {
	c, file, err := frontendtest.Pair()
	if err != nil {
		t.Fatal(err)
	}
	// The daemon takes the number over; the file must not close it.
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 100)
	if err != nil {
		t.Fatal(err)
	}
	file.Close()
	r := run(t, func(_ string, s *config.Settings) {
		p := config.DefaultPort()
		p.Name, p.FD = "a", fd
		s.Ports = []config.Port{p}
	})
	f := frontendtest.MustConnect(t, c, frontendtest.Options{})
	if _, p := r.status("a"); p.Socket != "" || p.FD != fd || !p.FrontEnd.Connected {
		t.Errorf("port a: %+v", p)
	}
	// With the only connection gone there is nothing left to do.
	f.Close()
	if err := r.wait(); err != nil {
		t.Errorf("Run after the end of the inherited connection: %v", err)
	}
}

func TestClientMode(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "qemu.sock")
	l, err := control.Listen(path, 0o600, -1) // any listening socket will do
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := run(t, func(_ string, s *config.Settings) {
		p := config.DefaultPort()
		p.Name, p.Socket, p.Mode = "a", path, config.ModeClient
		s.Ports = []config.Port{p}
	})
	for session := range uint64(2) {
		if err := l.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		c, err := l.AcceptUnix()
		if err != nil {
			t.Fatal(err)
		}
		f := frontendtest.MustConnect(t, frontendtest.NewConn(c), frontendtest.Options{})
		if _, p := r.status("a"); p.Mode != "client" || p.FrontEnd.Sessions != session+1 {
			t.Errorf("port a: %+v, want session %d", p, session+1)
		}
		f.Close()
	}
}

func TestOpenTakesEverythingDownAgain(t *testing.T) {
	dir := t.TempDir()
	s := config.Default()
	s.Shards = 1
	a, b := portIn(dir, "a"), portIn(dir, "b")
	b.Socket = filepath.Join(dir, "missing", "b.sock")
	s.Ports = []config.Port{a, b}
	log := logrus.New()
	log.SetOutput(io.Discard)
	if _, err := Open(&s, log); !errors.Is(err, os.ErrNotExist) || !strings.HasPrefix(err.Error(), "port b: ") {
		t.Errorf("Open: %v, want that b's folder is missing", err)
	}
	if _, err := os.Lstat(a.Socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a's socket: %v, want that it is gone", err)
	}
}
