package rig

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"vhost-user-nvgre/guest-tests/harness"
	"vhost-user-nvgre/guest-tests/lab"
)

const (
	daemonPackage = "./cmd/vhost-user-nvgre"
	ctlPackage    = "./cmd/nvgrectl"
)

// Port is a port of the daemon.
type Port struct {
	Name       string
	QueuePairs int    // 0 means 1
	MAC        string // empty: one made of the port's number
	MTU        int
	// Client makes the daemon connect to a socket that QEMU listens at.
	Client   bool
	Withhold []string // virtio features not to offer
	Settings []string // more, as KEY=VALUE

	socket string
}

// Socket returns the path of the port's socket.
func (p Port) Socket() string { return p.socket }

// argument returns the port as --port takes it.
func (p Port) argument() string {
	s := fmt.Sprintf("name=%s,socket=%s,queue-pairs=%d,mac=%s", p.Name, p.socket, p.QueuePairs, p.MAC)
	if p.MTU != 0 {
		s += ",mtu=" + strconv.Itoa(p.MTU)
	}
	if p.Client {
		s += ",mode=client"
	}
	if len(p.Withhold) > 0 {
		s += ",withhold=" + strings.Join(p.Withhold, ":")
	}
	for _, setting := range p.Settings {
		s += "," + setting
	}
	return s
}

// Config describes a daemon.
type Config struct {
	Ports []Port
	Args  []string // more of the command line
}

// Daemon is a vhost-user-nvgre process. Its methods may be called concurrently.
type Daemon struct {
	lab     *lab.Lab
	ctl     string // path of nvgrectl
	control string // path of the control socket
	args    []string
	ports   []Port

	mu      sync.Mutex
	process *harness.Process
	ended   bool // on purpose
}

// Start builds and starts a daemon with its sockets in dir, and returns when
// it is ready.
func Start(ctx context.Context, l *lab.Lab, dir *harness.Dir, c Config) (*Daemon, error) {
	d := &Daemon{lab: l}
	var err error
	if d.ctl, err = l.GoBuild(ctx, ctlPackage); err != nil {
		return nil, err
	}
	if d.control, err = dir.Socket("control.sock"); err != nil {
		return nil, err
	}
	d.args = append([]string{"--control-socket", d.control}, c.Args...)
	for i, p := range c.Ports {
		p.QueuePairs = max(p.QueuePairs, 1)
		if p.MAC == "" {
			p.MAC = fmt.Sprintf("52:54:00:00:00:%02x", i+1)
		}
		if p.socket, err = dir.Socket(p.Name + ".sock"); err != nil {
			return nil, err
		}
		d.ports = append(d.ports, p)
		d.args = append(d.args, "--port", p.argument())
	}
	if err := d.Restart(ctx); err != nil {
		return nil, err
	}
	return d, nil
}

// Restart starts the daemon again, with the same settings, after Kill or Stop.
func (d *Daemon) Restart(ctx context.Context) error {
	p, err := harness.StartDaemon(ctx, d.lab, harness.Daemon{
		Package: daemonPackage, Args: d.args, Ready: harness.Ready{Notify: true},
	})
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.process, d.ended = p, false
	return nil
}

// Port returns a port by its name. It panics if there is none, for then the
// caller is wrong.
func (d *Daemon) Port(name string) Port {
	for _, p := range d.ports {
		if p.Name == name {
			return p
		}
	}
	panic("rig: no port " + name)
}

// Process returns the running process.
func (d *Daemon) Process() *harness.Process {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.process
}

// Kill ends the daemon as a crash would.
func (d *Daemon) Kill() { d.end().Kill() }

// Stop asks the daemon to end and fails if it does not do so with code 0.
func (d *Daemon) Stop(ctx context.Context) error {
	p := d.end()
	code, err := p.Stop(ctx)
	if err == nil && code != 0 {
		err = fmt.Errorf("rig: the daemon ended with code %d\n%s", code, d.Log())
	}
	return err
}

func (d *Daemon) end() *harness.Process {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended = true
	return d.process
}

// Crashed returns an error if the daemon ended without being asked to.
func (d *Daemon) Crashed() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended {
		return nil
	}
	select {
	case <-d.process.Done():
		return fmt.Errorf("rig: the daemon ended by itself with code %d\n%s", d.process.ExitCode(), d.process.Stderr)
	default:
		return nil
	}
}

// Log returns the end of what the running daemon has logged.
func (d *Daemon) Log() string { return d.Process().Stderr.String() }

// Complaints returns the lines of the log that report something wrong.
func (d *Daemon) Complaints() (lines []string) {
	for line := range strings.Lines(d.Log()) {
		if strings.Contains(line, "level=warning") || strings.Contains(line, "level=error") || strings.Contains(line, "level=fatal") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// ctlPatience bounds a run of nvgrectl.
const ctlPatience = 30 * time.Second

// Ctl runs nvgrectl and returns what it prints.
func (d *Daemon) Ctl(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, ctlPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, d.ctl, append([]string{"--socket", d.control}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("rig: nvgrectl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}

// Status returns what nvgrectl show prints.
func (d *Daemon) Status(ctx context.Context) (*Status, error) {
	out, err := d.Ctl(ctx, "show", "--json")
	if err != nil {
		return nil, err
	}
	s := &Status{}
	if err := json.Unmarshal([]byte(out), s); err != nil {
		return nil, fmt.Errorf("rig: nvgrectl show --json: %w", err)
	}
	return s, nil
}

// retryInterval is how often something is looked at again that sends no event.
const retryInterval = 20 * time.Millisecond

// WaitStatus returns the first status for which cond is true; what says what
// that is.
func (d *Daemon) WaitStatus(ctx context.Context, what string, cond func(*Status) bool) (*Status, error) {
	ctx, cancel := context.WithTimeout(ctx, ctlPatience)
	defer cancel()
	for {
		s, err := d.Status(ctx)
		if err != nil {
			return nil, err
		}
		if cond(s) {
			return s, nil
		}
		select {
		case <-time.After(retryInterval):
		case <-ctx.Done():
			text, _ := json.MarshalIndent(s, "", "  ") // It was JSON before.
			return nil, fmt.Errorf("rig: waiting until %s: %w\n%s", what, ctx.Err(), text)
		}
	}
}

func (d *Daemon) stopped() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ended
}
