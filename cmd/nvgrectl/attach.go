package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"vhost-user-nvgre/cmd/internal/config"
	"vhost-user-nvgre/cmd/internal/control"
	"vhost-user-nvgre/cmd/internal/hotplug"
)

// detachTime is how long a guest has to let go of a NIC by default. A driver
// that works needs less than a second.
const detachTime = 30 * time.Second

func newAttach() *cobra.Command {
	var monitor string
	var list, asJSON bool
	var n hotplug.NIC
	attach := &cobra.Command{
		Use:   "attach --qmp SOCKET PORT",
		Short: "Plug a NIC at a port into a running QEMU",
		Long: `Plug a NIC at a port into a running QEMU, by its QMP monitor at the Unix
socket SOCKET. With --list, show the NICs of this daemon's ports that QEMU has.

The NIC has the port's queue pairs, MAC address, MTU and speed. The guest's
memory must be shared (share=on), and there must be room on a bus that takes
devices at run time: pc has it; q35 needs a free pcie-root-port, of which the
first is taken.

Front ends:
  netdev  virtio-net-pci with -netdev vhost-user
  device  vhost-user-test-device-pci, in QEMU 10.2 and later, for testing drivers

If anything fails, nothing is left in QEMU.`,
		Example: `  nvgrectl attach --qmp /run/vm0.qmp vm0
  nvgrectl attach --qmp /run/vm0.qmp --bus hotplug0 --front-end device vm0
  nvgrectl attach --qmp /run/vm0.qmp --list --json`,
		ValidArgsFunction: completePort(0),
		Args: func(c *cobra.Command, args []string) error {
			want := 1
			if list {
				want = 0
			}
			return wrongUsage(cobra.ExactArgs(want))(c, args)
		},
		RunE: func(c *cobra.Command, args []string) error {
			if !list && n.FrontEnd != hotplug.Netdev && n.FrontEnd != hotplug.Device {
				return usageError{fmt.Errorf("--front-end %q: want %s or %s", n.FrontEnd, hotplug.Netdev, hotplug.Device)}
			}
			if asJSON && !list {
				return usageError{errors.New("--json is for --list")}
			}
			return withQEMU(c, monitor, func(ctx context.Context, q *hotplug.QEMU) error {
				s, err := status(c)
				if err != nil {
					return err
				}
				if list {
					all, err := q.List(ctx)
					if err != nil {
						return err
					}
					return writeAttached(c.OutOrStdout(), attachedTo(s, all), asJSON)
				}
				if err := describeNIC(&n, s, args[0]); err != nil {
					return err
				}
				return q.Attach(ctx, &n)
			})
		},
	}
	monitorFlag(attach, &monitor)
	f := attach.Flags()
	f.BoolVar(&list, "list", false, "show the NICs of the daemon's ports that QEMU has")
	f.BoolVar(&asJSON, "json", false, "with --list, print JSON: port, id, device, netdev, chardev, socket, connected of each")
	f.StringVar((*string)(&n.FrontEnd), "front-end", string(hotplug.Netdev), "device the guest sees: netdev or device")
	f.StringVar(&n.ID, "id", "", "id of the device in QEMU (default: nvgre- and the port's name)")
	f.StringVar(&n.Bus, "bus", "", "bus of the guest to plug it into (default: a free pcie-root-port, else QEMU chooses)")
	f.StringVar(&n.Addr, "addr", "", "slot on the bus, such as 5.0 (default: QEMU chooses)")
	// It fails only for a flag there is not.
	_ = attach.RegisterFlagCompletionFunc("front-end", cobra.FixedCompletions(
		[]string{string(hotplug.Netdev), string(hotplug.Device)}, cobra.ShellCompDirectiveNoFileComp))
	return attach
}

func newDetach() *cobra.Command {
	var monitor, id string
	var patience time.Duration
	detach := &cobra.Command{
		Use:   "detach --qmp SOCKET PORT",
		Short: "Unplug a port's NIC from a running QEMU",
		Long: `Unplug a port's NIC from a running QEMU, by its QMP monitor at the Unix socket
SOCKET, and return when the guest has let go of it and QEMU holds nothing of it
any more. It need not have been plugged in by attach, and the daemon need not
be running if it has.`,
		Example:           `  nvgrectl detach --qmp /run/vm0.qmp vm0`,
		ValidArgsFunction: completePort(0),
		Args:              wrongUsage(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if patience <= 0 {
				return usageError{fmt.Errorf("--timeout %v: want more than 0", patience)}
			}
			return withQEMU(c, monitor, func(ctx context.Context, q *hotplug.QEMU) error {
				if id == "" {
					var err error
					if id, err = attachedID(c, q, args[0]); err != nil {
						return err
					}
				}
				ctx, cancel := context.WithTimeout(ctx, patience)
				defer cancel()
				return q.Detach(ctx, id)
			})
		},
	}
	monitorFlag(detach, &monitor)
	detach.Flags().StringVar(&id, "id", "", "id of the device in QEMU (default: that of the port's NIC)")
	detach.Flags().DurationVar(&patience, "timeout", detachTime, "how long to wait for the guest to let go of the NIC")
	return detach
}

func monitorFlag(c *cobra.Command, monitor *string) {
	c.Flags().StringVar(monitor, "qmp", "", "Unix socket of QEMU's QMP monitor, as of -qmp unix:SOCKET,server=on,wait=off")
	_ = c.MarkFlagFilename("qmp") // There is such a flag.
}

// withQEMU runs a command with a connection to QEMU.
func withQEMU(c *cobra.Command, monitor string, do func(context.Context, *hotplug.QEMU) error) error {
	if monitor == "" {
		return usageError{fmt.Errorf("want --qmp SOCKET, the Unix socket of QEMU's QMP monitor; see %s --help", c.CommandPath())}
	}
	q, err := hotplug.Dial(c.Context(), monitor)
	if err != nil {
		return err
	}
	defer q.Close()
	return do(c.Context(), q)
}

func status(c *cobra.Command) (*control.Status, error) {
	cl, err := client(c)
	if err != nil {
		return nil, err
	}
	return cl.Status(c.Context())
}

// describeNIC fills in what the daemon knows, and fails if the port cannot have
// a NIC now.
func describeNIC(n *hotplug.NIC, s *control.Status, port string) error {
	p := findPort(s, port)
	switch {
	case p == nil:
		return noPort(port)
	case p.Kind != string(config.KindVhostUser):
		return fmt.Errorf("port %s: no QEMU can be attached to a port of kind %s", port, p.Kind)
	case p.Socket == "":
		return fmt.Errorf("port %s: it has an inherited socket, whose path is not known", port)
	case p.FrontEnd.Connected:
		// QEMU would wait until that one leaves, and the guest with it.
		by := ""
		if p.FrontEnd.PID != 0 {
			by = ", process " + strconv.Itoa(p.FrontEnd.PID)
		}
		return fmt.Errorf("port %s: a front end is connected already%s", port, by)
	}
	var err error
	if n.Socket, err = socketPath(s, p); err != nil {
		return err
	}
	if n.ID == "" {
		n.ID = hotplug.DefaultID(port)
	}
	n.Listen = p.Mode == string(config.ModeClient)
	n.QueuePairs, n.MAC, n.MTU, n.Speed = p.QueuePairs, p.MAC, p.MTU, p.Speed
	return nil
}

func findPort(s *control.Status, name string) *control.Port {
	for i := range s.Ports {
		if s.Ports[i].Name == name {
			return &s.Ports[i]
		}
	}
	return nil
}

// socketPath returns the path of a port's socket for other processes: the
// daemon's settings may have it relative to the folder it was started in.
func socketPath(s *control.Status, p *control.Port) (string, error) {
	if filepath.IsAbs(p.Socket) {
		return filepath.Clean(p.Socket), nil
	}
	folder, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", s.PID))
	if err != nil {
		return "", fmt.Errorf("port %s: its socket %s is in the folder the daemon was started in, which is not known: %w", p.Name, p.Socket, err)
	}
	return filepath.Join(folder, p.Socket), nil
}

// portsBySocket returns the names of ports by the paths of their sockets.
func portsBySocket(s *control.Status) map[string]string {
	names := make(map[string]string)
	for i := range s.Ports {
		if p := &s.Ports[i]; p.Socket != "" {
			// What has no known path is in no QEMU by it.
			if path, err := socketPath(s, p); err == nil {
				names[path] = p.Name
			}
		}
	}
	return names
}

// attached is a NIC of QEMU that leads to a port, as --json prints it.
type attached struct {
	Port      string `json:"port"`
	ID        string `json:"id"`
	Device    string `json:"device"`
	Netdev    string `json:"netdev,omitempty"`
	Chardev   string `json:"chardev"`
	Socket    string `json:"socket"`
	Connected bool   `json:"connected"`
}

// attachedTo returns those NICs that lead to ports.
func attachedTo(s *control.Status, all []hotplug.Attached) []attached {
	names, ours := portsBySocket(s), []attached{}
	for _, n := range all {
		if name, is := names[filepath.Clean(n.Socket)]; is {
			ours = append(ours, attached{
				Port: name, ID: n.ID, Device: n.Driver, Netdev: n.Netdev, Chardev: n.Chardev, Socket: n.Socket, Connected: n.Connected,
			})
		}
	}
	return ours
}

// writeAttached prints which NICs of QEMU lead to ports.
func writeAttached(w io.Writer, all []attached, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(all)
	}
	if len(all) == 0 {
		return nil
	}
	t := &table{rows: [][]string{{"PORT", "ID", "DEVICE", "STATE", "SOCKET"}}}
	for _, n := range all {
		state := "disconnected"
		if n.Connected {
			state = "connected"
		}
		t.row(n.Port, n.ID, n.Device, state, n.Socket)
	}
	t.print(w)
	return nil
}

// attachedID returns the ID of a port's NIC. Without a daemon to say which
// socket the port has, or when no NIC leads there, it is that of attach.
func attachedID(c *cobra.Command, q *hotplug.QEMU, port string) (string, error) {
	id := hotplug.DefaultID(port)
	s, err := status(c)
	if err != nil {
		return id, nil //nolint:nilerr // as the comment says
	}
	all, err := q.List(c.Context())
	if err != nil {
		return "", err
	}
	names := portsBySocket(s)
	var found []string
	for _, n := range all {
		if names[filepath.Clean(n.Socket)] == port {
			found = append(found, n.ID)
		}
	}
	switch len(found) {
	case 0:
		return id, nil
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("port %s has several NICs in this QEMU: %q; choose one with --id", port, found)
}
