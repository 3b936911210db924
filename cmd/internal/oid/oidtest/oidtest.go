// Package oidtest serves adapters for tests of clients.
package oidtest

import (
	"context"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"vhost-user-nvgre/cmd/internal/oid"
	"vhost-user-nvgre/offload/ndis/adapter"
	"vhost-user-nvgre/offload/ndis/adapter/adaptertest"
	"vhost-user-nvgre/virtio"
)

type quiet struct{}

func (quiet) Debugf(string, ...any) {}

// Serve serves an adapter that is made as by adaptertest.New, as port vm0,
// until the test ends. It returns the adapter and the path of the socket.
// Requests go to what wrap makes of the adapter; nil: to the adapter.
func Serve(t testing.TB, driver virtio.Features, cfg adapter.Config, wrap func(*adapter.Adapter) oid.Handler) (*adapter.Adapter, string) {
	t.Helper()
	a, indicate := adaptertest.New(t, driver, cfg)
	var h oid.Handler = a
	if wrap != nil {
		h = wrap(a)
	}
	hub := oid.NewHub("vm0", h)
	indicate(hub.Indicate)
	file := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", file)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := oid.Serve(ctx, l, oid.Only(hub), quiet{}); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); serving.Wait() })
	return a, file
}
