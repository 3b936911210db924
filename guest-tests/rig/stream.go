package rig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"vhost-user-nvgre/guest-tests/harness"
	"vhost-user-nvgre/guest-tests/stream"
)

const (
	streamPackage = "./guest-tests/cmd/streamcheck"
	streamProgram = "/bin/streamcheck"
	streamPort    = 7000
)

// Guests boots guests at the same time that have streamcheck, and a server of
// it running. They live as long as the test.
func Guests(t harness.T, guests ...harness.Guest) []*harness.VM {
	t.Helper()
	withProgram(t, streamPackage, streamProgram, guests)
	vms := harness.StartAll(t, guests...)
	for _, vm := range vms {
		if err := ServeStreams(t.Context(), vm); err != nil {
			t.Fatalf("%v", err)
		}
	}
	return vms
}

// ServeStreams makes a guest receive streams, on all its addresses, until it
// ends or restarts.
func ServeStreams(ctx context.Context, vm *harness.VM) error {
	p, err := vm.Start(ctx, harness.Command{Argv: []string{streamProgram, "serve", fmt.Sprintf(":%d", streamPort)}})
	if err != nil {
		return err
	}
	return p.WaitOutput(ctx, "listening on")
}

// StartStream begins to send a job; WaitStream says how that ended.
func StartStream(ctx context.Context, from, to *Peer, v6 bool, j stream.Job) (*harness.GuestProcess, error) {
	spec, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	addr := to.IP4
	if v6 {
		addr = "[" + to.IP6 + "]"
	}
	return from.Start(ctx, harness.Command{Argv: []string{
		streamProgram, "send", fmt.Sprintf("%s:%d", addr, streamPort), string(spec),
	}})
}

// WaitStream returns the report of a stream once it has ended. Data that was
// lost or changed is an error.
func WaitStream(ctx context.Context, p *harness.GuestProcess) (*stream.Report, error) {
	result, err := p.Wait(ctx)
	if err != nil {
		return nil, err
	}
	var r stream.Report
	return &r, errors.Join(result.Err(), json.Unmarshal([]byte(result.Stdout), &r))
}

// Stream sends a job and returns its report. Data that was lost or changed is
// an error.
func Stream(ctx context.Context, from, to *Peer, v6 bool, j stream.Job) (*stream.Report, error) {
	p, err := StartStream(ctx, from, to, v6, j)
	if err != nil {
		return nil, err
	}
	return WaitStream(ctx, p)
}

// StartFlood begins to send n datagrams to an IPv4 address, which end up where
// they may; see stream.Flood.
func StartFlood(ctx context.Context, from *Peer, to string, n int) (*harness.GuestProcess, error) {
	return from.Start(ctx, harness.Command{Argv: []string{
		streamProgram, "flood", fmt.Sprintf("%s:%d", to, streamPort), fmt.Sprint(n),
	}})
}
