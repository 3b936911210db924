package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

// Iperf describes a measurement by iperf3. The zero value is one TCP stream for
// five seconds from the client to the server.
type Iperf struct {
	// Seconds to measure; 0 means 5.
	Seconds int
	// UDP instead of TCP, at Rate such as "1G"; empty means as fast as it goes.
	UDP  bool
	Rate string
	// Streams in parallel; 0 means 1.
	Streams int
	// Reverse lets the server send.
	Reverse bool
	// Bidirectional lets both send.
	Bidirectional bool
	// Length of what is written at a time, in bytes; for UDP that is the
	// datagram. 0 means iperf3's choice.
	Length int
	// Args are further arguments of the client.
	Args []string
}

// IperfResult is what the two ends counted.
type IperfResult struct {
	// Sent and Received are totals over all streams from the sender's and the
	// receiver's view. With Bidirectional they cover the client's sending.
	Sent, Received IperfSum
	// BackSent and BackReceived are the other direction with Bidirectional.
	BackSent, BackReceived IperfSum
	// JSON is iperf3's whole report.
	JSON []byte
}

// IperfSum totals one direction.
type IperfSum struct {
	Seconds       float64 `json:"seconds"`
	Bytes         int64   `json:"bytes"`
	BitsPerSecond float64 `json:"bits_per_second"`
	// Retransmits is the sender's count of TCP segments.
	Retransmits int `json:"retransmits"`
	// Packets, LostPackets and JitterMS are the receiver's for UDP.
	Packets     int     `json:"packets"`
	LostPackets int     `json:"lost_packets"`
	JitterMS    float64 `json:"jitter_ms"`
}

// iperfPort is where the server listens. A guest runs one measurement at a time
// on each port.
const iperfPort = 5201

// iperfListening is what the server says when it takes its n-th client, counted
// from 1. Between clients it closes its socket for a moment.
const iperfListening = "Server listening on %d (test #%d)"

// IperfServer is an iperf3 server in a guest. It serves one client at a time.
type IperfServer struct {
	*GuestProcess
	port   int
	served atomic.Int32
}

// listening returns when the server takes the next client.
func (s *IperfServer) listening(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return s.WaitOutput(ctx, fmt.Sprintf(iperfListening, s.port, s.served.Load()+1))
}

// StartIperf starts an iperf3 server that serves one client after the other,
// and returns when it listens. port 0 means the usual one.
func (vm *VM) StartIperf(ctx context.Context, port int) (*IperfServer, error) {
	if port == 0 {
		port = iperfPort
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	p, err := vm.Start(ctx, Command{Argv: []string{"iperf3", "--server", "--forceflush", "--port", strconv.Itoa(port)}})
	if err != nil {
		return nil, err
	}
	s := &IperfServer{GuestProcess: p, port: port}
	if err := s.listening(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Stop ends the server.
func (s *IperfServer) Stop(ctx context.Context) error {
	if err := s.Kill(ctx, syscall.SIGKILL); err != nil {
		return err
	}
	_, err := s.Wait(ctx)
	return err
}

// RunIperf measures from this guest, the client, to a server at address to.
func (vm *VM) RunIperf(ctx context.Context, to string, server *IperfServer, i Iperf) (*IperfResult, error) {
	argv := i.arguments(to, server.port)
	if err := server.listening(ctx); err != nil {
		return nil, err
	}
	// iperf3 waits long for a peer that is gone.
	ctx, cancel := context.WithTimeout(ctx, time.Duration(i.seconds())*time.Second+iperfPatience)
	defer cancel()
	r, err := vm.Run(ctx, argv...)
	if err != nil {
		return nil, err
	}
	result, err := parseIperf([]byte(r.Stdout))
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		return nil, vm.explain(fmt.Errorf("%q: %w\nthe server said:\n%s", argv, err, lastLines(server.Stdout.String()+server.Stderr.String(), 20)))
	}
	server.served.Add(1)
	return result, nil
}

// iperfPatience is what a measurement may take longer than it measures.
const iperfPatience = 30 * time.Second

func (i *Iperf) seconds() int {
	if i.Seconds == 0 {
		return 5
	}
	return i.Seconds
}

func (i *Iperf) arguments(to string, port int) []string {
	argv := []string{
		"iperf3", "--client", to, "--port", strconv.Itoa(port), "--json",
		"--time", strconv.Itoa(i.seconds()), "--connect-timeout", "10000",
	}
	if i.UDP {
		rate := i.Rate
		if rate == "" {
			rate = "0"
		}
		argv = append(argv, "--udp", "--bitrate", rate)
	}
	if i.Streams > 1 {
		argv = append(argv, "--parallel", strconv.Itoa(i.Streams))
	}
	if i.Reverse {
		argv = append(argv, "--reverse")
	}
	if i.Bidirectional {
		argv = append(argv, "--bidir")
	}
	if i.Length > 0 {
		argv = append(argv, "--length", strconv.Itoa(i.Length))
	}
	return append(argv, i.Args...)
}

// parseIperf reads iperf3's JSON report.
func parseIperf(report []byte) (*IperfResult, error) {
	var r struct {
		Error string `json:"error"`
		End   *struct {
			Sent         *IperfSum `json:"sum_sent"`
			Received     *IperfSum `json:"sum_received"`
			BackSent     IperfSum  `json:"sum_sent_bidir_reverse"`
			BackReceived IperfSum  `json:"sum_received_bidir_reverse"`
		} `json:"end"`
	}
	if err := json.Unmarshal(report, &r); err != nil {
		return nil, fmt.Errorf("harness: iperf3's report: %w in %.300q", err, report)
	}
	if r.Error != "" {
		return nil, fmt.Errorf("harness: iperf3: %s", r.Error)
	}
	if r.End == nil || r.End.Sent == nil || r.End.Received == nil {
		return nil, fmt.Errorf("harness: iperf3's report has no totals: %.300q", report)
	}
	return &IperfResult{
		Sent: *r.End.Sent, Received: *r.End.Received,
		BackSent: r.End.BackSent, BackReceived: r.End.BackReceived,
		JSON: report,
	}, nil
}
