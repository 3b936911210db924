package interop

import (
	"context"
	"testing"

	"vhost-user-nvgre/guest-tests/harness"
	"vhost-user-nvgre/guest-tests/rig"
)

// meter compares what the daemon counts with what testpmd counts.
type meter struct {
	t        *testing.T
	daemon   *rig.Daemon
	device   device
	frontEnd frontEnd
	// Counters at the time from which on frames count.
	daemonWas   *rig.Status
	frontEndWas map[int]harness.PortStats // nil: it started later
}

// counts are the frames of a port, as the driver sees them.
type counts struct{ tx, rx int64 }

func (m *meter) ofDaemon(s *rig.Status) (c [2]counts) {
	s = s.Since(m.daemonWas)
	for i, name := range portNames {
		tx, rx := s.Port(name).Total(rig.TX), s.Port(name).Total(rig.RX)
		// What a ring takes in that is not enabled yet is dropped, as the protocol
		// wants it, before it is counted as sent. A front end that sends while it
		// connects again has that for some milliseconds.
		c[i] = counts{int64(tx.Packets + tx.Drops["tx_disabled"]), int64(rx.Packets)}
	}
	return c
}

func (m *meter) ofFrontEnd(s map[int]harness.PortStats) (c [2]counts) {
	for i := range c {
		c[i] = counts{s[i].TxPackets - m.frontEndWas[i].TxPackets, s[i].RxPackets - m.frontEndWas[i].RxPackets}
	}
	return c
}

// enough is how many frames each way are to pass. It is more than all rings
// hold, so none of it can be left from before.
const enough = 20 * ringSize

// run lets f send and receive until enough has passed on every queue, and
// compares counters.
func (m *meter) run(when string, f frontEnd) {
	m.t.Helper()
	m.frontEnd = f
	status, err := m.daemon.WaitStatus(m.t.Context(), "frames have passed both ways, "+when, m.passed)
	if err != nil {
		m.t.Fatalf("%v", err)
	}
	m.checkNegotiated(when, status)
	before := m.ofDaemon(status)
	stats, err := f.stats(m.t.Context())
	if err != nil {
		m.t.Fatalf("%s: %v", when, err)
	}
	now := m.ofFrontEnd(stats)
	after := m.ofDaemon(m.daemon.MustStatus(m.t))
	// What is under way is in the rings, seen by one side only.
	slack := int64(m.device.pairs * ringSize)
	for i, name := range portNames {
		for _, c := range []struct {
			what                     string
			before, frontEnd, behind int64
		}{
			{"sent", before[i].tx, now[i].tx, after[i].tx},
			{"received", before[i].rx, now[i].rx, after[i].rx},
		} {
			if c.frontEnd < c.before-slack || c.frontEnd > c.behind+slack {
				m.t.Errorf("%s: testpmd has %s %d frames on %s, while the daemon counted from %d to %d (%d may be in the rings)",
					when, c.what, c.frontEnd, name, c.before, c.behind, slack)
			}
		}
	}
	m.t.Logf("%s: %d and %d frames sent, %d and %d received", when, now[0].tx, now[1].tx, now[0].rx, now[1].rx)
}

// passed tells whether enough frames have passed on every queue in use.
func (m *meter) passed(s *rig.Status) bool {
	since := s.Since(m.daemonWas)
	for _, name := range portNames {
		p := since.Port(name)
		for _, kind := range []string{rig.TX, rig.RX} {
			if p.Total(kind).Packets < enough || p.Used(kind, 1) < m.device.pairs {
				return false
			}
		}
	}
	return true
}

func (m *meter) checkNegotiated(when string, s *rig.Status) {
	m.t.Helper()
	for _, name := range portNames {
		p := s.Port(name)
		if got := p.Has("mrg_rxbuf"); got != m.device.mergeable {
			m.t.Errorf("%s: %s negotiated mrg_rxbuf: %t, want %t", when, name, got, m.device.mergeable)
		}
		if p.QueuePairsInUse != m.device.pairs {
			m.t.Errorf("%s: %s has %d queue pairs in use, want %d", when, name, p.QueuePairsInUse, m.device.pairs)
		}
	}
}

// settled returns the daemon's status once it has let go of a front end that
// is gone.
func (m *meter) settled() *rig.Status {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), patience)
	defer cancel()
	s, err := m.daemon.WaitStatus(ctx, "no front end is connected", func(s *rig.Status) bool {
		for _, name := range portNames {
			if s.Port(name).FrontEnd.Connected {
				return false
			}
		}
		return true
	})
	if err != nil {
		m.t.Fatalf("%v", err)
	}
	return s
}

// end stops testpmd and checks that every frame that the daemon took since the
// last start is accounted for.
func (m *meter) end() {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), patience)
	defer cancel()
	if code, err := m.frontEnd.Stop(ctx); err != nil || code != 0 {
		m.t.Errorf("testpmd ended with code %d, %v", code, err)
	}
	since := m.settled().Since(m.daemonWas)
	for i, name := range portNames {
		from := since.Port(name).Total(rig.TX)
		sent := from.Packets
		to := since.Port(portNames[1-i]).Total(rig.RX)
		var drops uint64
		for _, n := range to.Drops {
			drops += n
		}
		if to.Packets+drops != sent {
			m.t.Errorf("at the end %s has sent %d frames, of which %s received %d and dropped %d: %d are missing",
				name, sent, portNames[1-i], to.Packets, drops, int64(sent-to.Packets-drops))
		}
		m.t.Logf("at the end: %s sent %d, drops %v, %s received %d, drops %v", name, sent, from.Drops, portNames[1-i], to.Packets, to.Drops)
	}
}
