package frontendtest

import (
	"testing"
	"time"

	"vhost-user-nvgre/virtio"
)

// MustConnect is Connect for tests: an error is fatal, and the end of the test
// closes the Frontend.
func MustConnect(t testing.TB, c *Conn, o Options) *Frontend {
	t.Helper()
	f, err := Connect(c, o)
	if err != nil {
		t.Fatalf("front end: %v", err)
	}
	t.Cleanup(f.Close)
	return f
}

// MustDial is Dial for tests.
func MustDial(t testing.TB, path string) *Conn {
	t.Helper()
	c, err := Dial(path)
	if err != nil {
		t.Fatalf("front end: %v", err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// patience is how long the helpers wait for the device.
const patience = 10 * time.Second

// MustSend is TxQueue.Send for tests.
func (q *TxQueue) MustSend(t testing.TB, h virtio.NetHdr, frame []byte) {
	t.Helper()
	if err := q.Send(h, frame, patience); err != nil {
		t.Fatalf("send: %v", err)
	}
}

// MustRecv is RxQueue.Recv for tests.
func (q *RxQueue) MustRecv(t testing.TB) Frame {
	t.Helper()
	f, err := q.Recv(patience)
	if err != nil {
		t.Fatalf("receive: %v", err)
	}
	return f
}

// MustBeQuiet fails the test if a frame comes within d.
func (q *RxQueue) MustBeQuiet(t testing.TB, d time.Duration) {
	t.Helper()
	if f, err := q.Recv(d); err == nil {
		t.Fatalf("received %d bytes, want nothing: % x", len(f.Data), f.Data)
	}
}
