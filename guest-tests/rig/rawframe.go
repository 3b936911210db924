package rig

import (
	"context"
	"errors"
	"strconv"
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

// StartSending starts a process that sends the frames from the peer's
// interface that it gets as records (rawframe.Append), past the network stack,
// until its input ends.
func (p *Peer) StartSending(ctx context.Context) (*harness.GuestProcess, error) {
	return p.Start(ctx, harness.Command{Argv: []string{rawProgram, "send", p.Iface}, Input: true})
}

// SendFrames sends frames from the peer's interface, past its network stack.
func (p *Peer) SendFrames(ctx context.Context, frames ...rawframe.Frame) error {
	var input []byte
	for _, f := range frames {
		input = rawframe.Append(input, f)
	}
	process, err := p.StartSending(ctx)
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
	out, err := p.listen(ctx, do, "capture", p.Iface)
	if err != nil {
		return nil, err
	}
	return rawframe.Read(strings.NewReader(out))
}

// Hashes returns what the driver of the peer's interface says of the marked
// frames, by their numbers below n, that it receives while do runs, and shortly
// after; see rawframe.Hashes.
func (p *Peer) Hashes(ctx context.Context, n int, do func() error) ([]rawframe.Arrival, error) {
	out, err := p.listen(ctx, do, "hashes", p.Iface, strconv.Itoa(n))
	if err != nil {
		return nil, err
	}
	return rawframe.ReadHashes([]byte(out))
}

// listen runs the program while do runs and returns what it writes.
func (p *Peer) listen(ctx context.Context, do func() error, args ...string) (string, error) {
	process, err := p.Start(ctx, harness.Command{Argv: append([]string{rawProgram}, args...), Input: true})
	if err != nil {
		return "", err
	}
	if err := process.WaitOutput(ctx, rawframe.Ready); err != nil {
		return "", err
	}
	did := do()
	ending := process.CloseInput(ctx)
	result, err := process.Wait(ctx)
	if err = errors.Join(did, ending, err); err != nil {
		return "", err
	}
	if err := result.Err(); err != nil {
		return "", err
	}
	return strings.TrimPrefix(result.Stdout, rawframe.Ready), nil
}
