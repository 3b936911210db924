package daemon

import (
	"slices"

	"vhost-user-nvgre/cmd/internal/config"
)

// reload applies what differs between the settings in force and next. What
// cannot be changed while running, or fails, is logged, and what is in force
// stays; so the next reload meets the difference again.
func (d *Daemon) reload(next *config.Settings) {
	d.mu.Lock()
	running := d.settings
	d.mu.Unlock()
	diff := config.Compare(&running, next)

	for _, c := range diff.Changed {
		if !c.Live {
			d.log.Warnf("reload: %s: this takes effect when the daemon is started again", c)
			continue
		}
		d.log.Infof("reload: %s", c)
	}
	config.AdoptLive(&running, next)
	setLogging(d.log, running.LogLevel, running.LogFormat)
	for _, c := range diff.Changed {
		if c.Port == "" || !c.Live {
			continue
		}
		if err := d.applyPort(c, &running); err != nil {
			d.log.Warnf("reload: port %s: %s stays %q: %v", c.Port, c.Key, c.Old, err)
			c.Undo(&running)
		}
	}
	// First those that go: one that comes may use a socket of theirs.
	for i := range diff.Removed {
		d.reloadRemove(&running, diff.Removed[i].Name)
	}
	for i := range diff.Added {
		d.reloadAdd(&running, &diff.Added[i])
	}
	d.mu.Lock()
	d.settings = running
	d.mu.Unlock()
}

// applyPort brings a changed live setting of a port into force. What did not
// change stays as it was set at run time. After an error nothing has changed.
func (d *Daemon) applyPort(c config.Change, s *config.Settings) error {
	p := d.port(c.Port)
	i := slices.IndexFunc(s.Ports, func(port config.Port) bool { return port.Name == c.Port })
	if p == nil || i < 0 {
		return nil
	}
	switch cfg := &s.Ports[i]; {
	case c.Key == "link":
		p.setLink(cfg.LinkUp)
	case p.wire != nil:
		// It has become a guest's port in the file, for the next start.
	case c.Key == "qmp" || c.Key == "qmp-id":
		d.followFilter(p, cfg)
	default:
		return p.nic.SetStart(startOf(cfg))
	}
	return nil
}

func (d *Daemon) reloadRemove(running *config.Settings, name string) {
	d.mu.Lock()
	i := slices.IndexFunc(d.ports, func(p *port) bool { return p.cfg.Name == name })
	var p *port
	if i >= 0 {
		p = d.ports[i]
		d.ports = slices.Delete(d.ports, i, i+1)
	}
	d.mu.Unlock()
	if p != nil {
		d.remove(p)
		d.log.Infof("reload: port %s removed", name)
	}
	running.Ports = slices.DeleteFunc(running.Ports, func(c config.Port) bool { return c.Name == name })
}

func (d *Daemon) reloadAdd(running *config.Settings, cfg *config.Port) {
	if cfg.FD != config.NoFD {
		// By now the number may belong to something this process opened.
		d.log.Warnf("reload: port %s: descriptor %d is not taken: descriptors are inherited at start only", cfg.Name, cfg.FD)
		return
	}
	if err := d.oids.reach(cfg); err != nil {
		d.log.Warnf("reload: %v", err)
		return
	}
	p, err := d.open(cfg)
	if err != nil {
		d.log.Warnf("reload: %v", err)
		return
	}
	d.mu.Lock()
	d.ports = append(d.ports, p)
	d.mu.Unlock()
	running.Ports = append(running.Ports, *cfg)
	d.serve(p)
	d.log.Infof("reload: port %s added at %s", cfg.Name, p.cfg.Endpoint())
}
