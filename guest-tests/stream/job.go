package stream

import (
	"errors"
	"fmt"
	"time"
)

// Job says what to send.
type Job struct {
	// Seed of the data. Parallel streams count up from it.
	Seed uint64 `json:"seed"`
	// UDP sends datagrams instead of a TCP stream.
	UDP bool `json:"udp,omitempty"`
	// Sizes are how many bytes are written at a time, in turn. For UDP each is
	// a datagram, for TCP a segment if the kernel does not join or split them:
	// nothing is held back to be sent together (TCP_NODELAY).
	Sizes []int `json:"sizes"`
	// Bytes to send at least; Sizes are gone through once in any case.
	Bytes int64 `json:"bytes,omitempty"`
	// Segment, for UDP, lets the kernel or the NIC cut what is written into
	// datagrams of this size (UDP_SEGMENT).
	Segment int `json:"segment,omitempty"`
	// Streams run in parallel; 0 means 1.
	Streams int `json:"streams,omitempty"`
	// Seconds the job may take; 0 means 60.
	Seconds int `json:"seconds,omitempty"`
}

// Report is what became of a job, over all its streams.
type Report struct {
	// Bytes that arrived, all as they were sent.
	Bytes int64 `json:"bytes"`
	// Datagrams that arrived. Lost ones were sent again, and such a one may
	// arrive twice.
	Datagrams  int `json:"datagrams,omitempty"`
	Lost       int `json:"lost,omitempty"`
	Duplicates int `json:"duplicates,omitempty"`
	// Sent and Received are hashes (SHA-256) of what was sent and received, one
	// for each stream. They are computed at either end.
	Sent     []string `json:"sent"`
	Received []string `json:"received"`
}

// limits of a job.
const (
	maxSize    = 1 << 20
	maxStreams = 64
	maxSegs    = 64 // segments of one write; what every kernel allows
)

func (j *Job) check() error {
	if len(j.Sizes) == 0 {
		return errors.New("stream: job without sizes")
	}
	for _, n := range j.Sizes {
		if n < 1 || n > maxSize {
			return fmt.Errorf("stream: size %d, want 1 to %d", n, maxSize)
		}
		if j.Segment > 0 && (n+j.Segment-1)/j.Segment > maxSegs {
			return fmt.Errorf("stream: size %d in segments of %d makes more than %d", n, j.Segment, maxSegs)
		}
	}
	if j.Segment < 0 || j.Segment > 0 && !j.UDP {
		return fmt.Errorf("stream: segment size %d, want none or, with UDP, more than 0", j.Segment)
	}
	if j.Streams < 0 || j.Streams > maxStreams {
		return fmt.Errorf("stream: %d streams, want 1 to %d", j.Streams, maxStreams)
	}
	return nil
}

func (j *Job) timeout() time.Duration {
	if j.Seconds == 0 {
		return time.Minute
	}
	return time.Duration(j.Seconds) * time.Second
}

// writes calls each for every size to be written, in order.
func (j *Job) writes(each func(n int) error) error {
	var sent int64
	for i := 0; i < len(j.Sizes) || sent < j.Bytes; i++ {
		n := j.Sizes[i%len(j.Sizes)]
		if err := each(n); err != nil {
			return err
		}
		sent += int64(n)
	}
	return nil
}

// total returns how many bytes the job sends.
func (j *Job) total() (n int64) {
	_ = j.writes(func(k int) error { // Which never fails.
		n += int64(k)
		return nil
	})
	return n
}
