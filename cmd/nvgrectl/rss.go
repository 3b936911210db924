package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"vhost-user-nvgre/cmd/internal/oid"
	"vhost-user-nvgre/cmd/internal/oidcli"
	"vhost-user-nvgre/offload/ndis/adapter"
)

func newRSS() *cobra.Command {
	root := &cobra.Command{
		Use:   "rss",
		Short: "Show and change the receive side scaling of a port",
		Args:  wrongUsage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			return usageError{fmt.Errorf("want rss show PORT, rss set PORT SETTING=VALUE... or rss set PORT off")}
		},
	}
	var asJSON bool
	show := &cobra.Command{
		Use: "show PORT", Short: "Show the hash, its key and the indirection table, whoever set them",
		Args: wrongUsage(cobra.ExactArgs(1)), ValidArgsFunction: completePort(0),
		RunE: func(c *cobra.Command, args []string) error {
			return withOID(c, args[0], func(ctx context.Context, cl *oid.Client) error {
				return oidcli.ShowRSS(ctx, cl, c.OutOrStdout(), asJSON)
			})
		},
	}
	show.Flags().BoolVar(&asJSON, "json", false, "print the structure as JSON")
	root.AddCommand(show, &cobra.Command{
		Use: "set PORT SETTING=VALUE...|off", Short: "Set the hash, its key and the indirection table, or turn RSS off",
		Long:    oidcli.SetRSSHelp,
		Example: "  nvgrectl rss set vm0 queues=4 types=ipv4,tcp-ipv4\n  nvgrectl rss set vm0 off",
		Args:    wrongUsage(cobra.MinimumNArgs(2)),
		ValidArgsFunction: func(c *cobra.Command, args []string, begin string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return completePort(0)(c, args, begin)
			}
			return oidcli.RSSWords(begin), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
		},
		RunE: func(c *cobra.Command, args []string) error {
			return withOID(c, args[0], func(ctx context.Context, cl *oid.Client) error {
				return oidcli.SetRSS(ctx, cl, adapter.UserMode, args[1:])
			})
		},
	})
	return root
}
