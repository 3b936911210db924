package oidcli

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"vhost-user-nvgre/cmd/internal/oid"
	"vhost-user-nvgre/offload/ndis"
	"vhost-user-nvgre/offload/ndis/adapter"
	"vhost-user-nvgre/virtio"
)

// defaultQueue is the receive queue of frames that no filter claims. It is
// always there.
const defaultQueue = 0

// AddFilterHelp describes the command that adds a filter.
const AddFilterHelp = `Have the frames to an address come on a receive queue. Queue 0 is always there
and takes what no filter matches, unless the guest's driver has set RSS for it
by virtio; another queue is allocated if need be.

Filters with --inner match NVGRE packets only, while the NVGRE offloads are on,
and win over those without. Of two that match, the one with --vlan wins.`

// Filter is a receive filter as people write it.
type Filter struct {
	MAC   string // destination, such as 02:00:00:00:00:01
	VLAN  string // "": any; "none": untagged or VLAN id 0; or an id from 1 to 4094
	Inner bool   // look at the Ethernet header within NVGRE packets, and only there
	Queue string // number of the receive queue
}

// Flags adds the flags of a filter to a command.
func (f *Filter) Flags(c *cobra.Command) {
	c.Flags().StringVar(&f.VLAN, "vlan", "", "VLAN id, or none for untagged frames (default: any)")
	c.Flags().BoolVar(&f.Inner, "inner", false, "match the Ethernet header within NVGRE packets instead of the outermost one")
}

// parameters returns the filter as NDIS_RECEIVE_FILTER_PARAMETERS.
func (f *Filter) parameters() (*ndis.ReceiveFilterParameters, error) {
	mac, err := virtio.ParseMAC(f.MAC)
	if err != nil {
		return nil, err
	}
	if mac == (virtio.MAC{}) {
		return nil, fmt.Errorf("%s is no address of a station", mac)
	}
	queue, err := strconv.ParseUint(f.Queue, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("%q is no receive queue; want a number from 0 on", f.Queue)
	}
	p := &ndis.ReceiveFilterParameters{Type: ndis.FilterVMQueue, QueueID: uint32(queue)}
	if f.Inner {
		p.Flags = ndis.FilterPacketEncapsulation
	}
	switch f.VLAN {
	case "":
		p.Fields = []ndis.FilterField{ndis.DestinationIs(mac, 0)}
	case "none":
		p.Fields = []ndis.FilterField{ndis.DestinationIs(mac, ndis.FieldUntaggedOrZero)}
	default:
		id, err := strconv.ParseUint(f.VLAN, 10, 16)
		if err != nil || id < 1 || id > 4094 {
			return nil, fmt.Errorf("VLAN %q; want an id from 1 to 4094, or none for untagged frames", f.VLAN)
		}
		p.Fields = []ndis.FilterField{ndis.DestinationIs(mac, 0), ndis.VLANIs(uint16(id))}
	}
	return p, nil
}

// AddFilter sets a filter as the protocol driver binding, and prints its id.
// If there is no such queue it is allocated. What was done is undone if the
// rest fails.
func AddFilter(ctx context.Context, c *oid.Client, w io.Writer, binding uint32, f Filter) (err error) {
	p, err := f.parameters()
	if err != nil {
		return err
	}
	q, err := queueByID(ctx, c, p.QueueID)
	if err != nil {
		return err
	}
	if q == nil {
		if err := allocate(ctx, c, binding, p.QueueID); err != nil {
			return err
		}
		defer func() {
			if err != nil {
				err = errors.Join(err, free(ctx, c, binding, p.QueueID))
			}
		}()
	}
	if err := method(ctx, c, binding, ndis.OIDFilterSetFilter, p); err != nil {
		return err
	}
	if err := run(ctx, c, binding, p.QueueID); err != nil {
		return errors.Join(err, clearFilter(ctx, c, binding, p))
	}
	_, err = fmt.Fprintf(w, "filter %d leads to queue %d\n", p.FilterID, p.QueueID)
	return err
}

// DeleteFilter clears a filter, and frees its queue if it was the last one
// there.
func DeleteFilter(ctx context.Context, c *oid.Client, binding uint32, id string) error {
	n, err := strconv.ParseUint(id, 10, 32)
	if err != nil || n == 0 {
		return fmt.Errorf("%q is no id of a filter; want a number from 1 on, as filter list has it", id)
	}
	p := ndis.ReceiveFilterParameters{FilterID: uint32(n)}
	if err := method(ctx, c, binding, ndis.OIDFilterParameters, &p); err != nil {
		return err
	}
	if err := clearFilter(ctx, c, binding, &p); err != nil {
		return err
	}
	q, err := queueByID(ctx, c, p.QueueID)
	if err != nil || q == nil || q.QueueID == defaultQueue || q.NumFilters > 0 {
		return err
	}
	return free(ctx, c, binding, p.QueueID)
}

// ListFilters prints a table of the filters, or a JSON array of
// NDIS_RECEIVE_FILTER_PARAMETERS.
func ListFilters(ctx context.Context, c *oid.Client, w io.Writer, asJSON bool) error {
	list, err := filters(ctx, c)
	if err != nil {
		return err
	}
	if asJSON {
		out := make([]ndis.ReceiveFilterParameters, len(list))
		for i := range list {
			out[i] = list[i].ReceiveFilterParameters
		}
		return printJSON(w, out)
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tMAC\tVLAN\tHEADER\tQUEUE\tSTATE")
	for i := range list {
		list[i].print(t)
	}
	return t.Flush()
}

// FilterIDs returns the ids of the filters, ascending.
func FilterIDs(ctx context.Context, c *oid.Client) (ids []string, err error) {
	list, err := filters(ctx, c)
	for i := range list {
		ids = append(ids, strconv.FormatUint(uint64(list[i].FilterID), 10))
	}
	return ids, err
}

// filters returns the filters by their ids.
func filters(ctx context.Context, c *oid.Client) ([]filterRow, error) {
	all, err := queues(ctx, c)
	if err != nil {
		return nil, err
	}
	var list []filterRow
	for i := range all {
		a := ndis.ReceiveFilterInfoArray{QueueID: all[i].QueueID}
		if err := method(ctx, c, adapter.UserMode, ndis.OIDFilterEnumFilters, &a); err != nil {
			return nil, err
		}
		for _, info := range a.Filters {
			p := ndis.ReceiveFilterParameters{FilterID: info.FilterID}
			if err := method(ctx, c, adapter.UserMode, ndis.OIDFilterParameters, &p); err != nil {
				return nil, err
			}
			list = append(list, filterRow{p, all[i].State})
		}
	}
	slices.SortFunc(list, func(a, b filterRow) int { return cmp.Compare(a.FilterID, b.FilterID) })
	return list, nil
}

// filterRow is a filter and the state of its queue.
type filterRow struct {
	ndis.ReceiveFilterParameters
	state ndis.QueueState
}

func (r *filterRow) print(w io.Writer) {
	mac, vlan, header := "any", "any", "outer"
	for _, f := range r.Fields {
		switch f.Field {
		case ndis.MACDestination:
			mac = virtio.MAC(f.Value[:6]).String()
			if f.Flags&ndis.FieldUntaggedOrZero != 0 {
				vlan = "none"
			}
		case ndis.MACVLANID:
			vlan = strconv.Itoa(int(binary.BigEndian.Uint16(f.Value[:])))
		}
	}
	if r.Flags&ndis.FilterPacketEncapsulation != 0 {
		header = "inner"
	}
	fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%d\t%s\n", r.FilterID, mac, vlan, header, r.QueueID, r.state)
}

func clearFilter(ctx context.Context, c *oid.Client, binding uint32, p *ndis.ReceiveFilterParameters) error {
	return c.SetAs(ctx, binding, ndis.OIDFilterClearFilter, &ndis.ReceiveFilterClearParameters{QueueID: p.QueueID, FilterID: p.FilterID})
}

// method calls a method with s and decodes what it returns into s.
func method(ctx context.Context, c *oid.Client, binding uint32, o ndis.OID, s ndis.Structure) error {
	resp, err := c.Do(ctx, adapter.Request{Type: adapter.Method, OID: o, Binding: binding, Input: s.Encode(), OutputLength: oid.MaxOutput})
	if err != nil {
		return err
	}
	if resp.Status != ndis.StatusSuccess {
		return &oid.StatusError{OID: o, Status: resp.Status, Detail: resp.Detail}
	}
	return s.Decode(resp.Output)
}
