// Package wiretest has what tests of wires need: network namespaces with a
// kernel of their own as it were, and a guest that speaks TCP.
package wiretest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// inside is set in the environment of tests that run in a namespace.
const inside = "WIRETEST_INSIDE"

// Main is for TestMain: it runs the tests in a network namespace that is
// theirs alone, and fails when a goroutine outlives them. As root it makes the
// namespace at once, otherwise within a user namespace; a machine that allows
// neither cannot run them.
func Main(m *testing.M) {
	if os.Getenv(inside) != "" {
		goleak.VerifyTestMain(m)
		return
	}
	cmd := exec.Command(os.Args[0], os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	cmd.SysProcAttr = attr
	// The child is killed when the thread that made it ends.
	runtime.LockOSThread()
	switch err := cmd.Run(); {
	case err == nil:
		os.Exit(0)
	case cmd.ProcessState != nil:
		os.Exit(max(1, cmd.ProcessState.ExitCode()))
	default:
		fmt.Fprintf(os.Stderr, "no network namespace for the tests (run them as root or allow user namespaces): %v\n", err)
		os.Exit(1)
	}
}

// Namespace is a network namespace that ends with the test.
type Namespace struct {
	// Path is a file that names it.
	Path  string
	calls chan func()
}

// NewNamespace makes a network namespace with nothing in it but lo.
func NewNamespace(t testing.TB) *Namespace {
	t.Helper()
	n := &Namespace{calls: make(chan func())}
	made, ended := make(chan error), make(chan struct{})
	go func() {
		defer close(ended)
		// Never unlocked, so that the thread ends with the goroutine.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			made <- err
			return
		}
		n.Path = fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())
		made <- nil
		for f := range n.calls {
			f()
		}
	}()
	if err := <-made; err != nil {
		t.Fatalf("make a network namespace: %v", err)
	}
	t.Cleanup(func() {
		close(n.calls)
		<-ended
	})
	return n
}

// Do runs f in the namespace.
func (n *Namespace) Do(f func() error) error {
	done := make(chan error)
	n.calls <- func() { done <- f() }
	return <-done
}

// Must is Do for what cannot fail but by a fault of the test.
func (n *Namespace) Must(t testing.TB, f func() error) {
	t.Helper()
	if err := n.Do(f); err != nil {
		t.Fatal(err)
	}
}

// Configure gives an interface addresses such as 10.0.0.1/24 and sets it up.
func (n *Namespace) Configure(t testing.TB, name string, addrs ...string) {
	t.Helper()
	n.Must(t, func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		for _, s := range addrs {
			a, err := netlink.ParseAddr(s)
			if err != nil {
				return err
			}
			if a.IP.To4() == nil {
				a.Flags = unix.IFA_F_NODAD // usable at once
			}
			if err := netlink.AddrAdd(l, a); err != nil {
				return fmt.Errorf("%s: add %s: %w", name, s, err)
			}
		}
		return netlink.LinkSetUp(l)
	})
}

// Veth makes a pair of veth interfaces, up, one of them in another namespace.
func (n *Namespace) Veth(t testing.TB, name string, other *Namespace, peer string) {
	t.Helper()
	n.Must(t, func() error {
		file, err := os.Open(other.Path)
		if err != nil {
			return err
		}
		defer file.Close()
		err = netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: name, NumTxQueues: 4, NumRxQueues: 4},
			PeerName:  peer, PeerNamespace: netlink.NsFd(int(file.Fd())),
		})
		if err != nil {
			return fmt.Errorf("make veth %s: %w", name, err)
		}
		return nil
	})
	n.Configure(t, name)
	other.Configure(t, peer)
	// Until the kernel has noticed the carrier, frames vanish.
	Eventually(t, "both ends of veth "+name+" to be up", func() bool {
		return n.Link(t, name).OperState == netlink.OperUp && other.Link(t, peer).OperState == netlink.OperUp
	})
}

// Delete removes an interface.
func (n *Namespace) Delete(t testing.TB, name string) { n.change(t, name, netlink.LinkDel) }

// Down sets an interface down.
func (n *Namespace) Down(t testing.TB, name string) { n.change(t, name, netlink.LinkSetDown) }

// SetMTU sets the MTU of an interface.
func (n *Namespace) SetMTU(t testing.TB, name string, mtu int) {
	n.change(t, name, func(l netlink.Link) error { return netlink.LinkSetMTU(l, mtu) })
}

func (n *Namespace) change(t testing.TB, name string, f func(netlink.Link) error) {
	t.Helper()
	n.Must(t, func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return f(l)
	})
}

// Link returns what the kernel says of an interface, nil when there is none.
func (n *Namespace) Link(t testing.TB, name string) (attrs *netlink.LinkAttrs) {
	t.Helper()
	n.Must(t, func() error {
		l, err := netlink.LinkByName(name)
		if errors.As(err, new(netlink.LinkNotFoundError)) {
			return nil
		}
		if err == nil {
			attrs = l.Attrs()
		}
		return err
	})
	return attrs
}
