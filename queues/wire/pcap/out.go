package pcap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"vhost-user-nvgre/queues/wire/internal/rings"
	"vhost-user-nvgre/virtio/vring"
)

// backlog is how many bytes of frames may wait to be written.
const backlog = 16 << 20

// recordHdr is the length of what stands before a frame that waits: when it
// came, in nanoseconds, and its length.
const recordHdr = 8 + 4

// out is the ring of frames that go to a capture. One goroutine uses the ring,
// another one writes the file.
type out struct {
	rings.Out
	path string
	file *os.File
	w    *pcapgo.NgWriter
	done chan struct{} // closed when the writer has ended
	// patience is how long the end may take.
	patience time.Duration

	mu      sync.Mutex
	change  sync.Cond // of pending or closing
	pending []byte    // records
	closing bool
	err     error // of writing
	gone    func(error)
	told    bool // gone was called
	losses  rings.Losses
}

func newOut(c *Config) (*out, error) {
	// What machines say to each other is nobody else's business.
	file, err := os.OpenFile(c.Write, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	r := &out{Out: rings.NewOut(), path: c.Write, file: file, done: make(chan struct{}), patience: 5 * time.Second, pending: make([]byte, 0, backlog)}
	r.change.L = &r.mu
	intf := pcapgo.NgInterface{Name: c.Name, LinkType: layers.LinkTypeEthernet, TimestampResolution: 9}
	section := pcapgo.NgSectionInfo{Application: "vhost-user-nvgre"}
	r.w, err = pcapgo.NewNgWriterInterface(file, intf, pcapgo.NgWriterOptions{SectionInfo: section})
	if err == nil {
		err = r.w.Flush()
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	go r.write()
	return r, nil
}

// Complete has frames written.
func (r *out) Complete(used []vring.Used) {
	now := uint64(time.Now().UnixNano())
	r.mu.Lock()
	for _, u := range used {
		b := r.Filled(u)[rings.HdrLen:]
		if len(r.pending)+recordHdr+len(b) > cap(r.pending) {
			r.losses.Count(rings.Behind, 1, len(b))
			continue
		}
		r.pending = binary.LittleEndian.AppendUint64(r.pending, now)
		r.pending = binary.LittleEndian.AppendUint32(r.pending, uint32(len(b)))
		r.pending = append(r.pending, b...)
	}
	r.Err = r.err
	r.change.Signal()
	r.mu.Unlock()
	r.Recycle(used)
}

// write is the writer.
func (r *out) write() {
	defer close(r.done)
	for spare := make([]byte, 0, backlog); ; {
		r.mu.Lock()
		for len(r.pending) == 0 && !r.closing {
			r.change.Wait()
		}
		records, failed, closing := r.pending, r.err != nil, r.closing
		r.pending = spare[:0]
		r.mu.Unlock()
		if !failed {
			if err := r.writeAll(records); err != nil {
				r.fail(err)
			}
		}
		spare = records
		if closing {
			return
		}
	}
}

// writeAll writes records and flushes, so that the file can be looked at.
func (r *out) writeAll(records []byte) error {
	for len(records) > 0 {
		at := int64(binary.LittleEndian.Uint64(records))
		n := int(binary.LittleEndian.Uint32(records[8:]))
		ci := gopacket.CaptureInfo{Timestamp: time.Unix(0, at), CaptureLength: n, Length: n}
		if err := r.w.WritePacket(ci, records[recordHdr:recordHdr+n]); err != nil {
			return err
		}
		records = records[recordHdr+n:]
	}
	return r.w.Flush()
}

// fail ends the wire's use.
func (r *out) fail(err error) {
	err = fmt.Errorf("write capture: %w", err) // which names the file
	r.mu.Lock()
	r.err = err
	gone := r.gone
	r.told = gone != nil && !r.closing
	told := r.told
	r.mu.Unlock()
	if told {
		gone(err)
	}
}

// watch has gone called when writing fails, at once if it has.
func (r *out) watch(gone func(error)) {
	r.mu.Lock()
	r.gone = gone
	err := r.err
	r.told = err != nil
	r.mu.Unlock()
	if err != nil {
		gone(err)
	}
}

// close returns when all is written, or nothing was for a while.
func (r *out) close() error {
	r.mu.Lock()
	r.closing = true
	r.change.Signal()
	r.mu.Unlock()
	select {
	case <-r.done:
	case <-time.After(r.patience):
		// A pipe that nobody reads from.
		err := r.file.Close()
		<-r.done
		return errors.Join(fmt.Errorf("capture %s is not complete: it takes nothing", r.path), err)
	}
	err := r.file.Close()
	if !r.told {
		err = errors.Join(r.err, err)
	}
	return err
}

// Lost implements queues.LossyRing.
func (r *out) Lost(f func(reason string, frames, bytes uint64)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.losses.Lost(f)
}
