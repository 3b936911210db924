// Command nvgrectl shows and changes the state of a running vhost-user-nvgre.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"

	"vhost-user-nvgre/cmd/internal/control"
)

// Exit codes.
const (
	exitFailure    = 1
	exitUsage      = 2
	exitNotRunning = 3
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := newCommand().ExecuteContext(ctx)
	stop()
	if err == nil {
		return
	}
	fmt.Fprintf(os.Stderr, "nvgrectl: %v\n", err)
	os.Exit(exitCode(err))
}

// usageError is a fault of the command line.
type usageError struct{ error }

func exitCode(err error) int {
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	if errors.Is(err, control.ErrNotRunning) {
		return exitNotRunning
	}
	return exitFailure
}
