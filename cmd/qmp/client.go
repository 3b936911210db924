// Package qmp talks to QEMU's machine protocol (docs/interop/qmp-spec.rst of
// QEMU).
//
// Client implements the Monitor of github.com/digitalocean/go-qemu/qmp, whose
// types it shares, and replaces that module's SocketMonitor: there a reply
// aliases the buffer of the next line, a line may not exceed 64 KiB, unread
// events stall commands, and contexts are ignored. Here replies are the
// caller's own, lines have a generous limit, events wait in a bounded buffer
// for each subscriber, every call takes a context, and commands may be sent
// from several goroutines at once.
package qmp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/digitalocean/go-qemu/qmp"
)

// DefaultMaxLine is the longest line accepted from QEMU unless Options say
// otherwise, in bytes. The largest regular reply, query-qmp-schema, has some
// 300 KiB.
const DefaultMaxLine = 64 << 20

// DefaultEventBuffer is how many events wait for a subscriber unless Options
// say otherwise.
const DefaultEventBuffer = 256

// ErrClosed is reported by calls on a client that was disconnected.
var ErrClosed = errors.New("qmp: connection closed")

// Error is a command's failure as QEMU described it.
type Error struct {
	// Class is GenericError, CommandNotFound, DeviceNotFound or another of
	// QEMU's error classes.
	Class string `json:"class"`
	// Desc is the text for people.
	Desc string `json:"desc"`
}

// Error returns class and text.
func (e *Error) Error() string { return fmt.Sprintf("qmp: %s: %s", e.Class, e.Desc) }

// Options of a client; the zero value is right for most.
type Options struct {
	// MaxLine is the longest line accepted, in bytes. 0: DefaultMaxLine.
	MaxLine int
	// EventBuffer is how many events wait for each subscriber before further
	// ones are dropped and counted. 0: DefaultEventBuffer.
	EventBuffer int
}

// Client is one connection to QEMU. All methods may be called concurrently;
// Connect comes first.
type Client struct {
	conn net.Conn
	opts Options

	writing chan struct{} // holds a token while a command is being written

	mu      sync.Mutex // guards what follows
	nextID  uint64
	pending map[string]chan reply
	subs    map[*Subscription]struct{}
	err     error // why the connection ended
	version qmp.Version
	caps    []string

	connected bool
	done      chan struct{} // closed when the reader has ended
}

var _ qmp.Monitor = (*Client)(nil)

// reply is what a command led to: a line of QEMU's, or the end of the
// connection.
type reply struct {
	line []byte
	err  error
}

// New makes a client of a connection to a QMP server. The client owns conn.
func New(conn net.Conn, o Options) *Client {
	if o.MaxLine <= 0 {
		o.MaxLine = DefaultMaxLine
	}
	if o.EventBuffer <= 0 {
		o.EventBuffer = DefaultEventBuffer
	}
	return &Client{
		conn:    conn,
		opts:    o,
		writing: make(chan struct{}, 1),
		pending: make(map[string]chan reply),
		subs:    make(map[*Subscription]struct{}),
		done:    make(chan struct{}),
	}
}

// Dial connects to a QMP server, such as ("unix", path), and negotiates.
func Dial(ctx context.Context, network, address string, o Options) (*Client, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("qmp: %w", err)
	}
	c := New(conn, o)
	if err := c.ConnectContext(ctx); err != nil {
		return nil, errors.Join(err, c.Disconnect())
	}
	return c, nil
}

// Connect negotiates without a time limit. See ConnectContext.
func (c *Client) Connect() error { return c.ConnectContext(context.Background()) }

// ConnectContext reads QEMU's greeting and leaves capability negotiation mode.
// When it fails, or ctx ends, the client is of no further use but to be
// disconnected. It may be called once.
func (c *Client) ConnectContext(ctx context.Context) error {
	c.mu.Lock()
	if c.connected {
		c.mu.Unlock()
		return errors.New("qmp: Connect was called before")
	}
	c.connected = true
	c.mu.Unlock()
	lines := newLineReader(c.conn, c.opts.MaxLine)
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetReadDeadline(time.Unix(1, 0)) })
	line, err := lines.next()
	if !stop() && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err == nil {
		err = c.greet(line)
	}
	if err != nil {
		err = fmt.Errorf("qmp: waiting for the greeting: %w", err)
		c.fail(err)
		close(c.done)
		return err
	}
	go c.read(lines)
	_, err = c.RunContext(ctx, []byte(`{"execute":"qmp_capabilities"}`))
	return err
}

// greet takes what the server's first line says.
func (c *Client) greet(line []byte) error {
	var g struct {
		QMP *struct {
			Version      qmp.Version `json:"version"`
			Capabilities []string    `json:"capabilities"`
		} `json:"QMP"`
	}
	if err := json.Unmarshal(line, &g); err != nil {
		return fmt.Errorf("%w in %.200q", err, line)
	}
	if g.QMP == nil {
		return fmt.Errorf("this is no QMP server: it says %.200q", line)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.version, c.caps = g.QMP.Version, g.QMP.Capabilities
	return nil
}

// Version returns the server's version. It is known after Connect.
func (c *Client) Version() qmp.Version {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.version
}

// Capabilities returns the capabilities the server offered. They are known
// after Connect.
func (c *Client) Capabilities() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.caps...)
}

// Disconnect closes the connection, fails the calls under way with ErrClosed,
// closes the event channels and returns when nothing of the client runs any
// more.
func (c *Client) Disconnect() error {
	c.mu.Lock()
	reading := c.connected
	c.mu.Unlock()
	c.fail(ErrClosed)
	err := c.conn.Close()
	if reading {
		<-c.done
	}
	if errors.Is(err, net.ErrClosed) {
		return nil // The reader saw the server go and closed first.
	}
	return err
}

// Done is closed when the connection has ended; Err then says why.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err returns why the connection ended, nil while it stands.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// fail records why the connection ended, the first reason counts, and passes it
// on to everyone who waits.
func (c *Client) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = err
	for _, ch := range c.pending {
		ch <- reply{err: err} // Each has room for its one reply.
	}
	clear(c.pending)
	for s := range c.subs {
		s.closeLocked()
	}
	clear(c.subs)
}

// Execute runs a command by name. args is encoded as its arguments; nil means
// none. The value it returns is decoded into result unless that is nil. A
// failure that QEMU reports is an *Error.
func (c *Client) Execute(ctx context.Context, name string, args, result any) error {
	cmd, err := json.Marshal(qmp.Command{Execute: name, Args: args})
	if err != nil {
		return fmt.Errorf("qmp: %s: encoding the arguments: %w", name, err)
	}
	line, err := c.RunContext(ctx, cmd)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if result == nil {
		return nil
	}
	r := struct {
		Return any `json:"return"`
	}{Return: result}
	if err := json.Unmarshal(line, &r); err != nil {
		return fmt.Errorf("qmp: %s: decoding its result: %w", name, err)
	}
	return nil
}

// Run is RunContext without a limit in time.
func (c *Client) Run(command []byte) ([]byte, error) {
	return c.RunContext(context.Background(), command)
}

// RunContext sends a command, a JSON object with the member "execute", and
// returns QEMU's reply, a JSON object with the member "return". An "id" in the
// command comes back in the reply. A failure that QEMU reports is an *Error.
//
// When ctx ends first the command may still take effect; its reply is dropped.
func (c *Client) RunContext(ctx context.Context, command []byte) ([]byte, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(command, &members); err != nil {
		return nil, fmt.Errorf("qmp: the command is no JSON object: %w", err)
	}
	theirs, hasID := members["id"]
	id, ch, err := c.expect()
	if err != nil {
		return nil, err
	}
	members["id"] = json.RawMessage(id)
	if err := c.send(ctx, members); err != nil {
		c.forget(id)
		return nil, err
	}
	var r reply
	select {
	case r = <-ch:
	case <-ctx.Done():
		c.forget(id)
		return nil, fmt.Errorf("qmp: waiting for the reply: %w", ctx.Err())
	}
	if r.err != nil {
		return nil, r.err
	}
	return restoreID(r.line, theirs, hasID)
}

// expect makes room for a reply.
func (c *Client) expect() (id string, ch chan reply, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return "", nil, c.err
	}
	if !c.connected {
		return "", nil, errors.New("qmp: not connected: call Connect first")
	}
	c.nextID++
	id = strconv.FormatUint(c.nextID, 10)
	ch = make(chan reply, 1)
	c.pending[id] = ch
	return id, ch, nil
}

func (c *Client) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pending, id)
}

// send writes one command. A command cut off in the middle would garble the
// next, so if ctx ends while it is being written the connection ends too.
func (c *Client) send(ctx context.Context, members map[string]json.RawMessage) error {
	line, err := json.Marshal(members)
	if err != nil {
		return fmt.Errorf("qmp: encoding the command: %w", err)
	}
	select {
	case c.writing <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("qmp: waiting to send: %w", ctx.Err())
	}
	defer func() { <-c.writing }()
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetWriteDeadline(time.Unix(1, 0)) })
	_, err = c.conn.Write(append(line, '\n'))
	if !stop() && err == nil {
		// ctx ended just after; the next writer must not meet the deadline. The
		// function may still be running, so this client is given up as well.
		err = ctx.Err()
	}
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		err = fmt.Errorf("qmp: sending a command: %w", err)
		c.fail(err)
		c.conn.Close()
		return err
	}
	return nil
}

// restoreID gives a reply the id its command came with.
func restoreID(line []byte, id json.RawMessage, has bool) ([]byte, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(line, &members); err != nil {
		return nil, fmt.Errorf("qmp: reply %.200q: %w", line, err)
	}
	if e, ok := members["error"]; ok {
		qe := new(Error)
		if err := json.Unmarshal(e, qe); err != nil {
			return nil, fmt.Errorf("qmp: error reply %.200q: %w", bytes.TrimSpace(line), err)
		}
		return nil, qe
	}
	if has {
		members["id"] = id
	} else {
		delete(members, "id")
	}
	return json.Marshal(members)
}
