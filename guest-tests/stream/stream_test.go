package stream

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// start serves on a loopback address.
func start(t *testing.T, addr string) string {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- Serve(l.(*net.TCPListener)) }()
	t.Cleanup(func() {
		l.Close()
		if err := <-done; err != nil {
			t.Errorf("Serve() = %v", err)
		}
	})
	return l.Addr().String()
}

func TestSend(t *testing.T) {
	every := func(from, to int) (list []int) {
		for n := from; n <= to; n++ {
			list = append(list, n)
		}
		return list
	}
	tests := []struct {
		name      string
		job       Job
		bytes     int64
		datagrams int
	}{
		{"tcp", Job{Sizes: []int{1, 2, 3, 1447, 1448, 1449, 65535, 65536}, Bytes: 1 << 20}, 1083368, 0},
		{"tcp streams", Job{Seed: 7, Sizes: []int{100}, Bytes: 1000, Streams: 3}, 3000, 0},
		{"udp small", Job{UDP: true, Sizes: every(1, 300)}, 45150, 300},
		{"udp large", Job{UDP: true, Seed: 1 << 40, Sizes: []int{65507, 65506, 1473, 1472}}, 133958, 4},
		{"udp repeated", Job{UDP: true, Sizes: []int{1}, Bytes: 200, Streams: 2}, 400, 400},
		{"udp segments", Job{UDP: true, Sizes: []int{64000, 999, 1000, 1001}, Segment: 1000}, 67000, 64 + 1 + 1 + 2},
	}
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		to := start(t, addr)
		for _, tt := range tests {
			t.Run(addr+" "+tt.name, func(t *testing.T) {
				r, err := Send(t.Context(), to, tt.job)
				if err != nil {
					t.Fatal(err)
				}
				if r.Bytes != tt.bytes || r.Datagrams != tt.datagrams {
					t.Errorf("Send() = %d bytes, %d datagrams, want %d, %d", r.Bytes, r.Datagrams, tt.bytes, tt.datagrams)
				}
				if n := max(tt.job.Streams, 1); len(r.Sent) != n || strings.Join(r.Sent, " ") != strings.Join(r.Received, " ") {
					t.Errorf("hashes sent %q, received %q, want %d equal ones", r.Sent, r.Received, n)
				}
			})
		}
	}
}

// garble passes one TCP connection on to a server, changing a byte of the
// client's data behind the first line.
func garble(t *testing.T, to string, at int) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		in, err := l.Accept()
		if err != nil {
			return
		}
		defer in.Close()
		out, err := net.Dial("tcp", to)
		if err != nil {
			return
		}
		defer out.Close()
		go func() { _, _ = io.Copy(in, out) }()
		buf, line, n := make([]byte, 4096), true, 0
		for {
			k, err := in.Read(buf)
			if err != nil {
				return
			}
			data := buf[:k]
			if line {
				i := bytes.IndexByte(data, '\n')
				if i >= 0 {
					line, data = false, data[i+1:]
				}
			}
			if !line {
				if i := at - n; i >= 0 && i < len(data) {
					data[i] ^= 1
				}
				n += len(data)
			}
			if _, err := out.Write(buf[:k]); err != nil {
				return
			}
		}
	}()
	return l.Addr().String()
}

func TestChangedByte(t *testing.T) {
	to := garble(t, start(t, "127.0.0.1:0"), 70_000)
	_, err := Send(t.Context(), to, Job{Sizes: []int{500}, Bytes: 100_000})
	if err == nil || !strings.Contains(err.Error(), "differ: got") {
		t.Errorf("Send() with a changed byte = %v, want an error that says where", err)
	}
}

func TestIdentify(t *testing.T) {
	j := &Job{Seed: 3}
	rx := &receiver{past: make(map[[32]byte]bool)}
	want := [][]byte{datagram(j, 0, 0, 100), nil, datagram(j, 0, 2, 100)}
	third := bytes.Clone(want[2])
	if i, err := rx.identify(third, want); i != 2 || err != nil {
		t.Errorf("identify(the third) = %d, %v, want 2", i, err)
	}
	want[2] = nil
	if i, err := rx.identify(third, want); i != -1 || err != nil || rx.duplicates != 1 {
		t.Errorf("identify(the third again) = %d, %v, want -1, and one duplicate counted", i, err)
	}
	wrong := bytes.Clone(want[0])
	wrong[99] ^= 0x80
	if _, err := rx.identify(wrong, want); err == nil || !strings.Contains(err.Error(), "from 99 to 99 differ") {
		t.Errorf("identify(one with a bit changed) = %v, want an error", err)
	}
	if _, err := rx.identify(third[:99], want); err == nil || !strings.Contains(err.Error(), "was not sent") {
		t.Errorf("identify(one cut short) = %v, want an error", err)
	}
}

// Datagrams that do not arrive are sent again.
func TestLost(t *testing.T) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	out, err := net.DialUDP("udp", nil, conn.LocalAddr().(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	j := &Job{}
	rx := &receiver{conn: conn, past: make(map[[32]byte]bool), buf: make([]byte, 2000)}
	want, have := [][]byte{datagram(j, 0, 0, 10), datagram(j, 0, 1, 20), datagram(j, 0, 2, 30)}, make([][]byte, 3)
	for _, i := range []int{2, 0} {
		if _, err := out.Write(want[i]); err != nil {
			t.Fatal(err)
		}
	}
	missing, err := rx.collect(want, have)
	if err != nil || fmt.Sprint(missing) != "[1]" || have[0] == nil || have[1] != nil || have[2] == nil {
		t.Errorf("collect() without the second of three = %v, %v, want [1]", missing, err)
	}
}

func TestSource(t *testing.T) {
	whole, parts := make([]byte, 1000), make([]byte, 1000)
	newSource(1, 2).fill(whole)
	s := newSource(1, 2)
	for i, n := 0, 1; i < len(parts); n++ {
		k := min(n, len(parts)-i)
		s.fill(parts[i : i+k])
		i += k
	}
	if !bytes.Equal(whole, parts) {
		t.Error("the same source read in pieces differs")
	}
	newSource(1, 3).fill(parts)
	if bytes.Equal(whole, parts) {
		t.Error("another stream has the same data")
	}
}

func TestCheck(t *testing.T) {
	for _, j := range []Job{
		{},
		{Sizes: []int{0}},
		{Sizes: []int{maxSize + 1}},
		{Sizes: []int{1}, Segment: 1},
		{Sizes: []int{65}, Segment: 1, UDP: true},
		{Sizes: []int{1}, Streams: maxStreams + 1},
	} {
		if err := j.check(); err == nil {
			t.Errorf("check() of %+v = nil, want an error", j)
		}
	}
}

// A receiver that is told nonsense says so and goes on with others.
func TestServeNonsense(t *testing.T) {
	to := start(t, "127.0.0.1:0")
	for _, text := range []string{"nonsense\n", `{"job": {"sizes": [-1]}}` + "\n"} {
		c, err := net.Dial("tcp", to)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		var o outcome
		if err := json.NewDecoder(c).Decode(&o); err != nil || o.Error == "" {
			t.Errorf("answer to %q: %+v, %v, want an error", text, o, err)
		}
		c.Close()
	}
	if _, err := Send(context.Background(), to, Job{Sizes: []int{10}}); err != nil {
		t.Errorf("Send() after nonsense = %v", err)
	}
}

func TestFlood(t *testing.T) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const n = 30
	if err := Flood(conn.LocalAddr().String(), n); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2000)
	for i := range n {
		if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		got, err := conn.Read(buf)
		if want := floodSizes[i%len(floodSizes)]; err != nil || got != want {
			t.Fatalf("datagram %d of Flood(): %d bytes, %v, want %d", i, got, err, want)
		}
	}
	free := conn.LocalAddr().String()
	conn.Close()
	if err := Flood(free, n); err != nil {
		t.Errorf("Flood() where nobody listens = %v, want nil", err)
	}
}
