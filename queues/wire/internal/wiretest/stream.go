package wiretest

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Patience is how long tests wait for what must come.
const Patience = 20 * time.Second

// Eventually waits until done reports true.
func Eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(Patience); !done(); time.Sleep(200 * time.Microsecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", Patience, what)
		}
	}
}

// Bytes returns n bytes that look random and are the same for the same seed.
func Bytes(n int, seed uint64) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b)
	return b
}

// Listen returns a TCP listener in the namespace.
func (n *Namespace) Listen(t testing.TB, ip string) *net.TCPListener {
	t.Helper()
	var l net.Listener
	n.Must(t, func() (err error) {
		l, err = net.Listen("tcp", net.JoinHostPort(ip, "0"))
		return err
	})
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

// Stream sends size bytes each way between two namespaces over one TCP
// connection to the address ip of the second, and compares them.
func Stream(t testing.TB, from, to *Namespace, ip string, size int, seed uint64) {
	t.Helper()
	l := to.Listen(t, ip)
	defer l.Close()
	results, done := make(chan error, 4), make(chan struct{})
	defer close(done)
	swap := func(c net.Conn, mine, theirs []byte) {
		_ = c.SetDeadline(time.Now().Add(Patience))
		go func() {
			_, err := c.Write(mine)
			results <- err
		}()
		go func() {
			got := make([]byte, len(theirs))
			n, err := io.ReadFull(c, got)
			if err == nil && !bytes.Equal(got, theirs) {
				err = fmt.Errorf("%d bytes came, but not those that were sent", n)
			}
			results <- err
		}()
	}
	there, back := Bytes(size, seed), Bytes(size, seed+1)
	go func() {
		_ = l.SetDeadline(time.Now().Add(Patience))
		c, err := l.Accept()
		if err != nil {
			results <- err
			results <- err
			return
		}
		swap(c, back, there)
		<-done
		c.Close()
	}()
	var c net.Conn
	from.Must(t, func() (err error) {
		c, err = net.DialTimeout("tcp", l.Addr().String(), Patience)
		return err
	})
	defer c.Close()
	swap(c, there, back)
	for range 4 {
		if err := <-results; err != nil {
			t.Fatalf("stream of %d bytes to %s: %v", size, ip, err)
		}
	}
}

// UDP returns a UDP socket in the namespace; with segment it sends what is
// longer in pieces of that many bytes.
func (n *Namespace) UDP(t testing.TB, ip string, segment int) *net.UDPConn {
	t.Helper()
	var c *net.UDPConn
	n.Must(t, func() (err error) {
		c, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(ip)})
		return err
	})
	t.Cleanup(func() { c.Close() })
	_ = c.SetReadBuffer(4 << 20)
	if segment > 0 {
		raw, err := c.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		err = raw.Control(func(fd uintptr) {
			err := unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, segment)
			if err != nil {
				t.Errorf("UDP_SEGMENT: %v", err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// Datagrams sends b in datagrams of size bytes from one socket to the other
// and compares what comes.
func Datagrams(t testing.TB, from, to *net.UDPConn, b []byte, size int) {
	t.Helper()
	_ = from.SetDeadline(time.Now().Add(Patience))
	_ = to.SetDeadline(time.Now().Add(Patience))
	if _, err := from.WriteTo(b, to.LocalAddr()); err != nil {
		t.Fatalf("send %d bytes as datagrams of %d: %v", len(b), size, err)
	}
	CompareDatagrams(t, to, b, size)
}

// CompareDatagrams receives b in datagrams of size bytes.
func CompareDatagrams(t testing.TB, to *net.UDPConn, b []byte, size int) {
	t.Helper()
	_ = to.SetReadDeadline(time.Now().Add(Patience))
	buf := make([]byte, 65536)
	for i := 0; len(b) > 0; i++ {
		want := b[:min(size, len(b))]
		n, _, err := to.ReadFrom(buf)
		if err != nil || !bytes.Equal(buf[:n], want) {
			t.Fatalf("datagram %d: %d bytes, %v; want those %d that were sent", i, n, err, len(want))
		}
		b = b[len(want):]
	}
}
