// Command rawframe runs in guests and sends and receives frames below their
// network stack; see package rawframe.
//
//	rawframe send IFACE      send the frames of standard input
//	rawframe capture IFACE   write what arrives to standard output, until
//	                         standard input ends
//	rawframe hashes IFACE N  write what the driver says of the marked frames
//	                         below N to standard output, when standard input
//	                         ends
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"vhost-user-nvgre/guest-tests/rawframe"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "rawframe:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	ready := func() { fmt.Fprint(os.Stdout, rawframe.Ready) }
	switch {
	case len(args) == 2 && args[0] == "send":
		return rawframe.Send(args[1], os.Stdin)
	case len(args) == 2 && args[0] == "capture":
		return rawframe.Capture(args[1], os.Stdout, ready, inputEnd())
	case len(args) == 3 && args[0] == "hashes":
		n, err := strconv.Atoi(args[2])
		if err != nil || n < 1 || n > rawframe.MaxMarks {
			return fmt.Errorf("%q is no number of frames, want 1 to %d", args[2], rawframe.MaxMarks)
		}
		return rawframe.Hashes(args[1], n, os.Stdout, ready, inputEnd())
	}
	return errors.New("usage: rawframe send IFACE | rawframe capture IFACE | rawframe hashes IFACE N")
}

// inputEnd returns a channel that is closed when standard input ends.
func inputEnd() <-chan struct{} {
	end := make(chan struct{})
	go func() {
		defer close(end)
		_, _ = io.Copy(io.Discard, os.Stdin) // its end is all that counts
	}()
	return end
}
