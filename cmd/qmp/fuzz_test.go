package qmp

import (
	"net"
	"testing"
)

// Nothing a server says may panic or hang the client.
func FuzzServer(f *testing.F) {
	f.Add([]byte(greeting + "\n{\"return\": {}, \"id\": 1}\n"))
	f.Add([]byte(greeting + "\n{\"event\": \"STOP\", \"timestamp\": {\"seconds\": 1, \"microseconds\": 2}}\n{\"error\": {}, \"id\": 1}\n"))
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, said []byte) {
		a, b := net.Pipe()
		go func() {
			_, _ = a.Write(said) // Cut off when the client has enough.
			a.Close()
		}()
		c := New(b, Options{MaxLine: 1 << 16})
		if c.ConnectContext(testContext(t)) == nil {
			_ = c.Execute(testContext(t), "stop", nil, nil) // Either outcome is fine.
		}
		_ = c.Disconnect()
	})
}
