// Command nvgre-guest speaks, from within a guest, with the adapter behind the
// guest's NIC as a driver does: by OID requests over AF_VSOCK.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/cobra"

	"vhost-user-nvgre/cmd/internal/oid"
	"vhost-user-nvgre/cmd/internal/oidcli"
	"vhost-user-nvgre/cmd/internal/version"
	"vhost-user-nvgre/offload/ndis/adapter"
)

// binding is the protocol driver that the program acts as.
const binding = 1

// requestTime bounds a command that does not watch.
const requestTime = 30 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := newCommand().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "nvgre-guest: %v\n", err)
		os.Exit(1)
	}
}

// options are the flags of all commands.
type options struct {
	socket string
	nic    string
	port   uint32
	asJSON bool
}

// dial connects to the adapter.
func (o *options) dial(ctx context.Context, watch bool) (*oid.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	var conn net.Conn
	var err error
	if o.socket != "" {
		var d net.Dialer
		conn, err = d.DialContext(ctx, "unix", o.socket)
	} else {
		conn, err = oid.DialVsock(o.port)
	}
	if err != nil {
		return nil, err
	}
	return oid.Connect(ctx, conn, o.nic, watch)
}

// with makes a command of do, which gets a connection.
func (o *options) with(watch bool, do func(context.Context, *oid.Client, *cobra.Command, []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		cl, err := o.dial(c.Context(), watch)
		if err != nil {
			return err
		}
		defer cl.Close()
		return do(c.Context(), cl, c, args)
	}
}

func newCommand() *cobra.Command {
	var o options
	root := &cobra.Command{
		Use:   "nvgre-guest",
		Short: "Ask and configure the adapter behind this guest's NIC",
		Long: `Ask and configure the adapter of vhost-user-nvgre behind this guest's NIC by
OID requests, as an NDIS driver does. The host has to allow it (oid-cid or
oid-socket in the settings of the port).`,
		Version:           version.String(),
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.PersistentFlags().StringVar(&o.socket, "socket", "", "a Unix socket to connect to instead of the host")
	root.PersistentFlags().StringVar(&o.nic, "nic", "", "name of the NIC's port on the host, where one socket serves several; a guest has no choice")
	root.PersistentFlags().Uint32Var(&o.port, "port", oid.DefaultPort, "AF_VSOCK port of the host")
	root.PersistentFlags().BoolVar(&o.asJSON, "json", false, "print structures as JSON")
	send := func(use, short string, t adapter.RequestType) *cobra.Command {
		return &cobra.Command{
			Use: use, Short: short, Args: cobra.ExactArgs(2),
			RunE: o.with(false, func(ctx context.Context, cl *oid.Client, c *cobra.Command, args []string) error {
				return oidcli.Set(ctx, cl, c.OutOrStdout(), t, binding, args[0], args[1], o.asJSON)
			}),
		}
	}
	offload := &cobra.Command{Use: "offload", Short: "Show and change task offloads", Args: cobra.NoArgs}
	offload.AddCommand(&cobra.Command{
		Use: "show", Short: "Show which offloads there are and are configured", Args: cobra.NoArgs,
		RunE: o.with(false, func(ctx context.Context, cl *oid.Client, c *cobra.Command, _ []string) error {
			return oidcli.ShowOffloads(ctx, cl, c.OutOrStdout(), nil)
		}),
	})
	for _, state := range []string{"on", "off"} {
		offload.AddCommand(&cobra.Command{
			Use: state + " OFFLOAD...", Short: "Turn offloads " + state + ": nvgre, framing, rx-checksum, lso, uso, rsc, uro", Args: cobra.MinimumNArgs(1),
			RunE: o.with(false, func(ctx context.Context, cl *oid.Client, _ *cobra.Command, args []string) error {
				var settings []string
				for _, a := range args {
					settings = append(settings, a+"="+state)
				}
				return oidcli.SetOffloads(ctx, cl, settings)
			}),
		})
	}
	root.AddCommand(
		&cobra.Command{
			Use: "query OID", Short: "Show an object", Args: cobra.ExactArgs(1),
			RunE: o.with(false, func(ctx context.Context, cl *oid.Client, c *cobra.Command, args []string) error {
				return oidcli.Query(ctx, cl, c.OutOrStdout(), args[0], o.asJSON)
			}),
		},
		send("set OID HEX", "Set an object to an information buffer in hexadecimal", adapter.Set),
		send("method OID HEX", "Call a method with an information buffer in hexadecimal", adapter.Method),
		&cobra.Command{
			Use: "watch", Short: "Print indications as they come", Args: cobra.NoArgs,
			RunE: o.with(true, func(ctx context.Context, cl *oid.Client, c *cobra.Command, _ []string) error {
				return oidcli.Watch(ctx, cl, c.OutOrStdout(), o.asJSON)
			}),
		},
		offload,
		o.newFilter(),
		o.newRSS(),
		&cobra.Command{
			Use: "selftest", Short: "Walk through the life cycle of the offloads and say which requirements hold", Args: cobra.NoArgs,
			Long: `Walk through the life cycle of the task offloads, right and wrong requests, and
print a line for each step with the requirements (docs/conformance.md) that it
shows. Afterwards framing is on, NVGRE off and large send on.`,
			RunE: o.with(true, func(ctx context.Context, cl *oid.Client, c *cobra.Command, _ []string) error {
				return selftest(ctx, cl, c.OutOrStdout())
			}),
		},
	)
	return root
}
