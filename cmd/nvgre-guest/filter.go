package main

import (
	"context"

	"github.com/spf13/cobra"

	"vhost-user-nvgre/cmd/internal/oid"
	"vhost-user-nvgre/cmd/internal/oidcli"
)

func (o *options) newFilter() *cobra.Command {
	root := &cobra.Command{Use: "filter", Short: "Show and change receive filters (VMQ)", Args: cobra.NoArgs}
	var f oidcli.Filter
	add := &cobra.Command{
		Use: "add MAC QUEUE", Short: "Have the frames to an address come on a receive queue",
		Long: oidcli.AddFilterHelp, Args: cobra.ExactArgs(2),
		RunE: o.with(false, func(ctx context.Context, cl *oid.Client, c *cobra.Command, args []string) error {
			f.MAC, f.Queue = args[0], args[1]
			return oidcli.AddFilter(ctx, cl, c.OutOrStdout(), binding, f)
		}),
	}
	f.Flags(add)
	root.AddCommand(add, &cobra.Command{
		Use: "del ID", Short: "Remove a filter, and free its queue if that was the last one", Args: cobra.ExactArgs(1),
		RunE: o.with(false, func(ctx context.Context, cl *oid.Client, _ *cobra.Command, args []string) error {
			return oidcli.DeleteFilter(ctx, cl, binding, args[0])
		}),
	}, &cobra.Command{
		Use: "list", Short: "Show the filters, those that the host set included", Args: cobra.NoArgs,
		RunE: o.with(false, func(ctx context.Context, cl *oid.Client, c *cobra.Command, _ []string) error {
			return oidcli.ListFilters(ctx, cl, c.OutOrStdout(), o.asJSON)
		}),
	})
	return root
}

func (o *options) newRSS() *cobra.Command {
	root := &cobra.Command{Use: "rss", Short: "Show and change receive side scaling", Args: cobra.NoArgs}
	root.AddCommand(&cobra.Command{
		Use: "show", Short: "Show the hash, its key and the indirection table, whoever set them", Args: cobra.NoArgs,
		RunE: o.with(false, func(ctx context.Context, cl *oid.Client, c *cobra.Command, _ []string) error {
			return oidcli.ShowRSS(ctx, cl, c.OutOrStdout(), o.asJSON)
		}),
	}, &cobra.Command{
		Use: "set SETTING=VALUE...|off", Short: "Set the hash, its key and the indirection table, or turn RSS off",
		Long: oidcli.SetRSSHelp, Args: cobra.MinimumNArgs(1),
		RunE: o.with(false, func(ctx context.Context, cl *oid.Client, _ *cobra.Command, args []string) error {
			return oidcli.SetRSS(ctx, cl, binding, args)
		}),
	})
	return root
}
