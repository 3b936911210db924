package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/guest-tests/agentproto"
)

// outputGrace is how long the output of a process that has ended is still
// awaited when something it left behind holds it open.
const outputGrace = 500 * time.Millisecond

// process is one that the host asked for.
type process struct {
	pid    int
	exited chan unix.WaitStatus

	mu    sync.Mutex // guards stdin
	stdin *os.File   // nil: none, or closed
}

// write passes input on. It blocks while the process does not read; the end of
// the process makes it fail.
func (p *process) write(data []byte, eof bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stdin == nil {
		return errors.New("the process's input is closed")
	}
	_, err := p.stdin.Write(data)
	if eof {
		err = errors.Join(err, p.stdin.Close())
		p.stdin = nil
	}
	return err
}

// closeInput is for a process that has ended.
func (p *process) closeInput() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stdin != nil {
		p.stdin.Close()
		p.stdin = nil
	}
}

// processes keeps track of what runs. The first process of a system is the
// parent of every orphan, so one place waits for all children; os/exec, which
// waits for its own, would compete with it.
type processes struct {
	mu    sync.Mutex
	byID  map[uint64]*process
	byPid map[int]*process
}

func newProcesses() *processes {
	return &processes{byID: make(map[uint64]*process), byPid: make(map[int]*process)}
}

// reap waits for children until stop is closed.
func (p *processes) reap(stop <-chan struct{}) {
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, unix.SIGCHLD)
	defer signal.Stop(ch)
	for {
		select {
		case <-stop:
			return
		case <-ch:
			for p.reapOne() {
			}
		}
	}
}

// reapOne reports whether a child was waited for. It holds the lock, so a
// process that ends at once is not missed between its start and its entry.
func (p *processes) reapOne() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	var status unix.WaitStatus
	pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
	if errors.Is(err, unix.EINTR) {
		return true
	}
	if err != nil || pid <= 0 {
		return false
	}
	if proc := p.byPid[pid]; proc != nil {
		delete(p.byPid, pid)
		proc.exited <- status // Has room for one.
	}
	return true
}

// launch starts argv in a session of its own, with its standard files given.
func (p *processes) launch(id uint64, r agentproto.Request, files [3]*os.File, stdin *os.File) (*process, error) {
	path, err := exec.LookPath(r.Argv[0])
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	pid, err := syscall.ForkExec(path, r.Argv, &syscall.ProcAttr{
		Dir:   r.Dir,
		Env:   append(os.Environ(), r.Env...),
		Files: []uintptr{files[0].Fd(), files[1].Fd(), files[2].Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", path, err)
	}
	proc := &process{pid: pid, stdin: stdin, exited: make(chan unix.WaitStatus, 1)}
	p.byID[id], p.byPid[pid] = proc, proc
	return proc, nil
}

func (p *processes) find(id uint64) (*process, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if proc := p.byID[id]; proc != nil {
		return proc, nil
	}
	return nil, fmt.Errorf("no process runs for request %d", id)
}

func (p *processes) forget(id uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.byID, id)
}

func (p *processes) stdin(id uint64, data []byte, eof bool) error {
	proc, err := p.find(id)
	if err != nil {
		return err
	}
	return proc.write(data, eof)
}

func (p *processes) kill(id uint64, sig unix.Signal) error {
	proc, err := p.find(id)
	if err != nil {
		return err
	}
	return unix.Kill(-proc.pid, sig)
}

// start runs a process and returns once it has begun; its output and its end
// are reported as they come.
func (a *agent) start(r agentproto.Request) error {
	if len(r.Argv) == 0 {
		return errors.New("no command given")
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer outW.Close()
	errR, errW, err := os.Pipe()
	if err != nil {
		outR.Close()
		return err
	}
	defer errW.Close()
	inR, inW, err := openInput(r.Input)
	if err != nil {
		outR.Close()
		errR.Close()
		return err
	}
	defer inR.Close()
	proc, err := a.procs.launch(r.ID, r, [3]*os.File{inR, outW, errW}, inW)
	if err != nil {
		outR.Close()
		errR.Close()
		if inW != nil {
			inW.Close()
		}
		return err
	}
	a.send(agentproto.Event{ID: r.ID, Kind: agentproto.Started, Pid: proc.pid})
	go a.follow(r.ID, proc, outR, errR)
	return nil
}

// openInput returns what a process reads as its input and, if input is to
// come, where it is written.
func openInput(piped bool) (r, w *os.File, err error) {
	if piped {
		return os.Pipe()
	}
	r, err = os.Open(os.DevNull)
	return r, nil, err
}

// follow reports output and end of a process.
func (a *agent) follow(id uint64, proc *process, out, errs *os.File) {
	var wg sync.WaitGroup
	forward := func(f *os.File, kind agentproto.Kind) {
		defer f.Close()
		buf := make([]byte, agentproto.MaxData)
		for {
			n, err := f.Read(buf)
			if n > 0 {
				a.send(agentproto.Event{ID: id, Kind: kind, Data: buf[:n]})
			}
			if err != nil { // io.EOF, or the deadline below.
				if !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrDeadlineExceeded) {
					fmt.Fprintln(os.Stderr, "agent: reading output:", err)
				}
				return
			}
		}
	}
	wg.Go(func() { forward(out, agentproto.Stdout) })
	wg.Go(func() { forward(errs, agentproto.Stderr) })
	status := <-proc.exited
	deadline := time.Now().Add(outputGrace)
	// Either fails if the pipe is closed already, which is as good.
	_ = out.SetReadDeadline(deadline)
	_ = errs.SetReadDeadline(deadline)
	wg.Wait()
	proc.closeInput()
	a.procs.forget(id)
	e := agentproto.Event{ID: id, Kind: agentproto.Done}
	if status.Signaled() {
		e.Signal = int(status.Signal())
	} else {
		e.Code = status.ExitStatus()
	}
	a.send(e)
}
