package stream

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Datagrams are sent in windows. Before each, the sender says which come; the
// receiver answers when all have come, or for some time none, which are
// missing, and those are sent again. So nothing is lost for want of room, and
// what the receiver gets can be told from what it should get by size and
// contents alone: a datagram of one byte has no room for a number.
const (
	windowBytes     = 128 << 10
	windowDatagrams = 64
	windowAttempts  = 20
	// quiet is how long the receiver waits for a datagram that is missing.
	quiet = 300 * time.Millisecond
	// receiveBuffer holds a window of full-size datagrams in fragments.
	receiveBuffer = 4 << 20
)

// window is what the sender announces.
type window struct {
	First int   `json:"first"` // number of the first datagram
	Sizes []int `json:"sizes"` // of each datagram; none in the last message
	// Again names those sent again, counted from First; empty means all.
	Again []int `json:"again,omitempty"`
}

// ready is what the receiver answers to a job, and to a window when it can be
// sent, and after it.
type ready struct {
	outcome
	Port    int   `json:"port,omitempty"`    // to send datagrams to
	Missing []int `json:"missing,omitempty"` // counted from the window's first
}

// datagram makes the contents of datagram number i of a stream.
func datagram(j *Job, stream uint64, i, n int) []byte {
	b := make([]byte, n)
	newSource(j.Seed+uint64(i)<<32, stream).fill(b)
	return b
}

// batch is what is written in a window: one write after the other, each of one
// or, with Segment, several datagrams.
type batch struct {
	sizes  []int // of datagrams
	writes []int // datagrams of each write
}

// batches cuts a job into windows.
func (j *Job) batches(each func(b batch) error) error {
	var b batch
	total := 0
	err := j.writes(func(n int) error {
		sizes := []int{n}
		if j.Segment > 0 {
			sizes = sizes[:0]
			for left := n; left > 0; left -= j.Segment {
				sizes = append(sizes, min(left, j.Segment))
			}
		}
		if len(b.sizes) > 0 && (total+n > windowBytes || len(b.sizes)+len(sizes) > windowDatagrams) {
			if err := each(b); err != nil {
				return err
			}
			b, total = batch{}, 0
		}
		b.sizes, b.writes = append(b.sizes, sizes...), append(b.writes, len(sizes))
		total += n
		return nil
	})
	if err != nil {
		return err
	}
	return each(b)
}

// sendUDP sends all datagrams of a stream.
func sendUDP(p *peer, j *Job, stream uint64, r *Report) (hash string, err error) {
	var to ready
	if err := p.ask(nil, &to); err != nil {
		return "", err
	}
	host := p.RemoteAddr().(*net.TCPAddr)
	conn, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: host.IP, Zone: host.Zone, Port: to.Port})
	if err != nil {
		return "", fmt.Errorf("stream: %w", err)
	}
	defer conn.Close()
	sum := sha256.New()
	next := 0
	err = j.batches(func(b batch) error {
		var data [][]byte
		for i, n := range b.sizes {
			data = append(data, datagram(j, stream, next+i, n))
			sum.Write(data[i])
		}
		if err := sendWindow(p, conn, j, b, next, data, r); err != nil {
			return err
		}
		next += len(data)
		return nil
	})
	if err != nil {
		return "", err
	}
	r.Datagrams += next
	return hex.EncodeToString(sum.Sum(nil)), p.say(window{})
}

// sendWindow sends a window until all of it has arrived.
func sendWindow(p *peer, conn *net.UDPConn, j *Job, b batch, first int, data [][]byte, r *Report) error {
	w := window{First: first, Sizes: b.sizes}
	for range windowAttempts {
		var answer ready
		if err := p.ask(w, &answer); err != nil {
			return err
		}
		if len(w.Again) == 0 {
			at := 0
			for _, n := range b.writes {
				if err := writeSegments(conn, bytes.Join(data[at:at+n], nil), j.Segment); err != nil {
					return err
				}
				at += n
			}
		} else {
			for _, i := range w.Again {
				if err := writeSegments(conn, data[i], 0); err != nil {
					return err
				}
			}
		}
		if err := p.ask(nil, &answer); err != nil {
			return err
		}
		if len(answer.Missing) == 0 {
			return nil
		}
		r.Lost += len(answer.Missing)
		w.Again = answer.Missing
	}
	return fmt.Errorf("stream: datagrams %v of those from %d on did not arrive in %d attempts", w.Again, first, windowAttempts)
}

// ask says v, if it is not nil, and hears the answer.
func (p *peer) ask(v any, answer *ready) error {
	if v != nil {
		if err := p.say(v); err != nil {
			return err
		}
	}
	*answer = ready{}
	if err := p.hear(answer); err != nil {
		return err
	}
	if answer.Error != "" {
		return fmt.Errorf("stream: the receiver: %s", answer.Error)
	}
	return nil
}

// writeSegments writes b as one datagram, or as several of a size that kernel
// or NIC cut (UDP_SEGMENT).
func writeSegments(conn *net.UDPConn, b []byte, segment int) error {
	err := setOption(conn, unix.SOL_UDP, unix.UDP_SEGMENT, segment)
	if err == nil {
		_, err = conn.Write(b)
	}
	if err != nil {
		return fmt.Errorf("stream: writing %d bytes in segments of %d: %w", len(b), segment, err)
	}
	return nil
}

// setOption sets a socket option.
func setOption(conn *net.UDPConn, level, option, value int) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	err = raw.Control(func(fd uintptr) { result = unix.SetsockoptInt(int(fd), level, option, value) })
	return errors.Join(err, result)
}

// receiveUDP takes in all datagrams of a stream.
func receiveUDP(p *peer, j *Job, stream uint64, o *outcome) (hash string, err error) {
	local := p.LocalAddr().(*net.TCPAddr)
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: local.IP, Zone: local.Zone})
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := enlarge(conn); err != nil {
		return "", err
	}
	if err := p.say(ready{Port: conn.LocalAddr().(*net.UDPAddr).Port}); err != nil {
		return "", err
	}
	rx := &receiver{conn: conn, past: make(map[[sha256.Size]byte]bool), buf: make([]byte, 128<<10)}
	sum := sha256.New()
	var have [][]byte // of the current window, nil for what is missing
	first := -1
	for {
		var w window
		if err := p.hear(&w); err != nil {
			return "", err
		}
		if w.First != first {
			for _, b := range have {
				sum.Write(b)
			}
			have, first = make([][]byte, len(w.Sizes)), w.First
		}
		if len(w.Sizes) == 0 {
			for _, b := range have {
				sum.Write(b)
			}
			o.Duplicates = rx.duplicates
			return hex.EncodeToString(sum.Sum(nil)), nil
		}
		want := make([][]byte, len(w.Sizes))
		for i, n := range w.Sizes {
			if have[i] == nil {
				want[i] = datagram(j, stream, w.First+i, n)
			}
		}
		if err := p.say(ready{}); err != nil {
			return "", err
		}
		missing, err := rx.collect(want, have)
		if err != nil {
			return "", err
		}
		if err := p.say(ready{Missing: missing}); err != nil {
			return "", err
		}
	}
}

// receiver takes datagrams in and tells what they are.
type receiver struct {
	conn       *net.UDPConn
	past       map[[sha256.Size]byte]bool // all that have arrived, to know duplicates
	duplicates int
	buf        []byte
}

// collect waits for the datagrams in want that are not nil, puts what arrived
// into have, and returns which are missing.
func (rx *receiver) collect(want, have [][]byte) (missing []int, err error) {
	open := 0
	for _, b := range want {
		if b != nil {
			open++
		}
	}
	for open > 0 {
		if err := rx.conn.SetReadDeadline(time.Now().Add(quiet)); err != nil {
			return nil, err
		}
		n, err := rx.conn.Read(rx.buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			return nil, err
		}
		i, err := rx.identify(rx.buf[:n], want)
		if err != nil {
			return nil, err
		}
		if i >= 0 {
			have[i], want[i] = want[i], nil
			open--
		}
	}
	for i, b := range want {
		if b != nil {
			missing = append(missing, i)
		}
	}
	return missing, nil
}

// identify returns which of those wanted a datagram is, -1 for one that came
// before. One that was never sent is an error.
func (rx *receiver) identify(got []byte, want [][]byte) (int, error) {
	sameSize := -1
	for i, b := range want {
		if b == nil || len(b) != len(got) {
			continue
		}
		if bytes.Equal(b, got) {
			rx.past[sha256.Sum256(got)] = true
			return i, nil
		}
		sameSize = i
	}
	if rx.past[sha256.Sum256(got)] {
		rx.duplicates++
		return -1, nil
	}
	if sameSize < 0 {
		return 0, fmt.Errorf("a datagram of %d bytes came that was not sent: % .32x", len(got), got)
	}
	return 0, fmt.Errorf("datagram: %s", difference(got, want[sameSize]))
}

// enlarge makes room for a window in the socket's buffer, more than the system
// allows by default if the process may.
func enlarge(conn *net.UDPConn) error {
	if setOption(conn, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) == nil {
		return nil
	}
	return setOption(conn, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
}
