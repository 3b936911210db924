package config

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"vhost-user-nvgre/virtio"
)

// Settings is everything that can be set from outside.
type Settings struct {
	Shards        int     // worker threads; 0: as many as ShardCount says
	CPUs          CPUList // processors to pin shards to; empty: no pinning
	PollMax       time.Duration
	MACTable      int
	MACAge        time.Duration
	LogLevel      string
	LogFormat     string
	ControlSocket string // path, "" for DefaultControlSocket, or NoControlSocket
	ControlMode   fs.FileMode
	ControlGroup  string // "": the group of the process
	StateDir      string // folder for what ports remember, "": they forget
	Ports         []Port
}

// NoControlSocket as ControlSocket asks for none.
const NoControlSocket = "none"

// Port describes one port.
type Port struct {
	Name        string
	Kind        Kind
	Socket      string // path; "" when FD is used
	FD          int    // inherited descriptor; NoFD when Socket is used
	Mode        Mode
	SocketMode  fs.FileMode // in server mode
	SocketGroup string      // in server mode; "": the group of the process
	QueuePairs  int
	MAC         virtio.MAC // zero: derived from the name
	MTU         int        // 0: not told to the driver
	Speed       int        // Mbit/s; 0: unknown
	LinkUp      bool
	Withhold    virtio.Features
	Interface   string // of a tap or packet port
	Netns       string // file that names the network namespace of Interface; "": that of the process

	// Of a pcap port.
	Read, Write string // paths of captures, "" for none
	Pace        Pace

	// Offloads that are operational.
	NVGRE, RxChecksum, LSO, USO, RSC, URO bool

	// Who reaches the port's adapter by OIDs besides administrators.
	OIDCID    uint32 // the guest's context id; 0: nobody by AF_VSOCK
	OIDSocket string // path of a Unix socket; "": none
	// QMP is the path of a QMP monitor of the front end, a QEMU that keeps the
	// receive filter to itself; "": none. QMPID is the device's id there, "" for
	// the one that leads to Socket.
	QMP, QMPID string
	// How the adapter chooses receive queues.
	VMQ        bool // by receive filters, not by RSS
	RSSVersion int  // whose OIDs it takes, 1 or 2

	// Origin says where the port was described, for messages.
	Origin string
}

// Kind says what a port leads to.
type Kind string

// Kinds. All but KindVhostUser are wires.
const (
	KindVhostUser Kind = "vhost-user" // a virtual machine
	KindTap       Kind = "tap"        // a tap device
	KindPacket    Kind = "packet"     // a network interface of the host
	KindPcap      Kind = "pcap"       // capture files
)

// IsWire reports whether a port of that kind leads to something that is no
// guest.
func (k Kind) IsWire() bool { return k != KindVhostUser }

// Pace says how fast frames of a capture enter the switch.
type Pace string

// Paces.
const (
	PaceFull  Pace = "full"  // as fast as they are taken
	PaceTimes Pace = "times" // as far apart as they were captured
)

// NoFD is the value of Port.FD when there is none.
const NoFD = -1

// Mode says which end of a port's socket listens.
type Mode string

// Modes.
const (
	ModeServer Mode = "server" // the front end connects to us
	ModeClient Mode = "client" // we connect to the front end
)

// Default returns the settings of an empty command line without a file.
func Default() Settings {
	return Settings{
		PollMax:     50 * time.Microsecond,
		MACTable:    8192,
		MACAge:      300 * time.Second,
		LogLevel:    "info",
		LogFormat:   "text",
		ControlMode: 0o660,
	}
}

// DefaultPort returns a port of which nothing is said. It still needs a name
// and either a socket or a descriptor.
func DefaultPort() Port {
	return Port{
		Kind:       KindVhostUser,
		Pace:       PaceFull,
		FD:         NoFD,
		Mode:       ModeServer,
		SocketMode: 0o660,
		QueuePairs: 1,
		Speed:      10_000,
		LinkUp:     true,
		LSO:        true,
		USO:        true,
		RSSVersion: 1,
	}
}

// Address returns the port's MAC address: the one set, or one derived from the
// name, which is the same on every run and every machine.
func (p *Port) Address() virtio.MAC {
	if p.MAC != (virtio.MAC{}) {
		return p.MAC
	}
	sum := sha256.Sum256([]byte("vhost-user-nvgre " + p.Name))
	m := virtio.MAC(sum[:6])
	m[0] = m[0]&^1 | 2 // one station, locally administered
	return m
}

// Endpoint says in words where the port leads.
func (p *Port) Endpoint() string {
	switch {
	case p.Interface != "":
		place := "interface " + p.Interface
		if p.Netns != "" {
			place += " in " + p.Netns
		}
		return place
	case p.Kind == KindPcap:
		var parts []string
		if p.Read != "" {
			parts = append(parts, "from "+p.Read)
		}
		if p.Write != "" {
			parts = append(parts, "to "+p.Write)
		}
		return strings.Join(parts, ", ")
	case p.FD != NoFD:
		return fmt.Sprintf("fd %d", p.FD)
	}
	return fmt.Sprintf("%s (%s)", p.Socket, p.Mode)
}
