package frontendtest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"vhost-user-nvgre/vhostuser"
	"vhost-user-nvgre/vhostuser/frontendtest"
	"vhost-user-nvgre/vhostuser/wire"
	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/vringtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testLog passes what a session logs on to the test.
type testLog struct{ t testing.TB }

func (l testLog) Debugf(string, ...any)           {}
func (l testLog) Infof(string, ...any)            {}
func (l testLog) Warnf(format string, arg ...any) { l.t.Logf("warn "+format, arg...) }

// serve makes the device available at a path, until the test ends.
func serve(t *testing.T, b *loopback) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	e, err := vhostuser.Open(vhostuser.Options{Path: path, Backend: b, Log: testLog{t}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if b.err != nil {
			t.Error(b.err)
		}
	})
	return path
}

const everything = frontendtest.DriverFeatures &^ virtio.FeatureHashReport

// pattern returns n bytes that differ from those of other frames.
func pattern(n, seed int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8 + seed)
	}
	return b
}

// exchange sends frames of many sizes over a queue pair and wants them back.
func exchange(t *testing.T, f *frontendtest.Frontend, pair int, sizes ...int) {
	t.Helper()
	for i, n := range sizes {
		frame := pattern(n, i)
		h := virtio.NetHdr{GSOType: virtio.GSOTCPv4, GSOSize: 1448, HdrLen: 54, Flags: virtio.HdrNeedsCsum, CsumStart: 34, CsumOffset: 16}
		f.TX[pair].MustSend(t, h, frame)
		got := f.RX[pair].MustRecv(t)
		if !bytes.Equal(got.Data, frame) {
			t.Fatalf("pair %d: frame of %d bytes came back with %d, first difference at %d", pair, n, len(got.Data), differ(got.Data, frame))
		}
		h.NumBuffers = got.Hdr.NumBuffers
		if got.Hdr != h {
			t.Errorf("pair %d: header %+v, want %+v", pair, got.Hdr, h)
		}
		if virtio.NetHdrLen(f.Features) >= virtio.NetHdrSize && int(got.Hdr.NumBuffers) != got.Buffers {
			t.Errorf("pair %d: num_buffers %d, want %d", pair, got.Hdr.NumBuffers, got.Buffers)
		}
	}
	if err := f.TX[pair].Drain(5 * time.Second); err != nil {
		t.Error(err)
	}
}

func differ(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

var sizes = []int{1, 14, 60, 1514, 2035, 2036, 2037, 9014, 65549}

func TestTraffic(t *testing.T) {
	for _, c := range []struct {
		name string
		o    frontendtest.Options
	}{
		{"default", frontendtest.Options{}},
		{"generic", frontendtest.Options{Style: frontendtest.Generic, QueuePairs: 2}},
		{"4 pairs", frontendtest.Options{QueuePairs: 4}},
		{"QEMU 7.2", frontendtest.Options{Old: true, QueuePairs: 2}},
		{"no mergeable buffers", frontendtest.Options{Features: everything &^ virtio.FeatureMrgRxbuf, RingSize: 16}},
		{"legacy header", frontendtest.Options{Features: virtio.FeatureCSUM | virtio.FeatureHostTSO4, RingSize: 16}},
		{"no event index", frontendtest.Options{Features: everything &^ virtio.FeatureEventIdx}},
		{"indirect", frontendtest.Options{Indirect: true, TxLayout: []int{1, 11, 14, 20, 20, 100}}},
		{"header in pieces", frontendtest.Options{TxLayout: []int{5, 1, 1, 1, 1, 1, 1, 1, 3}}},
		{"one element", frontendtest.Options{TxLayout: []int{1 << 20}}},
		{"small receive elements", frontendtest.Options{RxLayout: []int{100, 28, 384}, RingSize: 1024}},
		{"several regions", frontendtest.Options{Memory: []frontendtest.Region{
			{Guest: 0, Size: 64 << 20, Pieces: 3}, {Guest: 1 << 32, Size: 64 << 20}, {Guest: 3 << 32, Size: 64 << 20, Pieces: 2},
		}}},
		{"memory table", frontendtest.Options{Protocol: frontendtest.QEMUProtocol &^ wire.ProtocolConfigureMemSlots}},
		{"no acknowledgements", frontendtest.Options{Protocol: frontendtest.QEMUProtocol &^ wire.ProtocolReplyAck}},
		{"back end polls", frontendtest.Options{PollBackend: true}},
		{"driver polls", frontendtest.Options{PollDriver: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			pairs := max(1, c.o.QueuePairs)
			b := newLoopback(pairs, everything)
			f := frontendtest.MustConnect(t, frontendtest.MustDial(t, serve(t, b)), c.o)
			for p := range pairs {
				exchange(t, f, p, sizes...)
			}
			// More than the rings hold.
			for i := range 600 {
				exchange(t, f, i%pairs, 64+i)
			}
		})
	}
}

// TestLife goes through what a virtual machine does to its device.
func TestLife(t *testing.T) {
	for _, o := range []frontendtest.Options{
		{QueuePairs: 2},
		{QueuePairs: 2, Old: true},
		{Style: frontendtest.Generic, QueuePairs: 2},
		{QueuePairs: 2, Protocol: wire.ProtocolMQ},
	} {
		t.Run(fmt.Sprintf("style %d old %t protocol %s", o.Style, o.Old, o.Protocol), func(t *testing.T) {
			b := newLoopback(2, everything)
			path := serve(t, b)
			f := frontendtest.MustConnect(t, frontendtest.MustDial(t, path), o)
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			exchange(t, f, 0, sizes...)
			// Pause and continue; then with buffers in flight on both sides.
			must(f.Stop())
			must(f.Start())
			exchange(t, f, 0, 100)
			must(f.Stop())
			ok, err := f.TX[0].Add(virtio.NetHdr{}, pattern(500, 9))
			if !ok || err != nil {
				t.Fatalf("Add() = %t, %v, want true", ok, err)
			}
			must(f.TX[0].Publish())
			f.RX[0].MustBeQuiet(t, 20*time.Millisecond)
			must(f.Start())
			if o.Style == frontendtest.Generic {
				// Rings are enabled last, and what a disabled one has is lost.
				if err := f.TX[0].Drain(5 * time.Second); err != nil {
					t.Error(err)
				}
			} else if got := f.RX[0].MustRecv(t); !bytes.Equal(got.Data, pattern(500, 9)) {
				t.Errorf("frame sent while the machine was paused: got %d bytes, want 500", len(got.Data))
			}
			exchange(t, f, 1, sizes...)

			// Reboot.
			must(f.Reset())
			must(f.Start())
			must(f.SetQueuePairs(2))
			exchange(t, f, 0, 100)
			exchange(t, f, 1, 100)

			// The back end goes and comes back.
			f.Disconnect()
			c, err := frontendtest.Dial(path)
			must(err)
			must(f.Reconnect(c))
			exchange(t, f, 0, 100)
		})
	}
}

func TestQueuePairs(t *testing.T) {
	b := newLoopback(2, everything)
	f := frontendtest.MustConnect(t, frontendtest.MustDial(t, serve(t, b)), frontendtest.Options{QueuePairs: 2})
	if err := f.SetQueuePairs(1); err != nil {
		t.Fatal(err)
	}
	f.TX[1].MustSend(t, virtio.NetHdr{}, pattern(100, 0))
	f.RX[1].MustBeQuiet(t, 20*time.Millisecond)
	exchange(t, f, 0, 100)
	if err := f.SetQueuePairs(2); err != nil {
		t.Fatal(err)
	}
	exchange(t, f, 1, 100)
}

func TestControlQueue(t *testing.T) {
	for _, c := range []struct {
		features virtio.Features
		index    int
	}{{everything, 4}, {everything &^ (virtio.FeatureMQ | virtio.FeatureRSS), 2}} {
		b := newLoopback(2, everything)
		f := frontendtest.MustConnect(t, frontendtest.MustDial(t, serve(t, b)),
			frontendtest.Options{Style: frontendtest.Generic, QueuePairs: 2, Features: c.features})
		if f.Ctrl.Index != c.index {
			t.Errorf("control queue at %d, want %d", f.Ctrl.Index, c.index)
		}
		for class, want := range map[uint8]uint8{4: 0, 1: 1} {
			ack, err := f.Ctrl.Command(class, 2, []byte{3, 4, 5}, 5*time.Second)
			if err != nil || ack != want {
				t.Errorf("Command(%d, 2) = %d, %v, want %d", class, ack, err, want)
			}
			b.mu.Lock()
			if got := []byte{class, 2, 3, 4, 5}; !bytes.Equal(b.command, got) {
				t.Errorf("the device got % x, want % x", b.command, got)
			}
			b.mu.Unlock()
		}
		if ack, err := f.Ctrl.Command(4, 0, nil, 5*time.Second); err != nil || ack != 0 {
			t.Errorf("Command without data = %d, %v, want 0", ack, err)
		}
		if _, err := f.Ctrl.Command(4, 0, make([]byte, 1<<20), time.Second); err == nil {
			t.Error("Command with 1 MiB of data = nil, want an error")
		}
		exchange(t, f, 0, 100)
	}
}

func TestConfig(t *testing.T) {
	b := newLoopback(1, everything)
	image := b.config.Encode()
	f := frontendtest.MustConnect(t, frontendtest.MustDial(t, serve(t, b)), frontendtest.Options{Style: frontendtest.Generic, MTU: 9000})
	got, err := f.Config(0, len(image))
	if err != nil || !bytes.Equal(got, image[:]) {
		t.Errorf("Config() = % x, %v, want % x", got, err, image)
	}
	if err := f.SetConfig(6, []byte{0, 0}); err != nil {
		t.Error(err)
	}
	var refused *frontendtest.Refused
	if err := f.SetConfig(0, []byte{0, 0}); !errors.As(err, &refused) || !strings.Contains(err.Error(), "SET_CONFIG") {
		t.Errorf("SetConfig(0) = %v, want a refusal", err)
	}
	if _, err := f.Config(250, 28); err == nil {
		t.Error("Config(250, 28) = nil, want an error")
	}
	b.mu.Lock()
	fe, mtu := b.fe, b.mtu
	b.mu.Unlock()
	if mtu != 9000 {
		t.Errorf("the device was told an MTU of %d, want 9000", mtu)
	}
	change := func() {
		t.Helper()
		fe.ConfigChanged()
		select {
		case r := <-f.BackendRequests:
			if r != wire.BackendConfigChange {
				t.Errorf("got %s, want %s", r, wire.BackendConfigChange)
			}
		case <-time.After(5 * time.Second):
			t.Error("no message about the change")
		}
	}
	change()
	if err := f.AnswerChannel(1); err != nil {
		t.Error(err)
	}
	change()
	f.Disconnect()
	if err := f.AnswerChannel(0); err == nil {
		t.Error("AnswerChannel without a channel = nil, want an error")
	}
}

func TestMuteChannel(t *testing.T) {
	b := newLoopback(1, everything)
	f := frontendtest.MustConnect(t, frontendtest.MustDial(t, serve(t, b)), frontendtest.Options{Style: frontendtest.Generic, MuteChannel: true})
	b.mu.Lock()
	b.fe.ConfigChanged()
	b.mu.Unlock()
	exchange(t, f, 0, 100)
	if n := len(f.BackendRequests); n != 0 {
		t.Errorf("%d messages were received, want them unread", n)
	}
}

func TestRefusedMTU(t *testing.T) {
	c := frontendtest.MustDial(t, serve(t, newLoopback(1, everything)))
	var refused *frontendtest.Refused
	if _, err := frontendtest.Connect(c, frontendtest.Options{MTU: 9001}); !errors.As(err, &refused) {
		t.Errorf("Connect() = %v, want NET_SET_MTU refused", err)
	}
}

func TestMemoryRegions(t *testing.T) {
	b := newLoopback(1, everything)
	f := frontendtest.MustConnect(t, frontendtest.MustDial(t, serve(t, b)), frontendtest.Options{
		Memory: []frontendtest.Region{{Size: 128 << 20}, {Guest: 1 << 40, Size: 128 << 20}},
	})
	if err := f.RemoveRegion(1); err != nil {
		t.Fatal(err)
	}
	if err := f.AddRegion(1); err != nil {
		t.Fatal(err)
	}
	exchange(t, f, 0, 100, 1500)
	if _, err := f.RAM.At(1<<40+128<<20-1, 2); err == nil {
		t.Error("At beyond a region = nil, want an error")
	}
	if b, err := f.RAM.At(1<<40, 16); err != nil || len(b) != 16 {
		t.Errorf("At(1<<40, 16) = %d bytes, %v, want 16", len(b), err)
	}
}

func TestOptionsRefused(t *testing.T) {
	for _, o := range []frontendtest.Options{
		{Old: true, Style: frontendtest.Generic},
		{QueuePairs: 129},
		{Memory: []frontendtest.Region{{Size: 4096}}},
	} {
		if _, err := frontendtest.New(o); err == nil {
			t.Errorf("New(%+v) = nil, want an error", o)
		}
	}
	c := frontendtest.MustDial(t, serve(t, newLoopback(1, everything)))
	_, err := frontendtest.Connect(c, frontendtest.Options{QueuePairs: 2})
	if err == nil || !strings.Contains(err.Error(), "2 queue pairs are asked for and 1 supported") {
		t.Errorf("Connect() with two queue pairs = %v, want an error", err)
	}
	if _, err := frontendtest.Dial(filepath.Join(t.TempDir(), "nothing")); err == nil {
		t.Error("Dial() = nil, want an error")
	}
}

func TestSendTooLarge(t *testing.T) {
	f := frontendtest.MustConnect(t, frontendtest.MustDial(t, serve(t, newLoopback(1, everything))), frontendtest.Options{MaxFrame: 1514})
	if err := f.TX[0].Send(virtio.NetHdr{}, make([]byte, 1600), time.Second); err == nil {
		t.Error("Send of 1600 bytes = nil, want an error")
	}
	if err := f.Stop(); err != nil {
		t.Fatal(err)
	}
	var err error
	for range 300 { // nobody takes them
		if err = f.TX[0].Send(virtio.NetHdr{}, make([]byte, 60), 10*time.Millisecond); err != nil {
			break
		}
	}
	if !errors.Is(err, frontendtest.ErrTimeout) {
		t.Errorf("Send on a stopped ring = %v, want ErrTimeout", err)
	}
}

// TestRepublish makes the same descriptors available again and again, which is
// all that a load generator does per frame.
func TestRepublish(t *testing.T) {
	f := frontendtest.MustConnect(t, frontendtest.MustDial(t, serve(t, newLoopback(1, everything))), frontendtest.Options{})
	q := f.TX[0]
	frame := pattern(60, 1)
	addr := q.Driver.Mem.Write(append(make([]byte, virtio.NetHdrSize), frame...))
	const n, rounds = 64, 5
	var heads []uint16
	for range n {
		head, ok := q.Driver.Add(vringtest.Elem{Addr: addr, Len: uint32(virtio.NetHdrSize + len(frame))})
		if !ok {
			t.Fatal("the ring is full")
		}
		heads = append(heads, head)
	}
	for round := range rounds {
		if round > 0 {
			for _, h := range heads {
				q.Driver.PushAvail(h)
			}
		}
		if err := q.Publish(); err != nil {
			t.Fatal(err)
		}
		for range n {
			if got := f.RX[0].MustRecv(t); !bytes.Equal(got.Data, frame) {
				t.Fatalf("round %d: frame differs at %d", round, differ(got.Data, frame))
			}
		}
		for q.Driver.UsedIndex() != uint16((round+1)*n) {
			time.Sleep(time.Millisecond)
		}
	}
}
