// Command agent is the first process of a test guest. It makes the system
// usable, loads modules and then does what the host asks for over a serial
// port; see package agentproto.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/guest-tests/agentproto"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "agent: runs only as the first process of a guest")
		os.Exit(2)
	}
	err := run()
	// The host notices the restart and reports the console.
	fmt.Fprintln(os.Stderr, "agent: fatal:", err)
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

// run works until something makes that impossible.
func run() error {
	if err := setUp(); err != nil {
		return err
	}
	params := kernelParams()
	if name := params[agentproto.ParamHostname]; name != "" {
		if err := unix.Sethostname([]byte(name)); err != nil {
			return fmt.Errorf("sethostname: %w", err)
		}
	}
	for _, m := range strings.Split(params[agentproto.ParamModules], ",") {
		if m == "" {
			continue
		}
		if err := modprobe(m); err != nil {
			return err
		}
	}
	port, err := openPort(agentproto.Port)
	if err != nil {
		return err
	}
	a := &agent{out: port, procs: newProcesses()}
	go a.procs.reap(nil) // for ever
	boot, err := describeBoot()
	if err != nil {
		return err
	}
	// The port may hold half a line of the boot before this one.
	if _, err := port.WriteString("\n"); err != nil {
		return err
	}
	a.send(agentproto.Event{Kind: agentproto.Hello, Boot: boot})
	return a.serve(port)
}

// agent answers requests.
type agent struct {
	mu    sync.Mutex // guards out: one line at a time
	out   *os.File
	procs *processes
}

// send writes one event. Failing to is fatal: nobody would hear of anything
// any more.
func (a *agent) send(e agentproto.Event) {
	line, err := agentproto.Encode(e)
	if err != nil {
		panic(err) // The type always encodes.
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, err := a.out.Write(line); err != nil {
		panic(err)
	}
}

func (a *agent) serve(port *os.File) error {
	in := bufio.NewScanner(port)
	in.Buffer(nil, agentproto.MaxLine)
	for in.Scan() {
		if len(in.Bytes()) == 0 {
			continue
		}
		var r agentproto.Request
		if err := json.Unmarshal(in.Bytes(), &r); err != nil {
			a.send(agentproto.Event{Kind: agentproto.Error, Message: fmt.Sprintf("bad request %q: %v", in.Bytes(), err)})
			continue
		}
		// What must come in order the host asks for one after the other.
		go a.answer(r)
	}
	return fmt.Errorf("reading requests: %w", in.Err())
}

// answer carries out one request and reports its outcome.
func (a *agent) answer(r agentproto.Request) {
	e := agentproto.Event{ID: r.ID, Kind: agentproto.Done}
	var err error
	switch r.Op {
	case agentproto.Start:
		if err = a.start(r); err == nil {
			return // Done follows when the process has ended.
		}
	case agentproto.Stdin:
		err = a.procs.stdin(r.Target, r.Data, r.EOF)
	case agentproto.Kill:
		err = a.procs.kill(r.Target, unix.Signal(r.Signal))
	case agentproto.Write:
		err = writeFile(r)
	case agentproto.Read:
		err = a.readFile(r)
	case agentproto.Modprobe:
		err = eachName(r.Names, modprobe)
	case agentproto.Rmmod:
		err = eachName(r.Names, rmmod)
	case agentproto.NICs:
		e.NICs, err = nics("/sys/class/net")
	case agentproto.Ping:
	case agentproto.Poweroff, agentproto.Reboot:
		a.send(e)
		a.leave(r.Op)
		return
	default:
		err = fmt.Errorf("unknown request %q", r.Op)
	}
	if err != nil {
		e = agentproto.Event{ID: r.ID, Kind: agentproto.Error, Message: err.Error()}
	}
	a.send(e)
}

func eachName(names []string, do func(string) error) error {
	for _, n := range names {
		if err := do(n); err != nil {
			return err
		}
	}
	return nil
}

// leave ends the boot once the port has sent everything.
func (a *agent) leave(op agentproto.Op) {
	a.mu.Lock() // Nothing is sent after this.
	// TCSBRK with a non-zero argument is tcdrain. If it fails there is nothing better to do.
	_ = unix.IoctlSetInt(int(a.out.Fd()), unix.TCSBRK, 1)
	cmd := unix.LINUX_REBOOT_CMD_POWER_OFF
	if op == agentproto.Reboot {
		cmd = unix.LINUX_REBOOT_CMD_RESTART
	}
	if err := unix.Reboot(cmd); err != nil {
		panic(err)
	}
}

func describeBoot() (*agentproto.Boot, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, err
	}
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return nil, err
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return nil, err
	}
	return &agentproto.Boot{
		ID:      strings.TrimSpace(string(id)),
		Kernel:  strings.TrimSpace(string(release)),
		CPUs:    runtime.NumCPU(),
		Seconds: time.Duration(now.Nano()).Seconds(),
	}, nil
}

// nics lists the interfaces below sys that have a device. Tunnels and other
// interfaces that modules add have none.
func nics(sys string) ([]agentproto.NIC, error) {
	devices, err := filepath.Glob(filepath.Join(sys, "*", "device"))
	if err != nil {
		return nil, err
	}
	var list []agentproto.NIC
	for _, d := range devices {
		path, err := filepath.EvalSymlinks(d)
		if err != nil {
			continue // Unplugged meanwhile.
		}
		iface := filepath.Dir(d)
		mac, err := os.ReadFile(filepath.Join(iface, "address"))
		if err != nil {
			continue
		}
		n := agentproto.NIC{Name: filepath.Base(iface), MAC: strings.TrimSpace(string(mac))}
		if drv, err := os.Readlink(filepath.Join(d, "driver")); err == nil {
			n.Driver = filepath.Base(drv)
		}
		// A virtio device sits below its PCI function.
		for p := path; p != "/" && p != "."; p = filepath.Dir(p) {
			if base := filepath.Base(p); isPCIAddress(base) {
				n.PCI = base
				break
			}
		}
		list = append(list, n)
	}
	return list, nil
}

// isPCIAddress recognises domain:bus:slot.function, such as 0000:00:10.0.
func isPCIAddress(s string) bool {
	return len(s) == 12 && s[4] == ':' && s[7] == ':' && s[10] == '.'
}
