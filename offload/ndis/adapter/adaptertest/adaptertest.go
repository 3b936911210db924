// Package adaptertest makes adapters for tests of those who send requests.
package adaptertest

import (
	"testing"

	"vhost-user-nvgre/offload/ndis"
	"vhost-user-nvgre/offload/ndis/adapter"
	"vhost-user-nvgre/virtio"
)

// Driver is what a guest's driver has negotiated that sends super-frames and
// takes some.
const Driver = virtio.FeatureCSUM | virtio.FeatureGuestCSUM | virtio.FeatureHostTSO4 | virtio.FeatureHostTSO6 | virtio.FeatureGuestTSO4

// path is a data path that takes every setting, and on which nothing moves.
type path struct {
	driver virtio.Features
	told   func(ndis.Status, []byte)
}

func (p *path) Driver() (uint64, virtio.Features) { return 1, p.driver }
func (*path) Apply(_, _ *adapter.Setting) error   { return nil }
func (*path) Persist(adapter.Keywords) error      { return nil }
func (*path) Moderation() (can, on bool)          { return false, false }
func (*path) Moderate(bool)                       {}
func (*path) Statistics() ndis.Statistics         { return ndis.Statistics{OutUcastPkts: 3} }
func (*path) RSCStatistics() ndis.RSCStatistics   { return ndis.RSCStatistics{CoalesceEvents: 7} }

func (p *path) Indicate(s ndis.Status, b []byte) {
	if p.told != nil {
		p.told(s, b)
	}
}

// New returns an adapter whose driver has negotiated the features; 0: there is
// none. 3 frames to single stations were sent, and 7 times segments coalesced.
// indicate gives it whom to tell of changes; nobody is before.
func New(t testing.TB, driver virtio.Features, cfg adapter.Config) (a *adapter.Adapter, indicate func(func(ndis.Status, []byte))) {
	t.Helper()
	p := &path{driver: driver}
	a, err := adapter.New(cfg, p)
	if err != nil {
		t.Fatal(err)
	}
	a.Lock()
	a.Follow() // path.Driver
	a.Unlock()
	return a, func(to func(ndis.Status, []byte)) {
		a.Lock()
		defer a.Unlock()
		p.told = to
	}
}
