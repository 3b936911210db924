package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

// patience bounds every wait for a program.
const patience = 30 * time.Second

var signals = map[string]os.Signal{
	"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP, "KILL": syscall.SIGKILL,
}

// process is a daemon that a test runs.
type process struct {
	cmd    *exec.Cmd
	manage *net.UnixConn // where the daemon notifies its service manager
	done   chan struct{} // closed when it has exited

	mu      sync.Mutex
	stderr  bytes.Buffer
	states  []string      // notified and not waited for yet
	changed chan struct{} // closed and replaced when anything above changes
}

type processOptions struct {
	program string
	args    []string
	dir     string
	env     []string
	notify  string     // path of the service manager's socket
	files   []*os.File // inherited as descriptors 3 and up
}

// startProcess starts a program; kill must follow.
func startProcess(o processOptions) (*process, error) {
	manage, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: o.notify, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	p := &process{manage: manage, done: make(chan struct{}), changed: make(chan struct{})}
	p.cmd = exec.Command(o.program, o.args...)
	p.cmd.Dir, p.cmd.Env, p.cmd.ExtraFiles = o.dir, append(o.env, "NOTIFY_SOCKET="+o.notify), o.files
	p.cmd.Stdout, p.cmd.Stderr = p, p
	if err := p.cmd.Start(); err != nil {
		manage.Close()
		return nil, err
	}
	go p.listen()
	go func() {
		_ = p.cmd.Wait() // the exit code is read from ProcessState
		p.change(func() {})
		close(p.done)
	}()
	return p, nil
}

// change changes what waiters look at.
func (p *process) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	close(p.changed)
	p.changed = make(chan struct{})
}

// Write collects what the program prints.
func (p *process) Write(b []byte) (int, error) {
	p.change(func() { p.stderr.Write(b) })
	return len(b), nil
}

// listen collects what the program tells its service manager.
func (p *process) listen() {
	b := make([]byte, 4096)
	for {
		n, err := p.manage.Read(b)
		if err != nil {
			return
		}
		text := string(b[:n])
		p.change(func() { p.states = append(p.states, strings.Split(strings.TrimSpace(text), "\n")...) })
	}
}

// waitFor waits until cond, which is called with mu held, is true.
func (p *process) waitFor(what string, cond func() bool) error {
	timeout := time.After(patience)
	for {
		p.mu.Lock()
		ok, changed := cond(), p.changed
		p.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-p.done:
			p.mu.Lock()
			defer p.mu.Unlock()
			if cond() {
				return nil
			}
			return fmt.Errorf("the daemon exited (%v) instead of %s; it logged:\n%s", p.cmd.ProcessState, what, p.stderr.String())
		case <-timeout:
			p.mu.Lock()
			defer p.mu.Unlock()
			return fmt.Errorf("after %v the daemon still was not %s; it logged:\n%s", patience, what, p.stderr.String())
		}
	}
}

// waitNotified waits for a state, and forgets those up to it.
func (p *process) waitNotified(state string) error {
	return p.waitFor("notifying "+state, func() bool {
		for i, s := range p.states {
			if s == state {
				p.states = p.states[i+1:]
				return true
			}
		}
		return false
	})
}

func (p *process) waitLogged(re *regexp.Regexp) error {
	return p.waitFor("logging "+re.String(), func() bool { return re.Match(p.stderr.Bytes()) })
}

// wait waits until the program has exited and returns its code.
func (p *process) wait() (int, error) {
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-time.After(patience):
		return 0, errors.New("the daemon did not exit")
	}
}

// kill ends the program, if it runs, and returns what it printed.
func (p *process) kill() string {
	_ = p.cmd.Process.Kill()
	<-p.done
	p.manage.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.String()
}
