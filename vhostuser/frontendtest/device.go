package frontendtest

import (
	"encoding/binary"
	"fmt"

	"vhost-user-nvgre/vhostuser/wire"
)

// Enable sends SET_VRING_ENABLE.
func (f *Frontend) Enable(index int, on bool) error {
	s := wire.VringState{Index: uint32(index)}
	if on {
		s.Num = 1
	}
	if !f.o.Old && f.Conn.Acks {
		return f.Conn.Acked(wire.SetVringEnable, s.Append(nil))
	}
	if err := f.Conn.Send(wire.SetVringEnable, 0, s.Append(nil)); err != nil {
		return err
	}
	return f.Conn.Sync()
}

// Control command that sets the number of queue pairs.
const (
	classMQ       = 4
	cmdVQPairsSet = 0
)

// SetQueuePairs makes the first n queue pairs the ones in use. With Netdev it
// stands for the guest's control command, which QEMU turns into requests; with
// Generic it is that command.
func (f *Frontend) SetQueuePairs(n int) error {
	if f.o.Style == Netdev {
		f.active = n
		return f.enablePairs()
	}
	ack, err := f.Ctrl.Command(classMQ, cmdVQPairsSet, binary.LittleEndian.AppendUint16(nil, uint16(n)), f.Conn.Timeout)
	if err == nil && ack != 0 {
		err = fmt.Errorf("%d queue pairs: the device answers %d, want 0", n, ack)
	}
	return err
}

// enablePairs tells the back end which pairs are in use.
func (f *Frontend) enablePairs() error {
	for i := range f.rings {
		if err := f.Enable(i, i/2 < f.active); err != nil {
			return err
		}
	}
	return nil
}

// Config reads the device configuration space.
func (f *Frontend) Config(offset uint32, n int) ([]byte, error) {
	req := wire.Config{Offset: offset, Bytes: make([]byte, n)}.Append(nil)
	b, err := f.Conn.Call(wire.GetConfig, req)
	if err != nil {
		return nil, err
	}
	if len(b) != len(req) {
		return nil, fmt.Errorf("reply to GET_CONFIG: %d bytes, want %d", len(b), len(req))
	}
	c, err := wire.DecodeConfig(b)
	return c.Bytes, err
}

// SetConfig writes to the device configuration space on behalf of the guest.
func (f *Frontend) SetConfig(offset uint32, b []byte) error {
	return f.Conn.Do(wire.SetConfig, wire.Config{Offset: offset, Bytes: b}.Append(nil))
}
