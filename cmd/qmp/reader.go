package qmp

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/digitalocean/go-qemu/qmp"
)

// lineReader splits a stream into lines of at most max bytes.
type lineReader struct {
	r   *bufio.Reader
	max int
}

func newLineReader(r io.Reader, limit int) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, 64<<10), max: limit}
}

// next returns the next line that is not empty, without its end. The line is
// the caller's to keep.
func (l *lineReader) next() ([]byte, error) {
	var line []byte
	for {
		part, err := l.r.ReadSlice('\n')
		if len(line)+len(part) > l.max {
			return nil, fmt.Errorf("a line is longer than %d bytes", l.max)
		}
		line = append(line, part...)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil {
			if errors.Is(err, io.EOF) && len(line) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if line = bytes.TrimRight(line, "\r\n"); len(line) > 0 {
			return line, nil
		}
	}
}

// read passes on what the server sends until it sends no more.
func (c *Client) read(lines *lineReader) {
	defer close(c.done)
	for {
		line, err := lines.next()
		if err == nil {
			err = c.dispatch(line)
		}
		if err != nil {
			c.fail(fmt.Errorf("qmp: the connection ended: %w", err))
			c.conn.Close()
			return
		}
	}
}

// dispatch gives one line to whoever waits for it.
func (c *Client) dispatch(line []byte) error {
	var head struct {
		Event string          `json:"event"`
		ID    json.RawMessage `json:"id"`
		Error *Error          `json:"error"`
	}
	if err := json.Unmarshal(line, &head); err != nil {
		return fmt.Errorf("bad line %.200q: %w", line, err)
	}
	if head.Event != "" {
		var e qmp.Event
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("bad event %.200q: %w", line, err)
		}
		c.publish(e)
		return nil
	}
	if head.ID == nil {
		// QEMU answers without an id only if it could not read the command.
		if head.Error != nil {
			return fmt.Errorf("the server could not read a command: %w", head.Error)
		}
		return fmt.Errorf("reply without an id: %.200q", line)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	id := string(head.ID)
	if ch := c.pending[id]; ch != nil {
		delete(c.pending, id)
		ch <- reply{line: line}
	}
	return nil // Nobody waits any more for a reply given up on.
}
