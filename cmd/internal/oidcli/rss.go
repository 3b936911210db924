package oidcli

import (
	"context"
	"fmt"
	"io"
	"slices"

	"vhost-user-nvgre/cmd/internal/oid"
	"vhost-user-nvgre/offload/ndis"
)

// ShowRSS prints what OIDs have set of receive side scaling: the hash, its
// key, and which entries of the indirection table lead to which processor.
func ShowRSS(ctx context.Context, c *oid.Client, w io.Writer, asJSON bool) error {
	var caps ndis.ReceiveScaleCapabilities
	if err := c.Query(ctx, ndis.OIDReceiveScaleCapabilities, &caps); err != nil {
		return err
	}
	var p ndis.ReceiveScaleParameters
	if err := c.Query(ctx, ndis.OIDReceiveScaleParameters, &p); err != nil {
		return err
	}
	if asJSON {
		return Print(w, &p, true)
	}
	if _, err := fmt.Fprintf(w, "queues      %d\ntable size  at most %d\n", caps.ReceiveQueues, caps.IndirectionEntries); err != nil {
		return err
	}
	if p.HashInformation == 0 {
		_, err := fmt.Fprintln(w, "state       not set by OID; the guest's driver may have set it by virtio")
		return err
	}
	if _, err := fmt.Fprintf(w, "state       on\nhash        %s\nkey         %s\ntable       %d entries\n", p.HashInformation, p.Key, len(p.Table)); err != nil {
		return err
	}
	entries := map[ndis.ProcessorNumber]int{}
	var order []ndis.ProcessorNumber
	for _, n := range p.Table {
		if !slices.Contains(order, n) {
			order = append(order, n)
		}
		entries[n]++
	}
	for _, n := range order {
		if _, err := fmt.Fprintf(w, "  processor %d:%d  %d entries\n", n.Group, n.Number, entries[n]); err != nil {
			return err
		}
	}
	return nil
}
