package wiretest

import (
	"testing"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/queues"
	"vhost-user-nvgre/virtio/vring"
)

// RawSocket returns a packet socket that sends what is written to it out of an
// interface.
func (n *Namespace) RawSocket(t testing.TB, name string) int {
	t.Helper()
	index := n.Link(t, name).Index
	fd := -1
	n.Must(t, func() (err error) {
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: index})
	})
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// NoAllocations fails when frames allocate memory on their way through the
// pair's rings: frames sent by raw that come in, and the same that go out.
func NoAllocations(t *testing.T, p queues.WirePair, raw int, frame []byte) {
	t.Helper()
	var b vring.Batch
	used := make([]vring.Used, 0, 64)
	in := func() {
		if _, err := unix.Write(raw, frame); err != nil {
			t.Fatal(err)
		}
		for n := 0; n == 0; {
			b.Reset()
			var err error
			if n, err = p.In.Take(&b, 64); err != nil {
				t.Fatal(err)
			}
		}
		used = used[:0]
		for _, c := range b.Chains {
			used = append(used, c.Used(0))
		}
		p.In.Complete(used)
		p.In.Arm()
	}
	out := func() {
		b.Reset()
		if n, err := p.Out.Take(&b, 64); err != nil || n == 0 {
			t.Fatalf("Take = %d, %v; want buffers", n, err)
		}
		used = used[:0]
		for _, c := range b.Chains {
			copy(b.Writable(c)[0][12:], frame)
			used = append(used, c.Used(uint32(12+len(frame))))
		}
		p.Out.Complete(used)
	}
	for what, f := range map[string]func(){"in": in, "out": out} {
		f()
		if n := testing.AllocsPerRun(200, f); n != 0 {
			t.Errorf("%s: %v allocations, want none", what, n)
		}
	}
}
