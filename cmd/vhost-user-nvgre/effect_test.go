package main_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"vhost-user-nvgre/cmd/internal/control"
	"vhost-user-nvgre/cmd/internal/oid"
	"vhost-user-nvgre/offload/ndis"
	"vhost-user-nvgre/vhostuser/frontendtest"
	"vhost-user-nvgre/virtio"
)

// effects measures how long it takes from before a request leaves its client
// until the first frame that shows it arrives, while the daemon's only shard
// has more to do than it can: a generator keeps two other ports busy.
type effects struct {
	testing.TB
	dir      string
	from, to *frontendtest.Frontend
}

// toggle is something that requests turn on and off, and how that is seen.
type toggle struct {
	name      string
	tunnelled bool // the frames that show it are
	set       func(on bool) (ndis.OID, ndis.Structure)
	seen      func(queue int, f *frontendtest.Frame) bool
}

var toggles = []toggle{
	{
		"NVGRE", true,
		func(on bool) (ndis.OID, ndis.Structure) {
			if !on {
				return ndis.OIDTCPOffloadParameters, &ndis.OffloadParameters{EncapsulatedTaskOffload: ndis.SetOff}
			}
			return ndis.OIDTCPOffloadParameters, &ndis.OffloadParameters{EncapsulatedTaskOffload: ndis.SetOn, EncapsulationTypes: ndis.EncapsulationGREMAC}
		},
		func(_ int, f *frontendtest.Frame) bool { return f.Hdr.Flags&virtio.HdrDataValid != 0 },
	},
	{
		"RSS", false,
		func(on bool) (ndis.OID, ndis.Structure) {
			n := ndis.ProcessorNumber{Number: map[bool]uint8{true: 1}[on]}
			return ndis.OIDReceiveScaleParameters, &ndis.ReceiveScaleParameters{
				HashInformation: ndis.HashToeplitz | ndis.HashTCPIPv4, Table: []ndis.ProcessorNumber{n, n}, Key: make([]byte, ndis.HashKeySize),
			}
		},
		func(queue int, _ *frontendtest.Frame) bool { return queue == 1 },
	},
}

// Addresses of the ports that the requests are about.
var effectMAC = [2]virtio.MAC{{2, 0, 0, 0, 7, 1}, {2, 0, 0, 0, 7, 2}}

// socket returns the path of a socket of the daemon.
func (e *effects) socket(name string) string { return filepath.Join(e.dir, name+".sock") }

func newEffects(t testing.TB) *effects {
	t.Helper()
	e := &effects{TB: t, dir: t.TempDir()}
	args := []string{"--shards=1", "--control-socket=" + e.socket("control")}
	for i, p := range []string{"a", "b", "in", "out"} {
		arg := fmt.Sprintf("--port=name=%s,socket=%s", p, e.socket(p))
		if i < len(effectMAC) {
			arg += ",mac=" + effectMAC[i].String()
		}
		if p == "b" {
			arg += ",queue-pairs=2,oid-socket=" + e.socket("guest")
		}
		args = append(args, arg)
	}
	p, err := startProcess(processOptions{
		program: daemonPath(), args: args, dir: e.dir, notify: filepath.Join(e.dir, "notify"), env: os.Environ(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if log := p.kill(); t.Failed() {
			t.Log(log)
		}
	})
	if err := p.waitNotified("READY=1"); err != nil {
		t.Fatal(err)
	}
	attach := func(port string, pairs int) *frontendtest.Frontend {
		return frontendtest.MustConnect(t, frontendtest.MustDial(t, e.socket(port)), frontendtest.Options{QueuePairs: pairs})
	}
	e.from, e.to = attach("a", 1), attach("b", 2)
	// What the switch does not know goes everywhere, which the load does not
	// bear.
	known := slices.Concat(effectMAC[0][:], effectMAC[1][:], []byte{0x88, 0xb5}, make([]byte, 46))
	e.to.TX[0].MustSend(t, virtio.NetHdr{}, known)
	if _, err := e.from.RX[0].Recv(patience); err != nil {
		t.Fatal(err)
	}
	e.load()
	return e
}

// load begins to keep the daemon busy until the test ends.
func (e *effects) load() {
	e.Helper()
	program := filepath.Join(e.dir, "loadgen")
	build := exec.CommandContext(e.Context(), "go", "build", "-o", program, "../../guest-tests/cmd/loadgen")
	if out, err := build.CombinedOutput(); err != nil {
		e.Fatalf("go build: %v\n%s", err, out)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := exec.CommandContext(ctx, program, "--send", e.socket("in"), "--receive", e.socket("out"), "--duration", "5m")
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // also when a test runs out of time
	var said strings.Builder
	c.Stderr = &said
	if err := c.Start(); err != nil {
		cancel()
		e.Fatal(err)
	}
	e.Cleanup(func() {
		cancel()
		_ = c.Wait() // it was killed
		if said.Len() > 0 {
			e.Errorf("loadgen: %s", said.String())
		}
	})
	for end := time.Now().Add(patience); e.loaded() < 100_000; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			e.Fatalf("the load does not flow: %s", said.String())
		}
	}
}

// loaded returns how many frames of the load have arrived.
func (e *effects) loaded() (n uint64) {
	e.Helper()
	s, err := control.NewClient(e.socket("control")).Status(e.Context())
	if err != nil {
		e.Fatal(err)
	}
	for _, p := range s.Ports {
		if p.Name == "out" {
			for _, q := range p.Queues {
				n += q.Packets
			}
		}
	}
	return n
}

// connect returns a client of the adapter at a socket.
func (e *effects) connect(socket string) *oid.Client {
	e.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		e.Fatal(err)
	}
	c, err := oid.Connect(e.Context(), conn, "b", false)
	if err != nil {
		e.Fatal(err)
	}
	e.Cleanup(func() { c.Close() })
	return c
}

// frame returns a TCP segment from a to b, in an NVGRE packet or not.
func (e *effects) frame(tunnelled bool) []byte {
	e.Helper()
	eth := &layers.Ethernet{SrcMAC: effectMAC[0][:], DstMAC: effectMAC[1][:], EthernetType: layers.EthernetTypeIPv4}
	ip := func(p layers.IPProtocol) *layers.IPv4 {
		return &layers.IPv4{Version: 4, TTL: 64, Protocol: p, SrcIP: net.IP{192, 0, 2, 1}, DstIP: net.IP{192, 0, 2, 2}}
	}
	inner, tcp := ip(layers.IPProtocolTCP), &layers.TCP{SrcPort: 1, DstPort: 2, ACK: true}
	if err := tcp.SetNetworkLayerForChecksum(inner); err != nil {
		e.Fatal(err)
	}
	list := []gopacket.SerializableLayer{eth, inner, tcp, gopacket.Payload(make([]byte, 100))}
	if tunnelled {
		gre := &layers.GRE{KeyPresent: true, Key: 0x123456 << 8, Protocol: layers.EthernetTypeTransparentEthernetBridging}
		list = append([]gopacket.SerializableLayer{eth, ip(layers.IPProtocolGRE), gre}, list...)
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, list...); err != nil {
		e.Fatal(err)
	}
	return buf.Bytes()
}

// probe is a stream of frames from a to b, one every interval.
type probe struct {
	sent    atomic.Uint64
	ends    chan struct{}
	running sync.WaitGroup

	mu    sync.Mutex
	want  func(queue int, f *frontendtest.Frame) bool // nil: nobody waits
	after uint64                                      // number of the first frame that counts
	at    chan time.Time                              // when the frame that was wanted came
}

// numberSize is that of a frame's number, behind the packet, in bytes.
const numberSize = 8

// interval is short beside what is measured, and long enough to leave the
// processors to the load.
const interval = 200 * time.Microsecond

func (e *effects) startProbe(frame []byte) *probe {
	const inFlight = 8
	p := &probe{ends: make(chan struct{}), at: make(chan time.Time, 1)}
	tokens := make(chan struct{}, inFlight)
	for range inFlight {
		tokens <- struct{}{}
	}
	p.running.Go(func() {
		for {
			select {
			case <-tokens:
			case <-p.ends:
				return
			}
			time.Sleep(interval)
			numbered := binary.BigEndian.AppendUint64(slices.Clone(frame), p.sent.Add(1))
			if err := e.from.TX[0].Send(virtio.NetHdr{}, numbered, patience); err != nil {
				e.Error(err)
				return
			}
		}
	})
	for n, q := range e.to.RX {
		p.running.Go(func() {
			for {
				f, err := q.Recv(20 * time.Millisecond)
				switch {
				case err == nil:
					if bytes.HasPrefix(f.Data, frame) { // and not somebody's broadcast
						p.look(n, &f)
						tokens <- struct{}{}
					}
				case !errors.Is(err, frontendtest.ErrTimeout):
					e.Error(err)
					return
				default:
					select {
					case <-p.ends:
						return
					default:
					}
				}
			}
		})
	}
	return p
}

func (p *probe) stop() { close(p.ends); p.running.Wait() }

func (p *probe) look(queue int, f *frontendtest.Frame) {
	p.mu.Lock()
	defer p.mu.Unlock()
	number := binary.BigEndian.Uint64(f.Data[len(f.Data)-numberSize:])
	if p.want != nil && number > p.after && p.want(queue, f) {
		p.want = nil
		p.at <- time.Now()
	}
}

// await has at told of the first frame that is as wanted, of those behind
// number after.
func (p *probe) await(after uint64, want func(int, *frontendtest.Frame) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.after, p.want = after, want
}

// measure turns something on and off until more returns false, and returns how
// long each time took until it was seen and until the request was complete,
// both sorted.
func (e *effects) measure(g *toggle, socket string, more func() bool) (seen, complete []time.Duration) {
	e.Helper()
	c := e.connect(socket)
	set := func(o ndis.OID, s ndis.Structure) {
		e.Helper()
		if err := c.Set(e.Context(), o, s); err != nil {
			e.Fatal(err)
		}
	}
	on := ndis.FamilyFraming{Enabled: ndis.SetOn, Encapsulation: ndis.FramingIEEE8023, HeaderSize: 14}
	set(ndis.OIDOffloadEncapsulation, &ndis.OffloadEncapsulation{IPv4: on, IPv6: on})
	set(g.set(false))
	p := e.startProbe(e.frame(g.tunnelled))
	defer p.stop()
	for state := true; more() || !state; state = !state { // ends with what it turned on turned off
		// All frames from here on show what was set before.
		after := p.sent.Load()
		time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
		p.await(after, func(queue int, f *frontendtest.Frame) bool { return g.seen(queue, f) == state })
		o, s := g.set(state)
		start := time.Now()
		set(o, s)
		complete = append(complete, time.Since(start))
		select {
		case at := <-p.at:
			seen = append(seen, at.Sub(start))
		case <-time.After(patience):
			e.Fatalf("%s %t: no frame shows it", g.name, state)
		}
	}
	slices.Sort(seen)
	slices.Sort(complete)
	return seen, complete
}

// sockets are those that requests come by, with their names.
func (e *effects) sockets() map[string]string {
	return map[string]string{"administrator": oid.AdminSocket(e.socket("control")), "guest": e.socket("guest")}
}

// part returns the value that a share of sorted times does not exceed.
func part(sorted []time.Duration, share float64) time.Duration {
	return sorted[min(len(sorted)-1, int(share*float64(len(sorted))))]
}

// idle returns how long each of n frames took to arrive that was the next to be
// sent, sorted, as measure does it but without a request: what of the times is
// the machine's.
func (e *effects) idle(n int) (times []time.Duration) {
	p := e.startProbe(e.frame(true))
	defer p.stop()
	for range n {
		time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
		start := time.Now()
		p.await(p.sent.Load(), func(int, *frontendtest.Frame) bool { return true })
		times = append(times, (<-p.at).Sub(start))
	}
	slices.Sort(times)
	return times
}

// BenchmarkOIDEffect reports how long it takes until a request is seen in the
// traffic of a busy daemon, and of "none" how long the next frame takes. Run it
// with -benchtime=500x.
func BenchmarkOIDEffect(b *testing.B) {
	e := newEffects(b)
	report := func(b *testing.B, do func() []time.Duration) {
		e.TB = b
		start, before := time.Now(), e.loaded()
		times := do()
		load := float64(e.loaded()-before) / time.Since(start).Seconds()
		ms := func(d time.Duration) float64 { return d.Seconds() * 1000 }
		b.ReportMetric(ms(part(times, 0.5)), "median-ms")
		b.ReportMetric(ms(part(times, 0.99)), "p99-ms")
		b.ReportMetric(ms(part(times, 1)), "max-ms")
		b.ReportMetric(load/1e6, "load-Mpps")
		b.ReportMetric(0, "ns/op") // with the pauses
	}
	b.Run("none", func(b *testing.B) {
		report(b, func() []time.Duration { return e.idle(b.N) })
	})
	for name, socket := range e.sockets() {
		for _, g := range toggles {
			b.Run(g.name+"/"+name, func(b *testing.B) {
				report(b, func() []time.Duration {
					n := 0
					seen, _ := e.measure(&g, socket, func() bool { n++; return n <= b.N })
					return seen
				})
			})
		}
	}
}

// Requests take effect while the daemon has more to do than it can. How soon is
// for BenchmarkOIDEffect to say, on a machine that does nothing else.
func TestOIDEffect(t *testing.T) {
	e := newEffects(t)
	for name, socket := range e.sockets() {
		for _, g := range toggles {
			n := 0
			seen, complete := e.measure(&g, socket, func() bool { n++; return n <= 20 })
			t.Logf("%s, %s: seen after %v, at most %v; complete after %v", g.name, name, part(seen, 0.5), part(seen, 1), part(complete, 0.5))
			if limit := time.Second; part(seen, 0.5) > limit {
				t.Errorf("%s, %s: seen after %v, want %v at most", g.name, name, part(seen, 0.5), limit)
			}
		}
	}
}
