package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Serve receives what clients send to l until it is closed.
func Serve(l *net.TCPListener) error {
	for {
		c, err := l.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("stream: %w", err)
		}
		go serve(newPeer(c))
	}
}

// serve receives one stream. What goes wrong the client is told.
func serve(p *peer) {
	defer p.Close()
	var o outcome
	err := receive(p, &o)
	if err != nil {
		o = outcome{Error: err.Error()}
	}
	// The client is told of a broken connection by the connection. Closing one
	// with data unread would reset it and take the answer along.
	if p.say(o) == nil && p.CloseWrite() == nil {
		_, _ = io.Copy(io.Discard, p.in)
	}
}

func receive(p *peer, o *outcome) (err error) {
	var h hello
	if err := p.hear(&h); err != nil {
		return err
	}
	if err := h.Job.check(); err != nil {
		return err
	}
	if err := p.SetDeadline(time.Now().Add(h.Job.timeout())); err != nil {
		return err
	}
	if h.Job.UDP {
		o.Received, err = receiveUDP(p, &h.Job, uint64(h.Stream), o)
	} else {
		o.Received, err = receiveTCP(p, &h.Job, uint64(h.Stream))
	}
	return err
}

// Send sends what j describes to a Serve at address to, and returns when all of
// it has arrived as it was sent.
func Send(ctx context.Context, to string, j Job) (*Report, error) {
	if err := j.check(); err != nil {
		return nil, err
	}
	n := max(j.Streams, 1)
	reports, errs := make([]Report, n), make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if err := send(ctx, to, &j, i, &reports[i]); err != nil {
				errs[i] = fmt.Errorf("stream %d of %d: %w", i, n, err)
			}
		})
	}
	wg.Wait()
	var sum Report
	for _, r := range reports {
		sum.Bytes += r.Bytes
		sum.Datagrams += r.Datagrams
		sum.Lost += r.Lost
		sum.Duplicates += r.Duplicates
		sum.Sent, sum.Received = append(sum.Sent, r.Sent...), append(sum.Received, r.Received...)
	}
	return &sum, errors.Join(errs...)
}

func send(ctx context.Context, to string, j *Job, stream int, r *Report) error {
	ctx, cancel := context.WithTimeout(ctx, j.timeout())
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", to)
	if err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	p := newPeer(c.(*net.TCPConn))
	defer p.Close()
	end, _ := ctx.Deadline() // There is one.
	if err := p.SetDeadline(end); err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	if err := p.say(hello{Job: *j, Stream: stream}); err != nil {
		return err
	}
	var sent string
	if j.UDP {
		sent, err = sendUDP(p, j, uint64(stream), r)
	} else {
		sent, err = sendTCP(p, j, uint64(stream))
	}
	if err != nil {
		return err
	}
	var o outcome
	if err := p.hear(&o); err != nil {
		return err
	}
	if o.Error != "" {
		return fmt.Errorf("stream: the receiver: %s", o.Error)
	}
	r.Bytes, r.Duplicates = j.total(), o.Duplicates
	r.Sent, r.Received = []string{sent}, []string{o.Received}
	if sent != o.Received {
		return fmt.Errorf("stream: hash of what was sent %s, of what was received %s", sent, o.Received)
	}
	return nil
}
