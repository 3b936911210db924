package harness

import (
	"context"
	"fmt"
	"strings"
	"syscall"

	"vhost-user-nvgre/guest-tests/agentproto"
)

// Result is how a command in a guest ended.
type Result struct {
	Stdout, Stderr string
	// Code is the exit code; -1 if Signal ended it.
	Code   int
	Signal syscall.Signal
}

// Err returns nil if the command succeeded, otherwise how it ended and what it
// said.
func (r *Result) Err() error {
	if r.Code == 0 {
		return nil
	}
	how := fmt.Sprintf("exit code %d", r.Code)
	if r.Signal != 0 {
		how = "ended by " + r.Signal.String()
	}
	return fmt.Errorf("%s: %s", how, lastLines(strings.TrimSpace(r.Stdout+"\n"+r.Stderr), 30))
}

// Command is a command to run in a guest.
type Command struct {
	// Argv is the program, looked up in PATH, and its arguments.
	Argv []string
	// Env is added to the environment, "NAME=value" each.
	Env []string
	// Dir is the working directory; empty means /.
	Dir string
	// Input lets GuestProcess.Write feed its standard input, which is empty
	// otherwise.
	Input bool
}

// guestOutputLimit is how much of a command's output is kept, in bytes.
const guestOutputLimit = 16 << 20

// GuestProcess is a command that runs in a guest.
type GuestProcess struct {
	// Pid is its process id in the guest.
	Pid int
	// Stdout and Stderr hold what it has written so far.
	Stdout, Stderr *Tail

	vm     *VM
	argv   []string
	id     uint64
	done   chan struct{} // closed when the outcome is known
	result *Result
	err    error
}

// Start runs a command and returns once it has begun.
func (vm *VM) Start(ctx context.Context, c Command) (*GuestProcess, error) {
	id, call, err := vm.agent.begin(ctx, agentproto.Request{Op: agentproto.Start, Argv: c.Argv, Env: c.Env, Dir: c.Dir, Input: c.Input})
	var started agentproto.Event
	if err == nil {
		started, err = call.next(ctx)
	}
	if err != nil {
		return nil, vm.explain(fmt.Errorf("starting %q: %w", c.Argv, err))
	}
	p := &GuestProcess{
		Pid: started.Pid, Stdout: NewTail(guestOutputLimit, nil), Stderr: NewTail(guestOutputLimit, nil),
		vm: vm, argv: c.Argv, id: id, done: make(chan struct{}),
	}
	go p.follow(call)
	return p, nil
}

// follow takes in what the process does until it ends or the guest does.
func (p *GuestProcess) follow(call *call) {
	defer close(p.done)
	for {
		e, err := call.next(context.Background())
		if err != nil {
			p.err = err
			return
		}
		switch e.Kind {
		case agentproto.Stdout:
			_, _ = p.Stdout.Write(e.Data) // Never fails.
		case agentproto.Stderr:
			_, _ = p.Stderr.Write(e.Data)
		case agentproto.Done:
			p.result = &Result{Stdout: p.Stdout.String(), Stderr: p.Stderr.String(), Code: e.Code, Signal: syscall.Signal(e.Signal)}
			if e.Signal != 0 {
				p.result.Code = -1
			}
			return
		}
	}
}

// Done is closed when the process has ended or the guest is gone.
func (p *GuestProcess) Done() <-chan struct{} { return p.done }

// Wait returns how the process ended. An exit code other than 0 is no error;
// Result.Err makes one of it.
func (p *GuestProcess) Wait(ctx context.Context) (*Result, error) {
	select {
	case <-p.done:
		if p.err != nil {
			return nil, p.vm.explain(fmt.Errorf("running %q: %w", p.argv, p.err))
		}
		return p.result, nil
	case <-ctx.Done():
		return nil, p.vm.explain(fmt.Errorf("running %q: %w; it said: %s", p.argv, ctx.Err(),
			lastLines(p.Stdout.String()+p.Stderr.String(), 30)))
	}
}

// WaitOutput returns when the process has written text to either output, or
// with an error when it has ended without.
func (p *GuestProcess) WaitOutput(ctx context.Context, text string) error {
	for {
		out, moreOut := p.Stdout.snapshot()
		errs, moreErr := p.Stderr.snapshot()
		if strings.Contains(string(out), text) || strings.Contains(string(errs), text) {
			return nil
		}
		select {
		case <-moreOut:
		case <-moreErr:
		case <-p.done:
			if strings.Contains(p.Stdout.String(), text) || strings.Contains(p.Stderr.String(), text) {
				return nil
			}
			err := p.err
			if err == nil {
				err = fmt.Errorf("it ended before: %w", orSuccess(p.result.Err()))
			}
			return p.vm.explain(fmt.Errorf("waiting for %q from %q: %w", text, p.argv, err))
		case <-ctx.Done():
			return p.vm.explain(fmt.Errorf("waiting for %q from %q: %w; it said: %s%s", text, p.argv, ctx.Err(), out, errs))
		}
	}
}

func orSuccess(err error) error {
	if err == nil {
		return fmt.Errorf("exit code 0")
	}
	return err
}

// Write feeds the process's input.
func (p *GuestProcess) Write(ctx context.Context, data []byte) error {
	for len(data) > 0 {
		n := min(len(data), agentproto.MaxData)
		_, err := p.vm.agent.ask(ctx, agentproto.Request{Op: agentproto.Stdin, Target: p.id, Data: data[:n]}, nil)
		if err != nil {
			return p.vm.explain(err)
		}
		data = data[n:]
	}
	return nil
}

// CloseInput ends the process's input.
func (p *GuestProcess) CloseInput(ctx context.Context) error {
	_, err := p.vm.agent.ask(ctx, agentproto.Request{Op: agentproto.Stdin, Target: p.id, EOF: true}, nil)
	return p.vm.explain(err)
}

// Kill sends a signal to the process and all it started.
func (p *GuestProcess) Kill(ctx context.Context, sig syscall.Signal) error {
	_, err := p.vm.agent.ask(ctx, agentproto.Request{Op: agentproto.Kill, Target: p.id, Signal: int(sig)}, nil)
	return p.vm.explain(err)
}

// Run runs a command to its end. An exit code other than 0 is no error. When
// ctx ends first the command goes on.
func (vm *VM) Run(ctx context.Context, argv ...string) (*Result, error) {
	p, err := vm.Start(ctx, Command{Argv: argv})
	if err != nil {
		return nil, err
	}
	return p.Wait(ctx)
}

// Output runs a command that has to succeed and returns what it wrote to its
// standard output.
func (vm *VM) Output(ctx context.Context, argv ...string) (string, error) {
	r, err := vm.Run(ctx, argv...)
	if err != nil {
		return "", err
	}
	if err := r.Err(); err != nil {
		return "", fmt.Errorf("harness: guest %s: %q: %w", vm.Guest.Name, argv, err)
	}
	return r.Stdout, nil
}

// Shell runs a script with busybox's shell; it has to succeed.
func (vm *VM) Shell(ctx context.Context, script string) (string, error) {
	return vm.Output(ctx, "sh", "-ec", script)
}
