package oidcli

import (
	"context"
	"fmt"

	"vhost-user-nvgre/cmd/internal/oid"
	"vhost-user-nvgre/offload/ndis"
)

// setRSSV2 sets what p does not leave unchanged by the OIDs of RSS version 2,
// where entries of the table are moved one by one. If it fails half-way, the
// entries moved so far stay; they lead to queues that there are.
func setRSSV2(ctx context.Context, c *oid.Client, binding uint32, caps *ndis.ReceiveScaleCapabilities, p *ndis.ReceiveScaleParameters) error {
	var now ndis.ReceiveScaleParametersV2
	if err := c.Query(ctx, ndis.OIDReceiveScaleParametersV2, &now); err != nil {
		return err
	}
	on := now.Flags & ndis.RSSV2Enable
	if on == 0 {
		complete(p, caps)
	}
	set := func(v ndis.ReceiveScaleParametersV2) error {
		return c.SetAs(ctx, binding, ndis.OIDReceiveScaleParametersV2, &v)
	}
	if p.Flags&ndis.RSSTableUnchanged == 0 {
		// As many entries as both tables need, which are then moved; what is
		// left over repeats the new table, so that it can be cut off.
		n := max(len(p.Table), int(now.Entries))
		if err := set(ndis.ReceiveScaleParametersV2{
			Flags: on | ndis.RSSV2QueuesChanged | ndis.RSSV2EntriesChanged, Queues: caps.ReceiveQueues, Entries: uint32(n),
		}); err != nil {
			return err
		}
		var moves ndis.RSSSetIndirectionEntries
		for i := range n {
			moves.Entries = append(moves.Entries, ndis.RSSSetIndirectionEntry{Index: uint16(i), Target: p.Table[i%len(p.Table)]})
		}
		if err := move(ctx, c, binding, &moves); err != nil {
			return err
		}
		if err := set(ndis.ReceiveScaleParametersV2{Flags: on | ndis.RSSV2EntriesChanged, Entries: uint32(len(p.Table))}); err != nil {
			return err
		}
	}
	if p.Flags&ndis.RSSDefaultProcessorUnchanged == 0 {
		if err := move(ctx, c, binding, &ndis.RSSSetIndirectionEntries{
			Entries: []ndis.RSSSetIndirectionEntry{{Flags: ndis.EntryDefault, Target: p.DefaultProcessor}},
		}); err != nil {
			return err
		}
	}
	v := ndis.ReceiveScaleParametersV2{Flags: ndis.RSSV2Enable}
	if p.Flags&ndis.RSSHashInfoUnchanged == 0 {
		v.Flags |= ndis.RSSV2HashInfoChanged
		v.HashInformation = p.HashInformation
	}
	if p.Flags&ndis.RSSHashKeyUnchanged == 0 {
		v.Flags |= ndis.RSSV2HashKeyChanged
		v.Key = p.Key
	}
	return set(v)
}

// move moves entries of the indirection table, all of one group.
func move(ctx context.Context, c *oid.Client, binding uint32, m *ndis.RSSSetIndirectionEntries) error {
	if err := method(ctx, c, binding, ndis.OIDRSSSetIndirectionEntries, m); err != nil {
		return err
	}
	for _, e := range m.Entries {
		if e.Status != ndis.StatusSuccess {
			return &oid.StatusError{OID: ndis.OIDRSSSetIndirectionEntries, Status: e.Status, Detail: fmt.Sprintf("entry %d", e.Index)}
		}
	}
	return nil
}
