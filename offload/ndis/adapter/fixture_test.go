package adapter_test

import (
	"maps"
	"slices"
	"testing"

	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/offload/ndis"
	"vhost-user-nvgre/offload/ndis/adapter"
	"vhost-user-nvgre/virtio"
)

// all are the features of a driver that knows everything.
const all = virtio.FeatureCSUM | virtio.FeatureGuestCSUM |
	virtio.FeatureHostTSO4 | virtio.FeatureHostTSO6 | virtio.FeatureHostUSO |
	virtio.FeatureGuestTSO4 | virtio.FeatureGuestTSO6 | virtio.FeatureGuestUSO4 | virtio.FeatureGuestUSO6

// event is a call of a target, in words.
type event string

// target notes what an adapter does to it.
type target struct {
	events   []event
	settings []*adapter.Setting
	keywords adapter.Keywords
	bodies   [][]byte // of indications

	failApply, failPersist error

	restarts  uint64
	moderated bool
	features  virtio.Features
	initial   *adapter.Setting
}

func (t *target) Driver() (uint64, virtio.Features) { return t.restarts, t.features }

func (t *target) Apply(now, initial *adapter.Setting) error {
	t.events = append(t.events, "apply")
	if t.failApply != nil {
		return t.failApply
	}
	t.settings, t.initial = append(t.settings, now), initial
	return nil
}

func (t *target) Persist(k adapter.Keywords) error {
	t.events = append(t.events, "persist")
	if t.failPersist != nil {
		return t.failPersist
	}
	t.keywords = maps.Clone(k)
	return nil
}

func (t *target) Moderation() (can, on bool) {
	return t.features.Has(virtio.FeatureNotfCoal), t.moderated
}

func (t *target) Moderate(on bool) { t.moderated = on }

func (t *target) Statistics() ndis.Statistics { return ndis.Statistics{InOctets: 5} }

func (t *target) RSCStatistics() ndis.RSCStatistics {
	return ndis.RSCStatistics{CoalescedPackets: 1, CoalescedOctets: 2, CoalesceEvents: 3, Aborts: 4}
}

func (t *target) Indicate(s ndis.Status, body []byte) {
	t.events = append(t.events, event(s.String()))
	t.bodies = append(t.bodies, body)
}

// take returns the events since the last call.
func (t *target) take() []event {
	e := t.events
	t.events = nil
	return e
}

// rig is an adapter with what is below it.
type rig struct {
	*testing.T
	*adapter.Adapter
	*target
}

func config() adapter.Config {
	return adapter.Config{QueuePairs: 4, Limits: offload.DefaultLimits(), Coalescing: true, VMQueues: 3}
}

// newRig returns an adapter whose driver negotiated everything.
func newRig(t *testing.T, cfg adapter.Config) *rig {
	t.Helper()
	return rigWith(t, cfg, all)
}

func rigWith(t *testing.T, cfg adapter.Config, f virtio.Features) *rig {
	t.Helper()
	r := &rig{T: t, target: &target{}}
	var err error
	if r.Adapter, err = adapter.New(cfg, r.target); err != nil {
		t.Fatal(err)
	}
	r.Restart(f)
	r.take()
	return r
}

// Restart is a driver that negotiated f and begins anew.
func (r *rig) Restart(f virtio.Features) {
	r.Lock()
	defer r.Unlock()
	r.restarts++
	r.features = f
	if got := r.Follow(); got != r.restarts {
		r.Errorf("Follow() = %d, want %d", got, r.restarts)
	}
}

// adopt is a driver's commands.
func (r *rig) adopt(d adapter.DriverState, rss *adapter.RSS, h *adapter.Hash) {
	r.Lock()
	defer r.Unlock()
	r.Adopt(d, rss, h)
}

const roomy = 1 << 16

// do carries out a request and checks its status.
func (r *rig) do(req adapter.Request, want ndis.Status) adapter.Response {
	r.Helper()
	if req.OutputLength == 0 {
		req.OutputLength = roomy
	}
	resp := r.Handle(req)
	if resp.Status != want {
		r.Errorf("%s of %s: %s (%s), want %s", req.Type, req.OID, resp.Status, resp.Detail, want)
	}
	if want != ndis.StatusSuccess && (resp.Detail == "" || len(resp.Output) != 0) {
		r.Errorf("%s of %s: %s with detail %q and %d bytes of output, want a detail and no output", req.Type, req.OID, want, resp.Detail, len(resp.Output))
	}
	return resp
}

func (r *rig) set(oid ndis.OID, s ndis.Structure, want ndis.Status) adapter.Response {
	r.Helper()
	return r.do(adapter.Request{Type: adapter.Set, OID: oid, Binding: 1, Input: s.Encode()}, want)
}

func (r *rig) query(oid ndis.OID, into ndis.Structure) {
	r.Helper()
	resp := r.do(adapter.Request{Type: adapter.Query, OID: oid, Binding: 1}, ndis.StatusSuccess)
	if err := into.Decode(resp.Output); err != nil {
		r.Errorf("query of %s: %v", oid, err)
	}
}

// method carries out a method and decodes its result into s.
func (r *rig) method(oid ndis.OID, s ndis.Structure, want ndis.Status) {
	r.Helper()
	resp := r.do(adapter.Request{Type: adapter.Method, OID: oid, Binding: 1, Input: s.Encode()}, want)
	if want == ndis.StatusSuccess {
		if err := s.Decode(resp.Output); err != nil {
			r.Errorf("method %s: %v", oid, err)
		}
	}
}

func (r *rig) parameters(p ndis.OffloadParameters, want ndis.Status) {
	r.Helper()
	r.set(ndis.OIDTCPOffloadParameters, &p, want)
}

// expect checks what happened since the last look.
func (r *rig) expect(want ...event) {
	r.Helper()
	if got := r.take(); !slices.Equal(got, want) {
		r.Errorf("events %v, want %v", got, want)
	}
}

func (r *rig) current() (o ndis.Offload) {
	r.Helper()
	r.query(ndis.OIDTCPOffloadCurrentConfig, &o)
	return o
}

// indicated returns the current configuration as it was indicated last.
func (r *rig) indicated() (o ndis.Offload) {
	r.Helper()
	if len(r.bodies) == 0 {
		r.Fatal("nothing was indicated")
	}
	if err := o.Decode(r.bodies[len(r.bodies)-1]); err != nil {
		r.Error(err)
	}
	return o
}

func (r *rig) operational() offload.State { return r.Setting().Offload }

// framed is OID_OFFLOAD_ENCAPSULATION for both IP versions.
func framed(on ndis.Toggle) *ndis.OffloadEncapsulation {
	f := ndis.FamilyFraming{Enabled: on}
	if on == ndis.SetOn {
		f.Encapsulation, f.HeaderSize = ndis.FramingIEEE8023, 14
	}
	return &ndis.OffloadEncapsulation{IPv4: f, IPv6: f}
}

const (
	currentConfig event = "NDIS_STATUS_TASK_OFFLOAD_CURRENT_CONFIG"
	hardwareCaps  event = "NDIS_STATUS_TASK_OFFLOAD_HARDWARE_CAPABILITIES"
	queueStopped  event = "NDIS_STATUS_RECEIVE_QUEUE_STATE"
)

var (
	nvgreOn  = ndis.OffloadParameters{EncapsulatedTaskOffload: ndis.SetOn, EncapsulationTypes: ndis.EncapsulationGREMAC}
	nvgreOff = ndis.OffloadParameters{EncapsulatedTaskOffload: ndis.SetOff}
)
