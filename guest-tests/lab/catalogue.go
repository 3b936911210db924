package lab

import "sort"

// Release is a Debian release together with the suites taken from it.
type Release string

// The releases the lab draws on.
const (
	// Bookworm is Debian 12: the old QEMU and DPDK 22.11.
	Bookworm Release = "bookworm"
	// Trixie is Debian 13 with its backports: the new QEMU, the kernel and the
	// guest's programs.
	Trixie Release = "trixie"
	// Forky is what becomes Debian 14.
	Forky Release = "forky"
)

// suites of each release, in the order of sources.list.
var suites = map[Release][]string{
	Bookworm: {"bookworm"},
	Trixie:   {"trixie", "trixie-backports"},
	Forky:    {"forky"},
}

// rootSpec says what a root holds. Changing anything here gives the root
// another folder name, so a cache never mixes old and new.
type rootSpec struct {
	name    string
	release Release
	// target is the suite whose versions are preferred; empty means the release.
	target   string
	packages []string
	// noDependencies takes exactly the packages named.
	noDependencies bool
	// patches are applied to the unpacked files.
	patches []patch
}

// patch replaces bytes in a file of a root.
type patch struct {
	file     string // below the root
	old, new string // of equal length; old occurs at least once
}

// The roots. Each is small enough that a tool asked for alone does not drag
// in the others.
var (
	rootQEMUNew = rootSpec{name: "qemu-new", release: Trixie, target: "trixie-backports", packages: []string{"qemu-system-x86"}}
	rootQEMUOld = rootSpec{name: "qemu-old", release: Bookworm, packages: []string{"qemu-system-x86"}}
	rootGuest   = rootSpec{name: "guest", release: Trixie, packages: []string{"busybox-static", "ethtool", "iperf3", "iproute2", "zstd"}}
	rootDPDK    = rootSpec{
		name: "dpdk", release: Bookworm, packages: []string{"dpdk-dev"},
		// DPDK loads all drivers of a folder built in, if there is one, and
		// panics when it meets one it has already from the root. It must not
		// find the system's.
		patches: []patch{{
			file: "usr/lib/x86_64-linux-gnu/librte_eal.so.23",
			old:  "/usr/lib/x86_64-linux-gnu/dpdk/pmds-",
			new:  "/none/in/this/root-gnu/dpdk/pmds-xxx",
		}},
	}
	rootTshark = rootSpec{name: "tshark", release: Bookworm, packages: []string{"tshark"}}
	rootVsock  = rootSpec{name: "vsock", release: Forky, packages: []string{"vhost-device-vsock"}}
)

// toolSpec is a program inside a root.
type toolSpec struct {
	root rootSpec
	path string // below the root
	// setup adds arguments and environment the program needs because its root
	// is not the system's. Nil: none.
	setup func(root string, p *Program) error
}

// tools that Lab.Tool knows by name.
var tools = map[string]toolSpec{
	"qemu-new":           {root: rootQEMUNew, path: "usr/bin/qemu-system-x86_64", setup: setupQEMU},
	"qemu-old":           {root: rootQEMUOld, path: "usr/bin/qemu-system-x86_64", setup: setupQEMU},
	"dpdk-testpmd":       {root: rootDPDK, path: "usr/bin/dpdk-testpmd", setup: setupDPDK},
	"tshark":             {root: rootTshark, path: "usr/bin/tshark", setup: setupWireshark},
	"vhost-device-vsock": {root: rootVsock, path: "usr/bin/vhost-device-vsock"},
}

// All returns the names Tool accepts, sorted.
func All() []string {
	names := make([]string, 0, len(tools))
	for n := range tools {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}
