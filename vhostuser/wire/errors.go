package wire

import (
	"errors"
	"fmt"
)

// ErrHeader is wrapped by the errors of a header that cannot be what it
// claims. The stream it came from is out of step and has no further use.
var ErrHeader = errors.New("bad message header")

// SizeError is a payload of a size that its message cannot have.
type SizeError struct {
	What     string // message or payload
	Size     int    // bytes
	Min, Max int    // bytes allowed
}

func (e *SizeError) Error() string {
	if e.Min == e.Max {
		return fmt.Sprintf("%s: payload of %d bytes, want %d", e.What, e.Size, e.Min)
	}
	return fmt.Sprintf("%s: payload of %d bytes, want %d to %d", e.What, e.Size, e.Min, e.Max)
}

// atLeast checks that b has the n bytes that a payload needs.
func atLeast(what string, b []byte, n int) error {
	if len(b) < n {
		return &SizeError{What: what, Size: len(b), Min: n, Max: MaxPayload}
	}
	return nil
}
