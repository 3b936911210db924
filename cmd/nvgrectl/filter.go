package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"vhost-user-nvgre/cmd/internal/oid"
	"vhost-user-nvgre/cmd/internal/oidcli"
	"vhost-user-nvgre/offload/ndis/adapter"
)

func newFilter() *cobra.Command {
	root := &cobra.Command{
		Use:   "filter",
		Short: "Show and change the receive filters of a port (VMQ)",
		Long: `Show and change the receive filters of a port (VMQ), until the guest's driver
starts anew. The port needs vmq = "on" in its settings.`,
		Args: wrongUsage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			return usageError{fmt.Errorf("want filter add PORT MAC QUEUE, filter del PORT ID or filter list PORT")}
		},
	}
	var f oidcli.Filter
	add := &cobra.Command{
		Use: "add PORT MAC QUEUE", Short: "Have the frames to an address come on a receive queue",
		Long: oidcli.AddFilterHelp,
		Args: wrongUsage(cobra.ExactArgs(3)), ValidArgsFunction: completePort(0),
		RunE: func(c *cobra.Command, args []string) error {
			f.MAC, f.Queue = args[1], args[2]
			return withOID(c, args[0], func(ctx context.Context, cl *oid.Client) error {
				return oidcli.AddFilter(ctx, cl, c.OutOrStdout(), adapter.UserMode, f)
			})
		},
	}
	f.Flags(add)
	var asJSON bool
	list := &cobra.Command{
		Use: "list PORT", Short: "Show the filters, those that guests set included",
		Args: wrongUsage(cobra.ExactArgs(1)), ValidArgsFunction: completePort(0),
		RunE: func(c *cobra.Command, args []string) error {
			return withOID(c, args[0], func(ctx context.Context, cl *oid.Client) error {
				return oidcli.ListFilters(ctx, cl, c.OutOrStdout(), asJSON)
			})
		},
	}
	list.Flags().BoolVar(&asJSON, "json", false, "print structures as JSON")
	root.AddCommand(add, list, &cobra.Command{
		Use: "del PORT ID", Short: "Remove a filter, and free its queue if that was the last one",
		Args: wrongUsage(cobra.ExactArgs(2)), ValidArgsFunction: completeFilter,
		RunE: func(c *cobra.Command, args []string) error {
			return withOID(c, args[0], func(ctx context.Context, cl *oid.Client) error {
				return oidcli.DeleteFilter(ctx, cl, adapter.UserMode, args[1])
			})
		},
	})
	return root
}

// completeFilter offers ports, then the filters of the port.
func completeFilter(c *cobra.Command, args []string, begin string) (ids []string, d cobra.ShellCompDirective) {
	if len(args) != 1 {
		return completePort(0)(c, args, begin)
	}
	if c.Context() == nil {
		c.SetContext(context.Background())
	}
	_ = withOID(c, args[0], func(ctx context.Context, cl *oid.Client) (err error) { // a shell has no place for it
		ids, err = oidcli.FilterIDs(ctx, cl)
		return err
	})
	return ids, cobra.ShellCompDirectiveNoFileComp
}
