package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/cmd/qmp"
	"vhost-user-nvgre/guest-tests/agentproto"
	"vhost-user-nvgre/guest-tests/lab"
)

// bootPatience bounds a boot when the context does not: several times what a
// busy machine without KVM needs.
const bootPatience = 2 * time.Minute

// consoleLimit is how much of the console is remembered, consoleLines how much
// of that an error shows.
const (
	consoleLimit = 256 << 10
	consoleLines = 40
)

// VM is a running guest. Its methods may be called concurrently.
type VM struct {
	// Guest is what was asked for, defaults filled in.
	Guest Guest
	// QEMU is what it runs on.
	QEMU *lab.QEMU
	// Boot describes the first boot.
	Boot agentproto.Boot
	// Console remembers the end of what the guest's console showed.
	Console *Tail

	accel   string // lab.KVM or lab.TCG
	process *Process
	agent   *agentClient
	monitor *qmp.Client

	mu   sync.Mutex // guards what follows
	nics map[string]*pluggedNIC

	booting   sync.Mutex // held while a restart is under way
	wanted    int        // how many boots have been asked for; guarded by booting and mu
	closeOnce sync.Once
	over      atomic.Bool    // Close or Shutdown was called
	copying   sync.WaitGroup // the goroutine that reads the console
	consoleIO net.Conn
	consoleTo io.Closer
}

// pluggedNIC is a NIC with what QEMU was told to create for it.
type pluggedNIC struct {
	NIC
	objects objects
}

// Boot starts a guest and returns when it takes commands. Close ends it.
func Boot(ctx context.Context, l *lab.Lab, g Guest) (*VM, error) {
	g.setDefaults()
	ctx, cancel := context.WithTimeout(ctx, bootPatience)
	defer cancel()
	q, err := l.QEMU(ctx, g.QEMU)
	if err != nil {
		return nil, err
	}
	k, err := l.Kernel(ctx)
	if err != nil {
		return nil, err
	}
	accel, err := l.Accelerator(ctx)
	if err != nil {
		return nil, err
	}
	initrd, err := image(ctx, l, k, g.Files)
	if err != nil {
		return nil, err
	}
	vm := &VM{Guest: g, QEMU: q, accel: accel, nics: make(map[string]*pluggedNIC), wanted: 1}
	if err := vm.start(l, k, initrd); err != nil {
		vm.Close()
		return nil, fmt.Errorf("harness: guest %s: %w", g.Name, err)
	}
	if err := vm.awaitStart(ctx); err != nil {
		err = vm.explain(err)
		vm.Close()
		return nil, err
	}
	return vm, nil
}

// BootAll boots guests at the same time. If one of them fails all are closed.
func BootAll(ctx context.Context, l *lab.Lab, guests ...Guest) ([]*VM, error) {
	vms, errs := make([]*VM, len(guests)), make([]error, len(guests))
	var wg sync.WaitGroup
	for i, g := range guests {
		wg.Go(func() { vms[i], errs[i] = Boot(ctx, l, g) })
	}
	wg.Wait()
	err := errors.Join(errs...)
	if err == nil {
		return vms, nil
	}
	for _, vm := range vms {
		if vm != nil {
			vm.Close()
		}
	}
	return nil, err
}

// start runs QEMU.
func (vm *VM) start(l *lab.Lab, k *lab.Kernel, initrd string) error {
	f := &inherited{}
	defer f.close()
	console, consoleFD, err := f.socketPair("console")
	if err != nil {
		return err
	}
	vm.consoleIO = console
	agent, agentFD, err := f.socketPair("agent")
	if err != nil {
		return err
	}
	vm.agent = newAgentClient(agent)
	monitor, qmpFD, err := f.socketPair("qmp")
	if err != nil {
		return err
	}
	vm.monitor = qmp.New(monitor, qmp.Options{})
	if err := vm.captureConsole(l); err != nil {
		return err
	}
	args := vm.Guest.arguments(vm.QEMU, k, vm.accel, initrd, channels{console: consoleFD, agent: agentFD, qmp: qmpFD})
	for i, n := range vm.Guest.NICs {
		p, err := vm.addNIC(n, i, f.add)
		if err != nil {
			return err
		}
		if c := p.objects.chardev; c != nil {
			args = append(args, "-chardev", c.commandLine(vm.QEMU))
		}
		if p.objects.netdev != nil {
			args = append(args, "-netdev", commandLine(p.objects.netdev))
		}
		args = append(args, "-device", commandLine(p.objects.device))
	}
	cmd := vm.QEMU.Command(context.Background(), args...)
	cmd.ExtraFiles = f.files
	vm.process, err = StartProcess("QEMU of guest "+vm.Guest.Name, cmd, nil)
	return err
}

// captureConsole starts to read the console.
func (vm *VM) captureConsole(l *lab.Lab) error {
	path := vm.Guest.ConsoleFile
	if path == "" {
		dir, err := l.CacheDir("console")
		if err != nil {
			return err
		}
		path = filepath.Join(dir, vm.Guest.Name+".log")
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	vm.consoleTo = file
	var also io.Writer = file
	if vm.Guest.Verbose {
		also = io.MultiWriter(file, &lineLogger{logf: vm.Guest.Logf, prefix: vm.Guest.Name})
	}
	vm.Console = NewTail(consoleLimit, also)
	vm.copying.Go(func() { _, _ = io.Copy(vm.Console, vm.consoleIO) }) // Ends with QEMU.
	return nil
}

// awaitStart returns when QEMU and the agent have both reported.
func (vm *VM) awaitStart(ctx context.Context) error {
	ctx, cancel := vm.untilExit(ctx)
	defer cancel()
	if err := vm.monitor.ConnectContext(ctx); err != nil {
		return err
	}
	boot, err := vm.agent.waitBoot(ctx, 1)
	if err != nil {
		return err
	}
	vm.Boot = *boot
	vm.Guest.Logf("guest %s: up after %.1f s, QEMU %s, Linux %s", vm.Guest.Name, boot.Seconds, vm.QEMU.Version, boot.Kernel)
	return nil
}

// untilExit returns a context that ends with QEMU.
func (vm *VM) untilExit(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-vm.process.Done():
			cancel(errQEMUEnded)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

var errQEMUEnded = errors.New("QEMU ended")

// endPatience is how long QEMU may take from closing its channels to its end;
// writing a core file counts.
const endPatience = 5 * time.Second

// explain adds to an error what is needed to understand it: whether QEMU is
// gone, what it said, and what the console showed last.
func (vm *VM) explain(err error) error {
	if err == nil {
		return nil
	}
	if vm.agent.ended() {
		// QEMU closes its channels a moment before it is gone.
		select {
		case <-vm.process.Done():
		case <-time.After(endPatience):
		}
	}
	select {
	case <-vm.process.Done():
		err = fmt.Errorf("%w; %w", err, vm.process.errEnded())
	default:
		if said := vm.process.Stderr.String(); said != "" {
			err = fmt.Errorf("%w\nQEMU said:\n%s", err, lastLines(said, consoleLines))
		}
	}
	return fmt.Errorf("guest %s: %w\nend of its console:\n%s", vm.Guest.Name, err, vm.ConsoleEnd())
}

// ConsoleEnd returns the last lines of the console.
func (vm *VM) ConsoleEnd() string { return lastLines(vm.Console.String(), consoleLines) }

// QMP returns the client of QEMU's monitor. Never run x-query-virtio-status:
// QEMU 11.1 aborts on it.
func (vm *VM) QMP() *qmp.Client { return vm.monitor }

// Process returns QEMU's process.
func (vm *VM) Process() *Process { return vm.process }

// Close ends the guest at once and returns when nothing of it is left. QEMU is
// killed: it ignores SIGTERM while it waits for a vhost-user back end.
func (vm *VM) Close() {
	vm.over.Store(true)
	vm.closeOnce.Do(func() {
		if vm.process != nil {
			vm.process.Kill()
		}
		if vm.agent != nil {
			vm.agent.close()
		}
		if vm.monitor != nil {
			_ = vm.monitor.Disconnect() // Its peer is gone already.
		}
		if vm.consoleIO != nil {
			vm.consoleIO.Close()
		}
		vm.copying.Wait()
		if vm.consoleTo != nil {
			vm.consoleTo.Close()
		}
	})
}

// closed tells whether the guest's end was asked for.
func (vm *VM) closed() bool { return vm.over.Load() }

// inherited collects open files for a process to be started.
type inherited struct {
	files []*os.File
	own   []*os.File // closed once the process has them
}

// firstInherited is the number of the first of exec.Cmd's ExtraFiles.
const firstInherited = 3

// add passes a file on and returns its number in the process.
func (f *inherited) add(file *os.File) int {
	f.files = append(f.files, file)
	return firstInherited + len(f.files) - 1
}

// socketPair passes one end of a new connection on and returns the other.
func (f *inherited) socketPair(name string) (net.Conn, int, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, 0, fmt.Errorf("socketpair: %w", err)
	}
	ours := os.NewFile(uintptr(fds[0]), name)
	defer ours.Close()
	theirs := os.NewFile(uintptr(fds[1]), name)
	f.own = append(f.own, theirs)
	conn, err := net.FileConn(ours) // Its own copy.
	if err != nil {
		return nil, 0, fmt.Errorf("socketpair: %w", err)
	}
	return conn, f.add(theirs), nil
}

func (f *inherited) close() {
	for _, file := range f.own {
		file.Close()
	}
}

// lineLogger passes whole lines to a log function.
type lineLogger struct {
	logf   func(string, ...any)
	prefix string
	part   []byte
}

func (w *lineLogger) Write(p []byte) (int, error) {
	for _, b := range p {
		switch b {
		case '\n':
			w.logf("%s| %s", w.prefix, w.part)
			w.part = w.part[:0]
		case '\r':
		default:
			w.part = append(w.part, b)
		}
	}
	return len(p), nil
}
