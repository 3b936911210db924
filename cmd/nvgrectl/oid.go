package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"vhost-user-nvgre/cmd/internal/control"
	"vhost-user-nvgre/cmd/internal/oid"
	"vhost-user-nvgre/cmd/internal/oidcli"
	"vhost-user-nvgre/offload/ndis"
	"vhost-user-nvgre/offload/ndis/adapter"
)

// requestTime bounds a command that does not watch.
const requestTime = 10 * time.Second

// dialOID connects to the adapter of a port.
func dialOID(c *cobra.Command, port string, watch bool) (*oid.Client, error) {
	cl, err := client(c)
	if err != nil {
		return nil, err
	}
	path := oid.AdminSocket(cl.Path())
	ctx, cancel := context.WithTimeout(c.Context(), requestTime)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		return nil, fmt.Errorf("%s: %w", path, control.ErrNotRunning)
	case err != nil:
		return nil, err
	}
	return oid.Connect(ctx, conn, port, watch)
}

// withOID runs a command with a connection to a port's adapter.
func withOID(c *cobra.Command, port string, do func(context.Context, *oid.Client) error) error {
	cl, err := dialOID(c, port, false)
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(c.Context(), requestTime)
	defer cancel()
	return do(ctx, cl)
}

func newOID() *cobra.Command {
	var asJSON bool
	var binding uint32
	root := &cobra.Command{
		Use:   "oid",
		Short: "Query and set objects of a port's adapter as an NDIS driver does",
		Long: `Query and set objects of a port's adapter as an NDIS driver does.

OID is a name, such as OID_TCP_OFFLOAD_CURRENT_CONFIG or without OID_, or a
number. HEX is an information buffer in hexadecimal (docs/oid-protocol.md).`,
		Args: wrongUsage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			return usageError{fmt.Errorf("want oid query, oid set, oid method or oid watch")}
		},
	}
	root.PersistentFlags().BoolVar(&asJSON, "json", false, "print structures as JSON")
	query := &cobra.Command{
		Use: "query PORT OID", Short: "Show an object",
		Args: wrongUsage(cobra.ExactArgs(2)), ValidArgsFunction: completeOID,
		RunE: func(c *cobra.Command, args []string) error {
			return withOID(c, args[0], func(ctx context.Context, cl *oid.Client) error {
				return oidcli.Query(ctx, cl, c.OutOrStdout(), args[1], asJSON)
			})
		},
	}
	root.AddCommand(query)
	for use, kind := range map[string]adapter.RequestType{"set": adapter.Set, "method": adapter.Method} {
		cmd := &cobra.Command{
			Use: use + " PORT OID HEX", Short: map[string]string{"set": "Set an object", "method": "Call a method"}[use],
			Args: wrongUsage(cobra.ExactArgs(3)), ValidArgsFunction: completeOID,
			RunE: func(c *cobra.Command, args []string) error {
				return withOID(c, args[0], func(ctx context.Context, cl *oid.Client) error {
					return oidcli.Set(ctx, cl, c.OutOrStdout(), kind, binding, args[1], args[2], asJSON)
				})
			},
		}
		cmd.Flags().Uint32Var(&binding, "binding", 0, "number of the protocol driver to act as; 0 is none")
		root.AddCommand(cmd)
	}
	root.AddCommand(&cobra.Command{
		Use: "watch PORT", Short: "Print indications as they come",
		Args: wrongUsage(cobra.ExactArgs(1)), ValidArgsFunction: completePort(0),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := dialOID(c, args[0], true)
			if err != nil {
				return err
			}
			defer cl.Close()
			return oidcli.Watch(c.Context(), cl, c.OutOrStdout(), asJSON)
		},
	})
	return root
}

// completeOID offers ports, then the names of objects.
func completeOID(c *cobra.Command, args []string, begin string) ([]string, cobra.ShellCompDirective) {
	if len(args) != 1 {
		return completePort(0)(c, args, begin)
	}
	var names []string
	for _, o := range ndis.OIDs() {
		if strings.HasPrefix(o.String(), strings.ToUpper(begin)) {
			names = append(names, o.String())
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func newOffload() *cobra.Command {
	root := &cobra.Command{
		Use:   "offload",
		Short: "Show and change the task offloads of a port",
		Args:  wrongUsage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			return usageError{fmt.Errorf("want offload show PORT or offload set PORT OFFLOAD=on|off")}
		},
	}
	root.AddCommand(&cobra.Command{
		Use: "show PORT", Short: "Show which offloads there are, are configured and are operational",
		Args: wrongUsage(cobra.ExactArgs(1)), ValidArgsFunction: completePort(0),
		RunE: func(c *cobra.Command, args []string) error {
			operational, err := operational(c, args[0])
			if err != nil {
				return err
			}
			return withOID(c, args[0], func(ctx context.Context, cl *oid.Client) error {
				return oidcli.ShowOffloads(ctx, cl, c.OutOrStdout(), operational)
			})
		},
	}, &cobra.Command{
		Use: "set PORT OFFLOAD=on|off...", Short: "Turn offloads on and off as a protocol driver does",
		Long: `Turn offloads on and off as a protocol driver does, until the guest's driver
starts anew.

Offloads: nvgre, rx-checksum, lso, uso, rsc, uro; and framing, which is
OID_OFFLOAD_ENCAPSULATION: receive checksums wait for it, and framing=off
deactivates everything.`,
		Args: wrongUsage(cobra.MinimumNArgs(2)),
		ValidArgsFunction: func(c *cobra.Command, args []string, begin string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return completePort(0)(c, args, begin)
			}
			var words []string
			for _, s := range oidcli.Settings() {
				words = append(words, s+"=on", s+"=off")
			}
			return words, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			return withOID(c, args[0], func(ctx context.Context, cl *oid.Client) error {
				return oidcli.SetOffloads(ctx, cl, args[1:])
			})
		},
	})
	return root
}

// operational returns the names of a port's operational offloads.
func operational(c *cobra.Command, port string) ([]string, error) {
	cl, err := client(c)
	if err != nil {
		return nil, err
	}
	s, err := cl.Status(c.Context())
	if err != nil {
		return nil, err
	}
	for i := range s.Ports {
		if s.Ports[i].Name == port {
			return append([]string{}, s.Ports[i].Offloads...), nil
		}
	}
	return nil, noPort(port)
}
