package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newLink() *cobra.Command {
	link := &cobra.Command{
		Use:   "link",
		Short: "Set the link of a port up or down",
		Args:  wrongUsage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			return usageError{fmt.Errorf("want link up PORT or link down PORT")}
		},
	}
	for _, state := range []string{"up", "down"} {
		link.AddCommand(&cobra.Command{
			Use:               state + " PORT",
			Short:             "Set the link of a port " + state,
			Args:              wrongUsage(cobra.ExactArgs(1)),
			ValidArgsFunction: completePort(0),
			RunE: func(c *cobra.Command, args []string) error {
				cl, err := client(c)
				if err != nil {
					return err
				}
				return cl.SetLink(c.Context(), args[0], state == "up")
			},
		})
	}
	return link
}

func newAnnounce() *cobra.Command {
	return &cobra.Command{
		Use:   "announce PORT",
		Short: "Ask the driver of a port to announce its addresses to the network",
		Long: `Ask the driver of a port to announce its addresses to the network.

The driver must have negotiated guest_announce and leave the control queue to
the device; otherwise the command fails.`,
		Args:              wrongUsage(cobra.ExactArgs(1)),
		ValidArgsFunction: completePort(0),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := client(c)
			if err != nil {
				return err
			}
			return cl.Announce(c.Context(), args[0])
		},
	}
}
