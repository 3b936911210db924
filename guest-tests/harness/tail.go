package harness

import (
	"io"
	"sync"
)

// Tail is a writer that remembers the end of what was written, and tells those
// who wait for more. It may be used concurrently.
type Tail struct {
	mu      sync.Mutex
	buf     []byte
	limit   int
	total   int64
	also    io.Writer     // nil: none
	changed chan struct{} // closed and replaced at every write
}

// NewTail remembers up to limit bytes and passes everything on to also, if that
// is not nil.
func NewTail(limit int, also io.Writer) *Tail {
	return &Tail{limit: limit, also: also, changed: make(chan struct{})}
}

// Write never fails: whoever produces output must not stall because nobody
// can keep it.
func (t *Tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.also != nil {
		if _, err := t.also.Write(p); err != nil {
			t.also = nil // A full disk costs the copy, not the run.
		}
	}
	t.total += int64(len(p))
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - t.limit; over > 0 {
		t.buf = t.buf[:copy(t.buf, t.buf[over:])]
	}
	close(t.changed)
	t.changed = make(chan struct{})
	return len(p), nil
}

// Bytes returns a copy of the end of what was written.
func (t *Tail) Bytes() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]byte(nil), t.buf...)
}

// String returns the end of what was written.
func (t *Tail) String() string { return string(t.Bytes()) }

// snapshot returns the text and a channel that is closed when there is more.
func (t *Tail) snapshot() (text []byte, more <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]byte(nil), t.buf...), t.changed
}

// lastLines returns the last n lines of a text.
func lastLines(text string, n int) string {
	end := len(text)
	for end > 0 && (text[end-1] == '\n' || text[end-1] == '\r') {
		end--
	}
	text = text[:end]
	for i := len(text) - 1; i >= 0; i-- {
		if text[i] == '\n' {
			if n--; n == 0 {
				return text[i+1:]
			}
		}
	}
	return text
}

// serialWriter lets several writers share one that is not made for it.
type serialWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *serialWriter) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}
