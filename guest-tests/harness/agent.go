package harness

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"

	"vhost-user-nvgre/guest-tests/agentproto"
)

// ErrRebooted is reported by what was under way in a guest when it restarted.
var ErrRebooted = errors.New("the guest restarted")

// agentClient is the host's end of the conversation with a guest's agent.
type agentClient struct {
	conn net.Conn

	sending chan struct{} // holds a token while a request is being written

	mu     sync.Mutex // guards what follows
	nextID uint64
	calls  map[uint64]*call
	boot   *agentproto.Boot // nil: not up
	boots  int              // how many Hellos came
	change chan struct{}    // closed and replaced when boot changes
	err    error            // why the conversation ended

	done chan struct{} // closed when the reader has ended
}

// call is a request that is being answered. Its events queue up without limit:
// the reader must not wait for whoever asked, and the guest sends no faster
// than a serial port.
type call struct {
	mu     sync.Mutex
	events []agentproto.Event
	err    error
	wake   chan struct{} // has room for one
}

func newAgentClient(conn net.Conn) *agentClient {
	a := &agentClient{
		conn:    conn,
		sending: make(chan struct{}, 1),
		calls:   make(map[uint64]*call),
		change:  make(chan struct{}),
		done:    make(chan struct{}),
	}
	go a.read()
	return a
}

// read hands events to the calls they belong to, until the connection ends.
func (a *agentClient) read() {
	defer close(a.done)
	in := bufio.NewScanner(a.conn)
	in.Buffer(nil, agentproto.MaxLine)
	for in.Scan() {
		// A line that is cut off or no event is from the time before the agent.
		var e agentproto.Event
		if json.Unmarshal(bytes.TrimSpace(in.Bytes()), &e) != nil {
			continue
		}
		if e.Kind == agentproto.Hello {
			a.hello(e.Boot)
			continue
		}
		a.mu.Lock()
		c := a.calls[e.ID]
		if e.Kind == agentproto.Done || e.Kind == agentproto.Error {
			delete(a.calls, e.ID)
		}
		a.mu.Unlock()
		if c != nil {
			c.push(e)
		}
	}
	err := in.Err()
	if err == nil {
		err = errors.New("QEMU closed it")
	}
	a.fail(fmt.Errorf("harness: the agent's channel ended: %w", err))
}

func (a *agentClient) hello(boot *agentproto.Boot) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.boot = boot
	a.boots++
	a.dropCallsLocked(ErrRebooted)
	close(a.change)
	a.change = make(chan struct{})
}

func (a *agentClient) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err == nil {
		a.err = err
	}
	a.boot = nil
	a.dropCallsLocked(a.err)
	close(a.change)
	a.change = make(chan struct{})
}

func (a *agentClient) dropCallsLocked(err error) {
	for _, c := range a.calls {
		c.abort(err)
	}
	clear(a.calls)
}

// close ends the conversation and returns when nothing of it runs any more.
func (a *agentClient) close() {
	a.conn.Close()
	<-a.done
}

// waitBoot returns how the guest came up for the n-th time.
func (a *agentClient) waitBoot(ctx context.Context, n int) (*agentproto.Boot, error) {
	for {
		a.mu.Lock()
		boot, boots, err, change := a.boot, a.boots, a.err, a.change
		a.mu.Unlock()
		if err != nil {
			return nil, err
		}
		if boots >= n {
			return boot, nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return nil, fmt.Errorf("harness: waiting for the guest's agent: %w", ctx.Err())
		}
	}
}

// ended tells whether the conversation is over.
func (a *agentClient) ended() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err != nil
}

func (a *agentClient) bootCount() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.boots
}

// begin sends a request. The events of the call end with Done or Error.
func (a *agentClient) begin(ctx context.Context, r agentproto.Request) (id uint64, c *call, err error) {
	a.mu.Lock()
	if a.err != nil {
		err = a.err
		a.mu.Unlock()
		return 0, nil, err
	}
	a.nextID++
	r.ID = a.nextID
	c = &call{wake: make(chan struct{}, 1)}
	a.calls[r.ID] = c
	a.mu.Unlock()
	if err := a.send(ctx, r); err != nil {
		a.mu.Lock()
		delete(a.calls, r.ID)
		a.mu.Unlock()
		return 0, nil, err
	}
	return r.ID, c, nil
}

// send writes a request. QEMU takes no more than the guest does, so this can
// block while a guest is stopped; a request cut off garbles the channel, so
// then it is given up.
func (a *agentClient) send(ctx context.Context, r agentproto.Request) error {
	line, err := agentproto.Encode(r)
	if err != nil {
		return fmt.Errorf("harness: %w", err)
	}
	select {
	case a.sending <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("harness: sending to the agent: %w", ctx.Err())
	}
	defer func() { <-a.sending }()
	stop := context.AfterFunc(ctx, func() { a.conn.Close() })
	defer stop()
	if _, err := a.conn.Write(line); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return fmt.Errorf("harness: sending to the agent: %w", err)
	}
	return nil
}

// ask sends a request and waits for its end. each, if not nil, sees the events
// before that.
func (a *agentClient) ask(ctx context.Context, r agentproto.Request, each func(agentproto.Event)) (agentproto.Event, error) {
	id, c, err := a.begin(ctx, r)
	if err != nil {
		return agentproto.Event{}, err
	}
	for {
		e, err := c.next(ctx)
		if err != nil {
			a.mu.Lock()
			delete(a.calls, id)
			a.mu.Unlock()
			return e, fmt.Errorf("harness: asking the guest to %s: %w", r.Op, err)
		}
		if e.Kind == agentproto.Done {
			return e, nil
		}
		if each != nil {
			each(e)
		}
	}
}

func (c *call) push(e agentproto.Event) {
	c.mu.Lock()
	c.events = append(c.events, e)
	c.mu.Unlock()
	c.signal()
}

func (c *call) abort(err error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = err
	}
	c.mu.Unlock()
	c.signal()
}

func (c *call) signal() {
	select {
	case c.wake <- struct{}{}:
	default: // It is awake already.
	}
}

// next returns the next event. An Error event, the end of the conversation and
// the end of ctx are errors. One goroutine at a time may call it.
func (c *call) next(ctx context.Context) (agentproto.Event, error) {
	for {
		c.mu.Lock()
		if len(c.events) > 0 {
			e := c.events[0]
			c.events = c.events[1:]
			c.mu.Unlock()
			if e.Kind == agentproto.Error {
				return e, errors.New(e.Message)
			}
			return e, nil
		}
		err := c.err
		c.mu.Unlock()
		if err != nil {
			return agentproto.Event{}, err
		}
		select {
		case <-c.wake:
		case <-ctx.Done():
			return agentproto.Event{}, ctx.Err()
		}
	}
}
