package oidcli

import (
	"context"
	"fmt"
	"io"
	"slices"

	"vhost-user-nvgre/cmd/internal/oid"
	"vhost-user-nvgre/offload/ndis"
)

// ShowRSS prints receive side scaling as it is in force, whether OIDs or the
// guest's driver set it: the hash, its key, and which entries of the
// indirection table lead to which processor.
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
		return showHash(ctx, c, w)
	}
	if _, err := fmt.Fprintf(w, "state       on\nhash        %s\nkey         %s\nno hash     processor %s\ntable       %d entries\n",
		p.HashInformation, p.Key, processor(p.DefaultProcessor), len(p.Table)); err != nil {
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
		if _, err := fmt.Fprintf(w, "  processor %s  %d entries\n", processor(n), entries[n]); err != nil {
			return err
		}
	}
	return nil
}

func processor(p ndis.ProcessorNumber) string { return fmt.Sprintf("%d:%d", p.Group, p.Number) }

// showHash prints, where RSS is off, the hash that is reported nonetheless.
func showHash(ctx context.Context, c *oid.Client, w io.Writer) error {
	var h ndis.ReceiveHashParameters
	if err := c.Query(ctx, ndis.OIDReceiveHash, &h); err != nil {
		return err
	}
	if h.Flags&ndis.ReceiveHashEnable == 0 {
		_, err := fmt.Fprintln(w, "state       off")
		return err
	}
	_, err := fmt.Fprintf(w, "state       off, hashes are reported\nhash        %s\nkey         %s\n", h.HashInformation, h.Key)
	return err
}
