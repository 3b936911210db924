package agentproto

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Bytes is payload. It is compressed on the wire where that helps: the serial
// port moves some 100 KiB a second under emulation, and most of what tests
// move is text.
type Bytes []byte

// compressFrom is the length from which compressing is tried.
const compressFrom = 256

// The first byte of the encoded form says how the rest, in base64, is stored.
const (
	stored   = '-'
	deflated = 'z'
)

// MarshalJSON encodes b as a string.
func (b Bytes) MarshalJSON() ([]byte, error) {
	method, body := byte(stored), []byte(b)
	if len(b) >= compressFrom {
		var z bytes.Buffer
		w, err := flate.NewWriter(&z, flate.BestSpeed)
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(b); err != nil {
			return nil, err
		}
		if err := w.Close(); err != nil {
			return nil, err
		}
		if z.Len() < len(b) {
			method, body = deflated, z.Bytes()
		}
	}
	out := make([]byte, 0, base64.StdEncoding.EncodedLen(len(body))+3)
	out = append(out, '"', method)
	out = base64.StdEncoding.AppendEncode(out, body)
	return append(out, '"'), nil
}

// UnmarshalJSON decodes what MarshalJSON made, up to MaxData bytes.
func (b *Bytes) UnmarshalJSON(in []byte) error {
	var s string
	if err := json.Unmarshal(in, &s); err != nil {
		return err
	}
	if s == "" {
		return errors.New("agentproto: payload without its method")
	}
	body, err := base64.StdEncoding.DecodeString(s[1:])
	if err != nil {
		return fmt.Errorf("agentproto: payload: %w", err)
	}
	switch s[0] {
	case stored:
	case deflated:
		body, err = io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(body)), MaxData+1))
		if err != nil {
			return fmt.Errorf("agentproto: payload: %w", err)
		}
	default:
		return fmt.Errorf("agentproto: payload of unknown method %q", s[0])
	}
	if len(body) > MaxData {
		return fmt.Errorf("agentproto: payload of more than %d bytes", MaxData)
	}
	*b = body
	return nil
}
