// Package queues moves frames: it owns the ports, the threads that poll their
// queues, and the learning switch between them.
//
// A port is one NIC. Frames its driver sends are taken from its transmit
// queues by the shard (worker thread) that owns the queue, looked up in the
// switch's address table, and copied straight into receive buffers of the
// ports they go to. Control paths change a queue under its mutex, which a
// shard holds for a batch at a time, and publish everything else the data
// path reads as immutable snapshots.
//
// Locks are taken in this order: Engine.mu, Port.mu, shard.mu, a transmit
// queue's mu, a receive queue's mu; never two of the same kind.
package queues

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"vhost-user-nvgre/queues/fdb"
)

// Logger is what the engine logs to; logrus loggers satisfy it.
type Logger interface {
	Debugf(format string, args ...any)
	Infof(format string, args ...any)
	Warnf(format string, args ...any)
}

// Config describes an Engine.
type Config struct {
	Shards  int           // worker threads, at least 1
	CPUs    []int         // processors to pin them to in turn; empty: no pinning
	PollMax time.Duration // bound of the adaptive polling budget; 0: never poll
	// MACTable is how many addresses the switch can learn, MACAge how long
	// one lives unseen, in whole seconds.
	MACTable int
	MACAge   time.Duration
	Log      Logger
}

// Engine is a set of ports with a switch between them. Its methods may be
// called by any goroutine.
type Engine struct {
	cfg    Config
	log    Logger
	start  time.Time
	fdb    *fdb.Table
	shards []*shard

	// ports is indexed by port id; a removed port leaves nil behind.
	ports atomic.Pointer[[]*switchPort]

	mu       sync.Mutex // guards the below and stores to ports
	nextRx   int        // id of the next receive queue
	nics     []*Port
	all      []plugged // in the order in which they were added
	isClosed bool
}

// MaxPorts bounds the ports of an engine.
const MaxPorts = 1024

// New starts an engine without ports.
func New(cfg Config) (*Engine, error) {
	if cfg.Shards < 1 {
		return nil, fmt.Errorf("shards %d: want at least 1", cfg.Shards)
	}
	// A quarter of the table is the most one port may fill.
	e := &Engine{
		cfg: cfg, log: cfg.Log, start: time.Now(),
		fdb: fdb.New(cfg.MACTable, max(1, cfg.MACTable/4), uint32(cfg.MACAge/time.Second)),
	}
	e.ports.Store(&[]*switchPort{})
	for i := range cfg.Shards {
		cpu := -1
		if len(cfg.CPUs) > 0 {
			cpu = cfg.CPUs[i%len(cfg.CPUs)]
		}
		s, err := newShard(e, i, cpu, cfg.PollMax)
		if err != nil {
			for _, s := range e.shards {
				s.poll.close()
			}
			return nil, err
		}
		e.shards = append(e.shards, s)
	}
	// A polling shard never yields; the control plane needs processors of its
	// own to be scheduled on.
	if want := cfg.Shards + 2; runtime.GOMAXPROCS(0) < want {
		runtime.GOMAXPROCS(want)
	}
	for _, s := range e.shards {
		go s.run()
	}
	return e, nil
}

// Close ends the shards. Front ends must be detached before.
func (e *Engine) Close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.isClosed {
		return
	}
	e.isClosed = true
	for _, s := range e.shards {
		s.stop()
	}
}

// clock returns the time since the engine started.
func (e *Engine) clock() time.Duration { return time.Since(e.start) }

// second returns the address table's clock.
func (e *Engine) second() uint32 { return uint32(e.clock() / time.Second) }

// plugged is a port of any kind.
type plugged interface {
	Snapshot() PortStatus
	base() *switchPort
}

// plug makes a port of the switch that has the name and is made by make.
func (e *Engine) plug(name string, make func(fdb.Port) plugged) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.isClosed {
		return errors.New("the engine is closed")
	}
	ports := slices.Clone(*e.ports.Load())
	id := slices.Index(ports, nil)
	if id < 0 {
		id = len(ports)
		ports = append(ports, nil)
	}
	if id >= MaxPorts {
		return fmt.Errorf("port %s: there are %d ports already, the most there can be", name, MaxPorts)
	}
	for _, p := range ports {
		if p != nil && p.name == name {
			return fmt.Errorf("port %s: there is a port of that name", name)
		}
	}
	p := make(fdb.Port(id))
	ports[id] = p.base()
	e.ports.Store(&ports)
	e.all = append(e.all, p)
	return nil
}

// unplug takes a port out of the switch. No frames come from it any more; when
// it returns none are on their way to it.
func (e *Engine) unplug(p *switchPort) {
	e.mu.Lock()
	defer e.mu.Unlock()
	ports := slices.Clone(*e.ports.Load())
	if ports[p.id] != p {
		return // removed before
	}
	ports[p.id] = nil
	e.ports.Store(&ports)
	e.all = slices.DeleteFunc(e.all, func(other plugged) bool { return other.base() == p })
	for _, q := range p.tx {
		q.shard.abandon(q.token)
	}
	e.quiesce()
	// The id may be used again from here on.
	e.fdb.Flush(p.id)
}

// AddPort creates a port with its link up and no front end.
func (e *Engine) AddPort(cfg PortConfig) (p *Port, err error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	err = e.plug(cfg.Name, func(id fdb.Port) plugged {
		p = newPort(e, id, cfg)
		e.nics = append(e.nics, p)
		return p
	})
	return p, err
}

// RemovePort takes a port out of the switch. Its front end must be detached.
func (e *Engine) RemovePort(p *Port) {
	e.mu.Lock()
	e.nics = slices.DeleteFunc(e.nics, func(n *Port) bool { return n == p })
	e.mu.Unlock()
	e.unplug(&p.switchPort)
}

// Status returns the state of every port, guests' and wires', in the order in
// which they were added.
func (e *Engine) Status() []PortStatus {
	e.mu.Lock()
	all := slices.Clone(e.all)
	e.mu.Unlock()
	status := make([]PortStatus, len(all))
	for i, p := range all {
		status[i] = p.Snapshot()
	}
	return status
}

// logLink says that a port's link was set.
func (e *Engine) logLink(port string, up bool) {
	e.log.Infof("port %s: link %s", port, map[bool]string{true: "up", false: "down"}[up])
}

// Ports returns the guests' ports in the order in which they were added.
func (e *Engine) Ports() []*Port {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.nics)
}

// quiesce returns after every shard has passed the end of a batch: nothing
// that was loaded from a snapshot replaced before the call is in use.
func (e *Engine) quiesce() {
	for _, s := range e.shards {
		s.mu.Lock()
		//lint:ignore SA2001 holding it once is the point
		s.mu.Unlock()
	}
}

// faultAddress is a memory fault that the runtime turned into a panic.
type faultAddress interface {
	error
	Addr() uintptr
}

// fault is called when processing q ended in a panic. It breaks the
// port whose memory vanished, or else the queue whose input met a fault of
// ours, and lets the rest go on.
func (e *Engine) fault(q *virtqueue, r any) {
	if f, ok := r.(faultAddress); ok {
		for _, p := range *e.ports.Load() {
			if p != nil && p.owns(f.Addr()) {
				p.fail(vanished(f))
				return
			}
		}
	}
	e.log.Warnf("port %s queue %d: internal fault: %v\n%s", q.port.name, q.index, r, debug.Stack())
	q.breakDown(fmt.Errorf("internal fault: %v", r))
}
