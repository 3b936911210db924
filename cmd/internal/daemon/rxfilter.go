package daemon

import (
	"path/filepath"

	"github.com/sirupsen/logrus"

	"vhost-user-nvgre/cmd/internal/config"
	"vhost-user-nvgre/cmd/internal/control"
	"vhost-user-nvgre/cmd/internal/rxwatch"
	"vhost-user-nvgre/queues"
	"vhost-user-nvgre/queues/rxfilter"
	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/ctrl"
)

// followFilter begins to follow the receive filter that a port's front end
// keeps, as the settings say, in place of what they said before.
func (d *Daemon) followFilter(p *port, cfg *config.Port) {
	p.nic.unfollow()
	if cfg.QMP == "" {
		return
	}
	n := rxwatch.NIC{
		Monitor: filepath.Clean(cfg.QMP), ID: cfg.QMPID,
		Target: &filterTarget{device: p.device, log: d.log.WithField("port", cfg.Name)},
	}
	if cfg.Socket != "" {
		var err error
		if n.Socket, err = filepath.Abs(cfg.Socket); err != nil {
			n.Socket = filepath.Clean(cfg.Socket)
		}
	}
	p.nic.watched.Store(d.filters.Follow(n))
}

// unfollow ends what followFilter began, and the filter with it.
func (n *nic) unfollow() {
	if f := n.watched.Swap(nil); f != nil {
		f.Close()
	}
}

// askFilter has the front end asked again.
func (n *nic) askFilter() {
	if f := n.watched.Load(); f != nil {
		f.Look()
	}
}

// filterTarget is a port's rxwatch.Target.
type filterTarget struct {
	device *queues.Port
	log    *logrus.Entry
}

func (t *filterTarget) Restarts() (n uint64, connected bool) {
	d := t.device.Driver()
	return d.Restarts, d.Attached
}

func (t *filterTarget) SetFilter(f *rxfilter.Filter, n uint64) error { return t.device.SetFilter(f, n) }

func (t *filterTarget) Report(err error) {
	if err == nil {
		t.log.Info("receive filter: known again")
		return
	}
	t.log.Warnf("receive filter: not known, so every frame is taken: %v", err)
}

// rxFilter returns what the control socket shows of the port's filter.
func (p *port) rxFilter(st *queues.PortStatus) *control.RXFilter {
	s := &st.Filter
	out := &control.RXFilter{
		Source: "none", Promiscuous: s.Modes[ctrl.Promisc], Broadcast: !s.Modes[ctrl.NoBcast],
		Unicast:      filterMode(s.Modes[ctrl.NoUni], s.AnyAddress || s.Modes[ctrl.AllUni] || s.UnicastOverflow),
		Multicast:    filterMode(s.Modes[ctrl.NoMulti], s.AnyAddress || s.Modes[ctrl.AllMulti] || s.MulticastOverflow),
		UnicastTable: addressNames(s.Unicast), MulticastTable: addressNames(s.Multicast),
		VLANFilter: s.VLANFilter, VLANs: []int{},
	}
	for _, id := range s.VLANs {
		out.VLANs = append(out.VLANs, int(id))
	}
	switch st.FilterBy {
	case queues.FilterByDriver:
		out.Source = "control queue"
	case queues.FilterByFrontEnd:
		out.Source = "qmp"
	}
	if f := p.nic.watched.Load(); f != nil {
		w := f.Status()
		out.NIC = w.NIC
		if w.Err != nil {
			out.Error = w.Err.Error()
		}
	}
	return out
}

func filterMode(none, all bool) string {
	switch {
	case none:
		return "none"
	case all:
		return "all"
	}
	return "listed"
}

func addressNames(all []virtio.MAC) []string {
	names := make([]string, len(all))
	for i, m := range all {
		names[i] = m.String()
	}
	return names
}
