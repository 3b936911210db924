package daemon

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"vhost-user-nvgre/cmd/internal/config"
	"vhost-user-nvgre/cmd/internal/version"
)

// Exit codes. A second signal to end exits with 128 + the signal's number.
const (
	exitOK         = 0
	exitFailure    = 1
	exitUsage      = 2
	exitConfig     = 3
	exitPermission = 4
	exitInUse      = 5
)

// exitCode returns the code that says what kind of error err is.
func exitCode(err error) int {
	e, faulty := errors.AsType[*config.Error](err)
	switch {
	case err == nil:
		return exitOK
	case faulty && e.Usage:
		return exitUsage
	case faulty:
		return exitConfig
	case errors.Is(err, fs.ErrPermission):
		return exitPermission
	case errors.Is(err, unix.EADDRINUSE), errors.Is(err, unix.EBUSY):
		return exitInUse
	}
	return exitFailure
}

// printCapabilities is QEMU's convention for asking a back end what it is:
// everything else on the command line is ignored.
const printCapabilities = "--print-capabilities"

// Main is the program. It returns the exit code.
func Main(args []string, stdout, stderr io.Writer) int {
	if slices.Contains(args, printCapabilities) || slices.Contains(args, printCapabilities+"=true") {
		fmt.Fprintln(stdout, `{"type":"net"}`)
		return exitOK
	}
	c := newCommand()
	c.SetArgs(args)
	c.SetOut(stdout)
	c.SetErr(stderr)
	err := c.Execute()
	if err != nil {
		fmt.Fprintf(stderr, "vhost-user-nvgre: %v\n", err)
		if exitCode(err) == exitUsage {
			fmt.Fprintln(stderr, "See vhost-user-nvgre --help.")
		}
	}
	return exitCode(err)
}

// usage marks a fault that was found in the command line.
func usage(err error) error { return &config.Error{Usage: true, Err: err} }

func newCommand() *cobra.Command {
	var flags config.Flags
	var check bool
	c := &cobra.Command{
		Use:   "vhost-user-nvgre [--config FILE] [--port name=NAME,socket=PATH[,KEY=VALUE]...]...",
		Short: "Switch between virtual machines, attached over vhost-user",
		Long: `vhost-user-nvgre is a vhost-user back end: a learning Ethernet switch whose
ports are multi-queue virtio NICs for virtual machines, or lead to tap devices
and network interfaces of the host or to capture files.

It stays in the foreground and logs to standard error. SIGTERM and SIGINT detach
all front ends and end it; a second one ends it at once. SIGHUP reads the
configuration file again.

Exit codes: 0 success, 1 failure, 2 wrong usage, 3 wrong configuration,
4 no permission, 5 a socket path or an interface is in use.`,
		Version:       version.String(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage(fmt.Errorf("unknown argument %q", args[0]))
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := flags.Load()
			if err != nil {
				return err
			}
			if check {
				fmt.Fprintf(c.OutOrStdout(), "The settings are valid and describe %s.\n", countPorts(len(s.Ports)))
				return nil
			}
			return Run(&s, flags.Load, NewLogger(s.LogLevel, s.LogFormat), watchSignals(c.ErrOrStderr()))
		},
	}
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err) })
	c.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	flags.Register(c.Flags())
	c.Flags().SortFlags = false
	c.Flags().BoolVar(&check, "check", false, "check the settings and exit")
	c.Flags().Bool("print-capabilities", false, "print what QEMU's conventions ask of a back end and exit")
	return c
}

// watchSignals returns the channel of signals to follow.
func watchSignals(stderr io.Writer) <-chan os.Signal {
	in := make(chan os.Signal, 4)
	signal.Notify(in, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	out := make(chan os.Signal, 2)
	go sortSignals(in, out, func(sig os.Signal) {
		fmt.Fprintf(stderr, "vhost-user-nvgre: %v again: exiting at once\n", sig)
		os.Exit(128 + int(sig.(syscall.Signal)))
	})
	return out
}

// sortSignals hands on what comes in, but never blocks: out has room for a
// request to reload, for which later ones stand as well until it is answered,
// and for the request to end. The second of those is not left to whoever
// should read out: it calls again.
func sortSignals(in <-chan os.Signal, out chan<- os.Signal, again func(os.Signal)) {
	ending := false
	for sig := range in {
		switch {
		case sig == syscall.SIGHUP && len(out) > 0:
		case sig == syscall.SIGHUP:
			out <- sig
		case ending:
			again(sig)
		default:
			ending = true
			out <- sig
		}
	}
}
