package oid

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mdlayher/vsock"
	"go.uber.org/goleak"

	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/offload/ndis"
	"vhost-user-nvgre/offload/ndis/adapter"
	"vhost-user-nvgre/offload/ndis/adapter/adaptertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// quiet is a log that nobody reads.
type quiet struct{}

func (quiet) Debugf(string, ...any) {}

// newHub returns a port with a real adapter behind it.
func newHub(t *testing.T, name string) *Hub {
	t.Helper()
	a, indicate := adaptertest.New(t, adaptertest.Driver, adapter.Config{QueuePairs: 2, Limits: offload.DefaultLimits()})
	hub := NewHub(name, a)
	indicate(hub.Indicate)
	return hub
}

// serve serves a Unix socket until the test ends, and returns its path.
func serve(t *testing.T, choose Chooser, change func(*limits)) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", file)
	if err != nil {
		t.Fatal(err)
	}
	serveAt(t, l, choose, change)
	return file
}

func serveAt(t *testing.T, l net.Listener, choose Chooser, change func(*limits)) {
	t.Helper()
	s := &server{choose: choose, log: quiet{}, limits: defaultLimits()}
	if change != nil {
		change(&s.limits)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		if err := s.serve(ctx, l); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); done.Wait() })
}

func dial(t *testing.T, file string) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

func connect(t *testing.T, file, port string, watch bool) *Client {
	t.Helper()
	c, err := Connect(t.Context(), dial(t, file), port, watch)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); drain(c) })
	return c
}

// drain waits until a closed client's goroutine has ended.
func drain(c *Client) {
	for range c.Indications() {
	}
}

var lsoOff = &ndis.OffloadParameters{LSOv2IPv4: ndis.SwitchDisabled}

// Requests are answered, refusals said in words, and those who watch are told
// before the request completes.
func TestRequests(t *testing.T) {
	hub := newHub(t, "vm0")
	file := serve(t, Only(hub), nil)
	c, watcher := connect(t, file, "", true), connect(t, file, "vm0", true)
	if c.Port() != "vm0" {
		t.Errorf("port %q, want vm0", c.Port())
	}
	var o ndis.Offload
	if err := c.Query(t.Context(), ndis.OIDTCPOffloadCurrentConfig, &o); err != nil || o.LSOv2.IPv4.Encapsulation == 0 {
		t.Errorf("query: %+v, %v, want large send", o.LSOv2, err)
	}
	if err := c.Set(t.Context(), ndis.OIDTCPOffloadParameters, lsoOff); err != nil {
		t.Fatal(err)
	}
	for _, w := range []*Client{c, watcher} {
		select {
		case i := <-w.Indications():
			if err := o.Decode(i.Body); i.Status != ndis.StatusTaskOffloadCurrentConfig || err != nil || o.LSOv2.IPv4.Encapsulation != 0 || i.Dropped != 0 {
				t.Errorf("indication %s, dropped %d: %+v, %v, want the configuration without large send", i.Status, i.Dropped, o.LSOv2, err)
			}
		case <-time.After(20 * time.Second):
			t.Error("no indication")
		}
	}
	err := c.Set(t.Context(), ndis.OIDTCPOffloadParameters, &ndis.OffloadParameters{LSOv2IPv4: 9})
	var status *StatusError
	if !errors.As(err, &status) || status.Status != ndis.StatusInvalidData || !strings.Contains(err.Error(), "LsoV2IPv4 is 9") {
		t.Errorf("malformed parameters: %v, want INVALID_DATA that names the field", err)
	}
	resp, err := c.Do(t.Context(), adapter.Request{Type: adapter.Query, OID: ndis.OIDTCPOffloadHardwareCaps, OutputLength: 100})
	if err != nil || resp.Status != ndis.StatusBufferTooShort || resp.BytesNeeded != ndis.OffloadSize {
		t.Errorf("short buffer: %+v, %v, want %d bytes needed", resp, err, ndis.OffloadSize)
	}
	// More at once than wait for a client.
	var many sync.WaitGroup
	for range 200 {
		many.Go(func() {
			var o ndis.Offload
			if err := c.Query(t.Context(), ndis.OIDTCPOffloadCurrentConfig, &o); err != nil {
				t.Error(err)
			}
		})
	}
	many.Wait()
	if _, err := c.Do(t.Context(), adapter.Request{Input: make([]byte, MaxInput+1)}); err == nil {
		t.Error("an information buffer that no message holds was sent")
	}
}

// A client that takes nothing loses indications, keeps nobody waiting, and is
// told how many it lost.
func TestSlowClient(t *testing.T) {
	hub := newHub(t, "vm0")
	file := serve(t, Only(hub), func(l *limits) { l.queue = 4 })
	slow := dial(t, file)
	if _, err := greet(slow, &hello{version: Version, watch: true}); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, 60<<10)
	quick := connect(t, file, "", false)
	for range 200 {
		hub.Indicate(1, body)
		var o ndis.Offload
		if err := quick.Query(t.Context(), ndis.OIDTCPOffloadCurrentConfig, &o); err != nil {
			t.Fatal(err)
		}
	}
	lost := hub.Dropped()
	if lost == 0 {
		t.Fatal("nothing was dropped")
	}
	// What is left comes; the next one says how many there are missing.
	got, told := uint64(0), uint64(0)
	for got+told < 201 {
		_, b, err := receive(slow, func() {})
		if err != nil {
			t.Fatalf("after %d indications, %d said to be dropped: %v", got, told, err)
		}
		i, err := decodeIndication(b)
		if err != nil {
			t.Fatal(err)
		}
		got++
		told += uint64(i.Dropped)
		if got == 200-lost {
			hub.Indicate(1, nil)
		}
	}
	if told != lost {
		t.Errorf("said to be dropped: %d, dropped %d", told, lost)
	}
}

// Clients that do not keep to the protocol are told why, and let go.
func TestHostileClients(t *testing.T) {
	hub := newHub(t, "vm0")
	hasty := serve(t, Only(hub), func(l *limits) { l.hello, l.message = 100*time.Millisecond, 100*time.Millisecond })
	file := serve(t, Only(hub), func(l *limits) { l.hello, l.message = time.Minute, time.Minute })
	good := (&hello{version: Version}).encode()
	for _, tt := range []struct {
		name string
		send [][]byte
		want string // in the refusal
	}{
		{"nothing", nil, "timeout"},
		{"half a hello", [][]byte{good[:10]}, "timeout"},
		{"HTTP", [][]byte{[]byte("GET / HTTP/1.1\r\n\r\n")}, "malformed"},
		{"a request first", [][]byte{(&request{}).encode()}, "want a hello first"},
		{"another version", [][]byte{(&hello{version: 2}).encode()}, "version 2 of the protocol, want 1"},
		{"another port", [][]byte{(&hello{version: Version, port: "vm1"}).encode()}, "port vm1 cannot be reached here"},
		{"a long name", [][]byte{(&hello{version: Version, port: strings.Repeat("x", 256)}).encode()}, "malformed"},
		{"two hellos", [][]byte{good, good}, "hello, want a request"},
		{"half a request", [][]byte{good, (&request{}).encode()[:20]}, ""},
		{"a short request", [][]byte{good, end(begin(kindRequest, 3))}, "malformed"},
		{"a length without end", [][]byte{good, {0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0}}, "malformed"},
	} {
		at := file
		if tt.want == "timeout" || tt.want == "" {
			at = hasty // which on a busy machine may also be too hasty for a good hello
		}
		c := dial(t, at)
		for _, b := range tt.send {
			if _, err := c.Write(b); err != nil {
				break // let go already
			}
		}
		var said string
		for {
			k, b, err := receive(c, func() {})
			if err != nil {
				if !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") {
					t.Errorf("%s: the connection stays open: %v", tt.name, err)
				}
				break
			}
			if k == kindRefusal {
				said = string(b)
			}
		}
		if !strings.Contains(said, tt.want) {
			t.Errorf("%s: refused with %q, want %q", tt.name, said, tt.want)
		}
	}
	// None of that kept anyone else out.
	var o ndis.Offload
	if err := connect(t, file, "", false).Query(t.Context(), ndis.OIDTCPOffloadCurrentConfig, &o); err != nil {
		t.Error(err)
	}
}

// A port has room for so many connections, and for others when they leave.
func TestTooManyConnections(t *testing.T) {
	hub := newHub(t, "vm0")
	file := serve(t, Only(hub), func(l *limits) { l.perPort = 2 })
	first := connect(t, file, "", false)
	connect(t, file, "", false)
	if _, err := Connect(t.Context(), dial(t, file), "", false); !errors.Is(err, ErrRefused) {
		t.Errorf("third connection: %v, want ErrRefused", err)
	}
	first.Close()
	deadline := time.Now().Add(10 * time.Second)
	for {
		c, err := Connect(t.Context(), dial(t, file), "", false)
		if err == nil {
			c.Close()
			drain(c)
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after one left: %v", err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	file = serve(t, Only(hub), func(l *limits) { l.conns = 0 })
	if _, err := Connect(t.Context(), dial(t, file), "", false); !errors.Is(err, ErrRefused) {
		t.Errorf("server without room: %v, want ErrRefused", err)
	}
}

// A guest reaches the port of its context id and no other.
func TestByCID(t *testing.T) {
	one, two := newHub(t, "vm1"), newHub(t, "vm2")
	choose := ByCID(func(cid uint32) *Hub { return map[uint32]*Hub{3: one, 4: two}[cid] })
	for _, tt := range []struct {
		cid  uint32
		name string
		want *Hub
	}{
		{3, "", one},
		{4, "", two},
		{4, "vm2", two},
		{4, "vm1", nil},
		{5, "", nil},
		{5, "vm1", nil},
	} {
		if got, err := choose(&vsock.Addr{ContextID: tt.cid, Port: 99}, tt.name); got != tt.want || (err == nil) != (tt.want != nil) {
			t.Errorf("context id %d, port %q: %v, %v", tt.cid, tt.name, got, err)
		}
	}
	if got, err := choose(&net.UnixAddr{}, ""); err == nil {
		t.Errorf("a Unix socket: %v, want an error", got)
	}
}

// guestsAt has each connection come from the guest that is next.
type guestsAt struct {
	net.Listener
	next *atomic.Uint32
}

type guestConn struct {
	net.Conn
	cid uint32
}

func (g guestsAt) Accept() (net.Conn, error) {
	c, err := g.Listener.Accept()
	return guestConn{c, g.next.Load()}, err
}

func (c guestConn) RemoteAddr() net.Addr { return &vsock.Addr{ContextID: c.cid} }

// A guest that connects and says nothing keeps no other guest out.
func TestCrowdOfAGuest(t *testing.T) {
	const most = 3
	hub := newHub(t, "vm0")
	file := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", file)
	if err != nil {
		t.Fatal(err)
	}
	cid := &atomic.Uint32{}
	cid.Store(7)
	serveAt(t, guestsAt{l, cid}, ByCID(func(uint32) *Hub { return hub }), func(l *limits) {
		l.conns, l.perPeer, l.hello = most+1, most, time.Hour
	})
	var silent []net.Conn
	for range most {
		silent = append(silent, dial(t, file))
	}
	if _, err := greet(dial(t, file), &hello{version: Version}); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "this guest has 3 connections already") {
		t.Errorf("a connection too many: %v, want to be told so", err)
	}
	cid.Store(8)
	if _, err := greet(dial(t, file), &hello{version: Version}); err != nil {
		t.Errorf("another guest: %v", err)
	}
	silent[0].Close()
	cid.Store(7)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		c := dial(t, file)
		if _, err = greet(c, &hello{version: Version}); err == nil || time.Now().After(end) {
			break
		}
		c.Close()
	}
	if err != nil {
		t.Errorf("the guest again, with a connection less: %v", err)
	}
}

// A client whose server goes away, or talks nonsense, says so.
func TestClientErrors(t *testing.T) {
	for _, tt := range []struct {
		name string
		say  []byte
	}{
		{"a hello", (&hello{version: 1}).encode()},
		{"a response to nothing", (&response{id: 77}).encode()},
		{"nonsense", []byte("nonsense nonsense")},
		{"a refusal", (&refusal{"go away"}).encode()},
		{"nothing", nil},
	} {
		near, far := net.Pipe()
		go func() {
			_, _, _ = receive(far, func() {})
			_, _ = far.Write((&hello{version: 1, port: "p"}).encode())
			_, _, _ = receive(far, func() {})
			_, _ = far.Write(tt.say)
			far.Close()
		}()
		c, err := Connect(t.Context(), near, "", false)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := c.Do(t.Context(), adapter.Request{}); err == nil {
			t.Errorf("%s: Do = %+v, want an error", tt.name, resp)
		}
		drain(c)
		if _, err := c.Do(t.Context(), adapter.Request{}); err == nil {
			t.Errorf("%s: Do on an ended connection: no error", tt.name)
		}
	}
	near, far := net.Pipe()
	defer far.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := Connect(ctx, near, "", false); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Connect to a silent server: %v, want %v", err, context.DeadlineExceeded)
	}
}

// When the server ends, all connections do.
func TestShutdown(t *testing.T) {
	hub := newHub(t, "vm0")
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, l, Only(hub), quiet{}) }()
	c := connect(t, l.Addr().String(), "", true)
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Serve: %v", err)
	}
	drain(c)
	if _, err := net.Dial("unix", l.Addr().String()); err == nil {
		t.Error("somebody still listens")
	}
}

func ExampleClient() {
	c, err := DialVsock(DefaultPort)
	if err != nil {
		fmt.Println("no host to ask")
		return
	}
	client, err := Connect(context.Background(), c, "", false)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	var o ndis.Offload
	if err := client.Query(context.Background(), ndis.OIDTCPOffloadCurrentConfig, &o); err == nil {
		fmt.Println(o.EncapsulationTypes)
	}
}

// gate holds requests up, and counts them.
type gate struct {
	entered chan struct{}
	open    chan struct{}
	count   atomic.Int32
}

func (g *gate) Handle(adapter.Request) adapter.Response {
	g.count.Add(1)
	g.entered <- struct{}{}
	<-g.open
	return adapter.Response{}
}

// When a port is taken away its clients are told, those that wait and those
// that come too late; the request under way is carried out, and none after it.
func TestClosedHub(t *testing.T) {
	g := &gate{entered: make(chan struct{}, 1), open: make(chan struct{})}
	hub := NewHub("vm0", g)
	file := serve(t, Only(hub), nil)
	silent, busy := connect(t, file, "", true), connect(t, file, "", false)
	answered := make(chan error, 1)
	go func() {
		_, err := busy.Do(t.Context(), adapter.Request{})
		answered <- err
	}()
	<-g.entered
	closed := make(chan struct{})
	go func() {
		hub.Close()
		close(closed)
	}()
	select {
	case <-closed:
		t.Error("Close returned while a request was under way")
	case <-time.After(20 * time.Millisecond):
	}
	close(g.open)
	<-closed
	if err := <-answered; err != nil {
		t.Errorf("the request under way: %v, want its response", err)
	}
	late := connect(t, file, "", true)
	for i, c := range []*Client{silent, busy, late} {
		drain(c)
		_, err := c.Do(t.Context(), adapter.Request{})
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "port vm0 has been removed") {
			t.Errorf("client %d: %v, want to be told that the port has been removed", i, err)
		}
	}
	if n := g.count.Load(); n != 1 {
		t.Errorf("%d requests reached the handler, want 1", n)
	}
}
