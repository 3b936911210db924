package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// outputLimit is how much of a host process's output is remembered, in bytes.
const outputLimit = 256 << 10

// Process is a program on the host. It and all it starts die when it is
// stopped, and when this process ends, however that comes about.
type Process struct {
	// Name is used in messages.
	Name string
	// Stdout and Stderr remember the end of its output.
	Stdout, Stderr *Tail

	cmd  *exec.Cmd
	done chan struct{} // closed when it has been waited for
	err  error         // what Wait returned; valid after done

	mu     sync.Mutex // guards signals against the pid being reused
	exited bool
}

// StartProcess runs cmd. Its output goes to the Process's buffers and to log as
// well, one write at a time, if that is not nil. The context of cmd ends the
// process too.
func StartProcess(name string, cmd *exec.Cmd, log io.Writer) (*Process, error) {
	if log != nil {
		log = &serialWriter{w: log} // Both outputs go there.
	}
	p := &Process{
		Name:   name,
		Stdout: NewTail(outputLimit, log),
		Stderr: NewTail(outputLimit, log),
		cmd:    cmd,
		done:   make(chan struct{}),
	}
	cmd.Stdout, cmd.Stderr = p.Stdout, p.Stderr
	cmd.WaitDelay = time.Second
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	cmd.SysProcAttr.Setpgid = true
	if cmd.Cancel != nil { // Made with a context: it is to end the whole group.
		cmd.Cancel = func() error { return p.signal(syscall.SIGKILL) }
	}

	started := make(chan error, 1)
	go func() {
		// The death signal is bound to the thread that started the process, so
		// that thread has to live as long.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		p.err = cmd.Wait()
		p.mu.Lock()
		p.exited = true
		p.mu.Unlock()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("harness: starting %s: %w", name, err)
	}
	return p, nil
}

// Pid returns the process's id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// signal reaches the process and everything in its group.
func (p *Process) signal(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.exited {
		return nil
	}
	return syscall.Kill(-p.cmd.Process.Pid, sig)
}

// Signal sends sig to the process and everything in its group.
func (p *Process) Signal(sig syscall.Signal) error {
	if err := p.signal(sig); err != nil {
		return fmt.Errorf("harness: signal %v to %s: %w", sig, p.Name, err)
	}
	return nil
}

// Kill ends the process at once and returns when it is gone.
func (p *Process) Kill() {
	// The one failure there is, that it has gone already, is what is wanted.
	_ = p.signal(syscall.SIGKILL)
	<-p.done
}

// Stop asks the process to end and returns its exit code. If ctx ends first it
// is killed.
func (p *Process) Stop(ctx context.Context) (code int, err error) {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	if err := p.wait(ctx); err != nil {
		p.Kill()
		return 0, fmt.Errorf("harness: %s did not end after SIGTERM: %w", p.Name, err)
	}
	return p.ExitCode(), nil
}

func (p *Process) wait(ctx context.Context) error {
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Wait returns the exit code once the process has ended by itself; -1 means
// that a signal ended it.
func (p *Process) Wait(ctx context.Context) (code int, err error) {
	if err := p.wait(ctx); err != nil {
		return 0, fmt.Errorf("harness: waiting for %s to end: %w", p.Name, err)
	}
	return p.ExitCode(), nil
}

// ExitCode returns the exit code of a process that has ended, -1 if a signal
// ended it. It panics while the process runs.
func (p *Process) ExitCode() int {
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	default:
		panic("harness: ExitCode of a running process: " + p.Name)
	}
}

// errEnded describes how a process ended that should not have.
func (p *Process) errEnded() error {
	how := "exit code 0"
	if p.err != nil {
		how = p.err.Error()
	}
	said := lastLines(p.Stderr.String()+p.Stdout.String(), 30)
	return fmt.Errorf("harness: %s ended: %s\n%s", p.Name, how, said)
}

// WaitOutput returns when the process has written text to either output, or
// with an error when it ended before.
func (p *Process) WaitOutput(ctx context.Context, text string) error {
	for {
		out, moreOut := p.Stdout.snapshot()
		errs, moreErr := p.Stderr.snapshot()
		if bytes.Contains(out, []byte(text)) || bytes.Contains(errs, []byte(text)) {
			return nil
		}
		select {
		case <-moreOut:
		case <-moreErr:
		case <-p.done:
			// All output has been taken in by now; look once more.
			if bytes.Contains(p.Stdout.Bytes(), []byte(text)) || bytes.Contains(p.Stderr.Bytes(), []byte(text)) {
				return nil
			}
			return errors.Join(fmt.Errorf("harness: %q never came", text), p.errEnded())
		case <-ctx.Done():
			return fmt.Errorf("harness: waiting for %q from %s: %w\n%s", text, p.Name, ctx.Err(),
				lastLines(string(errs)+string(out), 30))
		}
	}
}
