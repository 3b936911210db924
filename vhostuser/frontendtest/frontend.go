package frontendtest

import (
	"errors"
	"fmt"

	"vhost-user-nvgre/vhostuser/wire"
	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/eventfd"
)

// Frontend is a virtual machine with one network device. One goroutine at a
// time may call its methods; queues may be driven by one goroutine each.
type Frontend struct {
	Conn *Conn
	RAM  *RAM
	RX   []*RxQueue
	TX   []*TxQueue
	// Ctrl is nil if QEMU keeps the control queue to itself (Netdev).
	Ctrl *CtrlQueue

	// What Handshake learned.
	Offered  virtio.Features       // by the back end
	Features virtio.Features       // acknowledged by the driver, if it runs
	Protocol wire.ProtocolFeatures // acknowledged
	QueueNum uint64
	MemSlots uint64

	// BackendRequests gets the back end's own messages after they have been
	// acknowledged. Those beyond its capacity are dropped.
	BackendRequests chan wire.BackendRequest

	o       Options
	rings   []*Queue // by index
	channel *channel
	mapped  bool // the back end has the memory; matters with ADD_MEM_REG
	active  int  // queue pairs in use, Netdev
	fresh   bool // rings are to be laid out at the next start
}

// New makes a virtual machine with its memory. It has no connection yet.
func New(o Options) (*Frontend, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	f := &Frontend{o: o, active: 1, fresh: true, BackendRequests: make(chan wire.BackendRequest, 1024)}
	var err error
	if f.RAM, err = newRAM(o.Memory); err != nil {
		return nil, err
	}
	for i := range o.rings() {
		q, err := newQueue(f.RAM, i)
		if err != nil {
			f.Close()
			return nil, err
		}
		q.polled = o.PollDriver
		switch {
		case i == 2*o.QueuePairs:
			f.Ctrl = &CtrlQueue{Queue: *q}
			q = &f.Ctrl.Queue
		case i%2 == 0:
			rx := &RxQueue{Queue: *q, layout: o.RxLayout}
			f.RX, q = append(f.RX, rx), &rx.Queue
		default:
			tx := &TxQueue{Queue: *q, layout: o.TxLayout, size: o.MaxFrame + virtio.NetHdrMaxSize}
			f.TX, q = append(f.TX, tx), &tx.Queue
		}
		f.rings = append(f.rings, q)
	}
	return f, nil
}

// Connect makes a virtual machine and brings its device into operation over
// the connection: New, Handshake, Start, and then all queue pairs into use, as
// the Linux driver does if it may.
func Connect(c *Conn, o Options) (*Frontend, error) {
	f, err := New(o)
	if err != nil {
		return nil, err
	}
	if err := f.Handshake(c); err != nil {
		f.Close()
		return nil, err
	}
	err = f.Start()
	if err == nil && o.QueuePairs > 1 && f.Features.Has(virtio.FeatureMQ) {
		err = f.SetQueuePairs(o.QueuePairs)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Close ends the connection and frees everything.
func (f *Frontend) Close() {
	f.Disconnect()
	for _, q := range f.rings {
		q.close()
	}
	f.RAM.close()
}

// Disconnect ends the connection as a crash of QEMU would, but for the memory.
func (f *Frontend) Disconnect() {
	if f.Conn != nil {
		f.Conn.Close()
	}
	if f.channel != nil {
		f.channel.close()
		f.channel = nil
	}
	f.mapped = false
}

// Reconnect takes a new connection after the old one was lost, and goes on
// where the rings were, as QEMU does with reconnect-ms.
func (f *Frontend) Reconnect(c *Conn) error {
	if err := f.Handshake(c); err != nil {
		return err
	}
	for _, q := range f.rings {
		if q.Driver != nil {
			q.base = uint32(q.Driver.UsedIndex())
		}
	}
	return f.Start()
}

// Handshake does what QEMU does with a fresh connection, before the guest
// runs.
func (f *Frontend) Handshake(c *Conn) error {
	f.Disconnect()
	f.Conn = c
	devices := 1
	if f.o.Style == Netdev {
		devices = f.o.QueuePairs
	}
	for d := range devices {
		if err := f.handshake(d == 0); err != nil {
			return err
		}
		for _, q := range f.device(d) {
			// A placeholder until the guest has chosen a vector.
			placeholder, err := eventfd.New()
			if err != nil {
				return err
			}
			err = errors.Join(
				f.ring(wire.SetVringCall, wire.VringFD{Index: uint8(q.Index)}.Append(nil), placeholder.Int()),
				f.ring(wire.SetVringErr, wire.VringFD{Index: uint8(q.Index)}.Append(nil), q.Err.Int()),
				placeholder.Close(),
			)
			if err != nil {
				return err
			}
		}
	}
	if f.o.Style == Netdev {
		// The firmware resets the device long before it is used.
		return f.enablePairs()
	}
	return nil
}

// device returns the rings of one of QEMU's vhost devices.
func (f *Frontend) device(d int) []*Queue {
	if f.o.Style == Generic {
		return f.rings
	}
	return f.rings[2*d : 2*d+2]
}

func (f *Frontend) handshake(first bool) error {
	c := f.Conn
	v, err := c.U64(wire.GetFeatures, nil)
	if err != nil {
		return err
	}
	if v&wire.FeatureProtocol == 0 {
		return fmt.Errorf("features 0x%x: protocol features (bit 30) are not offered", v)
	}
	p, err := c.U64(wire.GetProtocolFeatures, nil)
	if err != nil {
		return err
	}
	f.Protocol = wire.ProtocolFeatures(p) & f.o.Protocol
	if err := c.Send(wire.SetProtocolFeatures, 0, wire.AppendU64(nil, uint64(f.Protocol))); err != nil {
		return err
	}
	c.Acks = f.Protocol.Has(wire.ProtocolReplyAck)
	if first && f.Protocol.Has(wire.ProtocolMQ) {
		if f.QueueNum, err = c.U64(wire.GetQueueNum, nil); err != nil {
			return err
		}
		if f.o.Style == Netdev && f.QueueNum < uint64(f.o.QueuePairs) {
			return fmt.Errorf("%d queue pairs are asked for and %d supported", f.o.QueuePairs, f.QueueNum)
		}
	}
	if f.Protocol.Has(wire.ProtocolConfigureMemSlots) {
		if f.MemSlots, err = c.U64(wire.GetMaxMemSlots, nil); err != nil {
			return err
		}
	}
	if first && f.Protocol.Has(wire.ProtocolBackendReq) {
		if err := f.openChannel(); err != nil {
			return err
		}
	}
	if first {
		if err := c.Send(wire.SetOwner, 0, nil); err != nil {
			return err
		}
	}
	v, err = c.U64(wire.GetFeatures, nil)
	f.Offered = virtio.Features(v &^ wire.FeatureProtocol)
	return err
}

func (f *Frontend) openChannel() error {
	ch, theirs, err := newChannel(f.o.MuteChannel, f.BackendRequests)
	if err != nil {
		return err
	}
	defer theirs.Close()
	f.channel = ch
	return f.Conn.Do(wire.SetBackendReqFD, nil, int(theirs.Fd()))
}

// AnswerChannel sets what the back end's own messages are acknowledged with.
func (f *Frontend) AnswerChannel(v uint64) error {
	if f.channel == nil {
		return errors.New("no channel: BACKEND_REQ is not negotiated")
	}
	f.channel.mu.Lock()
	defer f.channel.mu.Unlock()
	f.channel.ack = v
	return nil
}

// ring sends a request about a ring. QEMU 11.1 awaits its success, 7.2 does
// not.
func (f *Frontend) ring(r wire.Request, payload []byte, fds ...int) error {
	if f.o.Old {
		return f.Conn.Send(r, 0, payload, fds...)
	}
	return f.Conn.Do(r, payload, fds...)
}

// ringFD sends SET_VRING_KICK, _CALL or _ERR.
func (f *Frontend) ringFD(r wire.Request, q *Queue, e *eventfd.FD, none bool) error {
	v := wire.VringFD{Index: uint8(q.Index), NoFD: none}.Append(nil)
	if none {
		return f.ring(r, v)
	}
	return f.ring(r, v, e.Int())
}
