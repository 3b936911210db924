package interop

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"vhost-user-nvgre/guest-tests/harness"
	"vhost-user-nvgre/guest-tests/rig"
)

const (
	ringSize = 256 // descriptors
	// patience is how long something may take that is done at once on an idle
	// machine.
	patience = 20 * time.Second
)

// device is how testpmd's devices are set up.
type device struct {
	pairs     int
	mergeable bool
	server    bool // it listens and the daemon connects
}

func (v device) String() string {
	return fmt.Sprintf("pairs=%d mergeable=%t", v.pairs, v.mergeable)
}

// vdev returns the device on a socket as testpmd takes it.
func (v device) vdev(i int, socket string) string {
	s := fmt.Sprintf("net_virtio_user%d,path=%s,queues=%d,queue_size=%d,mrg_rxbuf=%d",
		i, socket, v.pairs, ringSize, oneIf(v.mergeable))
	if v.server {
		s += ",server=1"
	}
	return s
}

func oneIf(b bool) int {
	if b {
		return 1
	}
	return 0
}

// frontEnd is a testpmd with a device on each port of the daemon. It sends
// frames of a thousand flows on both, as fast as it can, and takes in what
// comes.
type frontEnd struct{ *harness.Process }

// start runs a testpmd that lives as long as the test.
func (v device) start(t *testing.T, dir *harness.Dir, d *rig.Daemon) frontEnd {
	t.Helper()
	p := harness.Testpmd{
		Name: "interop", Queues: v.pairs, Forward: "flowgen", MemMB: 64,
		Args: []string{"--total-num-mbufs=6144"},
	}
	for i, name := range portNames {
		socket := d.Port(name).Socket()
		if v.server {
			// One that was killed leaves its socket behind, and will not take it
			// over.
			if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("%v", err)
			}
		}
		p.Vdevs = append(p.Vdevs, v.vdev(i, socket))
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	daemon, err := p.Daemon(ctx, harness.Lab(t), dir)
	if err != nil {
		t.Fatalf("%v", err)
	}
	f, err := harness.StartDaemon(ctx, harness.Lab(t), daemon)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		f.Kill()
		if t.Failed() {
			said := f.Stdout.String()
			t.Logf("end of testpmd's output:\n%s\n%s", f.Stderr, said[max(0, len(said)-3000):])
		}
	})
	return frontEnd{f}
}

// stats returns counters of both ports that were read after it was called.
func (f frontEnd) stats(ctx context.Context) (map[int]harness.PortStats, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	const heading = "Port statistics ="
	old := strings.Count(f.Stdout.String(), heading)
	for {
		out := f.Stdout.String()
		at := strings.LastIndex(out, heading)
		if strings.Count(out, heading) > old && at >= 0 {
			if s := harness.TestpmdStats(out[at:]); len(s) == len(portNames) {
				return s, nil
			}
		}
		select {
		case <-f.Done():
			return nil, fmt.Errorf("testpmd ended: exit code %d", f.ExitCode())
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for testpmd's counters: %w", ctx.Err())
		}
	}
}
