package config

import (
	"math"
	"slices"
	"strconv"

	"vhost-user-nvgre/virtio"
)

// Limits of numbers.
const (
	maxFD         = 1 << 20
	maxQueuePairs = 64
)

var allKinds = []Kind{KindVhostUser, KindTap, KindPacket, KindPcap}

// What a setting is for.
var (
	forCaptures   = []Kind{KindPcap}
	forGuests     = []Kind{KindVhostUser}
	forInterfaces = []Kind{KindTap, KindPacket}
	withPairs     = append([]Kind{KindVhostUser}, forInterfaces...)
)

// portSettings are the settings of a [[port]] table and of --port.
var portSettings = []setting[Port]{
	{
		key: "name", kind: text, want: "1 to 63 letters, digits, dots, dashes or underscores, a letter, digit or underscore first",
		help: "name of the port",
		get:  func(p *Port) string { return p.Name },
		set: func(p *Port, v string) (err error) {
			p.Name, err = parseName(v)
			return err
		},
	},
	{
		key: "kind", kind: text, want: kinds(allKinds),
		help: "what the port leads to: vhost-user (a virtual machine), tap (a tap device), packet (a network interface) or pcap (capture files)",
		get:  func(p *Port) string { return string(p.Kind) },
		set: func(p *Port, v string) error {
			if !slices.Contains(allKinds, Kind(v)) {
				return errUnknown
			}
			p.Kind = Kind(v)
			return nil
		},
	},
	{
		key: "interface", kind: text, only: forInterfaces, want: "the name of a network interface, 1 to 15 characters without white space, slash and colon",
		help: "network interface of a tap or packet port",
		get:  func(p *Port) string { return p.Interface },
		set: func(p *Port, v string) (err error) {
			p.Interface, err = parseInterface(v)
			return err
		},
	},
	{
		key: "netns", kind: text, only: forInterfaces, want: "the path of a file that names a network namespace, such as /run/netns/NAME",
		help: "file that names the network namespace of interface",
		get:  func(p *Port) string { return p.Netns },
		set: func(p *Port, v string) error {
			p.Netns = v
			return nil
		},
	},
	{
		key: "read", kind: text, only: forCaptures, want: "the path of a capture in pcap or pcapng format",
		help: "capture whose frames a pcap port takes in",
		get:  func(p *Port) string { return p.Read },
		set: func(p *Port, v string) error {
			p.Read = v
			return nil
		},
	},
	{
		key: "write", kind: text, only: forCaptures, want: "the path of a file",
		help: "file in pcapng format that a pcap port writes frames to",
		get:  func(p *Port) string { return p.Write },
		set: func(p *Port, v string) error {
			p.Write = v
			return nil
		},
	},
	{
		key: "pace", kind: text, only: forCaptures, want: "full (as fast as the switch takes them) or times (as far apart as they were captured)",
		help: "how fast frames of a capture are taken in: full or times",
		get:  func(p *Port) string { return string(p.Pace) },
		set: func(p *Port, v string) error {
			pace, err := oneOf(v, string(PaceFull), string(PaceTimes))
			p.Pace = Pace(pace)
			return err
		},
	},
	{
		key: "socket", kind: text, only: forGuests, want: "a path of at most 107 bytes",
		help: "path of the vhost-user socket",
		get:  func(p *Port) string { return p.Socket },
		set: func(p *Port, v string) (err error) {
			p.Socket, err = parsePath(v)
			return err
		},
	},
	{
		key: "fd", kind: number, only: forGuests, want: "the number of an inherited descriptor, 3 or higher, or -1 for none",
		help: "inherited descriptor of a vhost-user socket, instead of a path",
		get:  func(p *Port) string { return strconv.Itoa(p.FD) },
		set: func(p *Port, v string) (err error) {
			p.FD, err = parseInt(v, NoFD, maxFD)
			if err == nil && p.FD >= 0 && p.FD < 3 {
				return errOutOfRange // standard input, output and error
			}
			return err
		},
	},
	{
		key: "mode", kind: text, only: forGuests, want: "server (the front end connects to us) or client (we connect to it)",
		help: "who listens on the socket: server or client",
		get:  func(p *Port) string { return string(p.Mode) },
		set: func(p *Port, v string) error {
			m, err := oneOf(v, string(ModeServer), string(ModeClient))
			p.Mode = Mode(m)
			return err
		},
	},
	{
		key: "socket-mode", kind: text, only: forGuests, want: `permission bits in octal such as "0660"`,
		help: "permissions of the socket in server mode",
		get:  func(p *Port) string { return formatMode(p.SocketMode) },
		set: func(p *Port, v string) (err error) {
			p.SocketMode, err = parseMode(v)
			return err
		},
	},
	{
		key: "socket-group", kind: text, only: forGuests, want: "the name or number of a group",
		help: "group that owns the socket in server mode",
		get:  func(p *Port) string { return p.SocketGroup },
		set: func(p *Port, v string) error {
			p.SocketGroup = v
			return nil
		},
	},
	{
		key: "queue-pairs", kind: number, only: withPairs, want: "1 to 64",
		help: "queue pairs, 1 to 64",
		get:  func(p *Port) string { return strconv.Itoa(p.QueuePairs) },
		set: func(p *Port, v string) (err error) {
			p.QueuePairs, err = parseInt(v, 1, maxQueuePairs)
			return err
		},
	},
	{
		key: "mac", kind: text, only: forGuests, want: `the address of one station such as "02:00:00:00:00:01", or "" to derive one from the name`,
		help: "MAC address the driver is told",
		get:  func(p *Port) string { return formatMAC(p.MAC) },
		set: func(p *Port, v string) (err error) {
			p.MAC, err = parseMAC(v)
			return err
		},
	},
	{
		key: "mtu", kind: number, only: withPairs, want: "68 to 65535, or 0 to tell the driver none",
		help: "largest packet the driver is told to send",
		get:  func(p *Port) string { return strconv.Itoa(p.MTU) },
		set: func(p *Port, v string) (err error) {
			p.MTU, err = parseInt(v, 0, virtio.MaxMTU)
			if err == nil && p.MTU != 0 && p.MTU < virtio.MinMTU {
				return errOutOfRange
			}
			return err
		},
	},
	{
		key: "speed", kind: number, only: forGuests, want: "1 to 2147483647 Mbit/s, or 0 for unknown",
		help: "speed in Mbit/s the driver is told; it limits nothing",
		get:  func(p *Port) string { return strconv.Itoa(p.Speed) },
		set: func(p *Port, v string) (err error) {
			p.Speed, err = parseInt(v, 0, math.MaxInt32)
			return err
		},
	},
	{
		key: "link", kind: text, want: "up or down", live: true,
		help: "state of the link at start: up or down",
		get: func(p *Port) string {
			if p.LinkUp {
				return "up"
			}
			return "down"
		},
		set: func(p *Port, v string) error {
			state, err := oneOf(v, "up", "down")
			p.LinkUp = state == "up"
			return err
		},
	},
	{
		key: "withhold", kind: list, only: withPairs, want: "names of virtio features in lower case, such as mrg_rxbuf and event_idx",
		help: "virtio features not to offer, such as mrg_rxbuf:event_idx",
		get:  func(p *Port) string { return formatFeatures(p.Withhold) },
		set: func(p *Port, v string) (err error) {
			p.Withhold, err = parseFeatures(v)
			return err
		},
	},
	onOff("nvgre", "offloads of NVGRE packets: large send, checksums, RSS and VMQ by the inner headers",
		func(p *Port) *bool { return &p.NVGRE }),
	onOff("rx-checksum", "validate checksums of received packets outside tunnels",
		func(p *Port) *bool { return &p.RxChecksum }),
	onOff("lso", "large send: split TCP super-frames the driver sends",
		func(p *Port) *bool { return &p.LSO }),
	onOff("uso", "split UDP super-frames the driver sends",
		func(p *Port) *bool { return &p.USO }),
	onOff("rsc", "coalesce TCP segments for a driver that takes super-frames",
		func(p *Port) *bool { return &p.RSC }),
	onOff("uro", "coalesce UDP datagrams for a driver that takes super-frames",
		func(p *Port) *bool { return &p.URO }),
	{
		key: "oid-cid", kind: number, only: forGuests, want: "the context id of a guest, 3 or higher, or 0 for none",
		help: "context id of the guest that reaches the port's adapter over AF_VSOCK",
		get:  func(p *Port) string { return strconv.FormatUint(uint64(p.OIDCID), 10) },
		set: func(p *Port, v string) error {
			n, err := parseInt(v, 0, math.MaxUint32-1)
			if err == nil && n != 0 && n < 3 {
				return errOutOfRange // the hypervisor, the machine itself, the host
			}
			p.OIDCID = uint32(n)
			return err
		},
	},
	{
		key: "oid-socket", kind: text, only: forGuests, want: `a path of at most 107 bytes, or "" for none`,
		help: "path of a Unix socket by which the port's adapter is reached",
		get:  func(p *Port) string { return p.OIDSocket },
		set: func(p *Port, v string) (err error) {
			p.OIDSocket = ""
			if v != "" {
				p.OIDSocket, err = parsePath(v)
			}
			return err
		},
	},
	{
		key: "qmp", kind: text, only: forGuests, live: true, want: `a path of at most 107 bytes, or "" for none`,
		help: "path of a QMP monitor of the QEMU that serves the control queue itself, to follow the receive filter",
		get:  func(p *Port) string { return p.QMP },
		set: func(p *Port, v string) (err error) {
			p.QMP, err = parsePath(v)
			return err
		},
	},
	{
		key: "qmp-id", kind: text, only: forGuests, live: true, want: `the id of a device, or "" for the one that leads to the port's socket`,
		help: "id of the port's NIC in that QEMU",
		get:  func(p *Port) string { return p.QMPID },
		set: func(p *Port, v string) error {
			p.QMPID = v
			return nil
		},
	},
	frozen(onOff("vmq", "choose receive queues by the adapter's receive filters instead of RSS",
		func(p *Port) *bool { return &p.VMQ })),
	{
		key: "rss-version", kind: number, only: forGuests, want: "1 or 2",
		help: "version of RSS whose OIDs the port's adapter takes: 1 or 2",
		get:  func(p *Port) string { return strconv.Itoa(p.RSSVersion) },
		set: func(p *Port, v string) (err error) {
			p.RSSVersion, err = parseInt(v, 1, 2)
			return err
		},
	},
}

// onOff describes a live setting that is on or off.
func onOff(key, help string, field func(*Port) *bool) setting[Port] {
	return setting[Port]{
		key: key, kind: text, only: forGuests, want: "on or off", live: true, help: help + ": on or off",
		get: func(p *Port) string {
			if *field(p) {
				return "on"
			}
			return "off"
		},
		set: func(p *Port, v string) error {
			state, err := oneOf(v, "on", "off")
			*field(p) = state == "on"
			return err
		},
	}
}

// frozen describes a setting that needs a restart.
func frozen(s setting[Port]) setting[Port] {
	s.live = false
	return s
}
