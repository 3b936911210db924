package interop

import (
	"testing"

	"vhost-user-nvgre/guest-tests/harness"
	"vhost-user-nvgre/guest-tests/rig"
)

var portNames = [2]string{"p0", "p1"}

// TestFrontEnd lets testpmd talk to itself through the daemon, in both roles of
// the socket, with either side killed and started again.
func TestFrontEnd(t *testing.T) {
	for _, mode := range []struct {
		name   string
		client bool
	}{{"daemon listens", false}, {"daemon connects", true}} {
		t.Run(mode.name, func(t *testing.T) {
			var c rig.Config
			for _, name := range portNames {
				c.Ports = append(c.Ports, rig.Port{Name: name, QueuePairs: 4, Client: mode.client})
			}
			d := rig.Run(t, c)
			dir := harness.TempDir(t)
			// Restarts take time: each setting has them once.
			for _, v := range []device{
				{1, true, mode.client},
				{4, false, mode.client},
			} {
				t.Run(v.String(), func(t *testing.T) { testRestarts(t, dir, d, v) })
			}
			for _, v := range []device{
				{1, false, mode.client},
				{4, true, mode.client},
			} {
				t.Run(v.String(), func(t *testing.T) {
					m := meter{t: t, daemon: d, device: v, daemonWas: d.MustStatus(t)}
					m.run("started", v.start(t, dir, d))
					m.end()
				})
			}
			d.CheckQuiet(t)
		})
	}
}

func testRestarts(t *testing.T, dir *harness.Dir, d *rig.Daemon, v device) {
	m := meter{t: t, daemon: d, device: v, daemonWas: d.MustStatus(t)}
	m.run("started", v.start(t, dir, d))

	m.frontEnd.Kill()
	m.daemonWas, m.frontEndWas = m.settled(), nil
	m.run("testpmd killed and started again", v.start(t, dir, d))

	d.Kill()
	f := m.frontEnd
	if v.server {
		var err error
		if m.frontEndWas, err = f.stats(t.Context()); err != nil {
			t.Fatalf("after the daemon was killed: %v", err)
		}
	}
	if err := d.Restart(t.Context()); err != nil {
		t.Fatalf("%v", err)
	}
	m.daemonWas = &rig.Status{} // It counts from 0.
	if !v.server {
		// As a client virtio-user does not connect again.
		f.Kill()
		f = v.start(t, dir, d)
	}
	m.run("daemon killed and started again", f)
	m.end()
}
