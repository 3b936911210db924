package rig

import (
	"context"
	"errors"
	"strings"

	"vhost-user-nvgre/guest-tests/harness"
	"vhost-user-nvgre/guest-tests/rawframe"
)

const (
	rawPackage = "./guest-tests/cmd/rawframe"
	rawProgram = "/bin/rawframe"
)

// RawGuests boots guests at the same time that have the program for
// SendFrames and Capture. They live as long as the test.
func RawGuests(t harness.T, guests ...harness.Guest) []*harness.VM {
	t.Helper()
	withProgram(t, rawPackage, rawProgram, guests)
	return harness.StartAll(t, guests...)
}

// SendFrames sends frames from the peer's interface, past its network stack.
func (p *Peer) SendFrames(ctx context.Context, frames ...rawframe.Frame) error {
	var input []byte
	for _, f := range frames {
		input = rawframe.Append(input, f)
	}
	process, err := p.Start(ctx, harness.Command{Argv: []string{rawProgram, "send", p.Iface}, Input: true})
	if err != nil {
		return err
	}
	// A program that refuses a frame does not read on; its reason says more.
	writing := errors.Join(process.Write(ctx, input), process.CloseInput(ctx))
	result, err := process.Wait(ctx)
	if err != nil {
		return err
	}
	if err := result.Err(); err != nil {
		return err
	}
	return writing
}

// Capture returns what the peer's interface receives while do runs, and
// shortly after.
func (p *Peer) Capture(ctx context.Context, do func() error) ([]rawframe.Frame, error) {
	process, err := p.Start(ctx, harness.Command{Argv: []string{rawProgram, "capture", p.Iface}, Input: true})
	if err != nil {
		return nil, err
	}
	if err := process.WaitOutput(ctx, rawframe.Ready); err != nil {
		return nil, err
	}
	did := do()
	ending := process.CloseInput(ctx)
	result, err := process.Wait(ctx)
	if err = errors.Join(did, ending, err); err != nil {
		return nil, err
	}
	if err := result.Err(); err != nil {
		return nil, err
	}
	return rawframe.Read(strings.NewReader(strings.TrimPrefix(result.Stdout, rawframe.Ready)))
}
