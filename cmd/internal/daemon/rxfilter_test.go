package daemon

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"vhost-user-nvgre/cmd/internal/config"
	"vhost-user-nvgre/cmd/internal/control"
	"vhost-user-nvgre/cmd/qmp/qmptest"
	"vhost-user-nvgre/vhostuser/frontendtest"
	"vhost-user-nvgre/virtio"
)

// A port that a reload gives a QMP monitor takes what the driver wants, as
// QEMU has it, and every frame when QEMU cannot be asked.
func TestFilterByQMP(t *testing.T) {
	r := run(t, func(dir string, s *config.Settings) {
		s.Ports = []config.Port{portIn(dir, "a"), portIn(dir, "b")}
	})
	pa, pb := portIn(r.dir, "a"), portIn(r.dir, "b")
	monitor := filepath.Join(r.dir, "qmp")
	q := qmptest.Start(t, monitor, qmptest.NIC{ID: "nic0", Socket: pb.Socket})
	own := qmptest.ResetFilter().With(qmptest.Filter{"promiscuous": false, "main-mac": pb.Address().String(), "vlan": "none"})
	q.Change("nic0", own)
	a, b := r.attach("a", frontendtest.Options{}), r.attach("b", frontendtest.Options{})

	filter := func(what string, cond func(f *control.RXFilter) bool) {
		t.Helper()
		r.until(what, func() bool { _, p := r.status("b"); return cond(p.RXFilter) })
	}
	stranger := virtio.MAC{2, 0, 0, 0, 9, 9}
	// receives reports whether a frame to dst arrives: one to b's own address
	// comes after it.
	receives := func(dst virtio.MAC) bool {
		t.Helper()
		first, last := frame(dst, pa.Address(), 100), frame(pb.Address(), pa.Address(), 60)
		a.TX[0].MustSend(t, virtio.NetHdr{}, first)
		a.TX[0].MustSend(t, virtio.NetHdr{}, last)
		got := b.RX[0].MustRecv(t)
		if slices.Equal(got.Data, first) {
			b.RX[0].MustRecv(t)
			return true
		}
		return false
	}
	setQMP := func(path, id string) {
		next := pb
		next.QMP, next.QMPID = path, id
		r.next.Ports = []config.Port{pa, next}
		r.signals <- syscall.SIGHUP
	}

	filter("without a filter", func(f *control.RXFilter) bool { return f.Source == "none" && f.NIC == "" && f.Error == "" })
	if !receives(stranger) {
		t.Error("without a filter another's frame was dropped")
	}
	setQMP(monitor, "")
	filter("at the filter", func(f *control.RXFilter) bool {
		return f.Source == "qmp" && f.NIC == "nic0" && f.Unicast == "listed" && f.VLANFilter && f.Broadcast && !f.Promiscuous
	})
	if receives(stranger) {
		t.Error("with the filter another's frame was received")
	}
	q.Change("nic0", own.With(qmptest.Filter{"unicast-table": []string{stranger.String()}}))
	filter("at one address more", func(f *control.RXFilter) bool { return slices.Equal(f.UnicastTable, []string{stranger.String()}) })
	if !receives(stranger) {
		t.Error("with its address in the table a frame was dropped")
	}

	// The guest boots anew: another session, of which QEMU sends no event.
	q.Reset("nic0")
	b.Close()
	r.until("without b", func() bool { _, p := r.status("b"); return !p.FrontEnd.Connected })
	b = r.attach("b", frontendtest.Options{})
	filter("at the new driver's filter", func(f *control.RXFilter) bool { return f.Source == "qmp" && f.Promiscuous })
	q.Change("nic0", own)
	filter("at its next", func(f *control.RXFilter) bool { return f.Source == "qmp" && f.Unicast == "listed" })

	setQMP(monitor, "nonesuch")
	filter("at an error", func(f *control.RXFilter) bool {
		return f.Source == "none" && strings.Contains(f.Error, `no device "nonesuch"`)
	})
	if !receives(stranger) {
		t.Error("without a filter that is known another's frame was dropped")
	}
	setQMP(monitor, "nic0")
	filter("at the filter again", func(f *control.RXFilter) bool { return f.Source == "qmp" && f.Error == "" })
	q.Stop()
	filter("without QEMU's monitor", func(f *control.RXFilter) bool { return f.Source == "none" && f.Error != "" })
	setQMP("", "")
	filter("without QMP", func(f *control.RXFilter) bool { return f.Source == "none" && f.Error == "" })
	if _, p := r.status("b"); p.MAC != pb.Address().String() {
		t.Errorf("the port's address is %s, want %s", p.MAC, pb.Address())
	}
	if _, err := os.Stat(monitor); !os.IsNotExist(err) {
		t.Errorf("%s: %v, want it gone", monitor, err)
	}
}
