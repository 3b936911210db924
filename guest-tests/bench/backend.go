package bench

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"vhost-user-nvgre/guest-tests/harness"
	"vhost-user-nvgre/guest-tests/rig"
)

// backend is a running back end with two ports.
type backend struct {
	name    string
	process *harness.Process
	ports   [2]string // sockets
	stop    func()
	// polls: it has to be stopped while the other one is measured.
	polls bool
	fds   int // descriptors it has open while no front end is attached
}

// ready notes what the back end looks like at rest.
func (b *backend) ready() (*backend, error) {
	u, err := b.process.Usage()
	if err != nil {
		b.stop()
		return nil, err
	}
	b.fds = u.FDs
	return b, nil
}

// settle waits until the back end has let go of its front ends, and gives the
// processor free.
func (b *backend) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		u, err := b.process.Usage()
		if err != nil {
			return err
		}
		if u.FDs <= b.fds {
			return b.pause()
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("bench: %s holds on to its front ends: %d descriptors, want %d: %w", b.name, u.FDs, b.fds, ctx.Err())
		}
	}
}

func (b *backend) pause() error {
	if !b.polls {
		return nil
	}
	return b.process.Signal(syscall.SIGSTOP)
}

func (b *backend) resume() error {
	if !b.polls {
		return nil
	}
	return b.process.Signal(syscall.SIGCONT)
}

// patience is how long a back end may take for what it does at once.
const patience = 20 * time.Second

// sockets names those of a back end. What was killed leaves its own behind, so
// no name is used twice.
func sockets(dir *harness.Dir, prefix string) (s [2]string, err error) {
	for i := range s {
		if s[i], err = dir.Socket(prefix + strconv.Itoa(i) + ".sock"); err != nil {
			return s, err
		}
	}
	return s, nil
}

// startOurs runs the daemon with one worker thread on a processor.
func (m *machine) startOurs(ctx context.Context, r Row) (*backend, error) {
	ports, err := sockets(m.dir, "ours-"+r.Name+"-")
	if err != nil {
		return nil, err
	}
	args := []string{"--shards", "1", "--cpus", strconv.Itoa(m.BackendCPU), "--log-level", "warn"}
	for i, s := range ports {
		p := fmt.Sprintf("name=p%d,socket=%s", i, s)
		if r.NVGRE {
			p += ",nvgre=on"
		}
		args = append(args, "--port", p)
	}
	d, err := rig.Start(ctx, m.lab, m.dir, rig.Config{Args: args})
	if err != nil {
		return nil, err
	}
	b := &backend{name: "ours", process: d.Process(), ports: ports, stop: d.Kill}
	return b.ready()
}

// startTestpmd runs testpmd with its forwarding thread on the processor that the
// daemon has too. Its main thread, which only prints counters once a second,
// runs where the generator does.
func (m *machine) startTestpmd(ctx context.Context, r Row) (*backend, error) {
	ports, err := sockets(m.dir, "dpdk-"+r.Name+"-")
	if err != nil {
		return nil, err
	}
	s := r.Testpmd
	p := harness.Testpmd{
		Name: "bench", Forward: s.Forward, MainCore: m.GeneratorCPU, ForwardCore: m.BackendCPU,
		HugePages: m.HugePages, MemMB: s.MemMB,
		Args: []string{fmt.Sprintf("--total-num-mbufs=%d", s.Mbufs)},
	}
	for i, path := range ports {
		v := fmt.Sprintf("net_vhost%d,iface=%s", i, path)
		if s.Vdev != "" {
			v += "," + s.Vdev
		}
		p.Vdevs = append(p.Vdevs, v)
	}
	if s.MbufSize != 0 {
		p.Args = append(p.Args, fmt.Sprintf("--mbuf-size=%d", s.MbufSize))
	}
	if len(s.Commands) > 0 {
		file := m.dir.Path("testpmd.commands")
		if err := os.WriteFile(file, []byte(strings.Join(s.Commands, "\n")+"\n"), 0o600); err != nil {
			return nil, fmt.Errorf("bench: %w", err)
		}
		p.Args = append(p.Args, "--cmdline-file="+file)
	}
	d, err := p.Daemon(ctx, m.lab, m.dir)
	if err != nil {
		return nil, err
	}
	process, err := harness.StartDaemon(ctx, m.lab, d)
	if err != nil {
		return nil, err
	}
	b := &backend{name: "testpmd", process: process, ports: ports, stop: process.Kill, polls: true}
	return b.ready()
}
