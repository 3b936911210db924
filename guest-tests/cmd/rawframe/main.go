// Command rawframe runs in guests and sends and receives frames below their
// network stack; see package rawframe.
//
//	rawframe send IFACE      send the frames of standard input
//	rawframe capture IFACE   write what arrives to standard output, until
//	                         standard input ends
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"vhost-user-nvgre/guest-tests/rawframe"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "rawframe:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "send":
		return rawframe.Send(args[1], os.Stdin)
	case len(args) == 2 && args[0] == "capture":
		end := make(chan struct{})
		go func() {
			defer close(end)
			_, _ = io.Copy(io.Discard, os.Stdin) // its end is all that counts
		}()
		ready := func() { fmt.Fprint(os.Stdout, rawframe.Ready) }
		return rawframe.Capture(args[1], os.Stdout, ready, end)
	}
	return errors.New("usage: rawframe send IFACE | rawframe capture IFACE")
}
