package stream

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
)

// peer is the connection over which both ends agree what comes next, one JSON
// value a line. A TCP stream's data follows the job on it.
type peer struct {
	*net.TCPConn
	in *bufio.Reader
}

func newPeer(c *net.TCPConn) *peer { return &peer{c, bufio.NewReaderSize(c, 64<<10)} }

// hello opens a stream.
type hello struct {
	Job    Job `json:"job"`
	Stream int `json:"stream"` // its number
}

// outcome is what the receiver says at the end of a stream, or instead of
// anything else when something is wrong.
type outcome struct {
	Error    string `json:"error,omitempty"`
	Received string `json:"received,omitempty"` // hash
	// For UDP:
	Duplicates int `json:"duplicates,omitempty"`
}

func (p *peer) say(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	if _, err := p.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	return nil
}

func (p *peer) hear(v any) error {
	line, err := p.in.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("stream: the other end: %w", err)
	}
	if err := json.Unmarshal(line, v); err != nil {
		return fmt.Errorf("stream: the other end said %.200q: %w", line, err)
	}
	return nil
}
