package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"time"
)

// Daemon is what the socket controls. Its methods are called concurrently and
// do not block.
type Daemon interface {
	Status() Status
	// SetLink sets the link of a port up or down.
	SetLink(port string, up bool) error
	// Announce asks the driver of a port to announce its addresses.
	Announce(port string) error
}

// Errors of a Daemon that clients are to tell apart. They may be wrapped.
var (
	ErrNoPort = errors.New("there is no such port") // 404
	ErrState  = errors.New("not possible now")      // 409
)

// Logger is what the server logs to; logrus loggers satisfy it.
type Logger interface {
	Debugf(format string, args ...any)
	Infof(format string, args ...any)
	Warnf(format string, args ...any)
}

// Bounds on what a client can take up.
const (
	maxConnections = 64
	maxHeader      = 16 << 10
	maxBody        = 64 << 10
)

// timing bounds the time of a client; tests shorten it.
type timing struct {
	header time.Duration // to send a request's header
	read   time.Duration // to send a request
	write  time.Duration // to take the answer, from the end of the header on
	idle   time.Duration // between two requests
	drain  time.Duration // to finish at shutdown
}

var defaultTiming = timing{
	header: 5 * time.Second, read: 10 * time.Second, write: 10 * time.Second,
	idle: 30 * time.Second, drain: 2 * time.Second,
}

// Serve answers requests that come in on l until ctx is done, and closes l.
// Requests under way at that moment get a little time to finish.
func Serve(ctx context.Context, l *net.UnixListener, d Daemon, lg Logger) error {
	return serve(ctx, l, d, lg, defaultTiming, maxConnections)
}

func serve(ctx context.Context, l *net.UnixListener, d Daemon, lg Logger, t timing, connections int) error {
	s := &http.Server{
		Handler:           handler{d, lg}.routes(),
		ReadHeaderTimeout: t.header,
		ReadTimeout:       t.read,
		WriteTimeout:      t.write,
		IdleTimeout:       t.idle,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          log.New(debugWriter{lg}, "", 0),
		ConnContext:       withPeer,
	}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.drain)
		defer cancel()
		if s.Shutdown(drain) != nil {
			_ = s.Close()
		}
	})
	err := s.Serve(limit(l, connections))
	if stop() { // not the end of ctx: accepting failed
		_ = s.Close()
		return fmt.Errorf("control socket: %w", err)
	}
	<-done
	return nil
}

// debugWriter passes net/http's own complaints on.
type debugWriter struct{ log Logger }

func (w debugWriter) Write(b []byte) (int, error) {
	w.log.Debugf("control socket: %s", strings.TrimSpace(string(b)))
	return len(b), nil
}

// handler answers requests.
type handler struct {
	daemon Daemon
	log    Logger
}

// routes lists what there is. A longer-lived exchange would be one more path
// whose handler hijacks the connection.
func (h handler) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/v1/status", only(http.MethodGet, h.status))
	mux.Handle("/v1/ports/{name}/link", only(http.MethodPost, h.link))
	mux.Handle("/v1/ports/{name}/announce", only(http.MethodPost, h.announce))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		reply(w, http.StatusNotFound, errorReply{fmt.Sprintf("there is nothing at %s", r.URL.Path)})
	})
	return mux
}

// only answers requests of another method as HTTP wants it.
func only(method string, next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method {
			w.Header().Set("Allow", method)
			reply(w, http.StatusMethodNotAllowed, errorReply{fmt.Sprintf("%s does not take %s, want %s", r.URL.Path, r.Method, method)})
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next(w, r)
	})
}

func (h handler) status(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, h.daemon.Status())
}

func (h handler) link(w http.ResponseWriter, r *http.Request) {
	var body linkRequest
	err := decode(r.Body, &body)
	if err == nil && body.Up == nil {
		err = errors.New(`the body lacks "up"; want {"up": true} or {"up": false}`)
	}
	if err != nil {
		replyError(w, err)
		return
	}
	h.act(w, r, fmt.Sprintf("link up=%v", *body.Up), h.daemon.SetLink(r.PathValue("name"), *body.Up))
}

func (h handler) announce(w http.ResponseWriter, r *http.Request) {
	var body struct{}
	if err := decode(r.Body, &body); err != nil && !errors.Is(err, io.EOF) {
		replyError(w, err)
		return
	}
	h.act(w, r, "announce", h.daemon.Announce(r.PathValue("name")))
}

// act ends a request that changed something, or failed to.
func (h handler) act(w http.ResponseWriter, r *http.Request, what string, err error) {
	if err != nil {
		replyError(w, err)
		return
	}
	h.log.Infof("port %s: %s, asked for by %s", r.PathValue("name"), what, peer(r.Context()))
	reply(w, http.StatusOK, struct{}{})
}

// decode reads one JSON document that has only what v has. No document at all
// is io.EOF.
func decode(r io.Reader, v any) error {
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("there is something behind the JSON document")
	}
	return nil
}

func reply(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	// An error here is the client's leaving.
	_ = e.Encode(body)
}

func replyError(w http.ResponseWriter, err error) {
	code := http.StatusBadRequest
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &tooLong):
		code, err = http.StatusRequestEntityTooLarge, fmt.Errorf("the body is longer than %d bytes", tooLong.Limit)
	case errors.Is(err, ErrNoPort):
		code = http.StatusNotFound
	case errors.Is(err, ErrState):
		code = http.StatusConflict
	case errors.Is(err, io.EOF):
		err = errors.New("the body is empty, want a JSON document")
	}
	reply(w, code, errorReply{err.Error()})
}
