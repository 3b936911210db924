// Command streamcheck runs in guests and checks that data arrives as it was
// sent; see package stream.
//
//	streamcheck serve ADDRESS        receive, until killed
//	streamcheck send ADDRESS JOB     send what JOB, a stream.Job in JSON, says
//	streamcheck flood ADDRESS COUNT  send COUNT datagrams to whoever is there
//
// send prints a stream.Report in JSON. Its exit code is 1 if data was lost or
// changed.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"vhost-user-nvgre/guest-tests/stream"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "streamcheck:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "serve":
		l, err := net.Listen("tcp", args[1])
		if err != nil {
			return err
		}
		fmt.Println("listening on", l.Addr())
		return stream.Serve(l.(*net.TCPListener))
	case len(args) == 3 && args[0] == "send":
		var j stream.Job
		if err := json.Unmarshal([]byte(args[2]), &j); err != nil {
			return fmt.Errorf("job: %w", err)
		}
		r, err := stream.Send(context.Background(), args[1], j)
		if r != nil {
			if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
				return err
			}
		}
		return err
	case len(args) == 3 && args[0] == "flood":
		n, err := strconv.Atoi(args[2])
		if err != nil {
			return fmt.Errorf("count: %w", err)
		}
		return stream.Flood(args[1], n)
	}
	return errors.New("usage: streamcheck serve ADDRESS | streamcheck send ADDRESS JOB | streamcheck flood ADDRESS COUNT")
}
