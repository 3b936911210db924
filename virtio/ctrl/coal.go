package ctrl

import (
	"encoding/binary"
	"fmt"
)

// CoalParams delay a notification until MaxPackets packets are pending or
// MaxUsecs microseconds have passed since the first of them. If either is 0
// every packet is notified.
type CoalParams struct {
	MaxPackets, MaxUsecs uint32
}

// Append appends the parameters, 8 bytes. This is also the result of
// QueueCoalGet.
func (p CoalParams) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, p.MaxPackets)
	return binary.LittleEndian.AppendUint32(b, p.MaxUsecs)
}

// coalParams reads the 8 bytes of b.
func coalParams(b []byte) CoalParams {
	return CoalParams{MaxPackets: binary.LittleEndian.Uint32(b), MaxUsecs: binary.LittleEndian.Uint32(b[4:])}
}

// Coal sets the parameters of all receive or all transmit queues.
type Coal struct {
	Receive bool
	CoalParams
}

// Code returns the command's numbers.
func (c Coal) Code() (class, cmd uint8) {
	if c.Receive {
		return ClassNotfCoal, 1
	}
	return ClassNotfCoal, 0
}

// AppendData appends the parameters.
func (c Coal) AppendData(b []byte) []byte { return c.Append(b) }

func coal(receive bool) func(*Limits, []byte) (Command, error) {
	return func(_ *Limits, data []byte) (Command, error) {
		if err := wantLen(data, 8); err != nil {
			return nil, err
		}
		return Coal{Receive: receive, CoalParams: coalParams(data)}, nil
	}
}

// QueueCoal sets the parameters of one virtqueue, even numbers receive. That
// the queue is enabled is for the device to check (VNET-155).
type QueueCoal struct {
	VQ uint16
	CoalParams
}

// Code returns the command's numbers.
func (QueueCoal) Code() (class, cmd uint8) { return ClassNotfCoal, 2 }

// AppendData appends queue, reserved field and parameters.
func (c QueueCoal) AppendData(b []byte) []byte {
	return c.Append(append(binary.LittleEndian.AppendUint16(b, c.VQ), 0, 0))
}

func decodeQueueCoal(l *Limits, data []byte) (Command, error) {
	if err := wantLen(data, 12); err != nil {
		return nil, err
	}
	c := QueueCoal{VQ: binary.LittleEndian.Uint16(data), CoalParams: coalParams(data[4:])}
	return c, l.checkDataQueue(c.VQ)
}

// QueueCoalGet asks for the parameters of one virtqueue.
type QueueCoalGet struct {
	VQ uint16
}

// Code returns the command's numbers.
func (QueueCoalGet) Code() (class, cmd uint8) { return ClassNotfCoal, 3 }

// AppendData appends queue and reserved field.
func (c QueueCoalGet) AppendData(b []byte) []byte {
	return append(binary.LittleEndian.AppendUint16(b, c.VQ), 0, 0)
}

func decodeQueueCoalGet(l *Limits, data []byte) (Command, error) {
	if err := wantLen(data, 4); err != nil {
		return nil, err
	}
	c := QueueCoalGet{VQ: binary.LittleEndian.Uint16(data)}
	return c, l.checkDataQueue(c.VQ)
}

// checkDataQueue refuses what is no receive or transmit queue.
func (l *Limits) checkDataQueue(vq uint16) error {
	if n := 2 * int(l.QueuePairs); int(vq) >= n {
		return fmt.Errorf("virtqueue %d, want a receive or transmit queue, 0 to %d", vq, n-1)
	}
	return nil
}
