package loadgen

import (
	"encoding/binary"
	"io"
	"os"
	"runtime"
	"sync/atomic"

	"vhost-user-nvgre/vhostuser/frontendtest"
	"vhost-user-nvgre/vhostuser/wire"
	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/vringtest"
)

// dialNull connects to something that speaks as much of the protocol as a front
// end needs to start, and does nothing.
func dialNull() (*frontendtest.Conn, error) {
	c, theirs, err := frontendtest.Pair()
	if err != nil {
		return nil, err
	}
	go answer(theirs)
	return c, nil
}

// answer serves a connection until the front end closes it. Descriptors that
// come with messages are not asked for, so the system closes them.
func answer(f *os.File) {
	defer f.Close()
	for {
		var raw [wire.HeaderSize]byte
		if _, err := io.ReadFull(f, raw[:]); err != nil {
			return
		}
		h := wire.DecodeHeader(&raw)
		if _, err := io.CopyN(io.Discard, f, int64(h.Size)); err != nil {
			return
		}
		var v uint64
		switch wire.Request(h.Request) {
		case wire.GetFeatures:
			// Without EVENT_IDX one word says that no kicks are wanted.
			v = uint64(frontendtest.DriverFeatures&^virtio.FeatureEventIdx) | wire.FeatureProtocol
		case wire.GetProtocolFeatures:
		default:
			continue
		}
		b := wire.AppendU64(nil, v)
		if _, err := f.Write(append(wire.Reply(h.Request, uint32(len(b))).Append(nil), b...)); err != nil {
			return
		}
	}
}

// null is a back end that uses whatever is available and touches nothing but
// indices.
type null struct {
	quit atomic.Bool
	done chan struct{}
}

// startNull starts the back end's thread.
func (l *load) startNull() error {
	n := &null{done: make(chan struct{})}
	tx, rx, per := newMirror(l.flow.tx), newMirror(l.flow.rx), uint16(l.flow.perFrame)
	ready := make(chan error)
	go func() {
		defer close(n.done)
		runtime.LockOSThread() // and never unlocked: the thread, bound, ends with the goroutine
		err := PinThread(0, l.cfg.NullCPU)
		ready <- err
		if err != nil {
			return
		}
		for !n.quit.Load() {
			if k := min(tx.available(), rx.available()/per); k > 0 {
				tx.use(k)
				rx.use(k * per)
			}
		}
	}()
	if err := <-ready; err != nil {
		return err
	}
	l.null = n
	return nil
}

func (n *null) stop() {
	n.quit.Store(true)
	<-n.done
}

// mirror is the device's end of a ring.
type mirror struct {
	// The two index words have the same place in both areas, so a driver with
	// its areas exchanged reads what is available and publishes what is used.
	driver *vringtest.Driver
	used   uint16
}

func newMirror(r *ring) *mirror {
	const noKicks = 1 // VIRTQ_USED_F_NO_NOTIFY
	d := r.driver
	binary.LittleEndian.PutUint16(d.Mem.At(d.Used, 2), noKicks)
	return &mirror{driver: &vringtest.Driver{Mem: d.Mem, Avail: d.Used, Used: d.Avail}, used: r.used}
}

func (m *mirror) available() uint16 { return m.driver.UsedIndex() - m.used }

func (m *mirror) use(n uint16) {
	m.used += n
	m.driver.SetAvailIndex(m.used)
}
