package daemon

import (
	"fmt"

	"vhost-user-nvgre/cmd/internal/config"
	"vhost-user-nvgre/cmd/internal/control"
	"vhost-user-nvgre/queues"
	"vhost-user-nvgre/queues/wire/packet"
	"vhost-user-nvgre/queues/wire/pcap"
	"vhost-user-nvgre/queues/wire/tap"
)

// openWire makes a port that leads to a wire.
func (d *Daemon) openWire(cfg *config.Port) (*port, error) {
	p := &port{cfg: *cfg}
	if err := p.makeWire(d.log.WithField("port", cfg.Name)); err != nil {
		return nil, fmt.Errorf("port %s: %w", cfg.Name, err)
	}
	var err error
	p.wirePort, err = d.engine.AddWire(queues.WireConfig{
		Name: cfg.Name, Kind: string(cfg.Kind), Place: p.cfg.Endpoint(), MTU: cfg.MTU, LinkDown: !cfg.LinkUp,
	}, p.wire)
	if err != nil {
		d.closeWire(p)
		return nil, err
	}
	return p, nil
}

// makeWire opens what the port leads to.
func (p *port) makeWire(log queues.Logger) (err error) {
	c := &p.cfg
	switch c.Kind {
	case config.KindTap:
		var w *tap.Wire
		w, err = tap.Open(tap.Config{Device: c.Interface, Netns: c.Netns, QueuePairs: c.QueuePairs, MTU: c.MTU, Withhold: c.Withhold})
		if err == nil {
			p.wire, c.Interface = w, w.Device() // the kernel may have chosen it
		}
	case config.KindPacket:
		var w *packet.Wire
		w, err = packet.Open(packet.Config{Interface: c.Interface, Netns: c.Netns, QueuePairs: c.QueuePairs, Withhold: c.Withhold})
		if err == nil {
			p.wire = w
		}
	case config.KindPcap:
		var w *pcap.Wire
		w, err = pcap.Open(pcap.Config{Name: c.Name, Read: c.Read, Write: c.Write, ByTimes: c.Pace == config.PaceTimes, Log: log})
		if err == nil {
			p.wire = w
		}
	default:
		err = fmt.Errorf("kind %q: no wire", c.Kind)
	}
	return err
}

// removeWire takes the port of a wire down.
func (d *Daemon) removeWire(p *port) {
	d.engine.RemoveWire(p.wirePort)
	d.closeWire(p)
}

func (d *Daemon) closeWire(p *port) {
	if err := p.wire.Close(); err != nil {
		d.log.Warnf("port %s: %v", p.cfg.Name, err)
	}
}

// setLink sets the link of a port of any kind up or down.
func (p *port) setLink(up bool) {
	if p.wire != nil {
		p.wirePort.SetLink(up)
		return
	}
	p.device.SetLink(up)
}

// wireStatus is status for a port that leads to a wire.
func (p *port) wireStatus() control.Port {
	st := p.wirePort.Snapshot()
	return control.Port{
		Name: st.Name, Kind: st.Kind, Place: st.Place, LinkUp: st.LinkUp, MTU: st.MTU,
		QueuePairs: st.MaxPairs, QueuePairsInUse: st.Pairs,
		Offered: st.Features.Names(), Negotiated: st.Features.Names(), Offloads: []string{},
		Queues: controlQueues(st.Queues),
	}
}
