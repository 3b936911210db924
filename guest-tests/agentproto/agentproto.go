// Package agentproto is the language between a test on the host and the agent
// in the guest: one JSON object a line, requests one way, events the other,
// over a serial port.
//
// A serial port has no flow control that reaches across the guest's line
// buffer (64 KiB), so the host keeps at most one request with MaxData bytes
// unanswered. The other direction needs no such care.
package agentproto

import "encoding/json"

// MaxData is the most payload one request or event carries, in bytes.
const MaxData = 16 << 10

// MaxLine bounds a line: payload in base64 plus a generous envelope.
const MaxLine = 256 << 10

// Op says what a request asks for.
type Op string

// The requests. Each is answered by exactly one event Done or Error that
// carries its ID; Start and Read send others before it.
const (
	// Start runs Argv. Events: Started, any number of Stdout and Stderr, then
	// Done with Code or Signal.
	Start Op = "start"
	// Stdin passes Data to process Target, and closes its input if EOF is set.
	Stdin Op = "stdin"
	// Kill sends Signal to process Target and everything it started.
	Kill Op = "kill"
	// Write puts Data at Offset of file Path; with Truncate the file is made
	// anew with Mode.
	Write Op = "write"
	// Read sends file Path as events Data.
	Read Op = "read"
	// Modprobe loads the modules Names with what they depend on.
	Modprobe Op = "modprobe"
	// Rmmod unloads the modules Names, in that order.
	Rmmod Op = "rmmod"
	// NICs asks for the network interfaces that have a device behind them.
	NICs Op = "nics"
	// Ping asks for a sign of life.
	Ping Op = "ping"
	// Poweroff ends the guest. The answer is sent before it happens.
	Poweroff Op = "poweroff"
	// Reboot restarts the guest. The answer is sent before it happens.
	Reboot Op = "reboot"
)

// Request is what the host asks for. Which fields count depends on Op.
type Request struct {
	ID       uint64   `json:"id"`
	Op       Op       `json:"op"`
	Target   uint64   `json:"target,omitempty"` // ID of the Start request
	Argv     []string `json:"argv,omitempty"`
	Env      []string `json:"env,omitempty"`
	Dir      string   `json:"dir,omitempty"`
	Input    bool     `json:"input,omitempty"` // Start: Stdin requests will follow
	Data     Bytes    `json:"data,omitempty"`
	EOF      bool     `json:"eof,omitempty"`
	Signal   int      `json:"signal,omitempty"`
	Path     string   `json:"path,omitempty"`
	Mode     uint32   `json:"mode,omitempty"`
	Offset   int64    `json:"offset,omitempty"`
	Truncate bool     `json:"truncate,omitempty"`
	Names    []string `json:"names,omitempty"`
}

// Kind says what an event reports.
type Kind string

// The events.
const (
	// Hello is the first line after the agent has come up. It has no ID.
	Hello Kind = "hello"
	// Started reports the Pid of a process.
	Started Kind = "started"
	// Stdout and Stderr carry Data a process wrote.
	Stdout Kind = "stdout"
	Stderr Kind = "stderr"
	// Data carries a piece of a file.
	Data Kind = "data"
	// Done ends a request that succeeded.
	Done Kind = "done"
	// Error ends a request that failed, for the reason in Message.
	Error Kind = "error"
)

// Event is what the agent reports. Which fields count depends on Kind.
type Event struct {
	ID      uint64 `json:"id,omitempty"`
	Kind    Kind   `json:"kind"`
	Pid     int    `json:"pid,omitempty"`
	Data    Bytes  `json:"data,omitempty"`
	Code    int    `json:"code,omitempty"`   // exit code, 0 if ended by Signal
	Signal  int    `json:"signal,omitempty"` // signal that ended the process
	Message string `json:"message,omitempty"`
	NICs    []NIC  `json:"nics,omitempty"`
	Boot    *Boot  `json:"boot,omitempty"` // Hello only
}

// Boot describes a guest that has come up.
type Boot struct {
	ID      string  `json:"id"`     // differs from boot to boot
	Kernel  string  `json:"kernel"` // as uname -r
	CPUs    int     `json:"cpus"`
	Seconds float64 `json:"seconds"` // since the kernel started
}

// NIC is a network interface with a device behind it.
type NIC struct {
	Name   string `json:"name"`
	MAC    string `json:"mac"`
	PCI    string `json:"pci"`    // address such as 0000:00:10.0; empty if not on PCI
	Driver string `json:"driver"` // of the interface's device
}

// Encode returns v as one line, newline included.
func Encode(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return append(b, '\n'), nil
}

// Parameters of the kernel's command line that the agent reads.
const (
	// ParamModules is a comma separated list of modules to load before Hello.
	ParamModules = "agent.modules"
	// ParamHostname names the guest.
	ParamHostname = "agent.hostname"
)

// Port is the serial port the agent talks on, seen from the guest.
const Port = "/dev/ttyS1"
