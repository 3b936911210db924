package qmp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestHandshake(t *testing.T) {
	_, c := connect(t, Options{})
	if got, want := c.Version().String(), "11.3.1"; got == want {
		t.Errorf("Version() = %s with minor and micro exchanged", got)
	}
	if got, want := c.Version().String(), "11.1.3"; got != want {
		t.Errorf("Version() = %s, want %s", got, want)
	}
	if diff := cmp.Diff([]string{"oob"}, c.Capabilities()); diff != "" {
		t.Errorf("Capabilities() differ (-want +got):\n%s", diff)
	}
	if err := c.Connect(); err == nil {
		t.Error("a second Connect() = nil, want an error")
	}
}

func TestHandshakeFailures(t *testing.T) {
	tests := []struct {
		name, line, want string
	}{
		{"other protocol", `{"hello": 1}`, "no QMP server"},
		{"no JSON", `SSH-2.0-OpenSSH`, "SSH-2.0"},
		{"too long", `{"QMP": "` + strings.Repeat("x", 5000) + `"}`, "longer than 4096"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, c := newServer(t, Options{MaxLine: 4096})
			go func() { _, _ = fmt.Fprintln(s.conn, tt.line) }() // Cut off by the client at will.
			err := c.ConnectContext(testContext(t))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("ConnectContext() with greeting %.40q = %v, want an error with %q", tt.line, err, tt.want)
			}
			if _, err := c.Run([]byte(`{"execute":"stop"}`)); err == nil {
				t.Error("Run() after a failed handshake = nil error")
			}
		})
	}
}

func TestConnectRespectsContext(t *testing.T) {
	_, c := newServer(t, Options{})
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := c.ConnectContext(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ConnectContext() to a mute server = %v, want %v", err, context.DeadlineExceeded)
	}
}

func TestExecute(t *testing.T) {
	s, c := connect(t, Options{})
	go func() {
		cmd := s.next()
		if got, want := string(cmd.Arguments), `{"id":"n0","up":false}`; got != want {
			t.Errorf("arguments = %s, want %s", got, want)
		}
		s.reply(cmd, `{"running": true, "status": "running"}`)
	}()
	var got struct{ Status string }
	args := struct {
		ID string `json:"id"`
		Up bool   `json:"up"`
	}{"n0", false}
	if err := c.Execute(testContext(t), "set_link", args, &got); err != nil {
		t.Fatalf("Execute(set_link) = %v, want nil", err)
	}
	if got.Status != "running" {
		t.Errorf("Execute(set_link) decoded %+v, want status running", got)
	}
}

func TestErrorAsQEMUSaidIt(t *testing.T) {
	s, c := connect(t, Options{})
	go func() {
		s.say(`{"id": %s, "error": {"class": "DeviceNotFound", "desc": "Device 'n9' not found"}}`, s.next().ID)
	}()
	err := c.Execute(testContext(t), "device_del", map[string]string{"id": "n9"}, nil)
	var qe *Error
	if !errors.As(err, &qe) {
		t.Fatalf("Execute(device_del) = %v, want an *Error", err)
	}
	if diff := cmp.Diff(&Error{Class: "DeviceNotFound", Desc: "Device 'n9' not found"}, qe); diff != "" {
		t.Errorf("error differs (-want +got):\n%s", diff)
	}
}

func TestRunKeepsTheCallersID(t *testing.T) {
	s, c := connect(t, Options{})
	for _, tt := range []struct{ command, want string }{
		{`{"execute":"stop","id":{"mine":7}}`, `{"id":{"mine":7},"return":{}}`},
		{`{"execute":"stop"}`, `{"return":{}}`},
	} {
		go func() { s.reply(s.next(), `{}`) }()
		got, err := c.Run([]byte(tt.command))
		if err != nil || string(got) != tt.want {
			t.Errorf("Run(%s) = %s, %v, want %s, nil", tt.command, got, err, tt.want)
		}
	}
	if _, err := c.Run([]byte(`[1]`)); err == nil {
		t.Error("Run([1]) = nil error, want one: the command is no object")
	}
}

// Replies belong to the caller: a later line must not show through.
func TestRepliesDoNotAlias(t *testing.T) {
	s, c := connect(t, Options{})
	go func() {
		for i := range 3 {
			s.reply(s.next(), fmt.Sprintf(`"%s"`, strings.Repeat(string(rune('a'+i)), 100)))
		}
	}()
	var replies [][]byte
	for range 3 {
		r, err := c.Run([]byte(`{"execute":"q"}`))
		if err != nil {
			t.Fatal(err)
		}
		replies = append(replies, r)
	}
	for i, r := range replies {
		want := fmt.Sprintf(`{"return":"%s"}`, strings.Repeat(string(rune('a'+i)), 100))
		if string(r) != want {
			t.Errorf("reply %d = %s, want %s", i, r, want)
		}
	}
}

func TestLongLine(t *testing.T) {
	s, c := connect(t, Options{})
	want := strings.Repeat("x", 3<<20)
	go func() { s.reply(s.next(), `"`+want+`"`) }()
	var got string
	if err := c.Execute(testContext(t), "query-qmp-schema", nil, &got); err != nil {
		t.Fatalf("Execute() with a reply of 3 MiB = %v, want nil", err)
	}
	if got != want {
		t.Errorf("Execute() with a reply of 3 MiB returned %d bytes, want %d", len(got), len(want))
	}
}

func TestLineOverTheLimitEndsTheConnection(t *testing.T) {
	s, c := connect(t, Options{MaxLine: 8192})
	go func() {
		cmd := s.next()
		_, _ = fmt.Fprintf(s.conn, `{"return": "%s", "id": %s}`, strings.Repeat("x", 100000), cmd.ID) // Cut off by the client.
	}()
	err := c.Execute(testContext(t), "q", nil, nil)
	if err == nil || !strings.Contains(err.Error(), "longer than 8192 bytes") {
		t.Errorf("Execute() = %v, want an error about a line longer than 8192 bytes", err)
	}
	<-c.Done()
	if c.Err() == nil {
		t.Error("Err() = nil after the connection ended")
	}
}

// Several goroutines share the connection; QEMU may answer out-of-band commands
// in any order.
func TestConcurrentCommandsAnsweredBackwards(t *testing.T) {
	const n = 50
	s, c := connect(t, Options{})
	go func() {
		cmds := make([]command, n)
		for i := range cmds {
			cmds[i] = s.next()
		}
		for i := n - 1; i >= 0; i-- {
			s.reply(cmds[i], string(cmds[i].Arguments))
		}
	}()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			var got struct{ N int }
			err := c.Execute(testContext(t), "echo", map[string]int{"n": i}, &got)
			if err != nil || got.N != i {
				t.Errorf("Execute(echo %d) = %d, %v", i, got.N, err)
			}
		})
	}
	wg.Wait()
}

func TestCommandGivenUp(t *testing.T) {
	s, c := connect(t, Options{})
	ctx, cancel := context.WithCancel(context.Background())
	first := make(chan command, 1)
	go func() {
		first <- s.next()
		cancel()
	}()
	if err := c.Execute(ctx, "slow", nil, nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("Execute(slow) = %v, want %v", err, context.Canceled)
	}
	// The late reply must not be taken for the next command's.
	go func() {
		s.reply(<-first, `"late"`)
		s.reply(s.next(), `"right"`)
	}()
	var got string
	if err := c.Execute(testContext(t), "next", nil, &got); err != nil || got != "right" {
		t.Errorf("Execute(next) = %q, %v, want right, nil", got, err)
	}
}

func TestContextEndsABlockedWrite(t *testing.T) {
	_, c := connect(t, Options{})
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	// The server reads nothing, and a pipe holds nothing.
	if err := c.Execute(ctx, "stop", nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Execute() to a server that does not read = %v, want %v", err, context.DeadlineExceeded)
	}
	if err := c.Execute(testContext(t), "stop", nil, nil); err == nil {
		t.Error("Execute() after a command was cut off = nil, want an error")
	}
}

func TestServerGoes(t *testing.T) {
	s, c := connect(t, Options{})
	sub, err := c.Subscribe()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		s.next()
		s.conn.Close()
	}()
	if err := c.Execute(testContext(t), "quit", nil, nil); err == nil {
		t.Error("Execute() while the server goes = nil, want an error")
	}
	<-c.Done()
	if e, ok := <-sub.C(); ok {
		t.Errorf("event %v after the connection ended, want a closed channel", e)
	}
	if _, err := c.Subscribe(); err == nil {
		t.Error("Subscribe() after the connection ended = nil error")
	}
}

func TestDisconnectFailsWaitingCommands(t *testing.T) {
	s, c := connect(t, Options{})
	go func() {
		s.next()
		_ = c.Disconnect() // Checked again when the test ends.
	}()
	if err := c.Execute(testContext(t), "slow", nil, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("Execute() during Disconnect = %v, want %v", err, ErrClosed)
	}
}

func TestUnreadableLines(t *testing.T) {
	for _, line := range []string{
		`}{`, `{"return": {}}`, `{"event": "X", "data": 5}`,
		`{"error": {"class": "GenericError", "desc": "JSON parse error"}}`,
	} {
		t.Run(line, func(t *testing.T) {
			s, c := connect(t, Options{})
			s.say("%s", line)
			<-c.Done()
			if c.Err() == nil {
				t.Errorf("Err() after line %s = nil, want an error", line)
			}
		})
	}
}

func TestDial(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		fmt.Fprintln(conn, greeting)
		var cmd command
		if err := json.NewDecoder(conn).Decode(&cmd); err != nil {
			t.Errorf("server: %v", err)
		}
		fmt.Fprintf(conn, `{"return": {}, "id": %s}`+"\n", cmd.ID)
	}()
	c, err := Dial(testContext(t), "unix", path, Options{})
	if err != nil {
		t.Fatalf("Dial() = %v, want nil", err)
	}
	if err := c.Disconnect(); err != nil {
		t.Errorf("Disconnect() = %v, want nil", err)
	}
	if _, err := Dial(testContext(t), "unix", path+"-none", Options{}); err == nil {
		t.Error("Dial() of a socket that is not there = nil error")
	}
}
