package control

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
)

func TestRoundTrip(t *testing.T) {
	path, d := start(t, defaultTiming, maxConnections)
	c := NewClient(path)
	ctx := context.Background()

	got, err := c.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if want := d.Status(); !reflect.DeepEqual(*got, want) {
		t.Errorf("Status:\n got %+v\nwant %+v", *got, want)
	}
	raw, err := c.StatusJSON(ctx)
	if err != nil || !json.Valid(raw) {
		t.Errorf("StatusJSON: %v, %s", err, raw)
	}

	if err := c.SetLink(ctx, "vm0", false); err != nil {
		t.Errorf("SetLink: %v", err)
	}
	err = c.SetLink(ctx, "a b/c?", true)
	if !errors.Is(err, ErrNoPort) || err.Error() != "port a b/c?: there is no such port" {
		t.Errorf("SetLink of a port that is not there: %v", err)
	}
	err = c.Announce(ctx, "vm0")
	if !errors.Is(err, ErrState) || err.Error() != "port vm0: the driver cannot: not possible now" {
		t.Errorf("Announce: %v", err)
	}
	want := []string{"link vm0 false", "link a b/c? true", "announce vm0"}
	if got := d.took(); !slices.Equal(got, want) {
		t.Errorf("the daemon saw %q, want %q", got, want)
	}
}

func TestClientWithoutDaemon(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing.sock")
	stale := filepath.Join(t.TempDir(), "stale.sock")
	l, err := Listen(stale, 0o600, -1)
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	for _, path := range []string{missing, stale} {
		_, err := NewClient(path).Status(context.Background())
		if !errors.Is(err, ErrNotRunning) || err.Error() != path+": no daemon is running there" {
			t.Errorf("Status: %v, want ErrNotRunning with the path", err)
		}
	}
}
