package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"vhost-user-nvgre/cmd/internal/config"
	"vhost-user-nvgre/cmd/internal/control"
	"vhost-user-nvgre/cmd/internal/version"
)

// newCommand returns the command tree.
func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "nvgrectl",
		Short:         "Show and change the state of a running vhost-user-nvgre",
		Version:       version.String(),
		SilenceErrors: true,
		SilenceUsage:  true,
		// Without this, a command that does not exist would print the help
		// and succeed.
		Args: wrongUsage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			return usageError{fmt.Errorf("no command given; see nvgrectl --help")}
		},
		Long: `Show and change the state of a running vhost-user-nvgre.

Exit codes: 0 success, 1 failure, 2 wrong usage, 3 no daemon is running.`,
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see %s --help", err, c.CommandPath())}
	})
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.PersistentFlags().String("socket", "", "control socket of the daemon (default: where the daemon has it by default)")
	root.AddCommand(newShow(), newTop(), newLink(), newAnnounce(), newOID(), newOffload(), newFilter(), newRSS(), newAttach(), newDetach())
	return root
}

// wrongUsage marks what a check of arguments finds as a fault of usage.
func wrongUsage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return usageError{fmt.Errorf("%w; see %s --help", err, c.CommandPath())}
		}
		return nil
	}
}

// client returns a client of the daemon that the flags name.
func client(c *cobra.Command) (*control.Client, error) {
	path, err := c.Flags().GetString("socket")
	if err != nil {
		return nil, err
	}
	if path == "" {
		if path, err = config.DefaultControlSocket(); err != nil {
			return nil, usageError{fmt.Errorf("%w with --socket", err)}
		}
	}
	return control.NewClient(path), nil
}

// completePort offers the names of the daemon's ports as argument at.
func completePort(at int) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, begin string) ([]string, cobra.ShellCompDirective) {
		if len(args) != at {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return portNames(c.Context(), c, begin), cobra.ShellCompDirectiveNoFileComp
	}
}

// portNames returns none when the daemon cannot be asked: a shell that
// completes has no place for an error.
func portNames(ctx context.Context, c *cobra.Command, begin string) []string {
	cl, err := client(c)
	if err != nil {
		return nil
	}
	if ctx == nil {
		ctx = context.Background()
	}
	s, err := cl.Status(ctx)
	if err != nil {
		return nil
	}
	var names []string
	for _, p := range s.Ports {
		if strings.HasPrefix(p.Name, begin) {
			names = append(names, p.Name)
		}
	}
	return names
}
