package offloads

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"vhost-user-nvgre/guest-tests/rawframe"
	"vhost-user-nvgre/vhostuser/frontendtest"
	"vhost-user-nvgre/virtio"
)

// receiver takes what comes at a front end.
type receiver struct {
	mu     sync.Mutex
	frames [][]byte // NVGRE packets
}

// receive takes frames until the test ends.
func receive(t *testing.T, q *frontendtest.RxQueue) *receiver {
	r := &receiver{}
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		for {
			f, err := q.Recv(50 * time.Millisecond)
			if err == nil && len(f.Data) > 40 && (f.Data[12] == 8 && f.Data[23] == 47 || f.Data[12] == 0x86 && f.Data[20] == 47) {
				r.mu.Lock()
				r.frames = append(r.frames, f.Data)
				r.mu.Unlock()
			}
			if err != nil && !errors.Is(err, frontendtest.ErrTimeout) {
				t.Error(err)
				return
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	t.Cleanup(func() { close(done); running.Wait() })
	return r
}

// take returns the packets that have come since it was called last.
func (r *receiver) take() [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.frames
	r.frames = nil
	return list
}

func (r *receiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.frames)
}

// stream sends large packets from the guest until stop is closed, and returns
// how many.
func (w *walk) stream(ctx context.Context, stop <-chan struct{}) (n int, err error) {
	p, err := w.peer.StartSending(ctx)
	if err != nil {
		return 0, err
	}
	record := rawframe.Append(nil, w.large(false))
	for open := true; open && err == nil; n++ {
		err = p.Write(ctx, record)
		select {
		case <-stop:
			open = false
		case <-time.After(5 * time.Millisecond):
		}
	}
	err = errors.Join(err, p.CloseInput(ctx))
	result, ended := p.Wait(ctx)
	if ended == nil {
		ended = result.Err()
	}
	return n, errors.Join(err, ended)
}

// offUnderLoad has the guest turn NVGRE off while frames come to it and it
// sends large packets. Every frame comes, hashed by its inner headers up to a
// point, which is not after the command's end, and by the outer ones from then
// on. Every large packet leaves as all of its segments, or is refused. It
// reports whether the guest was quick enough to have buffers for all of it.
func (w *walk) offUnderLoad(ctx context.Context) bool {
	w.Helper()
	const (
		most   = 20_000 // frames
		first  = 500    // before the command, and after it
		pause  = 4 * time.Millisecond
		atOnce = 16
	)
	before, refused := w.daemon.MustStatus(w), w.refused(ctx)
	w.far.take()
	var flows []flow
	sent := 0 // large packets
	end := 0  // of the command, in frames
	arrivals, err := w.peer.Hashes(ctx, most, func() (err error) {
		stop, streamed, commanded := make(chan struct{}), make(chan error, 1), make(chan error, 1)
		go func() {
			var err error
			sent, err = w.stream(ctx, stop)
			streamed <- err
		}()
		asked := false
		for len(flows) < most && (end == 0 || len(flows) < end+first) {
			for range atOnce {
				flows = append(flows, tunnelled(w.rnd, len(flows)%2 == 1, len(flows)%4 >= 2))
				w.tx.MustSend(w, virtio.NetHdr{}, w.marked(&flows[len(flows)-1], len(flows)-1))
			}
			if !asked && len(flows) >= first && w.far.count() >= segments {
				asked = true
				go func() {
					_, err := w.peer.Output(ctx, "nvgre-guest", "offload", "off", "nvgre")
					commanded <- err
				}()
			}
			select {
			case err := <-commanded:
				if err != nil {
					w.Fatal(err)
				}
				end = len(flows)
			case <-time.After(pause):
				if len(flows) > most/2 {
					time.Sleep(10 * pause) // the machine does other things as well
				}
			}
		}
		if end > 0 {
			w.until("a large send is refused", func() bool { return w.refused(ctx) > refused })
		}
		close(stop)
		return errors.Join(<-streamed, w.tx.Drain(10*time.Second))
	})
	if err != nil {
		w.Fatal(err)
	}
	w.until("the large sends have gone", func() bool {
		return w.far.count() >= (sent-int(w.refused(ctx)-refused))*segments
	})
	refused = w.refused(ctx) - refused
	if drops := w.daemon.MustStatus(w).Since(before).Drops(); drops["rx_full"] > 0 {
		w.Logf("off under load: drops %v", drops)
		return false
	}
	w.whole("off under load", w.far.take(), sent-int(refused))
	off := 0 // the first frame that is hashed by its outer headers
	for i := range flows {
		a, f := arrivals[i], &flows[i]
		if off == 0 && a.Hash == w.plain.of(f) {
			off = i
		}
		want := w.on.of(f)
		if off > 0 {
			want = w.plain.of(f)
		}
		if a.Count != 1 || a.Hash != want {
			w.Fatalf("off under load: frame %d of %d, turned off before %d, came as %+v, want hash %#x", i, len(flows), off, a, want)
		}
	}
	if end == 0 || off == 0 || off > end {
		w.Errorf("off under load: in effect at frame %d of %d, want one before the command ended, at %d", off, len(flows), end)
	}
	w.Logf("off under load: in effect at frame %d, command ended at %d, %d frames came; %d of %d large sends refused", off, end, len(flows), refused, sent)
	return true
}
