package oid

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"vhost-user-nvgre/offload/ndis"
	"vhost-user-nvgre/offload/ndis/adapter"
)

// Handler carries out requests; an *adapter.Adapter is one.
type Handler interface {
	Handle(adapter.Request) adapter.Response
}

// Hub is a port as clients reach it: it hands requests on, and indications to
// all who listen. Its methods may be called by any goroutine.
type Hub struct {
	name    string
	handler Handler

	// using is held, for reading, while handler has a request.
	using sync.RWMutex
	ended context.Context // until Close
	end   context.CancelFunc

	mu        sync.Mutex
	listeners map[*listener]struct{}
	conns     int
	dropped   atomic.Uint64
}

// NewHub returns the hub of a port.
func NewHub(name string, h Handler) *Hub {
	hub := &Hub{name: name, handler: h, listeners: map[*listener]struct{}{}}
	hub.ended, hub.end = context.WithCancel(context.Background())
	return hub
}

// Close ends the port for its clients, who are told: a port of the same name
// may come that is not theirs. When it returns, no request is under way, and
// none reaches the Handler any more. It waits for no client.
func (h *Hub) Close() {
	h.using.Lock()
	defer h.using.Unlock()
	h.end()
}

// gone returns an error after Close.
func (h *Hub) gone() error {
	if h.ended.Err() == nil {
		return nil
	}
	return fmt.Errorf("port %s %w", h.name, errRemoved)
}

// handle has a request carried out, unless the port is gone.
func (h *Hub) handle(r adapter.Request) (adapter.Response, error) {
	h.using.RLock()
	defer h.using.RUnlock()
	if err := h.gone(); err != nil {
		return adapter.Response{}, err
	}
	return h.handler.Handle(r), nil
}

// listener takes indications for one connection.
type listener struct {
	out     chan<- []byte
	dropped uint32 // since the last that was taken; guarded by Hub.mu
}

// Indicate tells those who listen. It never blocks: what a listener has no
// room for is dropped and counted. body is kept.
func (h *Hub) Indicate(status ndis.Status, body []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for l := range h.listeners {
		i := Indication{status, l.dropped, body}
		select {
		case l.out <- i.encode():
			l.dropped = 0
		default:
			l.dropped++
			h.dropped.Add(1)
		}
	}
}

// Dropped returns how many indications were dropped.
func (h *Hub) Dropped() uint64 { return h.dropped.Load() }

func (h *Hub) listen(l *listener) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.listeners[l] = struct{}{}
}

func (h *Hub) unlisten(l *listener) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.listeners, l)
}

// enter and leave count the connections to a port; enter reports false where
// there are too many.
func (h *Hub) enter(most int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conns >= most {
		return false
	}
	h.conns++
	return true
}

func (h *Hub) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conns--
}
