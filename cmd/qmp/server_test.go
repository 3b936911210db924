package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const greeting = `{"QMP": {"version": {"qemu": {"micro": 3, "minor": 1, "major": 11}, "package": "test"}, "capabilities": ["oob"]}}`

// server is the other end of a client's connection, played by the test.
type server struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Scanner
}

// command is what the server reads.
type command struct {
	Execute   string          `json:"execute"`
	Arguments json.RawMessage `json:"arguments"`
	ID        json.RawMessage `json:"id"`
}

// newServer returns a server and a client that are connected but have not
// spoken yet. Writes block until the other end reads.
func newServer(t *testing.T, o Options) (*server, *Client) {
	t.Helper()
	a, b := net.Pipe()
	s := &server{t: t, conn: a, in: bufio.NewScanner(a)}
	s.in.Buffer(nil, 4<<20)
	c := New(b, o)
	t.Cleanup(func() {
		a.Close()
		if err := c.Disconnect(); err != nil {
			t.Errorf("Disconnect() = %v, want nil", err)
		}
	})
	return s, c
}

// connect returns a server and a client past the handshake.
func connect(t *testing.T, o Options) (*server, *Client) {
	t.Helper()
	s, c := newServer(t, o)
	done := make(chan error, 1)
	go func() { done <- c.ConnectContext(testContext(t)) }()
	s.say(greeting)
	cmd := s.next()
	if cmd.Execute != "qmp_capabilities" {
		t.Fatalf("first command = %q, want qmp_capabilities", cmd.Execute)
	}
	s.reply(cmd, `{}`)
	if err := <-done; err != nil {
		t.Fatalf("ConnectContext() = %v, want nil", err)
	}
	return s, c
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// say sends a line.
func (s *server) say(format string, args ...any) {
	s.t.Helper()
	if _, err := fmt.Fprintf(s.conn, format+"\r\n", args...); err != nil {
		s.t.Errorf("server: writing: %v", err)
	}
}

// next reads a command.
func (s *server) next() command {
	s.t.Helper()
	if !s.in.Scan() {
		s.t.Fatalf("server: no command came: %v", s.in.Err())
	}
	var c command
	if err := json.Unmarshal(s.in.Bytes(), &c); err != nil {
		s.t.Fatalf("server: command %q: %v", s.in.Bytes(), err)
	}
	return c
}

func (s *server) reply(c command, value string) {
	s.t.Helper()
	s.say(`{"return": %s, "id": %s}`, value, c.ID)
}
