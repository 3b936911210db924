package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"vhost-user-nvgre/cmd/internal/oid"
	"vhost-user-nvgre/offload/ndis"
	"vhost-user-nvgre/offload/ndis/adapter"
)

// tester walks through the life cycle of an adapter's offloads.
type tester struct {
	ctx    context.Context
	client *oid.Client
	hw     ndis.Offload
}

// step is a part of the life cycle and the requirements that it shows.
type step struct {
	name string
	ids  string
	do   func(t *tester) error
}

// steps are in the order of the life cycle; each begins where the one before
// it ended.
var steps = []step{
	{"hardware capabilities name NVGRE in revision 3 or later", "NDIS-025", (*tester).capabilities},
	{"hardware capabilities into a short buffer", "NDIS-101", (*tester).shortBuffer},
	{"the current configuration is part of the hardware's", "NDIS-098", (*tester).currentWithinHardware},
	{"the configuration cannot be set, the parameters not be queried", "NDIS-091, NDIS-099", (*tester).requestTypes},
	{"wrong framings are refused", "NDIS-080, NDIS-084, NDIS-085", (*tester).wrongFraming},
	{"framing on", "NDIS-080, NDIS-086", func(t *tester) error { return t.framing(ndis.SetOn) }},
	{"NVGRE off before it is turned on", "NDIS-030", (*tester).nvgreOff},
	{"wrong parameters change nothing", "NDIS-031, NDIS-032, NDIS-033, NDIS-092", (*tester).wrongParameters},
	{"NVGRE on", "NDIS-027, NDIS-035, NDIS-078, NDIS-097", (*tester).nvgreOn},
	{"no change changes nothing", "NDIS-028, NDIS-094", (*tester).noChange},
	{"large send off and on", "NDIS-090, NDIS-100, NDIS-104", (*tester).largeSend},
	{"fields beyond the revision do not count", "NDIS-106", (*tester).oldRevision},
	{"framing off deactivates everything", "NDIS-082, NDIS-086", (*tester).framingOff},
	{"framing on again, with NVGRE as it was", "NDIS-080", (*tester).framingOnAgain},
	{"NVGRE off", "NDIS-029, NDIS-030, NDIS-035", (*tester).nvgreOff},
}

// selftest carries out all steps and reports an error if one fails.
func selftest(ctx context.Context, c *oid.Client, w io.Writer) error {
	t := &tester{ctx: ctx, client: c}
	failed := 0
	for _, s := range steps {
		verdict := "pass"
		if err := s.do(t); err != nil {
			failed++
			verdict = "FAIL: " + err.Error()
		}
		if _, err := fmt.Fprintf(w, "%s (%s): %s\n", s.name, s.ids, verdict); err != nil {
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d steps failed", failed, len(steps))
	}
	_, err := fmt.Fprintf(w, "all %d steps passed\n", len(steps))
	return err
}

func (t *tester) query(o ndis.OID, into ndis.Structure) error { return t.client.Query(t.ctx, o, into) }

func (t *tester) current() (o ndis.Offload, err error) {
	err = t.query(ndis.OIDTCPOffloadCurrentConfig, &o)
	return o, err
}

// send makes a request that is to end with a status.
func (t *tester) send(r adapter.Request, want ndis.Status) (adapter.Response, error) {
	r.Binding = binding
	resp, err := t.client.Do(t.ctx, r)
	if err == nil && resp.Status != want {
		err = fmt.Errorf("%s of %s: %s %s, want %s", r.Type, r.OID, resp.Status, resp.Detail, want)
	}
	return resp, err
}

func (t *tester) set(o ndis.OID, s ndis.Structure, want ndis.Status) error {
	_, err := t.send(adapter.Request{Type: adapter.Set, OID: o, Input: s.Encode()}, want)
	return err
}

// change sets something and returns the configuration that is indicated, which
// has to be the one that a query shows.
func (t *tester) change(o ndis.OID, s ndis.Structure) (now ndis.Offload, err error) {
	for drained := false; !drained; {
		select {
		case <-t.client.Indications():
		default:
			drained = true
		}
	}
	if err := t.set(o, s, ndis.StatusSuccess); err != nil {
		return now, err
	}
	select {
	case i := <-t.client.Indications():
		if i.Status != ndis.StatusTaskOffloadCurrentConfig {
			return now, fmt.Errorf("%s is indicated, want %s", i.Status, ndis.StatusTaskOffloadCurrentConfig)
		}
		if err := now.Decode(i.Body); err != nil {
			return now, err
		}
	case <-time.After(requestTime):
		return now, fmt.Errorf("%s is not indicated", ndis.StatusTaskOffloadCurrentConfig)
	}
	shown, err := t.current()
	if err == nil && shown != now {
		err = fmt.Errorf("a query shows %+v, indicated was %+v", shown, now)
	}
	return now, err
}

func (t *tester) capabilities() error {
	resp, err := t.send(adapter.Request{Type: adapter.Query, OID: ndis.OIDTCPOffloadHardwareCaps, OutputLength: oid.MaxOutput}, ndis.StatusSuccess)
	if err != nil {
		return err
	}
	if err := t.hw.Decode(resp.Output); err != nil {
		return err
	}
	if t.hw.Revision < 3 || len(resp.Output) < 156 || !t.hw.GRE.Any() || t.hw.GRE.MaxHeaderSize == 0 {
		return fmt.Errorf("revision %d in %d bytes, NVGRE %+v", t.hw.Revision, len(resp.Output), t.hw.GRE)
	}
	return nil
}

func (t *tester) shortBuffer() error {
	resp, err := t.send(adapter.Request{Type: adapter.Query, OID: ndis.OIDTCPOffloadHardwareCaps, OutputLength: 8}, ndis.StatusBufferTooShort)
	if err == nil && resp.BytesNeeded < 156 {
		err = fmt.Errorf("%d bytes needed, want 156 or more", resp.BytesNeeded)
	}
	return err
}

func (t *tester) currentWithinHardware() error {
	now, err := t.current()
	if err != nil {
		return err
	}
	h, g := &t.hw, &now.GRE
	if now.LSOv2.IPv4.Encapsulation&^h.LSOv2.IPv4.Encapsulation != 0 || now.LSOv2.IPv6.Encapsulation&^h.LSOv2.IPv6.Encapsulation != 0 ||
		now.Checksum.IPv4Receive.TCPChecksum > h.Checksum.IPv4Receive.TCPChecksum || g.LSOv2&^h.GRE.LSOv2 != 0 || g.ReceiveChecksum&^h.GRE.ReceiveChecksum != 0 {
		return fmt.Errorf("configured %+v, hardware %+v", now, t.hw)
	}
	return nil
}

func (t *tester) requestTypes() error {
	_, err := t.send(adapter.Request{Type: adapter.Query, OID: ndis.OIDTCPOffloadParameters, OutputLength: oid.MaxOutput}, ndis.StatusNotSupported)
	return errors.Join(err, t.set(ndis.OIDTCPOffloadCurrentConfig, &t.hw, ndis.StatusNotSupported))
}

func framing(on ndis.Toggle) *ndis.OffloadEncapsulation {
	f := ndis.FamilyFraming{Enabled: on}
	if on == ndis.SetOn {
		f.Encapsulation, f.HeaderSize = ndis.FramingIEEE8023, 14
	}
	return &ndis.OffloadEncapsulation{IPv4: f, IPv6: f}
}

func (t *tester) wrongFraming() error {
	two, rest, routed := framing(ndis.SetOn), framing(ndis.SetOff), framing(ndis.SetOn)
	two.IPv4.Encapsulation |= ndis.FramingIEEELLCSNAPRouted
	rest.IPv6.HeaderSize = 14
	routed.IPv4.Encapsulation = ndis.FramingIEEELLCSNAPRouted
	var errs []error
	for _, e := range []*ndis.OffloadEncapsulation{two, rest, routed} {
		errs = append(errs, t.set(ndis.OIDOffloadEncapsulation, e, ndis.StatusInvalidParameter))
	}
	return errors.Join(errs...)
}

func (t *tester) framing(on ndis.Toggle) error {
	_, err := t.change(ndis.OIDOffloadEncapsulation, framing(on))
	return err
}

func (t *tester) framingOff() error {
	now, err := t.change(ndis.OIDOffloadEncapsulation, framing(ndis.SetOff))
	if err == nil && (now.Checksum != (ndis.ChecksumOffload{}) || now.LSOv2 != (ndis.LSOv2{}) || now.GRE.Any()) {
		err = fmt.Errorf("configured: %+v, want nothing", now)
	}
	return err
}

func (t *tester) framingOnAgain() error {
	now, err := t.change(ndis.OIDOffloadEncapsulation, framing(ndis.SetOn))
	if err == nil && now.EncapsulationTypes != ndis.EncapsulationGREMAC {
		err = fmt.Errorf("encapsulation types %s, want %s", now.EncapsulationTypes, ndis.EncapsulationGREMAC)
	}
	return err
}

func (t *tester) wrongParameters() error {
	before, err := t.current()
	errs := []error{err}
	for _, w := range []struct {
		p    ndis.OffloadParameters
		want ndis.Status
	}{
		{ndis.OffloadParameters{EncapsulatedTaskOffload: ndis.SetOn}, ndis.StatusInvalidData},
		{ndis.OffloadParameters{EncapsulatedTaskOffload: ndis.SetOn, EncapsulationTypes: 0x80}, ndis.StatusInvalidData},
		{ndis.OffloadParameters{EncapsulatedTaskOffload: ndis.SetOn, EncapsulationTypes: ndis.EncapsulationVXLAN, LSOv2IPv4: ndis.SwitchDisabled}, ndis.StatusInvalidParameter},
		{ndis.OffloadParameters{EncapsulatedTaskOffload: ndis.SetOff, EncapsulationTypes: ndis.EncapsulationGREMAC}, ndis.StatusInvalidData},
		{ndis.OffloadParameters{LSOv2IPv4: 9}, ndis.StatusInvalidData},
		{ndis.OffloadParameters{IPsecV1: 1}, ndis.StatusInvalidData},
	} {
		errs = append(errs, t.set(ndis.OIDTCPOffloadParameters, &w.p, w.want))
	}
	after, err := t.current()
	if after != before {
		errs = append(errs, fmt.Errorf("the configuration became %+v, was %+v", after, before))
	}
	return errors.Join(append(errs, err)...)
}

func (t *tester) nvgreOn() error {
	now, err := t.change(ndis.OIDTCPOffloadParameters, &ndis.OffloadParameters{EncapsulatedTaskOffload: ndis.SetOn, EncapsulationTypes: ndis.EncapsulationGREMAC})
	if err == nil && (now.EncapsulationTypes != ndis.EncapsulationGREMAC || now.GRE.LSOv2 != t.hw.GRE.LSOv2) {
		err = fmt.Errorf("encapsulation types %s, large send for %s, want %s for %s", now.EncapsulationTypes, now.GRE.LSOv2, ndis.EncapsulationGREMAC, t.hw.GRE.LSOv2)
	}
	return err
}

func (t *tester) nvgreOff() error {
	now, err := t.change(ndis.OIDTCPOffloadParameters, &ndis.OffloadParameters{EncapsulatedTaskOffload: ndis.SetOff})
	if err == nil && (now.EncapsulationTypes != 0 || now.VXLAN.Any()) {
		err = fmt.Errorf("encapsulation types %s, want none", now.EncapsulationTypes)
	}
	return err
}

func (t *tester) noChange() error {
	before, err := t.current()
	if err != nil {
		return err
	}
	after, err := t.change(ndis.OIDTCPOffloadParameters, &ndis.OffloadParameters{})
	if err == nil && after != before {
		err = fmt.Errorf("the configuration became %+v, was %+v", after, before)
	}
	return err
}

func (t *tester) largeSend() error {
	now, err := t.change(ndis.OIDTCPOffloadParameters, &ndis.OffloadParameters{LSOv2IPv4: ndis.SwitchDisabled})
	if err != nil {
		return err
	}
	var hw ndis.Offload
	if err := t.query(ndis.OIDTCPOffloadHardwareCaps, &hw); err != nil {
		return err
	}
	if now.LSOv2.IPv4.Encapsulation != 0 || hw != t.hw {
		return fmt.Errorf("off: configured %+v, hardware %+v", now.LSOv2, hw.LSOv2)
	}
	now, err = t.change(ndis.OIDTCPOffloadParameters, &ndis.OffloadParameters{LSOv2IPv4: ndis.SwitchEnabled})
	if err == nil && now.LSOv2.IPv4 != t.hw.LSOv2.IPv4 {
		err = fmt.Errorf("on: configured %+v, want %+v", now.LSOv2.IPv4, t.hw.LSOv2.IPv4)
	}
	return err
}

func (t *tester) oldRevision() error {
	p := ndis.OffloadParameters{Revision: 1}
	garbage := append(p.Encode(), make([]byte, 20)...)
	for i := len(garbage) - 20; i < len(garbage); i++ {
		garbage[i] = 0xee
	}
	resp, err := t.send(adapter.Request{Type: adapter.Set, OID: ndis.OIDTCPOffloadParameters, Input: garbage}, ndis.StatusSuccess)
	if err == nil && resp.SupportedRevision != 1 {
		err = fmt.Errorf("supported revision %d, want 1", resp.SupportedRevision)
	}
	return err
}
