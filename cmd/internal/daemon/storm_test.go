package daemon

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vhost-user-nvgre/cmd/internal/config"
	"vhost-user-nvgre/cmd/internal/oid"
	"vhost-user-nvgre/offload/ndis"
	"vhost-user-nvgre/offload/ndis/adapter"
	"vhost-user-nvgre/vhostuser/frontendtest"
	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/ctrl"
)

const (
	stormClients  = 4
	stormRequests = 2500 // of each
	stormPairs    = 4
)

// station returns an address that filters of a storm are about.
func station(n int) virtio.MAC { return virtio.MAC{2, 0, 0, 0, 9, byte(n)} }

// stormRequest returns a random request, half of them such as a driver makes
// and half of them such as none does.
func stormRequest(rnd *rand.Rand, binding uint32, vmq bool) adapter.Request {
	id := uint32(rnd.IntN(stormPairs + 1))
	toggle := func() ndis.Toggle { return ndis.Toggle(rnd.IntN(3)) }
	sw := func() ndis.Switch { return ndis.Switch(rnd.IntN(3)) }
	sum := func() ndis.ChecksumSwitch { return ndis.ChecksumSwitch(rnd.IntN(5)) }
	framing := func() (f ndis.FamilyFraming) {
		if f.Enabled = toggle(); f.Enabled == ndis.SetOn {
			f.Encapsulation, f.HeaderSize = ndis.FramingIEEE8023, 14
		}
		return f
	}
	p := ndis.OffloadParameters{
		LSOv2IPv4: sw(), LSOv2IPv6: sw(), USOIPv4: sw(), RSCIPv4: sw(), UDPRSC: sw(),
		IPv4Checksum: sum(), TCPIPv4Checksum: sum(), UDPIPv4Checksum: sum(), TCPIPv6Checksum: sum(),
	}
	if p.EncapsulatedTaskOffload = toggle(); p.EncapsulatedTaskOffload == ndis.SetOn {
		p.EncapsulationTypes = ndis.EncapsulationGREMAC
	}
	filter := ndis.ReceiveFilterParameters{
		Type: ndis.FilterVMQueue, QueueID: id, Fields: []ndis.FilterField{ndis.DestinationIs(station(rnd.IntN(8)), 0)},
	}
	if rnd.IntN(2) == 0 {
		filter.Flags = ndis.FilterPacketEncapsulation
	}
	requests := []struct {
		t adapter.RequestType
		o ndis.OID
		s ndis.Structure
	}{
		{adapter.Set, ndis.OIDTCPOffloadParameters, &p},
		{adapter.Set, ndis.OIDOffloadEncapsulation, &ndis.OffloadEncapsulation{IPv4: framing(), IPv6: framing()}},
		{adapter.Query, ndis.OIDTCPOffloadCurrentConfig, nil},
		{adapter.Query, ndis.OIDTCPOffloadHardwareCaps, nil},
		{adapter.Query, ndis.OIDReceiveScaleParameters, nil},
		{adapter.Set, ndis.OIDReceiveScaleParameters, rssTo(rnd.IntN(stormPairs))},
		{adapter.Method, ndis.OIDFilterAllocateQueue, &ndis.ReceiveQueueParameters{Type: ndis.QueueTypeVMQueue, Affinity: ndis.Affinity{Mask: 1}}},
		{adapter.Method, ndis.OIDFilterAllocationComplete, &ndis.AllocationCompleteArray{Queues: []ndis.AllocationComplete{{QueueID: id}}}},
		{adapter.Method, ndis.OIDFilterSetFilter, &filter},
		{adapter.Set, ndis.OIDFilterClearFilter, &ndis.ReceiveFilterClearParameters{QueueID: id, FilterID: uint32(1 + rnd.IntN(4))}},
		{adapter.Set, ndis.OIDFilterFreeQueue, &ndis.ReceiveQueueFreeParameters{QueueID: id}},
		{adapter.Query, ndis.OIDFilterEnumQueues, nil},
	}
	if !vmq {
		requests = requests[:6] // without the filters, which RSS excludes
	}
	pick := &requests[rnd.IntN(len(requests))]
	r := adapter.Request{Type: pick.t, OID: pick.o, Binding: binding, OutputLength: oid.MaxOutput}
	if pick.s != nil {
		r.Input = pick.s.Encode()
	}
	switch oids := ndis.OIDs(); rnd.IntN(10) {
	case 0:
		r.OID = oids[rnd.IntN(len(oids))]
	case 1:
		r.Type, r.OID = adapter.RequestType(rnd.IntN(5)), ndis.OID(rnd.Uint32())
	case 2:
		r.Input = r.Input[:rnd.IntN(len(r.Input)+1)]
	case 3:
		r.OutputLength = rnd.IntN(64)
	case 4:
		for range min(len(r.Input), 3) {
			r.Input[rnd.IntN(len(r.Input))] = byte(rnd.Uint32())
		}
	}
	return r
}

// rssTo returns parameters that lead TCP over IPv4 to a queue.
func rssTo(pair int) *ndis.ReceiveScaleParameters {
	n := ndis.ProcessorNumber{Number: uint8(pair)}
	return &ndis.ReceiveScaleParameters{
		HashInformation: ndis.HashToeplitz | ndis.HashTCPIPv4, Table: []ndis.ProcessorNumber{n, n}, Key: make([]byte, ndis.HashKeySize),
	}
}

// traffic is a stream of frames to b, of which none may be lost or changed.
type traffic struct {
	sent, received atomic.Uint64
	frames         [][]byte
	stop, done     chan struct{} // of the sender, the receivers
	sending        sync.WaitGroup
	receiving      sync.WaitGroup
}

func (r *running) startTraffic(a, b *frontendtest.Frontend) *traffic {
	f := &traffic{stop: make(chan struct{}), done: make(chan struct{})}
	pa, pb := portIn(r.dir, "a"), portIn(r.dir, "b")
	for _, dst := range []virtio.MAC{pb.Address(), station(0), station(1), station(2)} {
		f.frames = append(f.frames, tcpFrame(r.t, dst, pa.Address(), false), tcpFrame(r.t, dst, pa.Address(), true))
	}
	f.sending.Go(func() {
		for {
			for _, frame := range f.frames {
				if err := a.TX[0].Send(virtio.NetHdr{}, frame, patience); err != nil {
					r.t.Error(err)
					return
				}
				f.sent.Add(1)
			}
			// What is sent is received soon, so that nobody runs out of buffers.
			for f.sent.Load() > f.received.Load()+64 {
				select {
				case <-f.stop:
					return
				case <-time.After(100 * time.Microsecond):
				}
			}
			select {
			case <-f.stop:
				return
			default:
			}
		}
	})
	for _, q := range b.RX {
		f.receiving.Go(func() {
			for {
				got, err := q.Recv(20 * time.Millisecond)
				switch {
				case err == nil:
					if !slices.ContainsFunc(f.frames, func(b []byte) bool { return slices.Equal(b, got.Data) }) {
						r.t.Errorf("%d bytes arrived that were not sent so", len(got.Data))
					}
					f.received.Add(1)
				case !errors.Is(err, frontendtest.ErrTimeout):
					r.t.Error(err)
					return
				}
				select {
				case <-f.done:
					return
				default:
				}
			}
		})
	}
	return f
}

// end stops the stream and expects all of it to have come.
func (f *traffic) end(r *running) {
	r.t.Helper()
	close(f.stop)
	f.sending.Wait()
	for end := time.Now().Add(patience); f.received.Load() != f.sent.Load() && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	close(f.done)
	f.receiving.Wait()
	_, p := r.status("b")
	for _, q := range p.Queues {
		if len(q.Drops) > 0 {
			r.t.Errorf("drops of queue %d: %v", q.Index, q.Drops)
		}
	}
	if sent, received := f.sent.Load(), f.received.Load(); sent != received {
		r.t.Errorf("%d frames were sent, %d received", sent, received)
	}
}

// descriptors returns how many file descriptors this process has.
func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// Four clients send 10,000 requests at once, valid ones and others, over the
// administrators' socket and the port's own, while traffic flows. Nothing of
// the traffic is lost. At the end, what OIDs say, what the status of the data
// path says and what frames get is the same; and when the clients have left,
// nothing of them is.
//
// Shows: NDIS-105
func TestRequestStorm(t *testing.T) {
	for _, vmq := range []bool{false, true} {
		t.Run(map[bool]string{false: "RSS", true: "VMQ"}[vmq], func(t *testing.T) {
			r := run(t, func(dir string, s *config.Settings) {
				b := portIn(dir, "b")
				b.QueuePairs, b.VMQ, b.OIDSocket = stormPairs, vmq, dir+"/b.oid"
				s.Ports = []config.Port{portIn(dir, "a"), b}
			})
			// Which has all features.
			a, b := r.attach("a", frontendtest.Options{}), r.attach("b", frontendtest.Options{QueuePairs: stormPairs, Style: frontendtest.Generic})
			if ack, err := b.Ctrl.Command(ctrl.ClassRX, 0, []byte{1}, patience); ack != 0 || err != nil {
				t.Fatalf("promiscuous mode: %d, %v", ack, err)
			}
			f := r.startTraffic(a, b)
			last := r.admin("b")
			fds, goroutines := descriptors(t), runtime.NumGoroutine()
			statuses := r.storm(t, last, vmq)
			for st, n := range statuses {
				t.Logf("%6d %s", n, st)
			}
			if statuses[ndis.StatusSuccess] < stormRequests || len(statuses) < 5 {
				t.Errorf("%d statuses, %d requests succeeded, want many", len(statuses), statuses[ndis.StatusSuccess])
			}
			r.until("rid of the clients", func() bool { return descriptors(t) <= fds && runtime.NumGoroutine() <= goroutines })
			f.end(r)
			t.Logf("%d frames meanwhile", f.sent.Load())
			r.consistent(last, a, b, vmq)
		})
	}
}

// storm has the clients send their requests while all of them and watcher are
// told what changes, and returns how often which status came.
func (r *running) storm(t *testing.T, watcher *oid.Client, vmq bool) map[ndis.Status]int {
	t.Helper()
	var mu sync.Mutex
	statuses := map[ndis.Status]int{}
	var clients []*oid.Client
	for n := range stormClients {
		socket := r.dir + "/b.oid"
		if n%2 == 0 {
			socket = oid.AdminSocket(r.dir + "/control.sock")
		}
		clients = append(clients, r.dialOID(socket, "b", true))
	}
	ctx, cancel := context.WithCancel(t.Context())
	var told sync.WaitGroup
	for _, c := range append(clients, watcher) {
		told.Go(func() {
			for {
				select {
				case <-c.Indications():
				case <-ctx.Done():
					return
				}
			}
		})
	}
	var working sync.WaitGroup
	for n, c := range clients {
		working.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(n), 11))
			for range stormRequests {
				resp, err := c.Do(t.Context(), stormRequest(rnd, uint32(n), vmq))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				statuses[resp.Status]++
				mu.Unlock()
			}
		})
	}
	working.Wait()
	cancel()
	told.Wait()
	for _, c := range clients {
		c.Close()
	}
	return statuses
}
