package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// request writes raw bytes and returns the answer's status and error text.
func request(t *testing.T, path, raw string) (int, string) {
	t.Helper()
	c := dial(t, path)
	go func() { _, _ = io.WriteString(c, raw) }() // the server may stop reading
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("no answer to %.60q: %v", raw, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var e errorReply
	_ = json.Unmarshal(body, &e)
	return resp.StatusCode, e.Error
}

func post(target, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", target, len(body), body)
}

func TestWrongRequests(t *testing.T) {
	path, d := start(t, defaultTiming, maxConnections)
	const link, announce = "/v1/ports/vm0/link", "/v1/ports/vm0/announce"
	tests := []struct {
		name, raw string
		code      int
		text      string // part of the error
	}{
		{"nothing there", post("/v1/nonsense", "{}"), 404, "there is nothing at /v1/nonsense"},
		{"root", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 404, "there is nothing at /"},
		{"other version", "GET /v2/status HTTP/1.1\r\nHost: x\r\n\r\n", 404, "there is nothing at /v2/status"},
		{"wrong method", post("/v1/status", "{}"), 405, "/v1/status does not take POST, want GET"},
		{"wrong method", "GET " + link + " HTTP/1.1\r\nHost: x\r\n\r\n", 405, "does not take GET, want POST"},
		{"no body", post(link, ""), 400, "the body is empty"},
		{"no JSON", post(link, "up=true"), 400, "invalid character 'u'"},
		{"cut short", post(link, `{"up": tr`), 400, "unexpected EOF"},
		{"no value", post(link, "{}"), 400, `the body lacks "up"`},
		{"null", post(link, `{"up": null}`), 400, `the body lacks "up"`},
		{"wrong type", post(link, `{"up": "yes"}`), 400, "cannot unmarshal string into Go struct field linkRequest.up of type bool"},
		{"unknown field", post(link, `{"up": true, "down": true}`), 400, `unknown field "down"`},
		{"two documents", post(link, `{"up": true}{"up": false}`), 400, "there is something behind the JSON document"},
		{"too long", post(link, `{"up": true`+strings.Repeat(" ", maxBody)+`}`), 413, "the body is longer than 65536 bytes"},
		{"deep", post(link, strings.Repeat("[", 20000)), 400, ""},
		{"announce with a body", post(announce, `{"x": 1}`), 400, `unknown field "x"`},
		{"unknown port", post("/v1/ports/x/link", `{"up": true}`), 404, "port x: there is no such port"},
		{"refused", post(announce, ""), 409, "not possible now"},
		{"no HTTP", "hello\r\n\r\n", 400, ""},
		{"long header", "GET /v1/status HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 2*maxHeader) + "\r\n\r\n", 431, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, text := request(t, path, tt.raw)
			if code != tt.code || !strings.Contains(text, tt.text) {
				t.Errorf("got %d %q, want %d with %q", code, text, tt.code, tt.text)
			}
		})
	}
	for _, call := range d.took() {
		if strings.HasPrefix(call, "link vm0") {
			t.Errorf("a wrong request had an effect: %s", call)
		}
	}
}

// quick makes the server lose patience soon.
var quick = timing{
	header: 100 * time.Millisecond, read: 200 * time.Millisecond, write: 200 * time.Millisecond,
	idle: 200 * time.Millisecond, drain: 100 * time.Millisecond,
}

// ended waits for the server to close a connection and reports whether it did.
func ended(c net.Conn) bool {
	_, err := io.Copy(io.Discard, c)
	return err == nil || !errors.Is(err, os.ErrDeadlineExceeded)
}

func TestSlowClients(t *testing.T) {
	path, _ := start(t, quick, maxConnections)
	for name, raw := range map[string]string{
		"mute":           "",
		"half a header":  "POST /v1/ports/vm0/link HTTP/1.1\r\nHo",
		"half a body":    "POST /v1/ports/vm0/link HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
		"idle afterward": "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := dial(t, path)
			if _, err := io.WriteString(c, raw); err != nil {
				t.Fatal(err)
			}
			if !ended(c) {
				t.Error("the server kept the connection for 10 s")
			}
		})
	}
}

func TestTooManyConnections(t *testing.T) {
	const most = 4
	path, _ := start(t, defaultTiming, most)
	var held []net.Conn
	for range most {
		held = append(held, dial(t, path))
	}
	// Refused without a word from us; the ones before are still welcome.
	if code, text := request(t, path, ""); code != 503 || text != "too many connections" {
		t.Errorf("connection %d: got %d %q, want 503", most+1, code, text)
	}
	for _, c := range held {
		if _, err := io.WriteString(c, "GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("a connection within the bound: %v, %v", resp, err)
		}
		resp.Body.Close()
		c.Close()
	}
	// The server sees the end of those in its own time.
	deadline := time.Now().Add(10 * time.Second)
	for {
		_, err := NewClient(path).Status(context.Background())
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no room 10 s after the others left: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestShutdownDoesNotWaitForSlowClients(t *testing.T) {
	path, _ := start(t, defaultTiming, maxConnections)
	c := dial(t, path)
	if _, err := io.WriteString(c, "POST /v1/ports/vm0/link HTTP/1.1\r\n"); err != nil {
		t.Fatal(err)
	}
	// The cleanup of start fails the test when Serve takes too long.
}

func FuzzLinkBody(f *testing.F) {
	f.Add(`{"up": true}`)
	f.Add(`{"up": null}`)
	f.Add(`[{}]`)
	f.Fuzz(func(t *testing.T, body string) {
		var v linkRequest
		if decode(strings.NewReader(body), &v) != nil {
			return
		}
		// What was taken is one object with nothing but that field.
		var all map[string]any
		if err := json.Unmarshal([]byte(body), &all); err != nil {
			t.Fatalf("decode took %q, which is no single object: %v", body, err)
		}
		for key := range all {
			if !strings.EqualFold(key, "up") {
				t.Fatalf("decode took %q with field %q", body, key)
			}
		}
	})
}
