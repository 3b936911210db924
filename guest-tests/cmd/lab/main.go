// Command lab fetches and shows what guest tests run on.
//
//	lab prepare [TOOL…]     fetch QEMU, kernel and guest programs, and the tools named
//	lab tools               list the tools that can be fetched
//	lab run TOOL [ARG…]     run a tool from its root
//
// Progress goes to standard error. LAB_CACHE and LAB_MIRROR change the cache
// folder and the Debian mirror.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"vhost-user-nvgre/guest-tests/lab"
)

// errUsage is reported with exit code 2.
var errUsage = errors.New("usage: lab prepare [TOOL…] | lab tools | lab run TOOL [ARG…]")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	var exit *exec.ExitError
	switch {
	case err == nil:
	case errors.As(err, &exit):
		os.Exit(exit.ExitCode())
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "lab:", strings.TrimPrefix(err.Error(), "lab: "))
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	l, err := lab.Open(lab.Options{Logf: func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, format+"\n", args...)
	}})
	if err != nil {
		return err
	}
	switch {
	case args[0] == "prepare":
		return prepare(ctx, l, args[1:])
	case args[0] == "tools" && len(args) == 1:
		fmt.Println(strings.Join(lab.All(), "\n"))
		return nil
	case args[0] == "run" && len(args) > 1:
		p, err := l.Tool(ctx, args[1])
		if err != nil {
			return err
		}
		cmd := p.Command(ctx, args[2:]...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		return cmd.Run()
	}
	return errUsage
}

func prepare(ctx context.Context, l *lab.Lab, tools []string) error {
	if err := l.Prepare(ctx, tools...); err != nil {
		return err
	}
	q, err := l.QEMU(ctx, lab.NewQEMU)
	if err != nil {
		return err
	}
	k, err := l.Kernel(ctx)
	if err != nil {
		return err
	}
	accel, err := l.Accelerator(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("qemu %s\nkernel %s\naccelerator %s\ncache %s\n", q.Version, k.Version, accel, l.Dir())
	return nil
}
