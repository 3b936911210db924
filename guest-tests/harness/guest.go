package harness

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"vhost-user-nvgre/guest-tests/agentproto"
	"vhost-user-nvgre/guest-tests/initramfs"
	"vhost-user-nvgre/guest-tests/lab"
)

// Guest describes a guest to boot. The zero value is a guest of one processor
// without NICs on the new QEMU.
type Guest struct {
	// Name is the guest's host name and appears in messages. Empty: "guest".
	Name string
	// QEMU chooses the emulator.
	QEMU lab.QEMUAge
	// CPUs is the number of processors; 0 means 1.
	CPUs int
	// MemMB is the guest's memory in MiB; 0 means 256.
	MemMB int
	// HugePages backs the memory with 2 MiB pages, which the host must have
	// reserved.
	HugePages bool
	// NICs are there from the start.
	NICs []NIC
	// Modules are kernel modules loaded before the guest is ready. Nil means
	// virtio_net; an empty list none.
	Modules []string
	// Files are added to the guest's file system.
	Files []initramfs.File
	// Args are more arguments for QEMU, Params for the kernel.
	Args, Params []string
	// ConsoleFile receives a copy of the console. Empty: a file named after
	// the guest in the lab's folder "console".
	ConsoleFile string
	// Verbose shows the kernel's messages and passes the console to Logf.
	Verbose bool
	// Logf receives progress; nil drops it.
	Logf func(format string, args ...any)
}

// EnvVerbose is the environment variable that makes every guest verbose when it is not empty.
const EnvVerbose = "GUEST_VERBOSE"

func (g *Guest) setDefaults() {
	if g.Name == "" {
		g.Name = "guest"
	}
	if g.CPUs == 0 {
		g.CPUs = 1
	}
	if g.MemMB == 0 {
		g.MemMB = 256
	}
	if g.Modules == nil {
		g.Modules = []string{"virtio_net"}
	}
	if os.Getenv(EnvVerbose) != "" {
		g.Verbose = true
	}
	if g.Logf == nil {
		g.Logf = func(string, ...any) {}
	}
}

// channels are the inherited files QEMU talks to the harness through.
type channels struct{ console, agent, qmp int }

// arguments returns QEMU's arguments for everything but the NICs.
func (g *Guest) arguments(q *lab.QEMU, k *lab.Kernel, accel, initrd string, ch channels) []string {
	memory := []prop{{"", "memory-backend-memfd"}, {"id", "mem"}, {"size", fmt.Sprintf("%dM", g.MemMB)}, {"share", true}}
	if g.HugePages {
		memory = append(memory, prop{"hugetlb", true}, prop{"hugetlbsize", "2M"})
	}
	socket := func(id string, fd int) string {
		return commandLine([]prop{{"", "socket"}, {"id", id}, {"fd", fd}})
	}
	args := []string{
		"-name", g.Name, "-nodefaults", "-no-user-config", "-display", "none",
		// pc, because PCI hot-plug works on its root bus without preparation.
		"-machine", "pc,memory-backend=mem", "-object", commandLine(memory),
		"-m", fmt.Sprintf("%dM", g.MemMB), "-smp", strconv.Itoa(g.CPUs),
		"-chardev", socket("console", ch.console), "-serial", "chardev:console",
		"-chardev", socket("agent", ch.agent), "-serial", "chardev:agent",
		"-chardev", socket("qmp", ch.qmp),
		"-kernel", k.Image, "-initrd", initrd, "-append", strings.Join(g.kernelParams(), " "),
	}
	if q.AtLeast(11, 1) { // There -mon is deprecated.
		args = append(args, "-object", "monitor-qmp,id=qmp-monitor,chardev=qmp")
	} else {
		args = append(args, "-mon", "chardev=qmp,mode=control")
	}
	if accel == lab.KVM {
		args = append(args, "-accel", "kvm", "-cpu", "host")
	} else {
		// Told of fast string instructions the kernel copies with REP MOVSB, which
		// TCG executes byte by byte: without them TCP is 2.5 times as fast.
		args = append(args, "-accel", "tcg,thread=multi,tb-size=256", "-cpu", "max,-erms,-fsrm")
	}
	return append(args, g.Args...)
}

// kernelParams leave out what costs a guest much under emulation and tests of a
// network device gain nothing from: integrity measurement, security modules,
// workarounds for processors QEMU does not have, clearing of every page that a
// packet gets. A guest that panics restarts at once, which the harness notices.
func (g *Guest) kernelParams() []string {
	p := []string{
		"console=ttyS0", "panic=-1", "mitigations=off", "lsm=capability", "ima=off", "audit=0",
		"init_on_alloc=0", "hardened_usercopy=off", "randomize_kstack_offset=off",
		"tsc=reliable", "no_timer_check", "cryptomgr.notests", "net.ifnames=0",
		agentproto.ParamHostname + "=" + g.Name,
		agentproto.ParamModules + "=" + strings.Join(g.Modules, ","),
	}
	if khz := tscKHz(); khz != 0 {
		p = append(p, fmt.Sprintf("tsc_early_khz=%d", khz))
	}
	if !g.Verbose {
		p = append(p, "quiet")
	}
	return append(p, g.Params...)
}
