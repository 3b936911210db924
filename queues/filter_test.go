package queues

import (
	"errors"
	"reflect"
	"testing"

	"vhost-user-nvgre/queues/rxfilter"
	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/ctrl"
)

// A filter that the front end keeps takes effect without a control queue, and
// ends with the driver that set it.
func TestSetFilter(t *testing.T) {
	f := rxfilter.Of(rxfilter.State{
		MAC: listedMAC, Multicast: []virtio.MAC{listedMult}, VLANFilter: true, VLANs: []uint16{0, 6},
	})
	for _, features := range []virtio.Features{
		baseFeatures,
		baseFeatures | virtio.FeatureCtrlRX | virtio.FeatureCtrlVLAN, // of DPDK's virtio-user
	} {
		e := newStill(t, 1)
		a, b := plug(t, e, 1, nicOptions{}), plug(t, e, 2, nicOptions{features: features})
		set := func(f *rxfilter.Filter) {
			t.Helper()
			if err := b.port.SetFilter(f, b.port.Driver().Restarts); err != nil {
				t.Fatalf("SetFilter() = %v, want nil", err)
			}
		}
		check := func(what, want, by string, mac virtio.MAC) {
			t.Helper()
			if got := probes(a, b); got != want {
				t.Errorf("features %s, %s: got frames %q, want %q", features, what, got, want)
			}
			if st := b.port.Snapshot(); st.FilterBy != by || st.MAC != mac {
				t.Errorf("features %s, %s: filter by %q, address %s, want %q, %s", features, what, st.FilterBy, st.MAC, by, mac)
			}
		}
		check("without one", "uolbgmtvp", FilterByNobody, b.mac)
		set(f)
		check("with a filter", "lbm", FilterByFrontEnd, listedMAC)
		if got := b.port.Snapshot().Filter; !reflect.DeepEqual(got, f.State()) {
			t.Errorf("Snapshot().Filter = %+v, want %+v", got, f.State())
		}
		set(f.WithMode(ctrl.Promisc, true))
		check("promiscuous", "uolbgmtvp", FilterByFrontEnd, listedMAC)
		set(f.WithMAC(b.mac).WithMode(ctrl.NoBcast, true))
		check("its own address", "umvp", FilterByFrontEnd, b.mac)
		set(nil)
		check("ended", "uolbgmtvp", FilterByNobody, b.mac)

		set(f)
		old := b.port.Driver().Restarts
		b.port.Reset()
		must(t, b.port.SetFeatures(features))
		for i := range 2 {
			b.port.SetQueueEnabled(i, true)
		}
		check("after a reset", "uolbgmtvp", FilterByNobody, b.mac)
		must(t, b.port.SetFilter(f, old))
		check("one of the driver before", "uolbgmtvp", FilterByNobody, b.mac)
	}
}

func TestSetFilterRefused(t *testing.T) {
	e := newStill(t, 1)
	n := plug(t, e, 1, nicOptions{features: ctrlFeatures})
	before := n.port.Snapshot()
	f := rxfilter.Of(rxfilter.State{MAC: otherMAC})
	if err := n.port.SetFilter(f, n.port.Driver().Restarts); !errors.Is(err, ErrControlQueue) {
		t.Errorf("SetFilter() with a control queue of our own = %v, want %v", err, ErrControlQueue)
	}
	if before.FilterBy != FilterByDriver {
		t.Errorf("FilterBy = %q, want %q", before.FilterBy, FilterByDriver)
	}
	bare := plug(t, e, 2, nicOptions{})
	if err := bare.port.SetFilter(rxfilter.Of(rxfilter.State{MAC: groupMAC}), bare.port.Driver().Restarts); err == nil {
		t.Errorf("SetFilter() with address %s = nil, want an error", groupMAC)
	}
	for _, n := range []*nic{n, bare} {
		if st := n.port.Snapshot(); st.MAC != n.mac {
			t.Errorf("a refused SetFilter changed the address to %s", st.MAC)
		}
	}
}

// Who follows the front end's filter learns when it may be another one.
func TestAskFilterAtStart(t *testing.T) {
	e := newStill(t, 1)
	told := make(chan struct{}, 100)
	n := plug(t, e, 1, nicOptions{bare: true})
	n.port.cfg.AskFilter = func() { told <- struct{}{} }
	n.startRing(0, 64)
	<-told
}
