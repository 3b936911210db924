package daemon

import (
	"golang.org/x/sys/unix"

	"vhost-user-nvgre/cmd/internal/config"
	"vhost-user-nvgre/queues"
)

// Descriptors the process needs beside those of ports: standard ones, control
// connections, the runtime's, and some for each shard.
const (
	baseDescriptors  = 256
	shardDescriptors = 8
)

// descriptorsFor returns how many descriptors a port can need: its socket, a
// connection with its channel, a kick, call and error eventfd a queue, and the
// files of memory regions while they arrive. A wire needs one a queue pair.
func descriptorsFor(p *config.Port) uint64 {
	if p.Kind.IsWire() {
		return uint64(p.QueuePairs)
	}
	return 3 + 3*uint64(2*p.QueuePairs+1) + 64
}

// raiseDescriptorLimit sees to it that the ports of s can all be connected.
// The Go runtime has raised the soft limit to the hard one already; what is
// left is the hard one, which takes a privilege.
func raiseDescriptorLimit(s *config.Settings, log queues.Logger) {
	need := uint64(baseDescriptors + shardDescriptors*max(8, s.Shards))
	for i := range s.Ports {
		need += descriptorsFor(&s.Ports[i])
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur >= need {
		return
	}
	raised := unix.Rlimit{Cur: need, Max: max(need, limit.Max)}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &raised); err != nil {
		log.Warnf("%d open files are allowed, but the ports can need %d: raise the limit (ulimit -n): %v", limit.Cur, need, err)
	}
}
