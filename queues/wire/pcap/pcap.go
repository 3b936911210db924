// Package pcap is a wire to capture files: frames read from one enter the
// switch, and what goes to the wire is written to another.
//
// Captures have frames as they are on a cable. So the wire has no offloads:
// what goes to it was segmented, and has its checksums.
//
// Files are read and written by goroutines of their own. A shard hands a batch
// over under a lock that is never held while a file is used.
package pcap

import (
	"errors"
	"fmt"
	"sync"

	"vhost-user-nvgre/queues"
	"vhost-user-nvgre/virtio"
)

// Config describes a wire.
type Config struct {
	// Name is the name of the interface in the file written.
	Name string
	// Read and Write are paths of captures; one of them may be "". A capture
	// that is read is in pcap or pcapng format, of Ethernet frames. One that is
	// written is in pcapng format, and replaces the file of that name.
	Read, Write string
	// ByTimes has frames enter the switch as far apart as they were captured;
	// otherwise they do as fast as the switch takes them. In both cases the
	// clock stands still while the port's link is down.
	ByTimes bool
	// Log is told when the capture has been read to its end.
	Log queues.Logger
}

// Wire is a pair of captures. It implements queues.Wire.
type Wire struct {
	in    *in  // nil: nothing is read
	out   *out // nil: nothing is written
	close sync.Once
}

// Open opens the captures. Frames are read from now on.
func Open(c Config) (*Wire, error) {
	if c.Read == "" && c.Write == "" {
		return nil, errors.New("no capture to read or write")
	}
	w := &Wire{}
	var err error
	if c.Read != "" {
		if w.in, err = newIn(&c); err != nil {
			return nil, fmt.Errorf("read capture: %w", err)
		}
	}
	if c.Write != "" {
		if w.out, err = newOut(&c); err != nil {
			_ = w.Close()
			return nil, fmt.Errorf("write capture: %w", err)
		}
	}
	return w, nil
}

// Pairs implements queues.Wire.
func (w *Wire) Pairs() []queues.WirePair {
	p := queues.WirePair{Ready: -1}
	if w.in != nil {
		p.In, p.Ready = w.in, w.in.event.Int()
	}
	if w.out != nil {
		p.Out = w.out
	}
	return []queues.WirePair{p}
}

// Features implements queues.Wire.
func (w *Wire) Features() virtio.Features { return 0 }

// SetLink implements queues.LinkSetter.
func (w *Wire) SetLink(up bool) {
	if w.in != nil {
		w.in.setLink(up)
	}
}

// Watch implements queues.Watcher.
func (w *Wire) Watch(gone func(error)) {
	if w.out != nil {
		w.out.watch(gone)
	}
}

// Close ends reading, and returns when everything is written.
func (w *Wire) Close() (err error) {
	w.close.Do(func() {
		if w.in != nil {
			err = w.in.close()
		}
		if w.out != nil {
			err = errors.Join(err, w.out.close())
		}
	})
	return err
}
