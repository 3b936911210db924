package harness

import (
	"context"
	"fmt"
	"regexp"
	"strconv"

	"vhost-user-nvgre/guest-tests/lab"
)

// Testpmd describes a run of DPDK's testpmd, the foreign peer of our tests: a
// vhost back end with virtual devices such as
//
//	net_vhost0,iface=SOCKET,queues=2,tso=1
//
// or a virtio front end with
//
//	net_virtio_user0,path=SOCKET,queues=2,queue_size=256,mrg_rxbuf=1
//
// Devices are its ports in the order given. Its forwarding core polls: it
// takes a whole processor, traffic or not.
type Testpmd struct {
	// Name tells several runs apart. Empty: "testpmd".
	Name string
	// Vdevs are the virtual devices.
	Vdevs []string
	// Queues of each port; 0 means 1. The devices need as many.
	Queues int
	// Forward is the mode: io, mac, macswap, txonly, rxonly …; empty means io.
	Forward string
	// MainCore and ForwardCore are the processors it uses; both 0 means 0 and 1.
	MainCore, ForwardCore int
	// HugePages takes its memory from the host's reserved 2 MiB pages. Without,
	// it is ordinary memory, which a front end can share all the same.
	HugePages bool
	// MemMB is its memory; 0 means 256 (128 with HugePages).
	MemMB int
	// Args are more arguments of testpmd itself, behind the "--".
	Args []string
}

// statsPeriod is how often testpmd prints its counters, in seconds.
const statsPeriod = 1

// Daemon returns how to start it. Its files go to dir.
func (p Testpmd) Daemon(ctx context.Context, l *lab.Lab, dir *Dir) (Daemon, error) {
	tool, err := l.Tool(ctx, "dpdk-testpmd")
	if err != nil {
		return Daemon{}, err
	}
	return Daemon{
		Program: tool,
		Args:    p.arguments(),
		// DPDK's state would go to /var/run and stay there.
		Env:   []string{"RUNTIME_DIRECTORY=" + dir.Path("")},
		Ready: Ready{Line: "NIC statistics"},
	}, nil
}

func (p *Testpmd) arguments() []string {
	name, forward, queues, mem, cores := p.Name, p.Forward, max(p.Queues, 1), p.MemMB, [2]int{p.MainCore, p.ForwardCore}
	if name == "" {
		name = "testpmd"
	}
	if forward == "" {
		forward = "io"
	}
	if cores == [2]int{} {
		cores[1] = 1
	}
	if mem == 0 {
		mem = 256
		if p.HugePages {
			mem = 128
		}
	}
	args := []string{
		"-l", fmt.Sprintf("%d,%d", cores[0], cores[1]), "--main-lcore", strconv.Itoa(cores[0]),
		"--no-pci", "--file-prefix", name, "-m", strconv.Itoa(mem),
	}
	if p.HugePages {
		// In memory: no hugetlbfs needs to be mounted.
		args = append(args, "--in-memory")
	} else {
		args = append(args, "--no-huge")
	}
	// As few regions as possible to share, for a front end.
	args = append(args, "--single-file-segments")
	for _, v := range p.Vdevs {
		args = append(args, "--vdev", v)
	}
	args = append(
		args, "--", "--forward-mode="+forward, fmt.Sprintf("--rxq=%d", queues), fmt.Sprintf("--txq=%d", queues),
		"--total-num-mbufs=8192", "--auto-start", fmt.Sprintf("--stats-period=%d", statsPeriod),
	)
	return append(args, p.Args...)
}

// PortStats are testpmd's counters of one port.
type PortStats struct {
	RxPackets, RxBytes, TxPackets, TxBytes int64
}

var portStats = regexp.MustCompile(`NIC statistics for port (\d+) [^R]*` +
	`RX-packets: (\d+) +RX-missed: \d+ +RX-bytes: +(\d+)\s+RX-errors: \d+\s+RX-nombuf: +\d+\s+` +
	`TX-packets: (\d+) +TX-errors: \d+ +TX-bytes: +(\d+)`)

// TestpmdStats returns the counters in testpmd's output that it printed last,
// by port. They are up to a second old.
func TestpmdStats(output string) map[int]PortStats {
	stats := make(map[int]PortStats)
	for _, m := range portStats.FindAllStringSubmatch(output, -1) {
		var n [5]int64
		for i := range n {
			n[i], _ = strconv.ParseInt(m[1+i], 10, 64) // The expression admits digits only.
		}
		stats[int(n[0])] = PortStats{RxPackets: n[1], RxBytes: n[2], TxPackets: n[3], TxBytes: n[4]}
	}
	return stats
}
