package rxwatch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"vhost-user-nvgre/cmd/qmp/qmptest"
	"vhost-user-nvgre/queues/rxfilter"
	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/ctrl"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what should take milliseconds.
const patience = 20 * time.Second

// target remembers what it is told.
type target struct {
	mu        sync.Mutex
	restarts  uint64
	connected bool
	filter    *rxfilter.Filter
	refuse    error
	reports   []string
}

func (t *target) Restarts() (uint64, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.restarts, t.connected
}

func (t *target) SetFilter(f *rxfilter.Filter, n uint64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.refuse == nil && n == t.restarts {
		t.filter = f
	}
	return t.refuse
}

func (t *target) Report(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reports = append(t.reports, fmt.Sprint(err))
}

// restart is a new driver's beginning.
func (t *target) restart() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.restarts++
	t.filter = nil
}

// state says what filter there is: - for none, p for promiscuous, else the
// last octet of the address.
func (t *target) state() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.filter == nil:
		return "-"
	case t.filter.State().Modes[ctrl.Promisc]:
		return "p"
	}
	return fmt.Sprint(t.filter.State().MAC[5])
}

func (t *target) reported() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.reports)
}

func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %v for: %s", patience, what)
		}
	}
}

func (t *target) want(tt *testing.T, what, state string) {
	tt.Helper()
	until(tt, what, func() bool { return t.state() == state })
}

// newWatcher returns a watcher that is as impatient as a test.
func newWatcher() *Watcher {
	w := New()
	w.times = times{dial: 2 * time.Second, retry: 5 * time.Millisecond, grace: 20 * time.Millisecond, least: time.Millisecond}
	return w
}

// directed is a filter with that last octet of the address.
func directed(last int) qmptest.Filter {
	return qmptest.ResetFilter().With(qmptest.Filter{"promiscuous": false, "main-mac": fmt.Sprintf("52:54:00:00:00:%02x", last)})
}

func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "qmp")
	q := qmptest.Start(t, path, qmptest.NIC{ID: "other", Socket: "/run/other.sock"}, qmptest.NIC{ID: "nic0", Socket: "/run//vm0.sock"})
	w, tg := newWatcher(), &target{connected: true}
	f := w.Follow(NIC{Monitor: path, Socket: "/run/vm0.sock", Target: tg})
	tg.want(t, "the filter that is there", "p")
	if st := f.Status(); st.NIC != "nic0" || st.Err != nil {
		t.Errorf("Status() = %+v, want nic0 without an error", st)
	}
	for i := range 20 { // The event comes again after each query.
		q.Change("nic0", directed(i))
		tg.want(t, "a change", fmt.Sprint(i))
	}
	// Changes in quick succession: the last one counts, and not each is asked for.
	before := q.Queries()
	for i := range 200 {
		q.Change("nic0", directed(i))
	}
	tg.want(t, "the last of many changes", "199")
	if n := q.Queries() - before; n > 100 {
		t.Errorf("%d queries after 200 changes at once, want much fewer", n)
	}
	// Another NIC's changes are no reason to ask.
	before = q.Queries()
	q.Change("other", directed(7))
	q.Change("nic0", directed(8))
	tg.want(t, "a change after another NIC's", "8")
	if n := q.Queries() - before; n > 2 {
		t.Errorf("%d queries after a change of this and one of another NIC", n)
	}
	// A reset comes without an event.
	q.Reset("nic0")
	tg.restart()
	f.Look()
	tg.want(t, "the filter after a reset", "p")

	f.Close()
	if got := tg.state(); got != "-" {
		t.Errorf("after Close the filter is %s, want none", got)
	}
	q.Change("nic0", directed(1))
	if len(tg.reported()) != 0 {
		t.Errorf("reported %q, want nothing", tg.reported())
	}
	if len(w.monitors) != 0 {
		t.Errorf("%d monitors after all was closed, want none", len(w.monitors))
	}
}

// QEMU may come later, go and come again, be cut off, and lose the NIC and get
// another one. While nothing is known there is no filter.
func TestComesAndGoes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "qmp")
	w, tg := newWatcher(), &target{}
	f := w.Follow(NIC{Monitor: path, Socket: "/run/vm0.sock", Target: tg})
	defer f.Close()
	until(t, "an error", func() bool { return errors.Is(f.Status().Err, os.ErrNotExist) })
	for round := range 2 {
		q := qmptest.Start(t, path)
		until(t, "no NIC", func() bool {
			err := f.Status().Err
			return err != nil && err.Error() == "no NIC of QEMU leads to /run/vm0.sock"
		})
		q.Add(qmptest.NIC{ID: "a", Socket: "/run/vm0.sock"})
		q.Change("a", directed(3))
		tg.want(t, "the NIC", "3")
		q.Remove("a")
		tg.want(t, "the NIC's end", "-")
		q.Add(qmptest.NIC{ID: "b", Socket: "/run/vm0.sock"})
		tg.want(t, "another NIC", "p")
		if st := f.Status(); st.NIC != "b" {
			t.Errorf("round %d: Status() = %+v, want b", round, st)
		}
		q.Change("b", directed(5))
		tg.want(t, "a change", "5")
		q.Hangup()
		q.Change("b", directed(6)) // nobody may be there to be told
		tg.want(t, "the connection again", "6")
		q.Stop()
		tg.want(t, "QEMU's end", "-")
	}
	if got := tg.reported(); len(got) != 0 {
		t.Errorf("without a front end %q was reported, want nothing", got)
	}
}

// What lasts is reported once, and its end.
func TestReports(t *testing.T) {
	path := filepath.Join(t.TempDir(), "qmp")
	q := qmptest.Start(t, path, qmptest.NIC{ID: "a", Socket: "/run/vm0.sock"}, qmptest.NIC{ID: "b", Socket: "/run/vm0.sock"})
	w, tg := newWatcher(), &target{connected: true}
	f := w.Follow(NIC{Monitor: path, Socket: "/run/vm0.sock", Target: tg})
	defer f.Close()
	reports := func(want ...string) {
		t.Helper()
		until(t, want[len(want)-1], func() bool { return len(tg.reported()) >= len(want) })
		time.Sleep(100 * time.Millisecond) // many attempts
		got := tg.reported()
		if len(got) != len(want) {
			t.Fatalf("reported %q, want %d", got, len(want))
		}
		for i := range want {
			if !strings.Contains(got[i], want[i]) {
				t.Errorf("report %d is %q, want %q in it", i, got[i], want[i])
			}
		}
	}
	several := "several NICs of QEMU lead to /run/vm0.sock: a, b; name the right one with qmp-id"
	reports(several)
	q.Remove("b")
	tg.want(t, "one NIC", "p")
	reports(several, "<nil>")
	tg.mu.Lock()
	tg.refuse = errors.New("no thanks")
	tg.mu.Unlock()
	q.Change("a", directed(1))
	reports(several, "<nil>", "no thanks")
	tg.mu.Lock()
	tg.refuse = nil
	tg.mu.Unlock()
	tg.want(t, "the filter again", "1")
	q.Change("a", directed(1).With(qmptest.Filter{"vlan": "bad"}))
	tg.want(t, "the end of what cannot be read", "-")
	reports(several, "<nil>", "no thanks", "<nil>", `vlan is "bad"`)
}

func TestFind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "qmp")
	nics := []qmptest.NIC{
		{ID: "a", Socket: "/run/a.sock"},
		{ID: "rel", Socket: "b.sock"},
		{ID: "dev", Socket: "/run/dev.sock", Driver: "vhost-user-test-device-pci"},
	}
	qmptest.Start(t, path, nics...)
	w := newWatcher()
	for _, tt := range []struct {
		id, socket string
		want       string // the NIC's ID, or of an error a part
	}{
		{"", "/run/a.sock", "a"},
		{"a", "", "a"},
		{"rel", "/run/b.sock", "rel"},
		{"", "/run/b.sock", "there are a at /run/a.sock, rel at b.sock, dev at /run/dev.sock; if it is one of them, name it with qmp-id"},
		{"", "/run/dev.sock", "no receive filter for dev, a vhost-user-test-device-pci"},
		{"none", "/run/a.sock", `no device "none"`},
	} {
		tg := &target{}
		f := w.Follow(NIC{Monitor: path, ID: tt.id, Socket: tt.socket, Target: tg})
		var st Status
		until(t, "an answer", func() bool { st = f.Status(); return st.Err != nil || tg.state() != "-" })
		if st = f.Status(); st.NIC != tt.want && !strings.Contains(fmt.Sprint(st.Err), tt.want) {
			t.Errorf("id %q, socket %q: %+v, want %q", tt.id, tt.socket, st, tt.want)
		}
		f.Close()
	}
}

// NICs of one QEMU share the connection, which serves one client only.
func TestSharedMonitor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "qmp")
	const n = 4
	var nics []qmptest.NIC
	for i := range n {
		nics = append(nics, qmptest.NIC{ID: fmt.Sprint("nic", i), Socket: fmt.Sprintf("/run/vm%d.sock", i)})
	}
	q := qmptest.Start(t, path, nics...)
	w := newWatcher()
	var targets [n]target
	var followers [n]*Follower
	for i := range n {
		followers[i] = w.Follow(NIC{Monitor: path, Socket: nics[i].Socket, Target: &targets[i]})
	}
	for i := range n {
		targets[i].want(t, nics[i].ID, "p")
	}
	for i := range n {
		q.Change(nics[i].ID, directed(10+i))
	}
	for i := range n {
		targets[i].want(t, nics[i].ID, fmt.Sprint(10+i))
	}
	followers[0].Close()
	q.Change("nic3", directed(99))
	targets[3].want(t, "a change after another was closed", "99")
	q.Remove("nic1")
	targets[1].want(t, "the end of a NIC", "-")
	if got := targets[2].state(); got != "12" {
		t.Errorf("another NIC's end made the filter %s, want it as it was", got)
	}
	for _, f := range followers[1:] {
		f.Close()
	}
}

// A filter that was asked for before a driver began anew is not the new one's.
func TestStaleAnswer(t *testing.T) {
	tg := &target{filter: rxfilter.New(virtio.MAC{}, 0)}
	f := &Follower{nic: NIC{Target: tg}}
	n, _ := tg.Restarts()
	tg.restart()
	if err := f.succeeded(rxfilter.New(virtio.MAC{9}, 0), n); err != nil || tg.state() != "-" {
		t.Errorf("succeeded() with an answer of before = %v, filter %s; want nil, no filter", err, tg.state())
	}
}
