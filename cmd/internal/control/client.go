package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNotRunning says that no daemon listens at the socket.
var ErrNotRunning = errors.New("no daemon is running there")

// requestTimeout bounds an exchange with the daemon.
const requestTimeout = 10 * time.Second

// maxAnswer bounds what a client reads.
const maxAnswer = 256 << 20

// Client talks to a daemon. Any number of goroutines may use it.
type Client struct {
	path string
	http http.Client
}

// NewClient returns a client of the daemon with the control socket at path.
func NewClient(path string) *Client {
	var d net.Dialer
	return &Client{path: path, http: http.Client{
		Timeout: requestTimeout,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return d.DialContext(ctx, "unix", path)
			},
		},
	}}
}

// Path returns the path of the control socket.
func (c *Client) Path() string { return c.path }

// Status returns the daemon's status.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	raw, err := c.StatusJSON(ctx)
	if err != nil {
		return nil, err
	}
	var s Status
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, fmt.Errorf("the daemon's answer: %w", err)
	}
	return &s, nil
}

// StatusJSON returns the status as the daemon sent it, with what a newer
// daemon may have added.
func (c *Client) StatusJSON(ctx context.Context) ([]byte, error) {
	return c.exchange(ctx, http.MethodGet, "/v1/status", nil)
}

// SetLink sets the link of a port up or down.
func (c *Client) SetLink(ctx context.Context, port string, up bool) error {
	_, err := c.exchange(ctx, http.MethodPost, "/v1/ports/"+url.PathEscape(port)+"/link", linkRequest{&up})
	return err
}

// Announce asks the driver of a port to announce its addresses.
func (c *Client) Announce(ctx context.Context, port string) error {
	_, err := c.exchange(ctx, http.MethodPost, "/v1/ports/"+url.PathEscape(port)+"/announce", struct{}{})
	return err
}

// exchange makes one request and returns the body of a successful answer.
func (c *Client) exchange(ctx context.Context, method, path string, body any) ([]byte, error) {
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://localhost"+path, content)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		return nil, fmt.Errorf("%s: %w", c.path, ErrNotRunning)
	case err != nil:
		// Without the URL, which is made up.
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err
		}
		return nil, fmt.Errorf("control socket: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		return answer, nil
	}
	var e errorReply
	if json.Unmarshal(answer, &e) != nil || e.Error == "" {
		return nil, fmt.Errorf("the daemon answered %s", resp.Status)
	}
	switch resp.StatusCode {
	case http.StatusNotFound:
		return nil, &refused{e.Error, ErrNoPort}
	case http.StatusConflict:
		return nil, &refused{e.Error, ErrState}
	}
	return nil, errors.New(e.Error)
}

// refused is an error the daemon reported, in its words.
type refused struct {
	text string
	is   error
}

func (r *refused) Error() string { return r.text }
func (r *refused) Unwrap() error { return r.is }
