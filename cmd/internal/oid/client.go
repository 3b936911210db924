package oid

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"vhost-user-nvgre/offload/ndis"
	"vhost-user-nvgre/offload/ndis/adapter"
)

// ErrRefused is the error of a client whose server refused it; the error says
// why in the server's words.
var ErrRefused = errors.New("refused")

// helloTimeout bounds the greeting where the context does not.
const helloTimeout = 10 * time.Second

// indicationRoom is how many indications wait for the caller of a client.
const indicationRoom = 256

// Client is a connection to a server. Its methods may be called by any
// goroutine.
type Client struct {
	conn        net.Conn
	port        string
	indications chan Indication

	sending sync.Mutex // held while a message is written

	mu      sync.Mutex
	pending map[uint32]chan response
	last    uint32
	err     error // why the connection ended; set when pending is nil
}

// Connect greets a server over c, which it takes over: for the port of that
// name, "" where there is no choice; with watch, to get indications.
func Connect(ctx context.Context, c net.Conn, port string, watch bool) (*Client, error) {
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	_ = c.SetDeadline(time.Now().Add(helloTimeout))
	h := hello{version: Version, watch: watch, max: MaxMessage, port: port}
	answer, err := greet(c, &h)
	if err != nil {
		c.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("OID server: %w", err)
	}
	_ = c.SetDeadline(time.Time{})
	cl := &Client{
		conn: c, port: answer.port, indications: make(chan Indication, indicationRoom),
		pending: map[uint32]chan response{},
	}
	go cl.receive()
	return cl, nil
}

func greet(c net.Conn, h *hello) (answer hello, err error) {
	_, unsent := c.Write(h.encode())
	k, b, err := receive(c, func() {}) // a server without room refuses unheard
	switch {
	case err != nil:
		return answer, cmp.Or(unsent, err)
	case k == kindRefusal:
		return answer, fmt.Errorf("%w: %s", ErrRefused, printable(string(b)))
	case k != kindHello:
		return answer, malformed("%s, want a hello", k)
	}
	return decodeHello(b)
}

// Port returns the name of the port at the other end.
func (c *Client) Port() string { return c.port }

// Indications returns the channel of indications, which is closed when the
// connection ends. Those for which the channel has no room are lost.
func (c *Client) Indications() <-chan Indication { return c.indications }

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

// receive hands on what comes in until the connection ends.
func (c *Client) receive() {
	defer close(c.indications)
	var dropped uint32
	for {
		k, b, err := receive(c.conn, func() {})
		if err == nil {
			err = c.dispatch(k, b, &dropped)
		}
		if err != nil {
			c.conn.Close()
			c.mu.Lock()
			defer c.mu.Unlock()
			c.err = err
			for _, ch := range c.pending {
				close(ch)
			}
			c.pending = nil
			return
		}
	}
}

func (c *Client) dispatch(k kind, b []byte, dropped *uint32) error {
	switch k {
	case kindResponse:
		r, err := decodeResponse(b)
		if err != nil {
			return err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		ch, ok := c.pending[r.id]
		if !ok {
			return malformed("response to request %d, which was not made", r.id)
		}
		delete(c.pending, r.id)
		ch <- r
		return nil
	case kindIndication:
		i, err := decodeIndication(b)
		if err != nil {
			return err
		}
		i.Dropped += *dropped
		select {
		case c.indications <- i:
			*dropped = 0
		default:
			*dropped = i.Dropped + 1
		}
		return nil
	case kindRefusal:
		return fmt.Errorf("%w: %s", ErrRefused, printable(string(b)))
	}
	return malformed("%s, want a response or an indication", k)
}

// Do makes a request and waits for its completion. An error means that it is
// not known whether the request took effect; what NDIS has to say is in the
// response's status.
func (c *Client) Do(ctx context.Context, r adapter.Request) (adapter.Response, error) {
	if len(r.Input) > MaxInput {
		return adapter.Response{}, fmt.Errorf("information buffer of %d bytes, want at most %d", len(r.Input), MaxInput)
	}
	ch := make(chan response, 1)
	c.mu.Lock()
	if c.pending == nil {
		err := c.err
		c.mu.Unlock()
		return adapter.Response{}, fmt.Errorf("OID server: %w", err)
	}
	c.last++
	id := c.last
	c.pending[id] = ch
	c.mu.Unlock()
	if err := c.send(ctx, &request{id, r}); err != nil {
		return adapter.Response{}, fmt.Errorf("OID server: %w", err)
	}
	select {
	case answer, ok := <-ch:
		if !ok {
			c.mu.Lock()
			defer c.mu.Unlock()
			return adapter.Response{}, fmt.Errorf("OID server: %w", c.err)
		}
		return answer.Response, nil
	case <-ctx.Done():
		// The answer may come yet; the entry stays for it.
		return adapter.Response{}, ctx.Err()
	}
}

func (c *Client) send(ctx context.Context, r *request) error {
	c.sending.Lock()
	defer c.sending.Unlock()
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(helloTimeout)
	}
	_ = c.conn.SetWriteDeadline(deadline)
	_, err := c.conn.Write(r.encode())
	if err != nil {
		c.conn.Close() // what was written of the message is no message
	}
	return err
}

// Query asks for a structure.
func (c *Client) Query(ctx context.Context, oid ndis.OID, into ndis.Structure) error {
	resp, err := c.Do(ctx, adapter.Request{Type: adapter.Query, OID: oid, OutputLength: MaxOutput})
	if err := failure(oid, resp, err); err != nil {
		return err
	}
	return into.Decode(resp.Output)
}

// Set sets a structure.
func (c *Client) Set(ctx context.Context, oid ndis.OID, s ndis.Structure) error {
	return c.SetAs(ctx, adapter.UserMode, oid, s)
}

// SetAs sets a structure as the protocol driver binding.
func (c *Client) SetAs(ctx context.Context, binding uint32, oid ndis.OID, s ndis.Structure) error {
	resp, err := c.Do(ctx, adapter.Request{Type: adapter.Set, OID: oid, Binding: binding, Input: s.Encode()})
	return failure(oid, resp, err)
}

// StatusError is a request that completed without success.
type StatusError struct {
	OID    ndis.OID
	Status ndis.Status
	Detail string
}

// Error returns the object, the status and why.
func (e *StatusError) Error() string {
	if e.Detail == "" {
		return fmt.Sprintf("%s: %s", e.OID, e.Status)
	}
	return fmt.Sprintf("%s: %s: %s", e.OID, e.Status, printable(e.Detail))
}

func failure(oid ndis.OID, resp adapter.Response, err error) error {
	if err == nil && resp.Status != ndis.StatusSuccess {
		return &StatusError{oid, resp.Status, resp.Detail}
	}
	return err
}
