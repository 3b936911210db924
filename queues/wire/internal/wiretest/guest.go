package wiretest

import (
	"bytes"
	"sync"
	"testing"
	"time"

	"vhost-user-nvgre/queues"
	"vhost-user-nvgre/queues/wire/internal/rings"
	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/eventfd"
	"vhost-user-nvgre/virtio/vring"
)

// AllOffloads are those of a guest that leaves and takes everything
// unfinished.
const AllOffloads = virtio.FeatureCSUM | virtio.FeatureHostTSO4 | virtio.FeatureHostTSO6 | virtio.FeatureHostECN | virtio.FeatureHostUSO |
	virtio.FeatureGuestCSUM | virtio.FeatureGuestTSO4 | virtio.FeatureGuestTSO6 | virtio.FeatureGuestECN |
	virtio.FeatureGuestUSO4 | virtio.FeatureGuestUSO6

// Packet is a frame with its packet header.
type Packet struct {
	Hdr virtio.NetHdr
	B   []byte
}

// Guest is a port whose frames the test sends and receives.
type Guest struct {
	t        testing.TB
	features virtio.Features
	in       guestIn
	out      guestOut
}

// NewGuest adds a guest to the switch. It leaves when the test ends.
func NewGuest(t testing.TB, e *queues.Engine, name string, features virtio.Features) *Guest {
	t.Helper()
	event, err := eventfd.New()
	if err != nil {
		t.Fatal(err)
	}
	g := &Guest{t: t, features: features, in: guestIn{event: event}, out: guestOut{Out: rings.NewOut(), got: make(chan Packet, 4096)}}
	p, err := e.AddWire(queues.WireConfig{Name: name, Kind: "test"}, g)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		e.RemoveWire(p)
		event.Close()
	})
	return g
}

// Pairs implements queues.Wire.
func (g *Guest) Pairs() []queues.WirePair {
	return []queues.WirePair{{In: &g.in, Ready: g.in.event.Int(), Out: &g.out}}
}

// Features implements queues.Wire.
func (g *Guest) Features() virtio.Features { return g.features }

// Close implements queues.Wire.
func (g *Guest) Close() error { return nil }

// Send has the guest send frames.
func (g *Guest) Send(all ...Packet) {
	g.in.mu.Lock()
	for _, p := range all {
		image := make([]byte, virtio.NetHdrSize, virtio.NetHdrSize+len(p.B))
		p.Hdr.Encode(image)
		g.in.queue = append(g.in.queue, append(image, p.B...))
	}
	g.in.mu.Unlock()
	if err := g.in.event.Signal(); err != nil {
		g.t.Fatal(err)
	}
}

// Recv returns the next frame that came for the guest, or waits for it.
func (g *Guest) Recv() Packet {
	g.t.Helper()
	select {
	case p := <-g.out.got:
		return p
	case <-time.After(Patience):
		g.t.Fatalf("waited %v for a frame to the guest", Patience)
		return Packet{}
	}
}

// guestIn holds what the guest sends.
type guestIn struct {
	rings.Passive
	mu    sync.Mutex
	event *eventfd.FD
	queue [][]byte // to be taken
	taken [][]byte // as long as somebody may need them: to the end
	wait  rings.Waiting
}

func (r *guestIn) Size() int { return 256 }

func (r *guestIn) Take(b *vring.Batch, limit int) (n int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for ; n < limit; n++ {
		id, ok := r.wait.Next()
		if !ok {
			if len(r.queue) == 0 {
				break
			}
			id = uint16(len(r.taken))
			r.taken, r.queue = append(r.taken, r.queue[0]), r.queue[1:]
		}
		b.Append(id, r.taken[id:id+1], nil)
	}
	return n, nil
}

func (r *guestIn) Untake(chains []vring.Chain) { r.wait.Untake(chains) }

func (r *guestIn) Complete([]vring.Used) {}

func (r *guestIn) Arm() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.queue) > 0 || r.wait.Any()
}

// guestOut takes what comes for the guest.
type guestOut struct {
	rings.Out
	got chan Packet
}

func (r *guestOut) Complete(used []vring.Used) {
	for _, u := range used {
		b := bytes.Clone(r.Filled(u))
		select {
		case r.got <- Packet{virtio.DecodeNetHdr(b), b[virtio.NetHdrSize:]}:
		default: // nobody looks
		}
	}
	r.Recycle(used)
}
