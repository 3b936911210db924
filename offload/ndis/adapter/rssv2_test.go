package adapter_test

import (
	"slices"
	"testing"

	"vhost-user-nvgre/offload/ndis"
)

func v2Rig(t *testing.T) *rig {
	cfg := config()
	cfg.RSSv2 = true
	return newRig(t, cfg)
}

const enableV2 = ndis.RSSV2Enable | ndis.RSSV2HashInfoChanged | ndis.RSSV2HashKeyChanged

func scaleV2(flags ndis.RSSV2Flags, queues, entries uint32) *ndis.ReceiveScaleParametersV2 {
	return &ndis.ReceiveScaleParametersV2{
		Flags: flags, HashInformation: ndis.HashToeplitz | ndis.HashIPv4, Key: key(1), Queues: queues, Entries: entries,
	}
}

func (r *rig) scaleV2(flags ndis.RSSV2Flags, queues, entries uint32, want ndis.Status) {
	r.Helper()
	r.set(ndis.OIDReceiveScaleParametersV2, scaleV2(flags, queues, entries), want)
}

// move moves entries and checks each one's status.
func (r *rig) move(entries []ndis.RSSSetIndirectionEntry, want ...ndis.Status) {
	r.Helper()
	for i := range entries {
		entries[i].Status = ndis.StatusPending
	}
	s := &ndis.RSSSetIndirectionEntries{Entries: entries}
	r.method(ndis.OIDRSSSetIndirectionEntries, s, ndis.StatusSuccess)
	var got []ndis.Status
	for _, e := range s.Entries {
		got = append(got, e.Status)
	}
	if !slices.Equal(got, want) {
		r.Errorf("moving %+v: statuses %v, want %v", entries, got, want)
	}
}

func entry(index uint16, number uint8) ndis.RSSSetIndirectionEntry {
	return ndis.RSSSetIndirectionEntry{Index: index, Target: ndis.ProcessorNumber{Number: number}}
}

func (r *rig) table(want ...uint16) {
	r.Helper()
	if s := r.Setting().RSS; s == nil || !slices.Equal(s.Table, want) {
		r.Errorf("RSS %+v, want table %v", s, want)
	}
}

// Shows: NDIS-195, NDIS-196, NDIS-197, NDIS-201, NDIS-202, NDIS-203
func TestRSSV2(t *testing.T) {
	r := v2Rig(t)
	var caps ndis.ReceiveScaleCapabilities
	r.query(ndis.OIDReceiveScaleCapabilities, &caps)
	if caps.Flags&ndis.RSSIndependentEntryMove == 0 {
		t.Errorf("capabilities %s, want %s", caps.Flags, ndis.RSSIndependentEntryMove)
	}
	p := scale()
	r.set(ndis.OIDReceiveScaleParameters, &p, ndis.StatusNotSupported)
	r.query(ndis.OIDReceiveScaleParameters, &p)
	if len(p.Table) != 0 {
		t.Errorf("RSS off: version 1 shows %+v", p)
	}

	// RSS off: the primary processor steers; the table is remembered.
	r.move([]ndis.RSSSetIndirectionEntry{{Flags: ndis.EntryPrimary, Target: ndis.ProcessorNumber{Number: 3}}}, ndis.StatusSuccess)
	r.table(3)
	r.scaleV2(ndis.RSSV2EntriesChanged, 0, 4, ndis.StatusSuccess)
	r.move([]ndis.RSSSetIndirectionEntry{entry(1, 1), entry(2, 2)}, ndis.StatusSuccess, ndis.StatusSuccess)
	r.move([]ndis.RSSSetIndirectionEntry{{Flags: ndis.EntryDefault, Target: ndis.ProcessorNumber{Number: 2}}}, ndis.StatusSuccess)
	r.table(3)
	r.take()
	r.scaleV2(enableV2, 0, 0, ndis.StatusSuccess)
	r.expect("apply")
	r.table(0, 1, 2, 0)
	if d := r.Setting().RSS.Default; d != 2 {
		t.Errorf("default queue pair %d, want 2", d)
	}
	r.query(ndis.OIDReceiveScaleParameters, &p)
	if !slices.Equal(p.Table, processors(0, 1, 2, 0)) {
		t.Errorf("version 1 shows table %v", p.Table)
	}
	r.take()
	// To itself; nothing is indicated from a move.
	r.move([]ndis.RSSSetIndirectionEntry{entry(1, 1), entry(3, 3)}, ndis.StatusSuccess, ndis.StatusSuccess)
	r.expect("apply")
	r.table(0, 1, 2, 3)
	r.scaleV2(ndis.RSSV2Enable|ndis.RSSV2EntriesChanged, 0, 8, ndis.StatusSuccess)
	r.table(0, 1, 2, 3, 0, 1, 2, 3)
	r.move([]ndis.RSSSetIndirectionEntry{entry(7, 0)}, ndis.StatusSuccess)
	r.scaleV2(ndis.RSSV2Enable|ndis.RSSV2EntriesChanged, 0, 4, ndis.StatusInvalidData)
	r.move([]ndis.RSSSetIndirectionEntry{entry(7, 3)}, ndis.StatusSuccess)
	r.scaleV2(ndis.RSSV2Enable|ndis.RSSV2EntriesChanged, 0, 4, ndis.StatusSuccess)
	r.table(0, 1, 2, 3)
	r.scaleV2(0, 0, 0, ndis.StatusSuccess)
	r.table(3)

	// A remembered processor that does not exist fails the transition.
	r.move([]ndis.RSSSetIndirectionEntry{entry(0, 200)}, ndis.StatusSuccess)
	r.scaleV2(enableV2, 0, 0, ndis.StatusInvalidData)
	r.table(3)
	r.move([]ndis.RSSSetIndirectionEntry{entry(0, 0)}, ndis.StatusSuccess)
	r.scaleV2(enableV2, 0, 0, ndis.StatusSuccess)
}

// Shows: NDIS-198, NDIS-199, NDIS-200
func TestRSSV2Faults(t *testing.T) {
	r := v2Rig(t)
	r.scaleV2(enableV2|ndis.RSSV2EntriesChanged|ndis.RSSV2QueuesChanged, 2, 4, ndis.StatusSuccess)
	r.table(0, 0, 0, 0)
	port := func(e ndis.RSSSetIndirectionEntry) ndis.RSSSetIndirectionEntry {
		e.VPortID = 9
		return e
	}
	const ok, bad = ndis.StatusSuccess, ndis.StatusInvalidParameter
	flags := func(index uint16, f ndis.EntryFlags) ndis.RSSSetIndirectionEntry {
		return ndis.RSSSetIndirectionEntry{Index: index, Flags: f}
	}
	// A group fails as one; groups are independent.
	r.move([]ndis.RSSSetIndirectionEntry{entry(0, 1), entry(4, 1), port(entry(0, 1)), entry(2, 1)}, bad, bad, bad, ok)
	r.table(0, 0, 1, 0)
	r.move([]ndis.RSSSetIndirectionEntry{entry(0, 200)}, ndis.StatusInvalidData)
	r.move([]ndis.RSSSetIndirectionEntry{entry(0, 2)}, ndis.StatusNoQueues)
	r.move([]ndis.RSSSetIndirectionEntry{flags(0, 3)}, bad)
	r.move([]ndis.RSSSetIndirectionEntry{flags(0, 4)}, bad)
	r.move([]ndis.RSSSetIndirectionEntry{flags(0xffff, ndis.EntryPrimary)}, bad)
	r.move([]ndis.RSSSetIndirectionEntry{flags(0xfffe, ndis.EntryDefault)}, bad)
	r.move([]ndis.RSSSetIndirectionEntry{flags(0xfffe, ndis.EntryPrimary)}, ok)
	r.move([]ndis.RSSSetIndirectionEntry{entry(0xffff, 1)}, ok)
	r.move([]ndis.RSSSetIndirectionEntry{entry(0xfffe, 200)}, ok) // inactive
	r.move(nil)
	r.table(0, 0, 1, 0)
	if d := r.Setting().RSS.Default; d != 1 {
		t.Errorf("default queue pair %d, want 1", d)
	}
	r.method(ndis.OIDRSSSetIndirectionEntries, &ndis.RSSSetIndirectionEntries{Flags: 1}, bad)

	r.scaleV2(ndis.RSSV2Enable|ndis.RSSV2QueuesChanged, 1, 0, ndis.StatusNoQueues)
	r.scaleV2(ndis.RSSV2Enable|ndis.RSSV2QueuesChanged, 5, 0, bad)
	r.scaleV2(ndis.RSSV2Enable|ndis.RSSV2QueuesChanged, 0, 0, bad)
	r.scaleV2(ndis.RSSV2Enable|ndis.RSSV2EntriesChanged, 0, 3, bad)
	r.scaleV2(ndis.RSSV2Enable|ndis.RSSV2EntriesChanged, 0, 256, bad)
	r.scaleV2(32, 0, 0, bad)
	r.scaleV2(0, 0, 0, ndis.StatusInvalidData) // the primary processor is the one that is not there
	p := scaleV2(enableV2, 0, 0)
	p.Key = p.Key[:3]
	r.set(ndis.OIDReceiveScaleParametersV2, p, bad)
	p = scaleV2(enableV2, 0, 0)
	p.HashInformation = ndis.HashToeplitz
	r.set(ndis.OIDReceiveScaleParametersV2, p, bad)
	var got ndis.ReceiveScaleParametersV2
	r.query(ndis.OIDReceiveScaleParametersV2, &got)
	if got.Queues != 2 || got.Entries != 4 || got.Flags != ndis.RSSV2Enable {
		t.Errorf("query: %+v, want 2 queues, 4 entries, enabled", got)
	}
	// With RSS off the hash fields do not count.
	r = v2Rig(t)
	p = scaleV2(ndis.RSSV2HashInfoChanged|ndis.RSSV2HashKeyChanged, 0, 0)
	p.HashInformation, p.Key = 0, nil
	r.set(ndis.OIDReceiveScaleParametersV2, p, ok)
}
