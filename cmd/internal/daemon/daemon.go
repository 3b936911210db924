// Package daemon joins the parts of vhost-user-nvgre: it makes the ports that
// the settings describe, gives each a vhost-user endpoint, serves the control
// socket, follows signals and takes everything down again in order.
package daemon

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"vhost-user-nvgre/cmd/internal/config"
	"vhost-user-nvgre/cmd/internal/rxwatch"
	"vhost-user-nvgre/queues"
)

// Daemon is a switch with its ports. The methods that package control calls
// may be called by any goroutine, the others by one.
type Daemon struct {
	log     *logrus.Logger
	engine  *queues.Engine
	started time.Time
	shards  int
	// stateDir is settings.StateDir.
	stateDir string
	oids     *oidServers
	filters  *rxwatch.Watcher
	ended    chan *port // ports that no front end can reach any more

	mu       sync.Mutex      // guards the below
	settings config.Settings // in force
	ports    []*port         // in the order they were made
}

// Open makes the switch and all ports. When it returns, front ends can
// connect, but nobody serves them before Run.
func Open(s *config.Settings, log *logrus.Logger) (*Daemon, error) {
	usable, err := config.Processors()
	if err != nil {
		return nil, err
	}
	shards, err := s.ShardCount(usable)
	if err != nil {
		return nil, err
	}
	raiseDescriptorLimit(s, log)
	engine, err := queues.New(queues.Config{
		Shards: shards, CPUs: s.CPUs, PollMax: s.PollMax,
		MACTable: s.MACTable, MACAge: s.MACAge, Log: log,
	})
	if err != nil {
		return nil, err
	}
	d := &Daemon{
		log: log, engine: engine, started: time.Now(), shards: shards,
		filters: rxwatch.New(), ended: make(chan *port), settings: *s, stateDir: s.StateDir,
	}
	d.oids = newOIDServers(d)
	for i := range s.Ports {
		p, err := d.open(&s.Ports[i])
		if err != nil {
			d.Close()
			return nil, err
		}
		d.ports = append(d.ports, p)
	}
	return d, nil
}

// Close detaches the front ends, removes their sockets and ends the switch.
func (d *Daemon) Close() {
	d.mu.Lock()
	ports := d.ports
	d.ports = nil
	d.mu.Unlock()
	for _, p := range ports {
		if p.stop != nil {
			p.stop() // all at once: each front end may take its time
		}
	}
	for _, p := range ports {
		d.remove(p)
	}
	d.engine.Close()
}

// port returns the port of a name, nil when there is none.
func (d *Daemon) port(name string) *port {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.ports {
		if p.cfg.Name == name {
			return p
		}
	}
	return nil
}

// list returns the ports there are.
func (d *Daemon) list() []*port {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.ports)
}

// errNoPortLeft ends a daemon whose front ends all came on inherited
// connections and have left.
var errNoPortLeft = errors.New("no port can be reached any more")

func countPorts(n int) string {
	if n == 1 {
		return "1 port"
	}
	return fmt.Sprintf("%d ports", n)
}

// describe lists the ports and where they are, for the log.
func (d *Daemon) describe() string {
	ports := d.list()
	if len(ports) == 0 {
		return countPorts(0)
	}
	var places []string
	for _, p := range ports {
		places = append(places, p.cfg.Name+" at "+p.cfg.Endpoint())
	}
	return countPorts(len(ports)) + ": " + strings.Join(places, ", ")
}
