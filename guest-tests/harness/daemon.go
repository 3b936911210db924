package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/guest-tests/lab"
)

// Ready says how to tell that a program on the host has come up. Exactly one
// of the fields is set.
type Ready struct {
	// Line is a text the program writes to either output.
	Line string
	// Socket is the path of a Unix stream socket it accepts connections on.
	// The connection made to find out is closed at once.
	Socket string
	// Notify waits for READY=1 by systemd's protocol, sd_notify(3).
	Notify bool
}

// Daemon describes a program on the host that guests talk to.
type Daemon struct {
	// Package is the program's import path or its path in the repository, such
	// as ./cmd/vhost-user-nvgre; it is built. Path names a program that is built
	// already.
	Package, Path string
	// BuildFlags go to go build.
	BuildFlags []string
	// Program is one of the lab's tools, used if Package and Path are empty.
	Program *lab.Program
	// Args and Env ("NAME=value") are the program's.
	Args, Env []string
	// Ready tells when it is up.
	Ready Ready
	// Log receives all it writes as well; nil: nothing does.
	Log io.Writer
}

// StartDaemon starts a program and returns when it is ready. One that ends
// before is an error that shows what it said.
func StartDaemon(ctx context.Context, l *lab.Lab, d Daemon) (*Process, error) {
	cmd, err := d.command(ctx, l)
	if err != nil {
		return nil, err
	}
	var notify *notifySocket
	if d.Ready.Notify {
		if notify, err = newNotifySocket(); err != nil {
			return nil, err
		}
		defer notify.close()
		cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+notify.name)
	}
	p, err := StartProcess(d.name(), cmd, d.Log)
	if err != nil {
		return nil, err
	}
	switch {
	case d.Ready.Notify:
		err = notify.wait(ctx, p)
	case d.Ready.Socket != "":
		err = p.waitSocket(ctx, d.Ready.Socket)
	case d.Ready.Line != "":
		err = p.WaitOutput(ctx, d.Ready.Line)
	default:
		err = errors.New("harness: Daemon.Ready says nothing")
	}
	if err != nil {
		p.Kill()
		return nil, fmt.Errorf("waiting for %s to be ready: %w", d.name(), err)
	}
	return p, nil
}

// RunDaemon is StartDaemon for tests: the program is killed when the test ends,
// and what it said last is in the log of a test that failed.
func RunDaemon(t T, d Daemon) *Process {
	t.Helper()
	p, err := StartDaemon(t.Context(), Lab(t), d)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("%s: end of its output:\n%s", p.Name, lastLines(p.Stderr.String()+p.Stdout.String(), 50))
		}
	})
	return p
}

func (d *Daemon) name() string {
	switch {
	case d.Program == nil && d.Package == "" && d.Path == "":
		return "daemon"
	case d.Package != "":
		return d.Package[strings.LastIndexByte(d.Package, '/')+1:]
	case d.Path != "":
		return d.Path[strings.LastIndexByte(d.Path, '/')+1:]
	}
	return d.Program.Name
}

func (d *Daemon) command(ctx context.Context, l *lab.Lab) (*exec.Cmd, error) {
	path := d.Path
	switch {
	case d.Package != "":
		var err error
		if path, err = l.GoBuild(ctx, d.Package, d.BuildFlags...); err != nil {
			return nil, err
		}
	case path == "" && d.Program == nil:
		return nil, errors.New("harness: Daemon names no program: set Package, Path or Program")
	}
	var cmd *exec.Cmd
	if path != "" {
		cmd = exec.Command(path, d.Args...)
		cmd.Env = os.Environ()
	} else {
		cmd = d.Program.Command(context.Background(), d.Args...)
	}
	cmd.Env = append(cmd.Env, d.Env...)
	return cmd, nil
}

// waitSocket returns when a Unix socket accepts a connection.
func (p *Process) waitSocket(ctx context.Context, path string) error {
	var d net.Dialer
	for {
		conn, err := d.DialContext(ctx, "unix", path)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-p.done:
			return p.errEnded()
		case <-ctx.Done():
			return fmt.Errorf("harness: socket %s: %w (%w)\n%s", path, err, ctx.Err(), lastLines(p.Stderr.String()+p.Stdout.String(), 30))
		case <-time.After(retryInterval):
		}
	}
}

// notifySocket receives sd_notify messages. Its name is abstract: there is no
// file to remove.
type notifySocket struct {
	name string
	conn *net.UnixConn
}

func newNotifySocket() (*notifySocket, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("harness: %w", err)
	}
	f := os.NewFile(uintptr(fd), "notify")
	defer f.Close()
	// Bound to no name, a socket is given a free abstract one (unix(7), autobind).
	if err := unix.Bind(fd, &unix.SockaddrUnix{}); err != nil {
		return nil, fmt.Errorf("harness: binding the notification socket: %w", err)
	}
	c, err := net.FilePacketConn(f)
	if err != nil {
		return nil, fmt.Errorf("harness: %w", err)
	}
	conn := c.(*net.UnixConn)
	return &notifySocket{name: conn.LocalAddr().String(), conn: conn}, nil
}

func (n *notifySocket) close() { n.conn.Close() }

// wait returns when READY=1 has come.
func (n *notifySocket) wait(ctx context.Context, p *Process) error {
	ready := make(chan error, 1)
	go func() {
		buf := make([]byte, 4096)
		for {
			k, err := n.conn.Read(buf)
			if err != nil {
				ready <- err // The socket was closed: nobody waits any more.
				return
			}
			for line := range strings.Lines(string(buf[:k])) {
				if strings.TrimSpace(line) == "READY=1" {
					ready <- nil
					return
				}
			}
		}
	}()
	select {
	case err := <-ready:
		return err
	case <-p.done:
		return p.errEnded()
	case <-ctx.Done():
		return fmt.Errorf("harness: no READY=1: %w\n%s", ctx.Err(), lastLines(p.Stderr.String()+p.Stdout.String(), 30))
	}
}
