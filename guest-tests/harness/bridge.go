package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/guest-tests/lab"
)

const bridgePackage = "./guest-tests/cmd/tapbridge"

// Bridge is a kernel bridge for tap devices, in a network namespace of its own:
// it does not touch the host's network, needs no root rights where users may
// make namespaces, and vanishes with the last process that uses it.
type Bridge struct {
	process *Process

	mu   sync.Mutex // one request at a time
	conn *os.File
}

// NewBridge makes a bridge without ports.
func NewBridge(ctx context.Context, l *lab.Lab) (*Bridge, error) {
	path, err := l.GoBuild(ctx, bridgePackage)
	if err != nil {
		return nil, err
	}
	// Root needs no user namespace where those are forbidden; everyone else does.
	b, err := startBridge(ctx, path, unix.CLONE_NEWUSER|unix.CLONE_NEWNET)
	if err != nil && os.Geteuid() == 0 {
		b, err = startBridge(ctx, path, unix.CLONE_NEWNET)
	}
	if err != nil {
		return nil, fmt.Errorf("%w (tap devices need root, or a kernel that lets users make namespaces)", err)
	}
	return b, nil
}

func startBridge(ctx context.Context, path string, namespaces uintptr) (*Bridge, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("harness: socketpair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "tapbridge"), os.NewFile(uintptr(fds[1]), "tapbridge")
	defer theirs.Close()
	cmd := exec.Command(path)
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces}
	if namespaces&unix.CLONE_NEWUSER != 0 {
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	p, err := StartProcess("tapbridge", cmd, nil)
	if err == nil {
		if err = p.WaitOutput(ctx, "ready"); err != nil {
			p.Kill()
		}
	}
	if err != nil {
		ours.Close()
		return nil, err
	}
	return &Bridge{process: p, conn: ours}, nil
}

// bridgePatience bounds a request; the kernel makes a tap device at once.
const bridgePatience = 10 * time.Second

// Tap makes a tap device on the bridge and returns one open file for each of
// its queues. It disappears when the files are closed, in the QEMU they were
// passed to as well.
func (b *Bridge) Tap(queues int) ([]*os.File, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	fd := int(b.conn.Fd())
	limit := unix.NsecToTimeval(bridgePatience.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		return nil, fmt.Errorf("harness: tapbridge: %w", err)
	}
	if _, err := b.conn.Write([]byte{byte(queues)}); err != nil {
		return nil, fmt.Errorf("harness: tapbridge: %w", err)
	}
	text, oob := make([]byte, 1024), make([]byte, unix.CmsgSpace(4*max(queues, 1)))
	n, oobn, _, _, err := unix.Recvmsg(fd, text, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("harness: tapbridge: %w", err)
	}
	if said := string(text[:n]); said != "ok" {
		return nil, fmt.Errorf("harness: tapbridge: %s", said)
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(msgs) != 1 {
		return nil, fmt.Errorf("harness: tapbridge: %d control messages, %w", len(msgs), err)
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil {
		return nil, fmt.Errorf("harness: tapbridge: %w", err)
	}
	files := make([]*os.File, len(fds))
	for i, fd := range fds {
		files[i] = os.NewFile(uintptr(fd), "tap")
	}
	return files, nil
}

// Close gives the bridge up. Guests with a tap on it lose their connection to
// each other no sooner than they end.
func (b *Bridge) Close() error {
	err := b.conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), bridgePatience)
	defer cancel()
	code, waitErr := b.process.Wait(ctx)
	if waitErr != nil {
		b.process.Kill()
	} else if code != 0 {
		waitErr = b.process.errEnded()
	}
	return errors.Join(err, waitErr)
}
