package adapter_test

import (
	"testing"

	"vhost-user-nvgre/offload/ndis"
	"vhost-user-nvgre/offload/ndis/adapter"
	"vhost-user-nvgre/virtio"
)

// Interrupts are delayed as OIDs say, where the driver has negotiated that they
// can be.
func TestInterruptModeration(t *testing.T) {
	r := newRig(t, config())
	set := func(m ndis.Moderation, want ndis.Status) {
		t.Helper()
		r.set(ndis.OIDInterruptModeration, &ndis.InterruptModeration{Moderation: m}, want)
	}
	shown := func(want ndis.Moderation) {
		t.Helper()
		var p ndis.InterruptModeration
		if r.query(ndis.OIDInterruptModeration, &p); p != (ndis.InterruptModeration{Moderation: want}) {
			t.Errorf("interrupt moderation is shown as %+v, want %s", p, want)
		}
	}
	shown(ndis.ModerationNotSupported)
	set(ndis.ModerationEnabled, ndis.StatusNotSupported)
	r.Restart(all | virtio.FeatureNotfCoal)
	shown(ndis.ModerationDisabled)
	set(ndis.ModerationEnabled, ok)
	shown(ndis.ModerationEnabled)
	for _, m := range []ndis.Moderation{ndis.ModerationUnknown, ndis.ModerationNotSupported, 4} {
		set(m, ndis.StatusInvalidData)
	}
	r.do(adapter.Request{Type: adapter.Set, OID: ndis.OIDInterruptModeration, Input: (&ndis.InterruptModeration{}).Encode()[:11]}, ndis.StatusInvalidLength)
	shown(ndis.ModerationEnabled)
	set(ndis.ModerationDisabled, ok)
	shown(ndis.ModerationDisabled)
}
