package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"vhost-user-nvgre/cmd/internal/control"
)

func newShow() *cobra.Command {
	var asJSON bool
	show := &cobra.Command{
		Use:               "show [PORT]",
		Short:             "Show ports, front ends, features, queues and the MAC table",
		Long:              "Show the daemon's ports with their front ends, features and queues, and the\nMAC table; with PORT, what concerns that port.",
		Args:              wrongUsage(cobra.MaximumNArgs(1)),
		ValidArgsFunction: completePort(0),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := client(c)
			if err != nil {
				return err
			}
			raw, err := cl.StatusJSON(c.Context())
			if err != nil {
				return err
			}
			port := ""
			if len(args) > 0 {
				port = args[0]
			}
			if asJSON {
				return writeJSON(c.OutOrStdout(), raw, port)
			}
			return writeText(c.OutOrStdout(), raw, port, time.Now())
		},
	}
	show.Flags().BoolVar(&asJSON, "json", false, "print the daemon's answer as JSON (docs/control-socket.md)")
	return show
}

// writeJSON prints the answer as the daemon gave it, or the part that
// describes one port.
func writeJSON(w io.Writer, raw []byte, port string) error {
	if port != "" {
		var err error
		if raw, err = rawPort(raw, port); err != nil {
			return err
		}
	}
	var b bytes.Buffer
	if err := json.Indent(&b, bytes.TrimSpace(raw), "", "  "); err != nil {
		return fmt.Errorf("the daemon's answer: %w", err)
	}
	b.WriteByte('\n')
	_, err := b.WriteTo(w)
	return err
}

// rawPort returns the document of one port with all its fields, also those
// this program does not know.
func rawPort(raw []byte, port string) ([]byte, error) {
	var s struct {
		Ports []json.RawMessage `json:"ports"`
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, fmt.Errorf("the daemon's answer: %w", err)
	}
	for _, p := range s.Ports {
		var head struct {
			Name string `json:"name"`
		}
		if json.Unmarshal(p, &head) == nil && head.Name == port {
			return p, nil
		}
	}
	return nil, noPort(port)
}

func noPort(name string) error { return fmt.Errorf("port %s: %w", name, control.ErrNoPort) }

// writeText prints tables that say how things are at the time now.
func writeText(w io.Writer, raw []byte, port string, now time.Time) error {
	var s control.Status
	if err := json.Unmarshal(raw, &s); err != nil {
		return fmt.Errorf("the daemon's answer: %w", err)
	}
	if port == "" {
		return render(w, &s, now)
	}
	for i := range s.Ports {
		if s.Ports[i].Name == port {
			return renderOnly(w, &s, &s.Ports[i], now)
		}
	}
	return noPort(port)
}
